"""The events of a cohort: taken, begun, finished, given back; each in one transaction.

Everything is decided under the lock of the study: which cohort is next, who holds it, how many
trials are left. So n workers finish exactly the budget, and number their trials without gaps.
Only what was trained waits for the disk: a power cut may undo that a cohort was taken or begun, and
then the same trials are asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, RefusedError, StudyStateError
from selection.store.clock import database_now
from selection.store.database import Database
from selection.store.leases import (
    Lease,
    Worker,
    give_back,
    is_held,
    is_held_by_another,
    leave,
    lost_cohort,
    read_leases,
    rest,
    take,
)
from selection.store.ledger import is_opened
from selection.store.optuna_storage import Ending, trials
from selection.store.study_event import state_error, study_event
from selection.store.study_record import StudyRecord
from selection.store.tables import trial_table
from selection.store.trial_reader import STATES, UNFINISHED, own_rows, read_trials, training_seconds
from selection.store.trial_writer import sound_results, templates, write_endings
from selection.study.space import SearchSpace
from selection.study.trial import Params, Trial, TrialResult


@dataclass(frozen=True)
class Limits:
    """Say when a study takes no more trials.

    trials is the whole budget and cohort the trials asked together. A cohort that lost its worker
    more than max_retries times in a row is failed, None is never; a study whose last
    max_consecutive_failures trials all failed stops, 0 is never.
    """

    trials: int
    cohort: int
    timeout_seconds: float = 0.0
    max_retries: int | None = None
    max_consecutive_failures: int = 0


@dataclass(frozen=True)
class Claim:
    """Say what a worker is to do next.

    With a lease it trains: the trials that are there already, or as many new ones as there is room
    for. Without a lease, a study that is spent takes no more trials, and in one that is not
    spent the worker waits for what others hold.
    """

    lease: Lease | None = None
    trials: Sequence[Trial] = ()
    room: int = 0
    is_spent: bool = False


class Cohorts:
    """Hand out the cohorts of a study and write down what became of them.

    Every method raises StorageError where the database fails, and RefusedError where the held-out
    set has been opened.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage = database.storage
        # Cohorts below this one are finished for good, by study. They need not be looked at again.
        self._first_open: dict[str, int] = {}

    def claim(self, study: StudyRecord, worker: Worker, limits: Limits) -> Claim:
        """Take the first cohort that nobody holds, or room for a new one.

        One worker at a time proposes a new cohort, so that it knows all trials before.

        Raises: StudyStateError where too many trials have failed in a row.
        """
        with study_event(self._database, study, is_durable=False) as connection:
            found = self._claim(connection, study, worker, limits, may_fail=False)
        if found is None:
            # Trials end: that waits for the disk.
            with study_event(self._database, study) as connection:
                found = self._claim(connection, study, worker, limits, may_fail=True)
        assert found is not None, "only a cohort to be failed is left alone"
        claim, error = found
        if error is not None:
            raise StudyStateError(error)
        return claim

    def _claim(
        self,
        connection: Connection,
        study: StudyRecord,
        worker: Worker,
        limits: Limits,
        *,
        may_fail: bool,
    ) -> tuple[Claim, ErrorDetail | None] | None:
        """Return a claim, or why there is none: what was written on the way to it is kept.

        None where a cohort is to be failed first, and may not.
        """
        _refuse_opened(connection, study)
        now = database_now(connection)
        leases = read_leases(connection, study)
        others = {cohort for cohort, row in leases.items() if is_held_by_another(row, worker, now)}
        unfinished = self._open_trials(connection, study)
        training = {row.cohort for row in unfinished}
        # Their workers are between two cohorts: have finished one, or propose one, or died of it.
        between = set(leases) - training
        for cohort in between - others:
            give_back(connection, study, cohort)
        for cohort in sorted(training - others):
            rows = [row for row in unfinished if row.cohort == cohort]
            lost = _times_lost(leases.get(cohort), worker)
            if limits.max_retries is None or lost <= limits.max_retries:
                return self._take_up(connection, study, worker, rows, lost), None
            if not may_fail:
                return None
            self._fail(connection, study, rows, lost)
        newest = _newest(connection, study, trial_table.c.cohort)
        next_cohort = 0 if newest is None else newest + 1
        if next_cohort in between & others:
            return Claim(), None
        is_last = not training & others
        return self._make_room(connection, study, worker, limits, next_cohort, is_last=is_last)

    def begin(
        self, study: StudyRecord, lease: Lease, params: Sequence[Params], space: SearchSpace
    ) -> list[int]:
        """Write down the trials that are about to be trained and return their numbers.

        Told the same again, as after an answer that was lost, it writes nothing more.

        Raises: LostCohortError where another worker has the cohort.
        """
        asked = templates(params, space)
        with study_event(self._database, study, is_durable=False) as connection:
            _refuse_opened(connection, study)
            if not is_held(connection, study, lease):
                raise lost_cohort(study, lease)
            query = own_rows(study).where(trial_table.c.cohort == lease.cohort)
            if begun := connection.execute(query).all():
                return [row.number for row in begun]
            numbered = self._storage.create_trials(connection, study.optuna_study_id, asked)
            ids = [trial_id for trial_id, _ in numbered]
            # Optuna's own tools delete on SQLite without foreign keys: our rows stay behind and
            # the ids are given again.
            left_behind = trial_table.c.optuna_trial_id.in_(ids)
            connection.execute(sa.delete(trial_table).where(left_behind))
            rows = [_own_row(study, lease, trial_id, number) for trial_id, number in numbered]
            connection.execute(sa.insert(trial_table), rows)
        return [number for _, number in numbered]

    def finish(self, study: StudyRecord, lease: Lease, results: Mapping[int, TrialResult]) -> None:
        """Write down how trials ended: members, curves, values and states in one transaction.

        The lease stays until its worker claims the next cohort, so that everyone sees that the
        study still trains. Told the same again, as after an answer that was lost, it writes
        nothing more.

        Raises: LostCohortError where another worker has the cohort; StudyStateError where a trial
        is not running or a result is not whole.
        """
        trained = sound_results(study, results)
        with study_event(self._database, study) as connection:
            rows = self._rows(connection, study, lease, trained)
            # Without any trial a crash of the server has undone its beginning: decision 13.
            if not rows or not is_held(connection, study, lease):
                if rows and _is_repeated(rows, trained, lease):
                    return
                _refuse_opened(connection, study)
                raise lost_cohort(study, lease)
            _refuse_unless_running(study, rows, trained)
            write_endings(connection, self._storage, rows, trained)
            if not self._unfinished(connection, study, trial_table.c.cohort == lease.cohort):
                rest(connection, study, lease.cohort)

    def release(self, study: StudyRecord, lease: Lease) -> None:
        """Give a cohort back, so that any worker can take it up; nothing if it is held no more."""
        with study_event(self._database, study, is_durable=False) as connection:
            if is_held(connection, study, lease):
                rows = self._unfinished(connection, study, trial_table.c.cohort == lease.cohort)
                running = [row.optuna_trial_id for row in rows if row.state is OptunaState.RUNNING]
                self._storage.put_back_trials(connection, running)
            leave(connection, study, lease)

    def _open_trials(self, connection: Connection, study: StudyRecord) -> Sequence[Any]:
        """Return our rows of all trials that wait or run; remember which cohorts are finished."""
        first = self._first_open.get(study.uuid, 0)
        rows = self._unfinished(connection, study, trial_table.c.cohort >= first)
        newest = _newest(connection, study, trial_table.c.cohort)
        after = first if newest is None else newest + 1
        self._first_open[study.uuid] = min((row.cohort for row in rows), default=after)
        return rows

    def _unfinished(
        self, connection: Connection, study: StudyRecord, *conditions: sa.ColumnElement[bool]
    ) -> Sequence[Any]:
        """Return our rows of trials that wait or run, with their state, by number."""
        query = (
            own_rows(study)
            .add_columns(trials.c.state)
            .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
            .where(trials.c.state.in_(UNFINISHED), *conditions)
        )
        return connection.execute(query).all()

    def _take_up(
        self,
        connection: Connection,
        study: StudyRecord,
        worker: Worker,
        rows: Sequence[Any],
        lost: int,
    ) -> Claim:
        lease = Lease(rows[0].cohort, worker, max(row.attempt for row in rows) + 1)
        take(connection, study, lease, trials=len(rows), lost=lost)
        self._storage.restart_trials(connection, {row.optuna_trial_id: row.state for row in rows})
        again = trial_table.c.uuid.in_([row.uuid for row in rows])
        update = sa.update(trial_table).where(again).values(attempt=lease.attempt)
        connection.execute(update)
        numbers = [row.number for row in rows]
        found = read_trials(connection, self._storage, study, with_curves=False, numbers=numbers)
        return Claim(lease, tuple(found))

    def _fail(
        self, connection: Connection, study: StudyRecord, rows: Sequence[Any], lost: int
    ) -> None:
        """End a cohort that has cost too many workers."""
        self._storage.restart_trials(connection, {row.optuna_trial_id: row.state for row in rows})
        ends = [Ending(row.optuna_trial_id, OptunaState.FAIL, None, {}, {}) for row in rows]
        self._storage.finish_trials(connection, ends)
        failed = trial_table.c.uuid.in_([row.uuid for row in rows])
        reason = f"lost: {lost} workers in a row died while they trained it"
        connection.execute(sa.update(trial_table).where(failed).values(reason=reason))
        give_back(connection, study, rows[0].cohort)

    def _make_room(
        self,
        connection: Connection,
        study: StudyRecord,
        worker: Worker,
        limits: Limits,
        cohort: int,
        *,
        is_last: bool,
    ) -> tuple[Claim, ErrorDetail | None]:
        """Reserve a new cohort; without room the study is spent once nobody trains."""
        number = _newest(connection, study, trial_table.c.number)
        count = 0 if number is None else number + 1
        room = min(limits.cohort, limits.trials - count)
        if room <= 0 or (count and self._is_late(connection, study, limits)):
            return Claim(is_spent=is_last), None
        if error := _failing(connection, study, limits.max_consecutive_failures):
            return Claim(), error
        lease = Lease(cohort, worker, attempt=1)
        take(connection, study, lease, trials=room, lost=0)
        return Claim(lease, room=room), None

    def _is_late(self, connection: Connection, study: StudyRecord, limits: Limits) -> bool:
        if not limits.timeout_seconds:
            return False
        # The clock is the record's, so that a study that ran out of time stays so when run again.
        seconds = training_seconds(connection, self._storage, study)
        return seconds >= limits.timeout_seconds

    def _rows(
        self,
        connection: Connection,
        study: StudyRecord,
        lease: Lease,
        results: Mapping[int, TrialResult],
    ) -> Mapping[int, Any]:
        """Return our rows of the cohort's trials that end, with Optuna's state, by number."""
        query = (
            own_rows(study)
            .add_columns(trials.c.state)
            .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
            .where(trial_table.c.cohort == lease.cohort, trial_table.c.number.in_(results))
            .with_for_update(of=trials)
        )
        return {row.number: row for row in connection.execute(query)}


