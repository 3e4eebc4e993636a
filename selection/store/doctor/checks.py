"""The checks of one study: its trials, its numbers, its folds, its ledger and its hashes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import show
from selection.store.codec import FoldRow, score_from_row
from selection.store.digest import json_hash, row_hash
from selection.store.doctor.findings import Finding, finding, orphan
from selection.store.doctor.study_rows import StudyRows, is_lost, of_study, unheld_trials
from selection.store.hashed_rows import HASH_RULE, RESTORE
from selection.store.ledger import CLAIMED, EVALUATED
from selection.store.ledger_chain import chain_problems
from selection.store.quarantine import count_of, damaged_rows
from selection.store.seals import study_hash, trial_hashes
from selection.store.study_record import StudyRecord, read_changes
from selection.store.study_transaction import our_studies
from selection.store.tables import (
    EVIDENCE,
    curve_table,
    fold_table,
    ledger_table,
    quarantine_table,
    study_table,
    trial_table,
)
from selection.store.trial_reader import has_ended
from selection.study.commands import command_text
from selection.study.trial import mean_over_folds

TRIAL_RULE = "a trial that has ended must keep its params, state, value and place"
# How many rows with predictions are in memory at once.
CHUNK = 64


def fixable_findings(connection: Connection, rows: StudyRows) -> Iterator[Finding]:
    """Find the problems that repair.py fixes."""
    if rows.lost:
        moved = count_of(connection, trial_table, is_lost(rows.study))
        yield orphan(rows.study.name, trial_table, rows.lost, moved)
    rule = "a running trial must have a live worker"
    unheld = [row.number for row in unheld_trials(rows)]
    yield from _in_trials(rows, "no_lease", rule, "no live worker for", unheld, is_fixable=True)


def trial_findings(connection: Connection, rows: StudyRows) -> Iterator[Finding]:
    cv = rows.study.spec().sections.cv
    pairs = [(repeat, fold) for repeat in range(cv.repeats) for fold in range(cv.folds)]
    early, other_attempt, partial, wrong = [], [], [], []
    told = [row.number for row in rows.own if row.state.is_finished() and not has_ended(row)]
    if told:
        rule = "only selection may end a trial that it began"
        hint = "The next selection run takes them back and trains them."
        got = f"trials {show(told)} ended by another program"
        yield finding(rows.study.name, "told", rule, got, hint)
    for row in rows.own:
        if row.number in told:
            continue
        members = rows.members.get(row.uuid, ())
        is_complete = row.state is OptunaState.COMPLETE
        if members and not row.state.is_finished():
            early.append(row.number)
        elif any(member.attempt != row.attempt for member in members):
            other_attempt.append(row.number)
        elif is_complete and [(member.repeat, member.fold) for member in members] != pairs:
            partial.append(row.number)
        elif is_complete and not _is_mean(row.value, members):
            wrong.append(row.number)
    rule = "only finished trials may have folds"
    yield from _in_trials(rows, "early_folds", rule, "folds of unfinished", early)
    rule = "the folds of a finished trial must be of its last attempt"
    yield from _in_trials(rows, "attempt", rule, "folds of another attempt in", other_attempt)
    rule = f"a complete trial must have all of its {len(pairs)} folds"
    yield from _in_trials(rows, "folds", rule, "other folds in", partial)
    rule = "the value of a complete trial must be finite and the mean over its folds"
    yield from _in_trials(rows, "value", rule, "another value in", wrong)
    # These say why a trial does not match its hash.
    explained = {*early, *other_attempt, *partial, *wrong}
    explained |= {row.number for row in rows.own if row.number != row.their_number}
    yield from _in_trials(
        rows, "trial", TRIAL_RULE, "changes in", _altered(connection, rows, explained)
    )


def _altered(connection: Connection, rows: StudyRows, explained: Collection[int]) -> list[int]:
    """Return the numbers of other trials that differ from what they were when they ended."""
    hashes = trial_hashes(connection, of_study(trial_table, rows.study))
    stored = sa.select(trial_table.c.uuid, trial_table.c.number, trial_table.c.row_hash).where(
        of_study(trial_table, rows.study), trial_table.c.row_hash.is_not(None)
    )
    return sorted(
        row.number
        for row in connection.execute(stored)
        if row.number not in explained and hashes.get(row.uuid, row.row_hash) != row.row_hash
    )


def _is_mean(value: float | None, members: Sequence[Any]) -> bool:
    scores = np.array([score_from_row(member.score) for member in members])
    return value is not None and math.isfinite(value) and value == mean_over_folds(scores)


def study_findings(rows: StudyRows) -> Iterator[Finding]:
    name = rows.study.name
    if rows.without_setting:
        rule = "a waiting trial of another tool must have a setting"
        got = f"none in trials {show(list(rows.without_setting))}"
        hint = "The next cohort ends them as failed; nothing is lost."
        yield finding(name, "foreign", rule, got, hint)
    if got := _miscounted(rows):
        rule = "trials must be numbered from 0 without gaps, the same as in Optuna's tables"
        yield finding(name, "numbers", rule, got, RESTORE)
    budget = rows.study.spec().budget
    if len(rows.own) > budget:
        rule = f"a study must have at most the {budget} trials of its budget"
        yield finding(name, "budget", rule, f"{len(rows.own)} trials", RESTORE)
    is_done = {row.number: row.state.is_finished() and has_ended(row) for row in rows.own}
    ended = {row.cohort for row in rows.own if is_done[row.number]}
    if half := sorted(ended & {row.cohort for row in rows.own if not is_done[row.number]}):
        rule = "a cohort must be finished as a whole or not at all"
        hint = "Run the study file again: it trains the rest."
        yield finding(name, "cohort", rule, f"cohorts {show(half)} finished in part", hint)


def _miscounted(rows: StudyRows) -> str:
    """Describe the first wrong number; empty if there is none."""
    for row in rows.own:
        if row.number != row.their_number:
            return f"trial {row.number}, which is {row.their_number} in Optuna's tables"
    for index, number in enumerate(sorted(rows.theirs.values())):
        if index != number:
            return f"trial {number} where trial {index} is expected"
    return ""


def file_findings(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    """Find changes of the study's own row: its file, its facts, its recorded changes."""
    if json_hash(study.spec_json) != study.spec_fingerprint:
        rule = "the stored study file must match its fingerprint"
        yield finding(study.name, "spec", rule, "another file", RESTORE)
        return
    row = connection.execute(our_studies().where(study_table.c.uuid == study.uuid)).one()
    if read_changes(row.changes_json) is None:
        rule = "the recorded changes of a study file must be readable"
        yield finding(study.name, "changes", rule, show(row.changes_json), RESTORE)
        return
    stored = connection.scalar(
        sa.select(study_table.c.row_hash).where(study_table.c.uuid == study.uuid)
    )
    if stored is not None and stored != study_hash(connection, study.uuid):
        got = f"changed bytes in rows of {study_table.name}, 1 in all"
        yield finding(study.name, "damage", HASH_RULE, got, RESTORE)


