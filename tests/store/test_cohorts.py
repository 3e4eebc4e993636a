"""Cohorts and leases, on both databases: who may train what, and what a lost worker may not do."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from store_examples import create_example, example_params, example_result, example_spec

from selection.errors import (
    Fault,
    LostCohortError,
    RefusedError,
    StorageError,
    StudyStateError,
    UnreachableError,
)
from selection.store.clock import database_now
from selection.store.cohorts import Claim, Cohorts, Limits
from selection.store.database import Database, open_database
from selection.store.heartbeat import Holding, holding
from selection.store.leases import (
    Lease,
    Leases,
    Progress,
    RunningCohort,
    Worker,
    new_worker,
    read_leases,
)
from selection.store.ledger import Ledger
from selection.store.optuna_storage import trial_params, trial_user_attrs
from selection.store.optuna_storage import trials as optuna_trials
from selection.store.process_identity import is_dead, this_process
from selection.store.records import Records
from selection.store.retry import LONGEST_PAUSE_SECONDS as LONGEST_WAIT
from selection.store.retry import patiently
from selection.store.study_record import StudyRecord
from selection.store.tables import fold_table, lease_table, metadata, trial_table
from selection.study.trial import Trial, TrialResult, TrialState

TABLES = (
    *BaseModel.metadata.sorted_tables,
    *(table for table in metadata.sorted_tables if table.name.startswith("selection_")),
)
LONG_AGO = datetime(2000, 1, 1)
LIMITS = Limits(trials=6, cohort=2)
WAIT = Claim()
SPENT = Claim(is_spent=True)
FAULT = Fault("postgresql:///none", "the server must be reachable", "no answer", "Start it.")


@dataclass(frozen=True)
class Desk:
    """Hold one study of a database, and what workers say to it."""

    database: Database
    study: StudyRecord

    @property
    def cohorts(self) -> Cohorts:
        return Cohorts(self.database)

    @property
    def leases(self) -> Leases:
        return Leases(self.database)

    def claim(self, worker: Worker, limits: Limits = LIMITS) -> Claim:
        return self.cohorts.claim(self.study, worker, limits)

    def lease(self, worker: Worker, limits: Limits = LIMITS) -> Lease:
        """Claim, and return the lease that is given."""
        lease = self.claim(worker, limits).lease
        assert lease is not None
        return lease

    def begin(self, lease: Lease, count: int = 2) -> list[int]:
        params = example_params(self.study.spec(), count)
        return self.cohorts.begin(self.study, lease, params, self.study.space)

    def train(self, worker: Worker, limits: Limits = LIMITS) -> tuple[Lease, list[int]]:
        """Claim room and begin as many trials."""
        claim = self.claim(worker, limits)
        assert claim.lease is not None
        assert claim.room > 0
        return claim.lease, self.begin(claim.lease, claim.room)

    def finish(
        self, lease: Lease, numbers: list[int], state: TrialState = TrialState.COMPLETE
    ) -> None:
        self.cohorts.finish(self.study, lease, results(numbers, state))

    def release(self, lease: Lease) -> None:
        self.cohorts.release(self.study, lease)

    def renew(self, lease: Lease, progress: Progress | None = None) -> bool:
        return self.leases.renew(self.study, lease, progress or Progress())

    def trials(self) -> list[Trial]:
        return Records(self.database).trials(self.study)

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.trials()]

    def attempts(self) -> list[int]:
        query = sa.select(trial_table.c.attempt).order_by(trial_table.c.number)
        with self.database.reading() as connection:
            return list(connection.scalars(query))

    def lease_rows(self) -> Mapping[int, Any]:
        with self.database.reading() as connection:
            return read_leases(connection, self.study)

    def expire(self, cohort: int, **values: object) -> None:
        """Let the lease of a cohort end, as if its worker had been silent for long."""
        self.change_lease(cohort, expires_at=LONG_AGO, **values)

    def change_lease(self, cohort: int, **values: object) -> None:
        update = sa.update(lease_table).where(lease_table.c.cohort == cohort).values(values)
        with self.database.writing() as connection:
            assert connection.execute(update).rowcount == 1

    def look(self) -> None:
        """Open the held-out set."""
        finished = sum(state.is_finished for state in self.states())
        ledger = Ledger(self.database)
        assert ledger.claim(self.study, 0, "best", evaluation=1, reason="", finished=finished)


@pytest.fixture
def desk(database: Database, records: Records) -> Desk:
    return Desk(database, create_example(records))


def someone(home: str = "") -> Worker:
    """Return a worker that nobody has met before; without a home only its lease tells of it."""
    return replace(new_worker(600.0, is_alone=False), home=home)


def results(numbers: list[int], state: TrialState = TrialState.COMPLETE) -> dict[int, TrialResult]:
    return {number: example_result(number, state, epochs=2) for number in numbers}


def all_rows(database: Database) -> dict[str, list[str]]:
    """Return every row of every table."""
    with database.reading() as connection:
        return {
            table.name: sorted(map(str, connection.execute(sa.select(table)).all()))
            for table in TABLES
        }


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """Check that the block writes nothing."""
    before = all_rows(database)
    yield
    assert all_rows(database) == before


@contextmanager
def child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a process of this machine, and yield it with its home; it waits to be killed."""
    imported = "from selection.store.process_identity import this_process"
    code = f"{imported}\nprint(this_process(), flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