def _newest(connection: Connection, study: StudyRecord, column: sa.Column[int]) -> int | None:
    """Return the greatest number or cohort of a study's trials, which an index knows at once."""
    query = sa.select(sa.func.max(column)).where(trial_table.c.study_uuid == study.uuid)
    return connection.scalar(query)


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


def _times_lost(row: Any, worker: Worker) -> int:
    """Return how many workers in a row have died of a cohort: a lease that ended says so."""
    if row is None:
        return 0
    return int(row.lost) + int(row.worker != worker.uuid)


def _is_repeated(rows: Mapping[int, Any], results: Mapping[int, TrialResult], lease: Lease) -> bool:
    """Say whether this very attempt has finished all these trials before."""
    return all(
        n in rows
        and rows[n].state.is_finished()
        and (rows[n].attempt, rows[n].reason) == (lease.attempt, result.reason)
        for n, result in results.items()
    )


def _refuse_unless_running(
    study: StudyRecord, rows: Mapping[int, Any], results: Mapping[int, TrialResult]
) -> None:
    for number in results:
        state = rows[number].state if number in rows else None
        if state is not OptunaState.RUNNING:
            got = "no such trial" if state is None else f"a {STATES[state]} one"
            raise state_error(study, f"trial {number} must be running to be finished", got)


def _failing(connection: Connection, study: StudyRecord, limit: int) -> ErrorDetail | None:
    """Return why a study stops whose trials all fail: more of them would only cost more time."""
    if not limit:
        return None
    query = (
        sa.select(trials.c.state, trial_table.c.reason)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(trial_table.c.study_uuid == study.uuid, trials.c.state.not_in(UNFINISHED))
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


def _refuse_opened(connection: Connection, study: StudyRecord) -> None:
    if is_opened(connection, study):
        rule = "a study takes no trials after its held-out set was opened"
        hint = "Give the study another name to search on."
        raise RefusedError(ErrorDetail(study.name, rule, "one more cohort", hint))
