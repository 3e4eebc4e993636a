"""Rows that carry a hash of all that they say, by which damage is seen when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from selection.store.database import Database
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import study_transaction


class HashedRows:
    """Read and insert the rows of one database's tables with a row_hash."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, query: sa.Select[Any], what: str) -> list[Any]:
        """Return the rows of a query for whole rows.

        Raises: StorageError where one is damaged.
        """
        with self._database.reading() as connection:
            rows = list(connection.execute(query).all())
        for row in rows:
            if row_hash(dict(row._mapping)) != row.row_hash:
                rule = "what was stored must be read back unchanged"
                got = f"other bytes in the {what}"
                raise self._database.address.error(rule, got, "Restore a copy of the database.")
        return rows

    def count(self, study: StudyRecord, table: sa.Table) -> int:
        """Return how many rows a study has in a table, without reading them."""
        query = sa.select(sa.func.count()).select_from(table)
        with self._database.reading() as connection:
            return int(connection.scalar(query.where(table.c.study_uuid == study.uuid)) or 0)

    def insert(self, study: StudyRecord, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert all rows, or none where the first is there already: another process was sooner."""
        key = {column.name: rows[0][column.name] for column in table.primary_key}
        is_same = sa.and_(*(table.c[name] == value for name, value in key.items()))
        with study_transaction(self._database, study) as connection:
            if connection.execute(sa.select(*table.primary_key).where(is_same)).first() is None:
                hashed = [{**row, "row_hash": row_hash(row)} for row in rows]
                connection.execute(sa.insert(table), hashed)


def row_hash(row: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a row says, but for this hash itself."""
    digest = sha256()
    for name in sorted(set(row) - {"row_hash"}):
        value = row[name]
        content = bytes(value) if isinstance(value, bytes | memoryview) else repr(value).encode()
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return digest.hexdigest()