# Room for new cohorts.


def test_claim_reserves_room_for_a_cohort_or_for_what_is_left(desk: Desk) -> None:
    limits = Limits(trials=5, cohort=2)
    for cohort, room in enumerate((2, 2, 1)):
        claim = desk.claim(someone(), limits)
        assert claim.lease is not None
        assert (claim.lease.cohort, claim.lease.attempt) == (cohort, 1)
        assert (claim.room, claim.trials, claim.is_spent) == (room, (), False)
        assert desk.lease_rows()[cohort].trials == room
        desk.begin(claim.lease, room)
    assert desk.claim(someone(), limits) == WAIT


def test_numbers_and_cohorts_go_up_without_gaps(desk: Desk) -> None:
    leases = []
    for cohort in range(3):
        lease, numbers = desk.train(someone())
        assert lease.cohort == cohort
        assert numbers == [2 * cohort, 2 * cohort + 1]
        leases.append((lease, numbers))
    assert [trial.cohort for trial in desk.trials()] == [0, 0, 1, 1, 2, 2]
    for lease, numbers in reversed(leases):
        desk.finish(lease, numbers)
    assert desk.states() == [TrialState.COMPLETE] * 6
    for lease, _ in leases:
        assert lease.cohort in desk.lease_rows()
        assert desk.claim(lease.worker, Limits(trials=6, cohort=2)) == SPENT
        assert lease.cohort not in desk.lease_rows()


def test_one_worker_proposes_at_a_time(desk: Desk) -> None:
    lease = desk.lease(someone())
    with unchanged(desk.database):
        assert desk.claim(someone()) == WAIT
    desk.begin(lease)
    assert desk.lease(someone()).cohort == 1


def test_new_trials_wait_for_no_other_cohort(desk: Desk) -> None:
    first, numbers = desk.train(someone())
    second, others = desk.train(someone())
    desk.finish(second, others)
    third, _ = desk.train(second.worker)
    assert third.cohort == 2
    desk.finish(first, numbers)
    assert list(desk.lease_rows()) == [0, 2]


def test_worker_between_two_cohorts_is_seen_and_nobody_waits_for_it(desk: Desk) -> None:
    limits = Limits(trials=4, cohort=2)
    first, numbers = desk.train(someone(), limits)
    desk.finish(first, numbers)
    assert not desk.renew(first, Progress(members=6, epoch=2, epochs=2))
    running = RunningCohort(0, first.worker.place, 0, Progress())
    assert desk.leases.running(desk.study) == [running]
    second, others = desk.train(someone(), limits)
    assert second.cohort == 1
    desk.finish(second, others)
    assert list(desk.lease_rows()) == [0, 1]
    assert desk.claim(someone(), limits) == SPENT
    assert list(desk.lease_rows()) == [0, 1]
    desk.release(first)
    desk.expire(1)
    assert desk.leases.running(desk.study) == []
    assert desk.states() == [TrialState.COMPLETE] * 4
    assert desk.claim(someone(), limits) == SPENT
    assert desk.lease_rows() == {}


def test_study_is_spent_only_when_nobody_trains(desk: Desk) -> None:
    limits = Limits(trials=2, cohort=2)
    lease, numbers = desk.train(someone(), limits)
    assert desk.claim(someone(), limits) == WAIT
    desk.finish(lease, numbers)
    assert desk.claim(lease.worker, limits) == SPENT
    with unchanged(desk.database):
        assert desk.claim(someone(), limits) == SPENT
        assert desk.claim(lease.worker, limits) == SPENT
    assert desk.claim(someone(), Limits(trials=3, cohort=2)).room == 1


def test_study_without_a_budget_is_spent_at_once(desk: Desk) -> None:
    assert desk.claim(someone(), Limits(trials=0, cohort=2)) == SPENT


def test_a_claim_told_twice_is_one_reservation(desk: Desk) -> None:
    worker = someone()
    first = desk.claim(worker)
    assert desk.claim(worker) == first
    assert list(desk.lease_rows()) == [0]


def test_studies_do_not_see_each_other(desk: Desk, records: Records) -> None:
    other = Desk(desk.database, create_example(records, example_spec("other")))
    worker = someone()
    mine, numbers = desk.train(worker)
    yours, others = other.train(worker)
    assert (mine.cohort, numbers) == (yours.cohort, others) == (0, [0, 1])
    with desk.database.writing() as connection:
        is_mine = lease_table.c.study_uuid == desk.study.uuid
        connection.execute(sa.update(lease_table).where(is_mine).values(expires_at=LONG_AGO))
    desk.lease(someone())
    other.release(yours)
    assert list(desk.lease_rows()) == [0]
    assert other.lease_rows() == {}
    with pytest.raises(LostCohortError):
        desk.finish(mine, numbers)


