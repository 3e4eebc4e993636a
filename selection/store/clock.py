"""The clock of leases: the database's own, so that it is the same for every worker."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def database_now(connection: Connection) -> datetime:
    """Return the time by the clock of the database, UTC without a zone.

    All users of an SQLite file are on one machine, and so have the same clock.
    """
    if connection.dialect.name == "sqlite":
        return utc_now()
    now = connection.scalar(sa.select(sa.func.timezone("utc", sa.func.clock_timestamp())))
    assert isinstance(now, datetime), "a server returns its time"
    return now


def utc_now() -> datetime:
    """Return the time of this machine as the tables store it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)
