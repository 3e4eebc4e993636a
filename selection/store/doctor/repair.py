"""Fixes what is safe to fix, in one transaction: links, rows without an owner, dead workers.

Nothing is deleted but leases of dead workers: what belongs to nothing goes into the quarantine.
"""

from __future__ import annotations

from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.store.clock import database_now
from selection.store.database import Database
from selection.store.doctor.checks import fixable_findings
from selection.store.doctor.diagnosis import read_studies
from selection.store.doctor.findings import Finding
from selection.store.doctor.orphans import fix_links, fix_orphans
from selection.store.doctor.schema import fix_schema
from selection.store.doctor.study_rows import is_lost, of_study, read_rows, unheld_trials
from selection.store.links import broken_links
from selection.store.quarantine import set_aside
from selection.store.study_record import StudyRecord
from selection.store.tables import lease_table, trial_table


class _DryRunError(Exception):
    """End the transaction of a dry run without a trace."""


def fix(database: Database, *, dry_run: bool = False) -> list[Finding]:
    """Fix what is safe to fix, and return the problems that were fixed, or would be.

    Raises: StorageError.
    """
    fixed: list[Finding] = []
    with suppress(_DryRunError), database.writing() as connection:
        fixed += fix_schema(connection)
        broken = broken_links(connection)
        # First, because rows without an owner may have the ids that a link needs.
        fixed += fix_orphans(connection, broken)
        fixed += fix_links(connection, database.storage, broken)
        records, _ = read_studies(connection)
        for study in records:
            # A study that has been deleted meanwhile has nothing left to fix.
            if database.storage.lock_study(connection, study.optuna_study_id):
                fixed += _fix_study(database, connection, study)
        if dry_run:
            raise _DryRunError
    return fixed


def _fix_study(database: Database, connection: Connection, study: StudyRecord) -> list[Finding]:
    # A worker that renews its lease now has to wait, and then learns that it is lost.
    leases = of_study(lease_table, study)
    connection.execute(sa.select(lease_table.c.cohort).where(leases).with_for_update()).all()
    rows = read_rows(connection, study, database_now(connection))
    found = list(fixable_findings(connection, rows))
    if not found:
        return []
    set_aside(connection, trial_table, is_lost(study))
    unheld = unheld_trials(rows)
    database.storage.put_back_trials(connection, [row.optuna_trial_id for row in unheld])
    dead = {row.cohort for row in unheld}
    connection.execute(sa.delete(lease_table).where(leases, lease_table.c.cohort.in_(dead)))
    return found
