"""Fixes what is safe to fix: rows without an owner, and trials that no living worker holds."""

from __future__ import annotations

from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import StudyStateError
from selection.store.clock import database_now
from selection.store.database import Database
from selection.store.doctor.checks import fixable_findings
from selection.store.doctor.diagnosis import read_studies
from selection.store.doctor.findings import Finding
from selection.store.doctor.orphans import fix_orphans
from selection.store.doctor.study_rows import of_study, read_rows, unheld_trials
from selection.store.optuna_rows import trials
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import study_transaction
from selection.store.tables import lease_table, trial_table


def fix(database: Database) -> list[Finding]:
    """Fix what is safe to fix, and return the problems that were fixed.

    Raises: StorageError.
    """
    with database.reading() as connection:
        records, _ = read_studies(connection)
    with database.writing() as connection:
        fixed = fix_orphans(connection)
    for study in records:
        # A study that has been deleted meanwhile has nothing left to fix.
        with suppress(StudyStateError), study_transaction(database, study) as connection:
            fixed += _fix_study(database, connection, study)
    return fixed


def _fix_study(database: Database, connection: Connection, study: StudyRecord) -> list[Finding]:
    # A worker that renews its lease now has to wait, and then learns that it is lost.
    leases = of_study(lease_table, study)
    connection.execute(sa.select(lease_table.c.cohort).where(leases).with_for_update()).all()
    rows = read_rows(connection, study, database_now(connection))
    found = list(fixable_findings(rows))
    if not found:
        return []
    known = sa.select(trials.c.trial_id).where(trials.c.study_id == study.optuna_study_id)
    is_lost = trial_table.c.optuna_trial_id.not_in(known)
    connection.execute(sa.delete(trial_table).where(of_study(trial_table, study), is_lost))
    unheld = unheld_trials(rows)
    database.storage.put_back_trials(connection, [row.optuna_trial_id for row in unheld])
    dead = {row.cohort for row in unheld}
    connection.execute(sa.delete(lease_table).where(leases, lease_table.c.cohort.in_(dead)))
    return found