# Dead and living workers.


@pytest.mark.parametrize("home", ["", "another-machine:1/1/1"])
def test_lease_that_ended_is_taken_up_by_the_next_attempt(desk: Desk, home: str) -> None:
    lease, numbers = desk.train(someone(home))
    desk.train(someone())
    asked = [dict(trial.params) for trial in desk.trials()][:2]
    desk.expire(0)
    worker = someone()
    claim = desk.claim(worker)
    assert claim.lease == Lease(0, worker, attempt=2)
    assert (claim.room, claim.is_spent) == (0, False)
    assert [trial.number for trial in claim.trials] == numbers
    assert [dict(trial.params) for trial in claim.trials] == asked
    assert {trial.state for trial in claim.trials} == {TrialState.RUNNING}
    assert desk.states() == [TrialState.RUNNING] * 4
    assert desk.attempts() == [2, 2, 1, 1]
    row = desk.lease_rows()[0]
    assert (row.worker, row.attempt, row.lost, row.trials) == (worker.uuid, 2, 1, 2)
    assert (row.members, row.epoch, row.epochs) == (0, 0, 0)
    desk.finish(claim.lease, numbers)
    with desk.database.reading() as connection:
        assert set(connection.scalars(sa.select(fold_table.c.attempt))) == {2}
    assert lease.attempt == 1
    assert [trial.value for trial in desk.trials()][:2] == [
        result.value for result in results(numbers).values()
    ]


@pytest.mark.parametrize("home", ["", "another-machine:1/1/1", this_process()])
def test_living_lease_is_not_taken(desk: Desk, home: str) -> None:
    limits = Limits(trials=2, cohort=2)
    desk.train(someone(home), limits)
    with unchanged(desk.database):
        assert desk.claim(someone(), limits) == WAIT


def test_dead_cohorts_are_taken_up_in_order(desk: Desk) -> None:
    for _ in range(3):
        desk.train(someone())
    desk.expire(2)
    desk.expire(0)
    assert [desk.lease(someone()).cohort for _ in range(2)] == [0, 2]
    assert desk.claim(someone()) == WAIT


def test_only_what_is_not_finished_is_taken_up(desk: Desk) -> None:
    lease, _ = desk.train(someone())
    desk.finish(lease, [0])
    assert list(desk.lease_rows()) == [0], "a cohort that is finished in part is still held"
    desk.expire(0)
    claim = desk.claim(someone())
    assert [trial.number for trial in claim.trials] == [1]
    assert desk.attempts() == [1, 2]
    assert claim.lease is not None
    desk.finish(claim.lease, [1])
    assert desk.states() == [TrialState.COMPLETE] * 2


def test_worker_of_this_machine_that_was_killed_is_lost_at_once(desk: Desk) -> None:
    limits = Limits(trials=2, cohort=2)
    with child() as (process, home):
        desk.train(someone(home), limits)
        assert desk.claim(someone(), limits) == WAIT
        assert not is_dead(home)
        process.kill()
        process.wait()
        assert is_dead(home)
        claim = desk.claim(someone(), limits)
    assert claim.lease is not None
    assert claim.lease.attempt == 2
    assert desk.lease_rows()[0].lost == 1


def test_killed_worker_that_nobody_has_waited_for_is_dead() -> None:
    with child() as (process, home):
        stat = Path(f"/proc/{process.pid}/stat")
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert is_dead(home)


def test_stopped_worker_is_not_dead() -> None:
    with child() as (process, home):
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        assert not is_dead(home)


def test_number_of_a_process_that_was_given_again_is_dead(desk: Desk) -> None:
    machine_and_pid, _, started = this_process().rpartition("/")
    assert int(started) > 0
    reused = f"{machine_and_pid}/{int(started) - 1}"
    assert is_dead(reused)
    desk.train(someone(reused))
    assert desk.lease(someone()).attempt == 2


@pytest.mark.parametrize("home", ["", "another-machine:1/1/1"])
def test_process_that_cannot_be_seen_is_never_known_to_be_dead(home: str) -> None:
    assert not is_dead(home)
    assert not is_dead(this_process())


def test_system_that_does_not_tell_of_processes_knows_of_no_dead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = this_process()
    monkeypatch.setattr("selection.store.process_identity.PROC", tmp_path)
    assert this_process() == ""
    assert not is_dead("")
    assert not is_dead(here)


def test_worker_that_is_alone_takes_everything(desk: Desk) -> None:
    desk.train(someone())
    desk.train(someone(this_process()))
    desk.lease(someone())
    alone = replace(someone(), is_alone=True)
    for cohort in range(2):
        claim = desk.claim(alone)
        assert claim.lease == Lease(cohort, alone, attempt=2)
        desk.finish(claim.lease, [trial.number for trial in claim.trials])
    claim = desk.claim(alone)
    assert claim.lease == Lease(2, alone, attempt=1)
    assert claim.room == 2


