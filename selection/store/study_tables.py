"""Which rows of which tables, Optuna's and ours, make up one study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.storages._rdb import models
from sqlalchemy.engine import Connection

from selection.store.database import Database
from selection.store.optuna_rows import (
    studies,
    study_user_attrs,
    trial_intermediates,
    trial_params,
    trial_user_attrs,
    trial_values,
    trials,
)
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import find_study, state_error
from selection.store.tables import (
    EVIDENCE,
    fold_table,
    ledger_table,
    model_table,
    study_table,
    trial_table,
)

# In the order of writing: a row comes after the rows that it points to.
STUDY_PARTS: tuple[sa.Table, ...] = (
    models.StudyDirectionModel.__table__,
    study_user_attrs,
    models.StudySystemAttributeModel.__table__,
)
TRIAL_PARTS: tuple[sa.Table, ...] = (
    trial_params,
    trial_values,
    trial_intermediates,
    trial_user_attrs,
    models.TrialSystemAttributeModel.__table__,
)
HASHED = (fold_table, *EVIDENCE)
OURS = (study_table, trial_table, *HASHED)
COPIED = (*STUDY_PARTS, trials, *TRIAL_PARTS, *OURS)
# Who is training is not part of a study: neither Optuna's heartbeats nor our leases are copied.
HEARTBEATS: sa.Table = models.TrialHeartbeatModel.__table__


@dataclass(frozen=True)
class StudySize:
    """Count the rows of a study. Its ledger rows outlive it."""

    trials: int
    fold_rows: int
    final_models: int
    ledger_rows: int


def study_size(database: Database, study: StudyRecord) -> StudySize:
    """Count what a deletion would remove, and the ledger rows that would stay.

    Raises: StudyStateError if the study is gone; StorageError.
    """
    with database.reading() as connection:
        refuse_deleted(connection, study)
        return size_of(count_rows(connection, study))


def belongs_to(table: sa.Table, study: StudyRecord) -> sa.ColumnElement[bool]:
    """Return the condition that a row belongs to the study."""
    if table in (studies, *STUDY_PARTS, trials):
        return table.c.study_id == study.optuna_study_id
    if table in (HEARTBEATS, *TRIAL_PARTS):
        ids = sa.select(trials.c.trial_id).where(trials.c.study_id == study.optuna_study_id)
        return table.c.trial_id.in_(ids)
    if table is fold_table:
        uuids = sa.select(trial_table.c.uuid).where(trial_table.c.study_uuid == study.uuid)
        return fold_table.c.trial_uuid.in_(uuids)
    if table is study_table:
        return study_table.c.uuid == study.uuid
    return table.c.study_uuid == study.uuid


def count_rows(connection: Connection, study: StudyRecord) -> dict[str, int]:
    """Return how many rows of each table belong to the study."""
    tables = (*COPIED, ledger_table)
    return {table.name: count(connection, table, belongs_to(table, study)) for table in tables}


def count(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(condition)
    return int(connection.scalar(query) or 0)


def size_of(counts: Mapping[str, int]) -> StudySize:
    return StudySize(
        trials=counts[trials.name],
        fold_rows=counts[fold_table.name],
        final_models=counts[model_table.name],
        ledger_rows=counts[ledger_table.name],
    )


def refuse_deleted(connection: Connection, study: StudyRecord) -> None:
    found = find_study(connection, study_table.c.uuid == study.uuid)
    if found is None or found.optuna_study_id != study.optuna_study_id:
        raise state_error(study, "the study must still exist", "a deleted study")
