"""The events of a cohort: claimed, begun, finished, released; each is one transaction.

Every event holds the lock of the study, so that any number of workers train exactly the budget and
number their trials without gaps. Only the end of a trial waits for the disk: a power cut may undo
that a cohort was claimed or begun, and then the same trials are proposed again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, LostCohortError, StudyStateError
from selection.store.claiming import Claiming, Decision, FailureDue, Stopped
from selection.store.claims import Claim, Limits
from selection.store.database import Database
from selection.store.leases import (
    Lease,
    Worker,
    is_held,
    leave,
    lost_cohort,
    rest,
)
from selection.store.ledger import refuse_opened
from selection.store.optuna_rows import trials
from selection.store.other_trials import OtherTrial
from selection.store.quarantine import set_aside
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import state_error, study_transaction
from selection.store.tables import trial_table
from selection.store.trial_reader import (
    OUTSIDE_ATTR,
    STATES,
    greatest,
    has_ended,
    own_rows,
    read_trials,
    unfinished_cohorts,
    unfinished_rows,
)
from selection.store.trial_writer import sound_results, templates, write_endings
from selection.study.space import SearchSpace
from selection.study.trial import Params, TrialResult


class Cohorts:
    """Give cohorts to workers and record what becomes of their trials.

    Every method raises StorageError if the database fails, and RefusedError once the held-out set
    has been opened.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage = database.storage
        # By study: all cohorts below this one are finished, and need not be read again.
        self._first_open: dict[str, int] = {}

    def claim(
        self, study: StudyRecord, worker: Worker, limits: Limits, training: Collection[int] = ()
    ) -> Claim:
        """Return the cohort that a worker trains next, or why there is none.

        training are the cohorts that it holds and trains already. One worker at a time proposes a
        new cohort, so that it knows all earlier trials.

        Raises: StudyStateError if too many trials have failed in a row.
        """
        decide = partial(self._decide, study, worker, limits, training)
        decision = decide(is_durable=False)
        if isinstance(decision, FailureDue):
            # Trials end: this must survive a power cut.
            decision = decide(is_durable=True)
        if isinstance(decision, Stopped):
            raise StudyStateError(decision.error)
        assert not isinstance(decision, FailureDue), "a durable transaction fails what is due"
        return decision

    def _decide(
        self,
        study: StudyRecord,
        worker: Worker,
        limits: Limits,
        training: Collection[int],
        *,
        is_durable: bool,
    ) -> Decision:
        with study_transaction(self._database, study, is_durable=is_durable) as connection:
            refuse_opened(connection, study)
            unfinished = self._open_cohorts(connection, study)
            claiming = Claiming(connection, self._storage, study, worker, limits, training)
            return claiming.decide(unfinished, may_fail=is_durable)

    def begin(
        self,
        study: StudyRecord,
        lease: Lease,
        params: Sequence[Params],
        space: SearchSpace,
        queued: Sequence[OtherTrial] = (),
        known: int | None = None,
    ) -> list[int]:
        """Record the trials that are about to be trained and return their numbers, in order.

        params are those of the new trials; in the first cohort the first of them is the default,
        which gets number 0. Then come the queued ones, as they were claimed, then the other new
        ones. known is Trial.known_cohorts of all of them. A second call, as after a reply that was
        lost, returns the same and writes nothing.

        Raises: LostCohortError if another worker has the cohort, or another program a queued trial.
        """
        with study_transaction(self._database, study, is_durable=False) as connection:
            refuse_opened(connection, study)
            if not is_held(connection, study, lease):
                raise lost_cohort(study, lease)
            query = own_rows(study).where(trial_table.c.cohort == lease.cohort)
            if begun := connection.execute(query).all():
                return [row.number for row in begun]
            taken = self._take_up(connection, study, space, queued, known)
            new = templates(params, space, known=known)
            numbered = self._storage.create_trials(connection, study.optuna_study_id, new)
            ids = [*taken, *(trial_id for trial_id, _ in numbered)]
            numbers = {**taken, **dict(numbered)}
            if lease.cohort == 0 and numbered[0][1] != 0:
                optuna_id = study.optuna_study_id
                numbers = self._storage.number_first(connection, optuna_id, numbered[0][0])
            # Optuna's own tools delete on SQLite without foreign keys: our rows stay behind and
            # the ids are used again.
            set_aside(connection, trial_table, trial_table.c.optuna_trial_id.in_(ids))
            rows = [_own_row(study, lease, trial_id, numbers[trial_id]) for trial_id in ids]
            connection.execute(sa.insert(trial_table), rows)
        return sorted(numbers[trial_id] for trial_id in ids)

    def _take_up(
        self,
        connection: Connection,
        study: StudyRecord,
        space: SearchSpace,
        queued: Sequence[OtherTrial],
        known: int | None,
    ) -> dict[int, int]:
        """Start queued trials; return their numbers by id."""
        ids = [each.trial_id for each in queued]
        if not ids:
            return {}
        states = self._storage.locked_states(connection, ids)
        for each in queued:
            if states.get(each.trial_id) is not OptunaState.WAITING:
                rule = "a setting that was asked for must wait until its cohort begins"
                got = f"trial {each.number} taken by another program"
                hint = "The cohort is claimed again."
                raise LostCohortError(ErrorDetail(study.name, rule, got, hint))
        params, asked_for = [each.params for each in queued], [each.asked_for for each in queued]
        started = templates(params, space, asked_for, known)
        self._storage.take_up_trials(connection, dict(zip(ids, started, strict=True)))
        return {each.trial_id: each.number for each in queued}

    def finish(
        self,
        study: StudyRecord,
        lease: Lease,
        results: Mapping[int, TrialResult],
        params: Mapping[int, Params] | None = None,
    ) -> None:
        """Record how trials ended: members, curves, values and states in one transaction.

        The lease stays until its worker claims the next cohort, so that others see that the study
        is still being trained. A second call, as after a reply that was lost, writes nothing. What
        another program has written meanwhile is replaced: its value and state, and the setting if
        params, those that were trained, are given.

        Raises: LostCohortError if another worker has the cohort; StudyStateError if a trial has
        ended before or a result is incomplete.
        """
        trained = sound_results(study, results)
        with study_transaction(self._database, study) as connection:
            rows = self._rows(connection, study, lease, trained)
            # If there is no trial, a crash of the server has undone begin(): see decision 13.
            if not rows or not is_held(connection, study, lease):
                if rows and _is_repeated(rows, trained, lease):
                    return
                refuse_opened(connection, study)
                raise lost_cohort(study, lease)
            _refuse_ended(study, rows, trained)
            self._take_back(connection, rows.values())
            self._write_back(connection, study, rows, params or {})
            write_endings(connection, self._storage, rows, trained)
            if not unfinished_rows(connection, study, trial_table.c.cohort == lease.cohort):
                rest(connection, study, lease.cohort)

    def release(self, study: StudyRecord, lease: Lease) -> None:
        """Give a cohort back for any worker to resume; do nothing if it is no longer held."""
        with study_transaction(self._database, study, is_durable=False) as connection:
            if is_held(connection, study, lease):
                rows = unfinished_rows(connection, study, trial_table.c.cohort == lease.cohort)
                self._take_back(connection, rows)
                ids = [row.optuna_trial_id for row in rows]
                self._storage.put_back_trials(connection, ids)
            leave(connection, study, lease)

    def _take_back(self, connection: Connection, rows: Iterable[Any]) -> None:
        """Let trials run that another program has ended or put back."""
        ended = [row.optuna_trial_id for row in rows if row.state is not OptunaState.RUNNING]
        self._storage.reopen_trials(connection, ended)

    def _write_back(
        self,
        connection: Connection,
        study: StudyRecord,
        rows: Mapping[int, Any],
        trained: Mapping[int, Params],
    ) -> None:
        """Write the settings that were trained where another program has written others."""
        found = read_trials(
            connection, self._storage, study, with_curves=False, numbers=trained.keys()
        )
        changed = [each.number for each in found if each.params != trained[each.number]]
        again = templates([trained[number] for number in changed], study.space)
        ids = [rows[number].optuna_trial_id for number in changed]
        self._storage.write_params(connection, dict(zip(ids, again, strict=True)), [OUTSIDE_ATTR])

    def _open_cohorts(self, connection: Connection, study: StudyRecord) -> Collection[int]:
        """Return the cohorts of all unfinished trials; remember which cohorts are finished."""
        first = self._first_open.get(study.uuid, 0)
        unfinished = unfinished_cohorts(connection, study, first)
        last = greatest(connection, study, trial_table.c.cohort)
        after = first if last is None else last + 1
        self._first_open[study.uuid] = min(unfinished, default=after)
        return unfinished

    def _rows(
        self,
        connection: Connection,
        study: StudyRecord,
        lease: Lease,
        results: Mapping[int, TrialResult],
    ) -> Mapping[int, Any]:
        """Lock and return our rows of the trials that end, with Optuna's state, by number."""
        query = (
            own_rows(study)
            .add_columns(trials.c.state)
            .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
            .where(trial_table.c.cohort == lease.cohort, trial_table.c.number.in_(results))
            .with_for_update(of=trials)
        )
        return {row.number: row for row in connection.execute(query)}


def _own_row(study: StudyRecord, lease: Lease, trial_id: int, number: int) -> dict[str, Any]:
    return {
        "uuid": str(uuid4()),
        "study_uuid": study.uuid,
        "optuna_trial_id": trial_id,
        "number": number,
        "cohort": lease.cohort,
        "attempt": lease.attempt,
        "reason": "",
        "epochs": 0,
    }


def _is_repeated(rows: Mapping[int, Any], results: Mapping[int, TrialResult], lease: Lease) -> bool:
    """Say whether this attempt has already recorded all these results."""
    return all(
        n in rows
        and rows[n].state.is_finished()
        and has_ended(rows[n])
        and (rows[n].attempt, rows[n].reason) == (lease.attempt, result.reason)
        for n, result in results.items()
    )


def _refuse_ended(
    study: StudyRecord, rows: Mapping[int, Any], results: Mapping[int, TrialResult]
) -> None:
    for number in results:
        row = rows.get(number)
        if row is None or has_ended(row):
            got = "no such trial" if row is None else f"a {STATES[row.state]} trial"
            raise state_error(study, f"trial {number} must be running to be finished", got)