def test_own_lease_is_taken_again_and_not_counted_as_lost(desk: Desk) -> None:
    worker = someone()
    lease, numbers = desk.train(worker)
    again = desk.claim(worker)
    assert again.lease == Lease(0, worker, attempt=2)
    assert [trial.number for trial in again.trials] == numbers
    assert desk.lease_rows()[0].lost == 0
    with pytest.raises(LostCohortError):
        desk.finish(lease, numbers)
    desk.finish(again.lease, numbers)


@pytest.mark.parametrize("home", ["", "dead"])
def test_reservation_of_a_dead_worker_is_handed_out_again(desk: Desk, home: str) -> None:
    desk.train(someone())
    dead = f"{this_process().rpartition('/')[0]}/1"
    lost = desk.lease(someone(dead if home else ""))
    if not home:
        desk.expire(1)
    worker = someone()
    claim = desk.claim(worker)
    assert claim.lease == Lease(1, worker, attempt=1)
    assert claim.room == 2
    assert desk.lease_rows()[1].lost == 0
    with unchanged(desk.database), pytest.raises(LostCohortError):
        desk.begin(lost)
    assert desk.begin(claim.lease) == [2, 3]
    with unchanged(desk.database), pytest.raises(LostCohortError):
        desk.begin(lost)


def test_dead_reservation_is_given_up_when_the_study_is_spent(desk: Desk) -> None:
    desk.lease(someone())
    desk.expire(0)
    assert desk.claim(someone(), Limits(trials=0, cohort=2)) == SPENT
    assert desk.lease_rows() == {}


def test_late_worker_whose_cohort_nobody_took_goes_on(desk: Desk) -> None:
    lease = desk.lease(someone())
    desk.expire(0)
    numbers = desk.begin(lease)
    assert desk.renew(lease)
    desk.expire(0)
    desk.finish(lease, numbers)
    assert desk.states() == [TrialState.COMPLETE] * 2


# Told twice, and told too late.


def test_begin_told_twice_writes_once(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    with unchanged(desk.database):
        assert desk.begin(lease) == numbers == [0, 1]


def test_finish_told_twice_writes_once(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    desk.finish(lease, numbers)
    with unchanged(desk.database):
        desk.finish(lease, numbers)


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED])
def test_finish_told_twice_of_other_ends_writes_once(desk: Desk, state: TrialState) -> None:
    lease, numbers = desk.train(someone())
    desk.finish(lease, numbers, state)
    with unchanged(desk.database):
        desk.finish(lease, numbers, state)
    assert desk.states() == [state] * 2


def test_finish_told_twice_is_heard_after_a_look(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    desk.finish(lease, numbers)
    desk.look()
    with unchanged(desk.database):
        desk.finish(lease, numbers)


@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAILED])
def test_late_attempt_is_refused_and_writes_nothing(
    desk: Desk, state: TrialState, is_finished: bool
) -> None:
    late, numbers = desk.train(someone())
    desk.expire(0)
    lease = desk.lease(someone())
    if is_finished:
        desk.finish(lease, numbers, state)
    with unchanged(desk.database):
        with pytest.raises(LostCohortError, match=r"cohort 0 taken from it"):
            desk.finish(late, numbers, state)
        with pytest.raises(LostCohortError, match="example: "):
            desk.begin(late)
        assert not desk.renew(late, Progress(1, 1, 1))
        desk.release(late)
    if not is_finished:
        desk.finish(lease, numbers)
        assert desk.states() == [TrialState.COMPLETE] * 2


def test_late_attempt_of_the_same_worker_is_refused(desk: Desk) -> None:
    worker = someone()
    late, numbers = desk.train(worker)
    lease = desk.lease(worker)
    with unchanged(desk.database):
        with pytest.raises(LostCohortError):
            desk.finish(late, numbers)
        assert not desk.renew(late)
        desk.release(late)
    assert desk.renew(lease)


