"""Finds the studies that selection created, and locks one for writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, StudyStateError
from selection.store.database import Database
from selection.store.optuna_rows import studies, study_user_attrs
from selection.store.study_record import CHANGES_ATTR, StudyRecord, record_from_row
from selection.store.tables import content_of, study_table

UUID_ATTR = "selection_uuid"


def uuid_mark() -> sa.ColumnElement[str]:
    """Return the user attribute that marks Optuna's study as ours: the uuid, as JSON."""
    return sa.literal('"') + study_table.c.uuid + sa.literal('"')


def our_studies() -> sa.Select[Any]:
    """Return the query for our studies: those whose id and uuid both match."""
    changes = study_user_attrs.alias("changes")
    is_changed = (changes.c.study_id == studies.c.study_id) & (changes.c.key == CHANGES_ATTR)
    return (
        sa.select(
            *content_of(study_table),
            studies.c.study_name,
            changes.c.value_json.label("changes_json"),
        )
        .join(studies, studies.c.study_id == study_table.c.optuna_study_id)
        .join(study_user_attrs, study_user_attrs.c.study_id == studies.c.study_id)
        .outerjoin(changes, is_changed)
        .where(study_user_attrs.c.key == UUID_ATTR, study_user_attrs.c.value_json == uuid_mark())
    )


def find_study(connection: Connection, condition: sa.ColumnElement[bool]) -> StudyRecord | None:
    """Return the first of our studies that meets a condition; None if there is none."""
    row = connection.execute(our_studies().where(condition)).first()
    return None if row is None else record_from_row(row)


@contextmanager
def study_transaction(
    database: Database, study: StudyRecord, *, is_durable: bool = True
) -> Iterator[Connection]:
    """Begin a transaction that holds the write lock of the study; see Database.writing.

    Raises: StudyStateError if the study is gone; StorageError.
    """
    with database.writing(is_durable=is_durable) as connection:
        is_there = database.storage.lock_study(connection, study.optuna_study_id)
        found = find_study(connection, study_table.c.uuid == study.uuid) if is_there else None
        if found is None or found.optuna_study_id != study.optuna_study_id:
            raise state_error(study, "the study must still exist", "a deleted study")
        yield connection


def state_error(study: StudyRecord, rule: str, got: str) -> StudyStateError:
    """Return the error for a write that the state of the study does not allow."""
    hint = "Nothing was written; run selection status to see the record."
    return StudyStateError(ErrorDetail(study.name, rule, got, hint))
