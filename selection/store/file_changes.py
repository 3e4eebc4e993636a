"""Stores a changed file of a study that has begun, and records what was changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, RefusedError, StudyStateError
from selection.store.clock import utc_now
from selection.store.database import Database
from selection.store.ledger import is_opened
from selection.store.seals import seal_study
from selection.store.study_record import CHANGES_ATTR, StudyRecord
from selection.store.study_tables import count
from selection.store.study_transaction import (
    find_study,
    state_error,
    study_transaction,
)
from selection.store.tables import nested_table, study_table, trial_table
from selection.study.changes import RULE, TRIALS, Difference, RecordedChange
from selection.study.spec import StudySpec


def keep_file(
    database: Database, study: StudyRecord, spec: StudySpec, recorded: Sequence[Difference]
) -> StudyRecord:
    """Store a changed study file and what was changed; see Records.keep_file."""
    values = {"spec_json": json.dumps(spec.to_json()), "spec_fingerprint": spec.fingerprint}
    is_it = study_table.c.uuid == study.uuid
    with study_transaction(database, study) as connection:
        current = find_study(connection, is_it)
        if current is None or current.spec_fingerprint != study.spec_fingerprint:
            rule = "its file must stay the same while it is changed"
            raise state_error(study, rule, "a change by another process")
        if recorded:
            _record(database, connection, current, spec, recorded)
        connection.execute(sa.update(study_table).where(is_it).values(values))
        seal_study(connection, study.uuid)
        kept = find_study(connection, is_it)
    assert kept is not None, "a study that was just written can be read"
    return kept


def _record(
    database: Database,
    connection: Connection,
    study: StudyRecord,
    spec: StudySpec,
    differences: Sequence[Difference],
) -> None:
    if is_opened(connection, study):
        rule = "a study keeps its budget, rule and level after its held-out set was opened"
        hint = "To search on, run the changed study under another name."
        got = "; ".join(map(str, differences))
        raise RefusedError(ErrorDetail(f"study {study.name}", rule, got, hint))
    begun = count(connection, trial_table, trial_table.c.study_uuid == study.uuid)
    changed = {each.key: each for each in differences}
    if TRIALS in changed and changed[TRIALS].after < begun:
        rule = f"{TRIALS} must be at least the {begun} trials that have begun"
        hint = f"Write trials = {begun} or more, or say --trials {begun}."
        got = str(changed[TRIALS].after)
        raise StudyStateError(ErrorDetail(f"study {study.name}", rule, got, hint))
    if RULE in changed or spec.budget != study.spec().budget:
        # Outer folds score the whole procedure, which is another one now.
        connection.execute(sa.delete(nested_table).where(nested_table.c.study_uuid == study.uuid))
    at = utc_now().replace(tzinfo=UTC)
    changes = [*study.changes, *(RecordedChange(each, at, begun) for each in differences)]
    storage = database.storage.joined(connection)
    value = [each.to_json() for each in changes]
    storage.set_study_user_attr(study.optuna_study_id, CHANGES_ATTR, value)
