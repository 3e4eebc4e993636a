"""Looks for what cannot be in a record that only we wrote, and fixes what is safe to fix.

Other tools, other programs and broken disks reach our rows too. Nothing that a trial scored is
ever changed: where that is damaged, a copy of the database is the only fix.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import SelectionError, StudyStateError, show
from selection.store.clock import database_now
from selection.store.codec import FoldRow, score_from_row
from selection.store.database import Database
from selection.store.finding import FIX, RESTORE, Finding, finding, orphan
from selection.store.hashed_rows import row_hash
from selection.store.leases import is_alive, read_leases
from selection.store.ledger import CLAIMED, EVALUATED
from selection.store.optuna_rows import studies, trial_values, trials
from selection.store.orphans import EVIDENCE, copies, fix_orphans, orphans, unmarked
from selection.store.study_record import StudyRecord, record_from_row
from selection.store.study_transaction import our_studies, study_transaction
from selection.store.tables import (
    curve_table,
    fold_table,
    lease_table,
    ledger_table,
    trial_table,
)
from selection.store.trial_reader import own_rows
from selection.study.trial import mean_over_folds

# Rows with predictions that are in memory at once.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class _Rows:
    """Hold what the small columns of one study's rows say.

    own are our rows of trials that Optuna knows, with Optuna's number, state and value, by number;
    lost counts the others. theirs are Optuna's numbers by its id; members are those of a trial.
    """

    study: StudyRecord
    own: Sequence[Any]
    lost: int
    theirs: Mapping[int, int]
    members: Mapping[str, Sequence[Any]]
    leases: Mapping[int, Any]
    now: datetime


def examine(database: Database) -> list[Finding]:
    """Return all that is wrong in one moment of a database.

    Raises: StorageError.
    """
    with database.reading() as connection:
        # What is read is of this moment, and so must be the clock that leases are measured by.
        now = database_now(connection)
        records, unreadable = _read_studies(connection)
        found = [*orphans(connection), *unmarked(connection), *copies(connection), *unreadable]
        for study in records:
            rows = _read_rows(connection, study, now)
            found += [*_fixable(rows), *_trial_findings(rows), *_study_findings(rows)]
            found += [*_open_claims(connection, study), *_partial_points(connection, study)]
        # Last, because it takes its time: workers may end meanwhile that hold a lease above.
        for study in records:
            found += _damage(connection, study)
    return found


def fix(database: Database) -> list[Finding]:
    """Fix what can be fixed, and return what was wrong with it.

    Raises: StorageError.
    """
    with database.reading() as connection:
        records, _ = _read_studies(connection)
    with database.writing() as connection:
        fixed = fix_orphans(connection)
    for study in records:
        # A study that is deleted meanwhile has nothing left to fix.
        with suppress(StudyStateError), study_transaction(database, study) as connection:
            fixed += _fix_study(database, connection, study)
    return fixed


def _read_studies(connection: Connection) -> tuple[list[StudyRecord], list[Finding]]:
    """Return the studies of ours by name, and a finding for each that cannot be read."""
    records: list[StudyRecord] = []
    unreadable: list[Finding] = []
    rows = connection.execute(our_studies().order_by(studies.c.study_name)).all()
    for row in rows:
        try:
            record = record_from_row(row)
            record.spec()
        except (ValueError, SelectionError) as error:
            rule = "what a study began with must be readable; nothing else of it was looked at"
            hint = "Use the selection that began it, or restore a copy of the database."
            got = show(str(error).partition("\n")[0].rstrip("."))
            unreadable.append(finding(row.study_name, "file", rule, got, hint))
        else:
            records.append(record)
    return records, unreadable


def _read_rows(connection: Connection, study: StudyRecord, now: datetime) -> _Rows:
    theirs = trials.c.study_id == study.optuna_study_id
    ours = (trials.c.trial_id == trial_table.c.optuna_trial_id) & theirs
    on_value = (trial_values.c.trial_id == trials.c.trial_id) & (trial_values.c.objective == 0)
    query = (
        own_rows(study)
        .add_columns(trials.c.number.label("their_number"), trials.c.state, trial_values.c.value)
        .select_from(trial_table.outerjoin(trials, ours).outerjoin(trial_values, on_value))
    )
    found = connection.execute(query).all()
    own = [row for row in found if row.state is not None]
    number = sa.func.coalesce(trials.c.number, -1)
    numbers = connection.execute(sa.select(trials.c.trial_id, number).where(theirs))
    columns = (fold_table.c.repeat, fold_table.c.fold, fold_table.c.attempt, fold_table.c.score)
    members = connection.execute(
        sa.select(fold_table.c.trial_uuid, *columns)
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid)
        .order_by(fold_table.c.trial_uuid, fold_table.c.repeat, fold_table.c.fold)
    )
    return _Rows(
        study=study,
        own=own,
        lost=len(found) - len(own),
        theirs={row[0]: row[1] for row in numbers},
        members={uuid: list(group) for uuid, group in groupby(members, attrgetter("trial_uuid"))},
        leases=read_leases(connection, study),
        now=now,
    )


def _fixable(rows: _Rows) -> Iterator[Finding]:
    """Find what _fix_study fixes."""
    name = rows.study.name
    if rows.lost:
        yield orphan(name, trial_table, rows.lost)
    rule = "a running trial must be held by a living worker"
    unheld = [row.number for row in _unheld(rows)]
    yield from _in_trials(rows, "no_lease", rule, "no living worker for", unheld, is_fixable=True)


def _fix_study(database: Database, connection: Connection, study: StudyRecord) -> list[Finding]:
    # A worker that renews its lease now must wait, and then learn that it is lost.
    of_study = _of(lease_table, study)
    connection.execute(sa.select(lease_table.c.cohort).where(of_study).with_for_update()).all()
    rows = _read_rows(connection, study, database_now(connection))
    found = list(_fixable(rows))
    if not found:
        return []
    known = sa.select(trials.c.trial_id).where(trials.c.study_id == study.optuna_study_id)
    is_lost = trial_table.c.optuna_trial_id.not_in(known)
    connection.execute(sa.delete(trial_table).where(_of(trial_table, study), is_lost))
    unheld = _unheld(rows)
    database.storage.put_back_trials(connection, [row.optuna_trial_id for row in unheld])
    dead = {row.cohort for row in unheld}
    connection.execute(sa.delete(lease_table).where(of_study, lease_table.c.cohort.in_(dead)))
    return found


def _unheld(rows: _Rows) -> list[Any]:
    """Return the running trials of cohorts without a lease, or with that of a dead worker."""
    running = [row for row in rows.own if row.state is OptunaState.RUNNING]
    cohorts = {row.cohort for row in running} & set(rows.leases)
    leases = [rows.leases[cohort] for cohort in cohorts]
    held = {row.cohort for row in leases if is_alive(row, rows.now)}
    return [row for row in running if row.cohort not in held]


def _trial_findings(rows: _Rows) -> Iterator[Finding]:
    cv = rows.study.spec().sections.cv
    pairs = [(repeat, fold) for repeat in range(cv.repeats) for fold in range(cv.folds)]
    early, strange, partial, wrong = [], [], [], []
    for row in rows.own:
        members = rows.members.get(row.uuid, ())
        is_complete = row.state is OptunaState.COMPLETE
        if members and not row.state.is_finished():
            early.append(row.number)
        elif any(member.attempt != row.attempt for member in members):
            strange.append(row.number)
        elif is_complete and [(member.repeat, member.fold) for member in members] != pairs:
            partial.append(row.number)
        elif is_complete and not _is_mean(row.value, members):
            wrong.append(row.number)
    rule = "only finished trials have folds"
    yield from _in_trials(rows, "early_folds", rule, "folds of unfinished", early)
    rule = "a finished trial has the folds of its own attempt"
    yield from _in_trials(rows, "attempt", rule, "folds of another attempt in", strange)
    rule = f"a complete trial has every one of its {len(pairs)} folds"
    yield from _in_trials(rows, "folds", rule, "other folds in", partial)
    rule = "the value of a complete trial is finite, and the mean over its folds"
    yield from _in_trials(rows, "value", rule, "another value in", wrong)


def _is_mean(value: float | None, members: Sequence[Any]) -> bool:
    scores = np.array([score_from_row(member.score) for member in members])
    return value is not None and math.isfinite(value) and value == mean_over_folds(scores)


def _study_findings(rows: _Rows) -> Iterator[Finding]:
    name = rows.study.name
    ids = {row.optuna_trial_id for row in rows.own}
    foreign = sorted(number for trial_id, number in rows.theirs.items() if trial_id not in ids)
    rule = "every trial of a study of ours must be one that we began"
    yield from _in_trials(rows, "foreign", rule, "another tool's", foreign)
    if got := _miscounted(rows):
        rule = "trials are numbered from 0 without gaps, by Optuna as by us"
        yield finding(name, "numbers", rule, got, RESTORE)
    budget = rows.study.spec().budget
    if len(rows.own) > budget:
        rule = f"a study has at most the {budget} trials of its budget"
        yield finding(name, "budget", rule, str(len(rows.own)), RESTORE)
    ended = {row.cohort for row in rows.own if row.state.is_finished()}
    if half := sorted(ended & {row.cohort for row in rows.own if not row.state.is_finished()}):
        rule = "a cohort is finished as a whole or not at all"
        hint = "Run the study file again: it trains the rest."
        yield finding(name, "cohort", rule, f"cohorts {show(half)} finished in part", hint)


def _miscounted(rows: _Rows) -> str:
    """Say which number is wrong first; nothing if none is."""
    for row in rows.own:
        if row.number != row.their_number:
            return f"trial {row.number} of ours, which Optuna calls {row.their_number}"
    for index, number in enumerate(sorted(rows.theirs.values())):
        if index != number:
            return f"trial {number} where trial {index} is due"
    return ""


def _damage(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    names = list(FoldRow.__dataclass_fields__)
    query = (
        sa.select(*(fold_table.c[name] for name in names), fold_table.c.row_hash)
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid)
    )
    hashes = ((FoldRow(*row[:-1]).row_hash, row[-1]) for row in _stream(connection, query))
    yield from _damaged(study, fold_table, hashes)
    for table in EVIDENCE:
        found = _stream(connection, sa.select(table).where(_of(table, study)))
        hashes = ((row_hash(dict(row._mapping)), row.row_hash) for row in found)
        yield from _damaged(study, table, hashes)


def _stream(connection: Connection, query: sa.Select[Any]) -> Iterable[Any]:
    return connection.execute(query.execution_options(yield_per=CHUNK))


def _damaged(
    study: StudyRecord, table: sa.Table, hashes: Iterable[tuple[str, str]]
) -> Iterator[Finding]:
    if count := sum(now != stored for now, stored in hashes):
        rule = "what was stored must be read back unchanged"
        got = f"other bytes in rows of {table.name}, {count} in all"
        yield finding(study.name, "damage", rule, got, RESTORE)


def _open_claims(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    columns = ledger_table.c
    query = sa.select(columns.evaluation, columns.state).where(_of(ledger_table, study))
    evaluations = connection.execute(query.order_by(columns.evaluation)).all()
    last = max((each.evaluation for each in evaluations if each.state == EVALUATED), default=0)
    claims = [each.evaluation for each in evaluations if each.state == CLAIMED]
    for evaluation in claims:
        if evaluation > last:
            rule = "a claim on the held-out set must end with a result"
            hint = (
                f"selection evaluate {study.name} --again --reason TEXT puts another evaluation on "
                "record."
            )
            yield finding(study.name, "claimed", rule, f"evaluation {evaluation} without one", hint)


def _partial_points(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    cv = study.spec().sections.cv
    expected, columns = cv.folds * cv.repeats, curve_table.c
    point = (columns.number, columns.over, columns.value_json)
    query = (
        sa.select(*point)
        .where(_of(curve_table, study))
        .group_by(*point)
        # One that failed to train has the folds that it came to.
        .having(sa.func.count() != expected, sa.func.max(columns.reason) == "")
        .order_by(*point)
    )
    found = [
        f"{row.over} = {row.value_json} of trial {row.number}" for row in connection.execute(query)
    ]
    if found:
        rule = f"a point of a curve has every one of its {expected} folds"
        yield finding(study.name, "point", rule, f"other folds in {', '.join(found)}", RESTORE)


def _of(table: sa.Table, study: StudyRecord) -> sa.ColumnElement[bool]:
    return table.c.study_uuid == study.uuid


def _in_trials(
    rows: _Rows,
    check: str,
    rule: str,
    what: str,
    numbers: Collection[int],
    *,
    is_fixable: bool = False,
) -> Iterator[Finding]:
    """Yield one finding for all the trials that a check found, if there are any."""
    if numbers:
        got = f"{what} trials {show(list(numbers))}"
        hint = FIX if is_fixable else RESTORE
        yield finding(rows.study.name, check, rule, got, hint, is_fixable=is_fixable)
