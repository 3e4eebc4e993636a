"""The clock that leases are measured by: the database's own, the same for every worker."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def database_now(connection: Connection) -> datetime:
    """Return the time by the clock of the database, UTC without a zone.

    Whoever opens an SQLite file shares its machine, and so its clock.
    """
    if connection.dialect.name == "sqlite":
        return utc_now()
    now = connection.scalar(sa.select(sa.func.timezone("utc", sa.func.clock_timestamp())))
    assert isinstance(now, datetime), "a server knows what time it is"
    return now


def utc_now() -> datetime:
    """Return the time as the tables keep it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)
