"""Finds studies of ours, and lets one process at a time write to a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, StudyStateError
from selection.store.database import Database
from selection.store.optuna_rows import studies, study_user_attrs
from selection.store.study_record import StudyRecord, record_from_row
from selection.store.tables import study_table

UUID_ATTR = "selection_uuid"


def uuid_mark() -> sa.ColumnElement[str]:
    """Return what Optuna's study says to be ours: the uuid, as JSON."""
    return sa.literal('"') + study_table.c.uuid + sa.literal('"')


def our_studies() -> sa.Select[Any]:
    """Return the query for studies that are ours by both pointers: id and uuid."""
    return (
        sa.select(study_table, studies.c.study_name)
        .join(studies, studies.c.study_id == study_table.c.optuna_study_id)
        .join(study_user_attrs, study_user_attrs.c.study_id == studies.c.study_id)
        .where(study_user_attrs.c.key == UUID_ATTR, study_user_attrs.c.value_json == uuid_mark())
    )


def find_study(connection: Connection, condition: sa.ColumnElement[bool]) -> StudyRecord | None:
    """Return the study of ours that meets a condition; None if there is none."""
    row = connection.execute(our_studies().where(condition)).first()
    return None if row is None else record_from_row(row)


@contextmanager
def study_transaction(
    database: Database, study: StudyRecord, *, is_durable: bool = True
) -> Iterator[Connection]:
    """Begin a transaction that alone may write to the study; see Database.writing.

    Raises: StudyStateError where the study is gone; StorageError.
    """
    with database.writing(is_durable=is_durable) as connection:
        is_there = database.storage.lock_study(connection, study.optuna_study_id)
        found = find_study(connection, study_table.c.uuid == study.uuid) if is_there else None
        if found is None or found.optuna_study_id != study.optuna_study_id:
            raise state_error(study, "the study must still be there", "a deleted study")
        yield connection


def state_error(study: StudyRecord, rule: str, got: str) -> StudyStateError:
    """Return the error that says why nothing was written to a study."""
    hint = "Nothing was written; run selection status to see the record."
    return StudyStateError(ErrorDetail(study.name, rule, got, hint))
