"""Keeps rows of ours that belong to nothing, as JSON in a table of its own, and brings them back.

Optuna's tools delete studies, copy them and use their ids again. What that leaves without an owner
is evidence all the same: it is moved here, never deleted.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from selection.store.clock import utc_now
from selection.store.database import Database
from selection.store.digest import row_hash
from selection.store.optuna_rows import study_user_attrs, trials
from selection.store.study_transaction import UUID_ATTR
from selection.store.tables import (
    EVIDENCE,
    fold_table,
    lease_table,
    quarantine_table,
    study_table,
    trial_table,
)

OF_A_STUDY = (trial_table, *EVIDENCE, lease_table)
# A row comes after the rows that it points to.
IN_ORDER = (study_table, trial_table, fold_table, *EVIDENCE, lease_table)
# A row with bytes may be as large as a file.
CHUNK = 64

Row = dict[str, Any]


@dataclass(frozen=True)
class Restored:
    """Count the rows that were brought back, by table, and those that stay in the quarantine."""

    back: Mapping[str, int]
    left: int


def set_aside(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    """Move rows of a table, and all that belongs to them, into the quarantine; return how many."""
    count = 0
    for part, is_part in _with_dependents(table, condition):
        rows = connection.execute(sa.select(part).where(is_part).execution_options(yield_per=CHUNK))
        for chunk in rows.partitions():
            kept = [_kept(part, dict(row._mapping)) for row in chunk]
            connection.execute(sa.insert(quarantine_table), kept)
            count += len(kept)
        connection.execute(sa.delete(part).where(is_part))
    return count


def count_of(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    """Return how many rows set_aside would move."""
    queries = [
        sa.select(sa.func.count()).select_from(part).where(is_part)
        for part, is_part in _with_dependents(table, condition)
    ]
    return sum(int(connection.scalar(query) or 0) for query in queries)


def _with_dependents(
    table: sa.Table, condition: sa.ColumnElement[bool]
) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Yield the rows that belong to rows of a table, and last these themselves."""
    if table is study_table:
        uuids = sa.select(study_table.c.uuid).where(condition)
        own_trials = sa.select(trial_table.c.uuid).where(trial_table.c.study_uuid.in_(uuids))
        yield fold_table, fold_table.c.trial_uuid.in_(own_trials)
        for part in OF_A_STUDY:
            yield part, part.c.study_uuid.in_(uuids)
    elif table is trial_table:
        uuids = sa.select(trial_table.c.uuid).where(condition)
        yield fold_table, fold_table.c.trial_uuid.in_(uuids)
    yield table, condition


def _kept(table: sa.Table, row: Row) -> Row:
    kept = {
        "moved_at": utc_now(),
        "table_name": table.name,
        "study_uuid": row["uuid"] if table is study_table else row.get("study_uuid"),
        "row_json": json.dumps({name: _plain(value) for name, value in row.items()}),
    }
    return {**kept, "row_hash": row_hash(kept)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {"base64": b64encode(bytes(value)).decode()}
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    text = plain.get("base64")
    return datetime.fromisoformat(plain["time"]) if text is None else b64decode(text)


def kept_rows(database: Database) -> int:
    """Return how many rows are in the quarantine.

    Raises: StorageError.
    """
    with database.reading() as connection:
        return _kept_rows(connection)


def _kept_rows(connection: Connection) -> int:
    return int(connection.scalar(sa.select(sa.func.count()).select_from(quarantine_table)) or 0)


def restore(database: Database) -> Restored:
    """Bring back the rows whose owner is there and whose place is free, as they were.

    The owner may come back with them. All others, and damaged ones, stay where they are.

    Raises: StorageError; MovedFileError.
    """
    back: dict[str, int] = {}
    with database.writing() as connection:
        for table in IN_ORDER:
            if count := _restore(connection, table):
                back[table.name] = count
        return Restored(back, _kept_rows(connection))


def _restore(connection: Connection, table: sa.Table) -> int:
    columns = quarantine_table.c
    of_table = sa.select(columns.id).where(columns.table_name == table.name).order_by(columns.id)
    done = []
    for key in connection.scalars(of_table).all():
        is_it = columns.id == key
        row = dict(connection.execute(sa.select(*_content()).where(is_it)).one()._mapping)
        stored = connection.scalar(sa.select(columns.row_hash).where(is_it))
        if row_hash(row) == stored and _insert(connection, table, json.loads(row["row_json"])):
            done.append(key)
    for first in range(0, len(done), CHUNK):
        chunk = done[first : first + CHUNK]
        connection.execute(sa.delete(quarantine_table).where(columns.id.in_(chunk)))
    return len(done)


def _content() -> list[sa.Column[Any]]:
    return [each for each in quarantine_table.c if each.name not in ("id", "row_hash")]


def _insert(connection: Connection, table: sa.Table, row: Row) -> bool:
    """Insert a row; False if its key is taken, or its owner is missing."""
    if not _is_owned(connection, table, row):
        return False
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table), {name: _value(row[name]) for name in row})
    except IntegrityError:
        return False
    return True


def _is_owned(connection: Connection, table: sa.Table, row: Row) -> bool:
    """Say whether Optuna's part of a study or trial is the one of the row.

    Foreign keys do not tell: SQLite uses ids again, for another study. They do for other rows.
    """
    if table is study_table:
        owner = sa.select(study_user_attrs.c.study_id).where(
            study_user_attrs.c.study_id == row["optuna_study_id"],
            study_user_attrs.c.key == UUID_ATTR,
            study_user_attrs.c.value_json == json.dumps(row["uuid"]),
        )
    elif table is trial_table:
        owner = (
            sa.select(trials.c.trial_id)
            .join(study_table, study_table.c.optuna_study_id == trials.c.study_id)
            .where(
                trials.c.trial_id == row["optuna_trial_id"],
                study_table.c.uuid == row["study_uuid"],
            )
        )
    else:
        return True
    return connection.execute(owner).first() is not None


def damaged_rows(connection: Connection) -> int:
    """Return how many rows of the quarantine do not match their hash."""
    query = sa.select(*_content(), quarantine_table.c.row_hash)
    found = connection.execute(query.execution_options(yield_per=CHUNK))
    return sum(row_hash(dict(row._mapping)) != row.row_hash for row in found)
