"""Finds rows of ours without a study or trial, and Optuna's studies without a row of ours.

Optuna's own tools cause both: on SQLite they delete without foreign keys and use ids again, and
Optuna Dashboard renames a study by copying it.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.store.doctor.findings import Finding, finding, orphan
from selection.store.optuna_rows import studies, study_user_attrs
from selection.store.study_transaction import UUID_ATTR, uuid_mark
from selection.store.tables import (
    baseline_table,
    curve_table,
    fold_table,
    lease_table,
    model_table,
    nested_table,
    rows_table,
    study_table,
    trial_table,
)

EVIDENCE = (rows_table, baseline_table, nested_table, model_table, curve_table)
OF_A_STUDY = (trial_table, *EVIDENCE, lease_table)


def _is_orphan() -> dict[sa.Table, sa.ColumnElement[bool]]:
    """Return, by table, the condition that the study or trial of a row does not exist."""
    columns = study_table.c
    is_marked = _marks(study_table.c.optuna_study_id)
    other = sa.exists().where(is_marked, study_user_attrs.c.value_json != uuid_mark())
    gone = columns.optuna_study_id.not_in(sa.select(studies.c.study_id))
    there = sa.select(columns.uuid)
    return {
        study_table: gone | other.correlate(study_table),
        **{table: table.c.study_uuid.not_in(there) for table in OF_A_STUDY},
        fold_table: fold_table.c.trial_uuid.not_in(sa.select(trial_table.c.uuid)),
    }


def orphans(connection: Connection) -> Iterator[Finding]:
    for table, condition in _is_orphan().items():
        count = connection.scalar(sa.select(sa.func.count()).select_from(table).where(condition))
        if count:
            yield orphan("database", table, count)


def fix_orphans(connection: Connection) -> list[Finding]:
    found = list(orphans(connection))
    if found:
        for table, condition in _is_orphan().items():
            connection.execute(sa.delete(table).where(condition))
    return found


def unmarked(connection: Connection) -> Iterator[Finding]:
    """Find Optuna's studies that a row of ours points to and that are not marked as ours.

    The id may have been used again for another study: only a person can tell.
    """
    marked = sa.select(study_user_attrs.c.study_id).where(study_user_attrs.c.key == UUID_ATTR)
    query = (
        sa.select(study_table.c.uuid, studies.c.study_name)
        .join(studies, studies.c.study_id == study_table.c.optuna_study_id)
        .where(studies.c.study_id.not_in(marked))
    )
    for uuid, name in connection.execute(query):
        rule = f"a study of selection must have the user attribute {UUID_ATTR}"
        hint = (
            f"If selection created it: optuna study set-user-attr --study-name {name} "
            f"--key {UUID_ATTR} --value {uuid}. If not, delete it with optuna."
        )
        yield finding(name, "unmarked", rule, "no such attribute", hint)


def unknown_copies(connection: Connection) -> Iterator[Finding]:
    is_its_row = (study_table.c.optuna_study_id == studies.c.study_id) & (
        study_user_attrs.c.value_json == uuid_mark()
    )
    query = (
        sa.select(studies.c.study_name)
        .join(study_user_attrs, _marks(studies.c.study_id))
        .outerjoin(study_table, is_its_row)
        .where(study_table.c.uuid.is_(None))
        .order_by(studies.c.study_name)
    )
    for name in connection.scalars(query):
        rule = f"a study with the user attribute {UUID_ATTR} must have a row in {study_table.name}"
        hint = (
            "Only Optuna's tools can read it: delete it with optuna, or run the study file again "
            "under another name."
        )
        yield finding(name, "copy", rule, "a copy, as renaming in Optuna Dashboard makes one", hint)


def _marks(study_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the condition for the user attribute that marks Optuna's study as ours."""
    return (study_user_attrs.c.study_id == study_id) & (study_user_attrs.c.key == UUID_ATTR)