def ledger_findings(connection: Connection) -> Iterator[Finding]:
    for each in chain_problems(connection):
        where = f"ledger of {each.where}" if each.where else "ledger"
        yield finding(where, each.check, each.rule or HASH_RULE, each.got, RESTORE)


def damage(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    names = list(FoldRow.__dataclass_fields__)
    query = (
        sa.select(*(fold_table.c[name] for name in names), fold_table.c.row_hash)
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid)
    )
    hashes = ((FoldRow(*row[:-1]).row_hash, row[-1]) for row in _stream(connection, query))
    yield from _damaged(study, fold_table, hashes)
    for table in EVIDENCE:
        found = _stream(connection, sa.select(table).where(of_study(table, study)))
        hashes = ((row_hash(dict(row._mapping)), row.row_hash) for row in found)
        yield from _damaged(study, table, hashes)


def damage_in_quarantine(connection: Connection) -> Iterator[Finding]:
    if count := damaged_rows(connection):
        got = f"changed bytes in rows of {quarantine_table.name}, {count} in all"
        yield finding("database", "damage", HASH_RULE, got, RESTORE)


def _stream(connection: Connection, query: sa.Select[Any]) -> Iterable[Any]:
    return connection.execute(query.execution_options(yield_per=CHUNK))


def _damaged(
    study: StudyRecord, table: sa.Table, hashes: Iterable[tuple[str, str]]
) -> Iterator[Finding]:
    if count := sum(now != stored for now, stored in hashes):
        got = f"changed bytes in rows of {table.name}, {count} in all"
        yield finding(study.name, "damage", HASH_RULE, got, RESTORE)


def open_claims(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    columns = ledger_table.c
    query = sa.select(columns.evaluation, columns.state).where(of_study(ledger_table, study))
    evaluations = connection.execute(query.order_by(columns.evaluation)).all()
    last = max((each.evaluation for each in evaluations if each.state == EVALUATED), default=0)
    claims = [each.evaluation for each in evaluations if each.state == CLAIMED]
    for evaluation in claims:
        if evaluation > last:
            rule = "a claim on the held-out set must end with a result"
            command = command_text("evaluate", "--again", "--reason", "TEXT", operands=[study.name])
            hint = f"{command} records another evaluation."
            yield finding(study.name, "claimed", rule, f"evaluation {evaluation} without one", hint)


def partial_points(connection: Connection, study: StudyRecord) -> Iterator[Finding]:
    cv = study.spec().sections.cv
    expected, columns = cv.folds * cv.repeats, curve_table.c
    point = (columns.number, columns.over, columns.value_json)
    query = (
        sa.select(*point)
        .where(of_study(curve_table, study))
        .group_by(*point)
        # A point that failed to train has only the folds that it reached.
        .having(sa.func.count() != expected, sa.func.max(columns.reason) == "")
        .order_by(*point)
    )
    found = [
        f"{row.over} = {row.value_json} of trial {row.number}" for row in connection.execute(query)
    ]
    if found:
        rule = f"a point of a curve must have all of its {expected} folds"
        yield finding(study.name, "point", rule, f"other folds in {', '.join(found)}", RESTORE)


def _in_trials(
    rows: StudyRows,
    check: str,
    rule: str,
    what: str,
    numbers: Collection[int],
    *,
    is_fixable: bool = False,
) -> Iterator[Finding]:
    """Yield one finding for all trials that a check found, if there are any."""
    if numbers:
        got = f"{what} trials {show(list(numbers))}"
        hint = "selection doctor --fix lets them wait for one." if is_fixable else RESTORE
        yield finding(rows.study.name, check, rule, got, hint, is_fixable=is_fixable)
