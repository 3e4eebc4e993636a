"""Decides which cohort a worker gets next, inside one transaction that has the study's lock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail
from selection.store.claims import Claim, Limits, NewCohort, ResumedCohort, Spent, Wait
from selection.store.clock import database_now
from selection.store.leases import (
    Lease,
    Worker,
    give_back,
    is_held_by_another,
    read_leases,
    take,
)
from selection.store.optuna_rows import Ending, trials
from selection.store.optuna_storage import BatchedStorage
from selection.store.other_trials import OtherTrial, read_others, refuse
from selection.store.seals import seal_trials
from selection.store.study_record import StudyRecord
from selection.store.tables import trial_table
from selection.store.trial_reader import (
    IS_UNFINISHED,
    greatest,
    own_count,
    read_trials,
    training_seconds,
    unfinished_rows,
)
from selection.study.trial import TrialState


@dataclass(frozen=True)
class FailureDue:
    """A cohort must be failed first, and this transaction may not do it."""


@dataclass(frozen=True)
class Stopped:
    """Too many trials have failed in a row; error says so."""

    error: ErrorDetail


Decision = Claim | FailureDue | Stopped


@dataclass(frozen=True)
class Claiming:
    """Decide one claim. What is written on the way to a decision is part of it."""

    connection: Connection
    storage: BatchedStorage
    study: StudyRecord
    worker: Worker
    limits: Limits
    training: Collection[int]

    def decide(self, unfinished: Collection[int], *, may_fail: bool) -> Decision:
        """Return the first cohort that nobody holds, a new one, or why there is neither.

        unfinished are the cohorts of all unfinished trials.
        """
        leases = read_leases(self.connection, self.study)
        others = self._held_by_others(leases, database_now(self.connection))
        if others and self.worker.is_alone:
            return Wait()
        held = others | set(self.training)
        training = set(unfinished)
        # Their workers have finished a cohort and not claimed another, or propose one, or died.
        between = set(leases) - training
        for cohort in between - held:
            give_back(self.connection, self.study, cohort)
        for cohort in sorted(training - held):
            is_of_it = trial_table.c.cohort == cohort
            rows = unfinished_rows(self.connection, self.study, is_of_it)
            lost = _times_lost(leases.get(cohort), self.worker)
            if self.limits.max_retries is None or lost <= self.limits.max_retries:
                return self._resume(rows, lost)
            if not may_fail:
                return FailureDue()
            self._fail(rows, lost)
        last_cohort = greatest(self.connection, self.study, trial_table.c.cohort)
        next_cohort = 0 if last_cohort is None else last_cohort + 1
        if next_cohort in between & held:
            return Wait()
        needed = self.limits.lag.proposed_from(next_cohort)
        if needed is not None and any(cohort < needed for cohort in unfinished):
            return Wait()
        return self._reserve(next_cohort, is_alone=not training & held)

    def _held_by_others(self, leases: Mapping[int, Any], now: datetime) -> set[int]:
        return {
            cohort for cohort, row in leases.items() if is_held_by_another(row, self.worker, now)
        }

    def _resume(self, rows: Sequence[Any], lost: int) -> ResumedCohort:
        """Give out a cohort whose trials are not finished, as the next attempt to train it."""
        attempt = max(row.attempt for row in rows) + 1
        lease = Lease(rows[0].cohort, self.worker, attempt)
        take(self.connection, self.study, lease, trials=len(rows), lost=lost)
        self._restart(rows)
        resumed = trial_table.c.uuid.in_([row.uuid for row in rows])
        self.connection.execute(sa.update(trial_table).where(resumed).values(attempt=attempt))
        numbers = [row.number for row in rows]
        found = read_trials(
            self.connection, self.storage, self.study, with_curves=False, numbers=numbers
        )
        return ResumedCohort(lease, tuple(found))

    def _restart(self, rows: Sequence[Any]) -> None:
        states = {row.optuna_trial_id: row.state for row in rows}
        self.storage.restart_trials(self.connection, states)

    def _fail(self, rows: Sequence[Any], lost: int) -> None:
        """End a cohort whose workers have died too often."""
        self._restart(rows)
        ends = [Ending(row.optuna_trial_id, OptunaState.FAIL, None, {}, {}) for row in rows]
        self.storage.finish_trials(self.connection, ends)
        failed = trial_table.c.uuid.in_([row.uuid for row in rows])
        reason = f"lost: {lost} workers in a row died while they trained it"
        self.connection.execute(sa.update(trial_table).where(failed).values(reason=reason))
        seal_trials(self.connection, self.storage, [row.uuid for row in rows])
        give_back(self.connection, self.study, rows[0].cohort)

    def _reserve(self, cohort: int, *, is_alone: bool) -> NewCohort | Wait | Spent | Stopped:
        """Give out a new cohort; without trials left, the study is spent once nobody trains."""
        count = own_count(self.connection, self.study)
        size = min(self.limits.cohort, self.limits.trials - count)
        if size <= 0 or (count and self._is_out_of_time()):
            return Spent() if is_alone else Wait()
        if error := _failing(self.connection, self.study, self.limits.max_consecutive_failures):
            return Stopped(error)
        lease = Lease(cohort, self.worker, attempt=1)
        take(self.connection, self.study, lease, trials=size, lost=0)
        # Trial 0 is the default, whatever is asked for.
        queued = self._queue()[: size if count else size - 1]
        return NewCohort(lease, size - len(queued), tuple(queued))

    def _queue(self) -> list[OtherTrial]:
        """Return the settings that were asked for; end those that the space does not have."""
        others = read_others(self.connection, self.storage, self.study)
        waiting = [each for each in others if each.state is TrialState.WAITING]
        refuse(self.connection, self.storage, [each for each in waiting if each.reason])
        return [each for each in waiting if each.is_queued]

    def _is_out_of_time(self) -> bool:
        if not self.limits.timeout_seconds:
            return False
        # Measured from the record, so that a study that ran out of time is still out of it when it
        # is run again.
        seconds = training_seconds(self.connection, self.storage, self.study)
        return seconds >= self.limits.timeout_seconds


def _times_lost(lease: Any, worker: Worker) -> int:
    """Return how many workers in a row have died with this cohort; lease is its row or None."""
    if lease is None:
        return 0
    return int(lease.lost) + int(lease.worker != worker.uuid)


def _failing(connection: Connection, study: StudyRecord, limit: int) -> ErrorDetail | None:
    """Return why a study stops whose last trials all failed; None if it goes on."""
    if not limit:
        return None
    query = (
        sa.select(trials.c.state, trial_table.c.reason)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(trial_table.c.study_uuid == study.uuid, sa.not_(IS_UNFINISHED))
        .order_by(trial_table.c.number.desc())
        .limit(limit)
    )
    last = connection.execute(query).all()
    if len(last) < limit or any(row.state is not OptunaState.FAIL for row in last):
        return None
    rule = f"fewer than {limit} trials may fail in a row"
    got = f"{limit}, the last because: {last[0].reason}"
    hint = "Fix the cause; then raise [search] max_consecutive_failures and run the file again."
    return ErrorDetail(study.name, rule, got, hint)
