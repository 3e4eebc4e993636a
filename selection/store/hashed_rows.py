"""Reads and writes rows that carry a hash of their content, and detects damaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from selection.errors import StorageError
from selection.store.address import Address
from selection.store.database import Database
from selection.store.digest import row_hash
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import study_transaction

HASH_RULE = "a row must match the hash stored with it"
RESTORE = "Restore the database from a backup."


class HashedRows:
    """Read and insert rows of tables with a column row_hash."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, query: sa.Select[Any], what: str) -> list[Any]:
        """Return the rows of a query for whole rows; what names them in an error.

        Raises: StorageError if one is damaged.
        """
        with self._database.reading() as connection:
            rows = list(connection.execute(query).all())
        for row in rows:
            if row_hash(dict(row._mapping)) != row.row_hash:
                raise damage_error(self._database.address, f"the {what}")
        return rows

    def count(
        self, study: StudyRecord, table: sa.Table, *conditions: sa.ColumnElement[bool]
    ) -> int:
        """Return how many rows of a table a study has, without reading them."""
        query = sa.select(sa.func.count()).select_from(table).where(*conditions)
        with self._database.reading() as connection:
            return int(connection.scalar(query.where(table.c.study_uuid == study.uuid)) or 0)

    def insert(self, study: StudyRecord, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert all rows, or none if another process has already inserted the first."""
        if not rows:
            return
        key = {column.name: rows[0][column.name] for column in table.primary_key}
        is_same = sa.and_(*(table.c[name] == value for name, value in key.items()))
        with study_transaction(self._database, study) as connection:
            if connection.execute(sa.select(*table.primary_key).where(is_same)).first() is None:
                hashed = [{**row, "row_hash": row_hash(row)} for row in rows]
                connection.execute(sa.insert(table), hashed)


def damage_error(address: Address, where: str) -> StorageError:
    """Return the error for a row whose content does not match its hash."""
    return address.error(HASH_RULE, f"changed bytes in {where}", RESTORE)
