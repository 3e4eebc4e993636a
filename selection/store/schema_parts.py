"""Finds tables and indexes that a database lacks although its revisions say it has them.

Versions before 0.2 could be killed while they made a new SQLite file, and other tools can drop what
they do not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from sqlalchemy.engine import Connection

from selection.store.tables import PREFIX, metadata

CATALOGUES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index')",
    "postgresql": (
        "SELECT tablename, '' FROM pg_tables WHERE schemaname = current_schema() "
        "UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    ),
}


@dataclass(frozen=True, eq=False)
class MissingPart:
    """Hold a table or an index that is missing; twice are values that a unique index refuses."""

    part: sa.Table | sa.Index
    twice: tuple[str, ...] = ()

    def __str__(self) -> str:
        if isinstance(self.part, sa.Table):
            return f"table {self.part.name}"
        assert self.part.table is not None, "an index belongs to a table"
        kind = "unique index" if self.part.unique else "index"
        return f"{kind} {self.part.name} of {self.part.table.name}"


def missing_parts(connection: Connection) -> list[MissingPart]:
    """Return the tables and indexes that are missing, Optuna's and ours."""
    catalogue = CATALOGUES[connection.dialect.name]
    found = {name: sql or "" for name, sql in connection.execute(sa.text(catalogue))}
    missing = []
    for table in _tables():
        if table.name not in found:
            missing.append(MissingPart(table))
            continue
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            sql = found.get(str(index.name))
            if sql is None or (index.unique and "UNIQUE" not in sql.upper()):
                missing.append(MissingPart(index, _twice(connection, index)))
    return missing


def _tables() -> Sequence[sa.Table]:
    ours = [table for table in metadata.sorted_tables if table.name.startswith(PREFIX)]
    return [*BaseModel.metadata.sorted_tables, *ours]


def _twice(connection: Connection, index: sa.Index) -> tuple[str, ...]:
    if not index.unique:
        return ()
    columns = list(index.columns)
    query = sa.select(*columns).group_by(*columns).having(sa.func.count() > 1).order_by(*columns)
    return tuple(", ".join(map(str, row)) for row in connection.execute(query))


def add_missing(connection: Connection) -> list[MissingPart]:
    """Make what is missing and can be made; return it."""
    made = [each for each in missing_parts(connection) if not each.twice]
    for each in made:
        if isinstance(each.part, sa.Table):
            each.part.create(connection)
            continue
        # One of that name that is not unique.
        connection.execute(sa.text(f'DROP INDEX IF EXISTS "{each.part.name}"'))
        each.part.create(connection)
    return made
