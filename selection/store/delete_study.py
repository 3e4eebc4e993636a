"""Deletes a study, Optuna's part and ours; its evaluations stay in the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, StudyStateError
from selection.store.clock import database_now
from selection.store.database import Database
from selection.store.leases import is_alive
from selection.store.optuna_rows import studies, trials
from selection.store.study_record import StudyRecord
from selection.store.study_tables import (
    HEARTBEATS,
    STUDY_PARTS,
    TRIAL_PARTS,
    StudySize,
    belongs_to,
    count_rows,
    size_of,
)
from selection.store.study_transaction import study_transaction
from selection.store.tables import lease_table, study_table


def delete_study(database: Database, study: StudyRecord) -> StudySize:
    """Delete a study, Optuna's part and ours, in one transaction; return what was deleted.

    Raises: StudyStateError if the study is gone or a worker holds a cohort; StorageError.
    """
    with study_transaction(database, study) as connection:
        _refuse_held(connection, study)
        size = size_of(count_rows(connection, study))
        if not database.storage.is_batched:
            database.storage.joined(connection).delete_study(study.optuna_study_id)
            return size
        # Our other rows are deleted with their study; Optuna's keys do not cascade.
        deleted = (study_table, HEARTBEATS, *TRIAL_PARTS, trials, *STUDY_PARTS, studies)
        for table in deleted:
            connection.execute(sa.delete(table).where(belongs_to(table, study)))
    return size


def _refuse_held(connection: Connection, study: StudyRecord) -> None:
    """Refuse if a worker is alive. The leases stay locked: none can be renewed meanwhile."""
    query = sa.select(lease_table).where(belongs_to(lease_table, study)).with_for_update()
    leases = connection.execute(query).all()
    now = database_now(connection)
    alive = [lease for lease in leases if is_alive(lease, now)]
    hosts = sorted({lease.place for lease in alive})
    if hosts:
        rule = "a study may only be deleted while nobody trains it"
        hint = "Stop the worker, or wait until its lease expires."
        raise StudyStateError(
            ErrorDetail(study.name, rule, f"a worker at {', '.join(hosts)}", hint)
        )