def test_finish_of_a_released_cohort_is_refused(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    desk.release(lease)
    with unchanged(desk.database), pytest.raises(LostCohortError):
        desk.finish(lease, numbers)
    assert not desk.renew(lease)


def test_finish_after_the_cohort_was_given_up_is_refused(desk: Desk) -> None:
    limits = Limits(trials=2, cohort=2, max_retries=0)
    late, numbers = desk.train(someone(), limits)
    desk.expire(0)
    assert desk.claim(someone(), limits) == SPENT
    with unchanged(desk.database), pytest.raises(LostCohortError):
        desk.finish(late, numbers)


def test_finish_that_is_not_whole_leaves_the_cohort_held(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    broken = {**results(numbers), 1: example_result(1, folds=4)}
    with unchanged(desk.database), pytest.raises(StudyStateError, match="complete with 6 folds"):
        desk.cohorts.finish(desk.study, lease, broken)
    desk.finish(lease, numbers)


def test_everything_is_refused_when_the_study_is_gone(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    desk.database.storage.delete_study(desk.study.optuna_study_id)
    again = create_example(Records(desk.database))
    with unchanged(desk.database):
        for act in (
            lambda: desk.claim(someone()),
            lambda: desk.begin(lease),
            lambda: desk.finish(lease, numbers),
            lambda: desk.release(lease),
        ):
            with pytest.raises(StudyStateError, match="a deleted study"):
                act()
        assert not desk.renew(lease)
    assert Desk(desk.database, again).lease(someone()).cohort == 0


# Given back.


def test_released_cohort_waits_for_any_worker(desk: Desk) -> None:
    lease, numbers = desk.train(someone())
    desk.release(lease)
    assert desk.states() == [TrialState.WAITING] * 2
    assert desk.lease_rows() == {}
    with unchanged(desk.database):
        desk.release(lease)
    claim = desk.claim(someone())
    assert claim.lease is not None
    assert claim.lease.attempt == 2
    assert [trial.number for trial in claim.trials] == numbers
    assert desk.states() == [TrialState.RUNNING] * 2


def test_released_reservation_is_free(desk: Desk) -> None:
    desk.release(desk.lease(someone()))
    assert desk.lease_rows() == {}
    assert desk.lease(someone()).cohort == 0


def test_release_by_a_late_worker_does_nothing(desk: Desk) -> None:
    late, numbers = desk.train(someone())
    desk.expire(0)
    lease = desk.lease(someone())
    with unchanged(desk.database):
        desk.release(late)
    desk.finish(lease, numbers)


def test_release_resets_the_count_of_losses(desk: Desk) -> None:
    limits = replace(LIMITS, max_retries=1)
    desk.train(someone(), limits)
    desk.expire(0)
    lease = desk.lease(someone(), limits)
    assert desk.lease_rows()[0].lost == 1
    desk.release(lease)
    again = desk.lease(someone(), limits)
    assert (again.cohort, again.attempt) == (0, 3)
    assert desk.lease_rows()[0].lost == 0
    desk.expire(0)
    assert desk.lease(someone(), limits).attempt == 4
    assert desk.lease_rows()[0].lost == 1


# Lost too often, failed too often, late.


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_cohort_that_costs_too_many_workers_is_failed(desk: Desk, max_retries: int) -> None:
    limits = replace(LIMITS, max_retries=max_retries)
    desk.train(someone(), limits)
    for retry in range(max_retries):
        desk.expire(0)
        lease = desk.lease(someone(), limits)
        assert (lease.cohort, lease.attempt) == (0, retry + 2)
    desk.expire(0)
    claim = desk.claim(someone(), limits)
    assert claim.lease is not None
    assert (claim.lease.cohort, claim.room) == (1, 2)
    assert list(desk.lease_rows()) == [1]
    for trial in desk.trials():
        assert trial.state is TrialState.FAILED
        workers = f"{max_retries + 1} workers in a row died while they trained it"
        assert trial.reason == f"lost: {workers}"
        assert (trial.value, trial.fold_scores) == (None, ())


def test_claim_goes_on_past_cohorts_that_are_failed(desk: Desk) -> None:
    limits = replace(LIMITS, max_retries=0)
    for _ in range(3):
        desk.train(someone(), limits)
    for cohort in (0, 2):
        desk.expire(cohort)
    assert desk.claim(someone(), limits) == WAIT
    failed, running = TrialState.FAILED, TrialState.RUNNING
    assert desk.states() == [failed, failed, running, running, failed, failed]
    assert list(desk.lease_rows()) == [1]


def test_own_lease_does_not_cost_a_retry(desk: Desk) -> None:
    limits = replace(LIMITS, max_retries=0)
    worker = someone()
    desk.train(worker, limits)
    for attempt in range(2, 5):
        assert desk.lease(worker, limits).attempt == attempt


def test_cohort_is_tried_for_ever_without_a_limit(desk: Desk) -> None:
    desk.train(someone())
    for attempt in range(2, 12):
        desk.expire(0)
        assert desk.lease(someone()).attempt == attempt
    assert desk.lease_rows()[0].lost == 10


def test_too_many_failures_in_a_row_stop_the_study(desk: Desk) -> None:
    limits = replace(LIMITS, max_consecutive_failures=4)
    for _ in range(2):
        lease, numbers = desk.train(someone(), limits)
        desk.finish(lease, numbers, TrialState.FAILED)
    message = (
        "example: fewer than 4 trials may fail in a row, but got 4, the last because: failed for a "
        "test. Mend the cause; then raise [search] max_consecutive_failures and run the file again."
    )
    with unchanged(desk.database), pytest.raises(StudyStateError) as caught:
        desk.claim(someone(), limits)
    assert str(caught.value) == message
    for allowed in (5, 0):
        lease = desk.lease(someone(), replace(limits, max_consecutive_failures=allowed))
        desk.release(lease)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_one_trial_in_between_keeps_the_study_going(desk: Desk, state: TrialState) -> None:
    limits = replace(LIMITS, max_consecutive_failures=3)
    ends = [TrialState.FAILED, TrialState.FAILED, state, TrialState.FAILED]
    for place in (0, 2):
        lease, numbers = desk.train(someone(), limits)
        told = {n: example_result(n, ends[place + at], epochs=2) for at, n in enumerate(numbers)}
        desk.cohorts.finish(desk.study, lease, told)
    assert desk.claim(someone(), limits).room == 2


def test_failing_study_still_takes_up_what_was_begun(desk: Desk) -> None:
    limits = replace(LIMITS, max_consecutive_failures=2)
    desk.train(someone(), limits)
    lease, numbers = desk.train(someone(), limits)
    desk.finish(lease, numbers, TrialState.FAILED)
    desk.expire(0)
    taken = desk.lease(someone(), limits)
    assert (taken.cohort, taken.attempt) == (0, 2)


def test_cohort_lost_too_often_is_failed_even_if_that_stops_the_study(desk: Desk) -> None:
    limits = replace(LIMITS, max_retries=0, max_consecutive_failures=2)
    desk.train(someone(), limits)
    desk.expire(0)
    with pytest.raises(StudyStateError, match=r"got 2, the last because: lost: 1 workers"):
        desk.claim(someone(), limits)
    assert desk.states() == [TrialState.FAILED] * 2
    assert desk.lease_rows() == {}


def spans(desk: Desk, *seconds: tuple[int, int]) -> None:
    """Let each trial start and end so many seconds after one moment."""
    start = datetime(2026, 1, 1)
    with desk.database.writing() as connection:
        for number, (begun, ended) in enumerate(seconds):
            values = {
                "datetime_start": start + timedelta(seconds=begun),
                "datetime_complete": start + timedelta(seconds=ended),
            }
            is_it = optuna_trials.c.number == number
            connection.execute(sa.update(optuna_trials).where(is_it).values(values))


def test_time_of_parallel_cohorts_is_counted_once(desk: Desk) -> None:
    begun = [desk.train(someone()) for _ in range(2)]
    for lease, numbers in begun:
        desk.finish(lease, numbers)
    spans(desk, (0, 60), (0, 50), (30, 100), (40, 90))
    assert Records(desk.database).elapsed_seconds(desk.study) == 100
    assert desk.claim(someone(), replace(LIMITS, timeout_seconds=100.0)) == SPENT
    assert desk.claim(someone(), replace(LIMITS, timeout_seconds=100.5)).room == 2


def test_cohort_inside_another_adds_no_time(desk: Desk) -> None:
    for _ in range(3):
        desk.finish(*desk.train(someone()))
    spans(desk, (0, 100), (0, 100), (10, 20), (10, 20), (50, 120), (50, 120))
    assert Records(desk.database).elapsed_seconds(desk.study) == 120


def test_pauses_between_cohorts_are_not_counted(desk: Desk) -> None:
    for _ in range(2):
        desk.finish(*desk.train(someone()))
    spans(desk, (0, 10), (0, 10), (5000, 5020), (5000, 5020))
    assert Records(desk.database).elapsed_seconds(desk.study) == 30


def test_late_study_lets_running_cohorts_end(desk: Desk) -> None:
    limits = replace(LIMITS, timeout_seconds=10.0)
    first, numbers = desk.train(someone(), limits)
    second, others = desk.train(someone(), limits)
    desk.finish(first, numbers)
    spans(desk, (0, 60), (0, 60))
    assert desk.claim(someone(), limits) == WAIT
    assert desk.renew(second)
    desk.expire(1)
    claim = desk.claim(someone(), limits)
    assert claim.lease is not None
    assert (claim.lease.cohort, claim.lease.attempt) == (1, 2)
    desk.finish(claim.lease, others)
    assert desk.claim(someone(), limits) == SPENT


def test_late_study_has_its_first_cohort(desk: Desk) -> None:
    assert desk.claim(someone(), replace(LIMITS, timeout_seconds=1e-9)).room == 2


# Watched.


def test_running_cohorts_are_those_of_living_workers(desk: Desk) -> None:
    dead = f"{this_process().rpartition('/')[0]}/1"
    limits = Limits(trials=12, cohort=2)
    first, _ = desk.train(someone(this_process()), limits)
    desk.train(someone(), limits)
    third, _ = desk.train(someone(), limits)
    desk.lease(someone(), limits)
    desk.expire(1)
    desk.change_lease(2, home=dead)
    assert desk.renew(first, Progress(members=11, epoch=3, epochs=20))
    place = first.worker.place
    assert desk.leases.running(desk.study) == [
        RunningCohort(0, place, 2, Progress(11, 3, 20)),
        RunningCohort(3, place, 2, Progress()),
    ]
    assert desk.renew(third), "a lease is lost when it is taken, not when it looks dead"


def test_renewed_lease_ends_later(desk: Desk) -> None:
    lease, _ = desk.train(someone())
    desk.expire(0)
    assert desk.leases.running(desk.study) == []
    assert desk.renew(lease)
    assert [cohort.cohort for cohort in desk.leases.running(desk.study)] == [0]
    limits = Limits(trials=2, cohort=2)
    assert desk.claim(someone(), limits) == WAIT


@pytest.mark.parametrize(
    "zones", [("Pacific/Kiritimati", "Etc/GMT+12"), ("Etc/GMT+12", "Asia/Tokyo")]
)
def test_sessions_of_other_time_zones_agree_when_a_lease_ends(
    postgres_url: str, zones: tuple[str, str]
) -> None:
    limits = Limits(trials=2, cohort=2)
    with (
        open_database(postgres_url, create=True, write=True) as here,
        open_database(postgres_url, create=True, write=True) as there,
    ):
        for database, zone in zip((here, there), zones, strict=True):
            set_zone(database, zone)
        first = Desk(here, create_example(Records(here)))
        second = Desk(there, first.study)
        first.train(someone(), limits)
        assert second.claim(someone(), limits) == WAIT
        assert len(first.leases.running(first.study)) == 1
        assert len(second.leases.running(first.study)) == 1
        first.expire(0)
        brief = replace(someone(), lease_seconds=0.0)
        assert second.lease(brief, limits).attempt == 2
        assert first.leases.running(first.study) == second.leases.running(first.study) == []
        assert first.lease(someone(), limits).attempt == 3
        assert second.claim(someone(), limits) == WAIT


def set_zone(database: Database, zone: str) -> None:
    """Give every connection from now on another time zone than the one we ask for."""

    def set_it(connection: Any, _record: object) -> None:
        connection.execute(f"SET timezone TO '{zone}'")
        connection.commit()

    database.engine.dispose()
    sa.event.listen(database.engine, "connect", set_it)
    with database.reading() as connection:
        assert connection.exec_driver_sql("SHOW timezone").scalar() == zone


# After a look.


def test_everything_is_refused_after_a_look(desk: Desk) -> None:
    desk.finish(*desk.train(someone()))
    begun, numbers = desk.train(someone())
    reserved = desk.lease(someone())
    desk.look()
    assert desk.states() == [TrialState.COMPLETE] * 2 + [TrialState.FAILED] * 2
    assert desk.leases.running(desk.study) == []
    with unchanged(desk.database):
        for act in (
            lambda: desk.claim(someone()),
            lambda: desk.claim(begun.worker),
            lambda: desk.claim(replace(someone(), is_alone=True)),
            lambda: desk.begin(reserved),
            lambda: desk.begin(begun),
            lambda: desk.finish(begun, numbers),
            lambda: desk.finish(begun, numbers, TrialState.FAILED),
        ):
            with pytest.raises(RefusedError, match="after its held-out set was opened"):
                act()
        assert not desk.renew(begun)
        assert not desk.renew(reserved)
        desk.release(begun)
        desk.release(reserved)


# Renewed by a thread of its own.


class MadeUpLeases(Leases):
    """Answer each renewal with the next of these, and with the last one for ever."""

    def __init__(self, *answers: bool | StorageError) -> None:
        self.answers = list(answers)
        self.told: list[Progress] = []

    def renew(self, study: StudyRecord, lease: Lease, progress: Progress) -> bool:
        self.told.append(progress)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, StorageError):
            raise answer
        return answer


BRIEF = Lease(0, replace(someone(), lease_seconds=0.04), attempt=1)


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    """A study that no database knows."""
    moment = datetime(2026, 1, 1)
    return StudyRecord("u", "example", 1, {}, "s", "d", None, {}, {}, moment)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def lease_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lease"]


def is_lost(held: Holding) -> bool:
    try:
        held.tell(Progress())
    except LostCohortError:
        return True
    return False


def test_holding_renews_with_the_newest_progress(study: StudyRecord) -> None:
    leases = MadeUpLeases(True)
    with holding(leases, study, BRIEF) as held:
        until(lambda: Progress() in leases.told)
        held.tell(Progress(5, 1, 9))
        until(lambda: Progress(5, 1, 9) in leases.told)
    assert lease_threads() == []
    count = len(leases.told)
    time.sleep(0.05)
    assert len(leases.told) == count


def test_holding_says_that_the_lease_was_lost_and_asks_no_more(study: StudyRecord) -> None:
    leases = MadeUpLeases(True, False, True)
    with holding(leases, study, BRIEF) as held:
        until(lambda: is_lost(held))
        with pytest.raises(LostCohortError, match="cohort 0 taken from it"):
            held.tell(Progress())
        until(lambda: lease_threads() == [])
    assert len(leases.told) == 2


def test_holding_survives_a_database_that_fails(study: StudyRecord) -> None:
    leases = MadeUpLeases(StorageError(FAULT), UnreachableError(FAULT), True)
    with holding(leases, study, BRIEF) as held:
        until(lambda: len(leases.told) > 3)
        held.tell(Progress())


def test_holding_that_heard_no_answer_for_long_still_hears_of_a_loss(study: StudyRecord) -> None:
    leases = MadeUpLeases(*[UnreachableError(FAULT)] * 5, False)
    with holding(leases, study, BRIEF) as held:
        until(lambda: is_lost(held))


def test_thread_ends_with_a_block_that_fails(study: StudyRecord) -> None:
    def fail() -> None:
        with holding(MadeUpLeases(True), study, BRIEF):
            assert len(lease_threads()) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert lease_threads() == []


def test_long_lease_does_not_make_its_end_wait(
    study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than any machine takes to start and end a thread.
    monkeypatch.setattr("selection.store.heartbeat.LONGEST_PAUSE_SECONDS", 60.0)
    leases = MadeUpLeases(True)
    begun = time.monotonic()
    with holding(leases, study, replace(BRIEF, worker=someone())):
        pass
    assert time.monotonic() - begun < 30
    assert leases.told == []


def test_cohort_that_trains_longer_than_its_lease_stays_held(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock is moved by hand, or a busy machine could let the lease end before it is renewed.
    passed = timedelta()

    def moved_now(connection: sa.Connection) -> datetime:
        return database_now(connection) + passed

    for room in ("leases", "cohorts"):
        monkeypatch.setattr(f"selection.store.{room}.database_now", moved_now)
    monkeypatch.setattr("selection.store.heartbeat.LONGEST_PAUSE_SECONDS", 0.02)
    limits = Limits(trials=2, cohort=2)
    lease, numbers = desk.train(someone(), limits)
    step = timedelta(seconds=0.75 * lease.worker.lease_seconds)
    with holding(desk.leases, desk.study, lease) as held:
        held.tell(Progress(12, 1, 7))
        for _ in range(3):
            end = desk.lease_rows()[0].expires_at
            passed += step
            assert desk.claim(someone(), limits) == WAIT
            until(lambda end=end: desk.lease_rows()[0].expires_at > end + step / 2)
        running = desk.leases.running(desk.study)
        assert [cohort.progress for cohort in running] == [Progress(12, 1, 7)]
    desk.finish(lease, numbers)


def test_worker_hears_that_its_cohort_was_taken(desk: Desk) -> None:
    lease, _ = desk.train(replace(someone(), lease_seconds=0.2))
    with holding(desk.leases, desk.study, lease) as held:
        # Taken at once, as by a worker that is alone: the thread may renew at any moment.
        taken = desk.lease(replace(someone(), is_alone=True))
        until(lambda: is_lost(held))
    assert desk.renew(taken)


# Patience.


class MadeUpTime:
    """Be a clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MadeUpTime:
    made = MadeUpTime()
    monkeypatch.setattr("selection.store.retry.time", made)
    return made


def test_what_succeeds_is_done_once(clock: MadeUpTime) -> None:
    said: list[str] = []
    assert patiently(lambda: 7, said.append) == 7
    assert (said, clock.pauses) == ([], [])


def test_server_that_does_not_answer_is_asked_again(clock: MadeUpTime) -> None:
    answers: list[Any] = [UnreachableError(FAULT)] * 9 + [7]
    said: list[str] = []

    def act() -> int:
        answer = answers.pop(0)
        if isinstance(answer, UnreachableError):
            raise answer
        return int(answer)

    assert patiently(act, said.append) == 7
    assert said == [f"{FAULT} Trying again for 300 seconds."]
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[0] < 1
    assert clock.pauses[-1] == LONGEST_WAIT


@pytest.mark.parametrize("seconds", [0.0, 0.1, 3.0, 60.0])
def test_patience_ends(clock: MadeUpTime, seconds: float) -> None:
    tries: list[float] = []

    def act() -> None:
        tries.append(clock.now)
        raise UnreachableError(FAULT)

    with pytest.raises(UnreachableError):
        patiently(act, lambda line: None, seconds)
    assert tries[-1] <= seconds
    assert seconds - tries[-1] <= LONGEST_WAIT


@pytest.mark.parametrize("kind", [StorageError, StudyStateError, LostCohortError, KeyError])
def test_other_errors_are_not_waited_for(clock: MadeUpTime, kind: type[Exception]) -> None:
    tries: list[None] = []

    def act() -> None:
        tries.append(None)
        raise kind(FAULT)

    with pytest.raises(kind):
        patiently(act, lambda line: None)
    assert len(tries) == 1
    assert clock.pauses == []


def test_a_beginning_that_a_crash_has_undone_is_found_out_and_begun_again(desk: Desk) -> None:
    me = someone()
    lease, numbers = desk.train(me)
    with desk.database.writing() as connection:
        for table in (trial_table, trial_params, trial_user_attrs, optuna_trials):
            connection.execute(sa.delete(table))
    with pytest.raises(LostCohortError, match="cohort 0 taken from it"):
        desk.finish(lease, numbers)
    desk.release(lease)
    again, same_numbers = desk.train(me)
    assert (again.cohort, same_numbers) == (lease.cohort, numbers)
    desk.finish(again, same_numbers)
    assert set(desk.states()) == {TrialState.COMPLETE}
