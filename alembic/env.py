"""Runs our migrations on the connection that selection/store/migrations.py hands over.

It looks at tables named selection_* only: the rest of the database is Optuna's, with a history of
its own.
"""

from __future__ import annotations

from typing import Any

from alembic import context

from selection.store.tables import PREFIX, VERSION_TABLE, metadata


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Say whether a name of the database belongs to us."""
    return kind != "table" or (name is not None and name.startswith(PREFIX))


def include_object(_item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Say whether a table of our metadata belongs to us; two of them stand for Optuna's."""
    return include_name(name, kind, None)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=include_name,
    include_object=include_object,
    render_as_batch=True,
    # Alembic thinks SQLite cannot; with our BEGIN IMMEDIATE it can.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
