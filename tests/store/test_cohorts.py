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

from selection.errors import (
    ErrorDetail,
    LostCohortError,
    RefusedError,
    StorageError,
    StudyStateError,
    UnreachableError,
)
from selection.store.claims import Claim, Limits, NewCohort, ResumedCohort, Spent, Wait
from selection.store.clock import database_now
from selection.store.cohorts import Cohorts
from selection.store.database import Database, open_database
from selection.store.heartbeat import Heartbeat, heartbeat
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
from selection.store.optuna_rows import trial_params, trial_user_attrs
from selection.store.optuna_rows import trials as optuna_trials
from selection.store.process_identity import is_dead, this_process
from selection.store.records import Records
from selection.store.retry import LONGEST_PAUSE_SECONDS as LONGEST_WAIT
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.store.tables import fold_table, lease_table, metadata, trial_table
from selection.study.trial import Trial, TrialResult, TrialState
from tests.store.store_examples import (
    FACTS,
    create_example,
    example_params,
    example_result,
    example_spec,
)

TABLES = (
    *BaseModel.metadata.sorted_tables,
    *(table for table in metadata.sorted_tables if table.name.startswith("selection_")),
)
LONG_AGO = datetime(2000, 1, 1)
LIMITS = Limits(trials=6, cohort=2)
WAIT, SPENT = Wait(), Spent()
ERROR = ErrorDetail("postgresql:///none", "the server must be reachable", "no answer", "Start it.")


@dataclass(frozen=True)
class StudyCase:
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
        claim = self.claim(worker, limits)
        assert isinstance(claim, NewCohort | ResumedCohort)
        return claim.lease

    def new_cohort(self, worker: Worker, limits: Limits = LIMITS) -> NewCohort:
        """Claim, and return the new cohort that is given."""
        claim = self.claim(worker, limits)
        assert isinstance(claim, NewCohort)
        return claim

    def resume(self, worker: Worker, limits: Limits = LIMITS) -> ResumedCohort:
        """Claim, and return the cohort that is given to be resumed."""
        claim = self.claim(worker, limits)
        assert isinstance(claim, ResumedCohort)
        return claim

    def begin(self, lease: Lease, count: int = 2) -> list[int]:
        params = example_params(self.study.spec(), count)
        return self.cohorts.begin(self.study, lease, params, self.study.space)

    def train(self, worker: Worker, limits: Limits = LIMITS) -> tuple[Lease, list[int]]:
        """Claim a new cohort and begin its trials."""
        claim = self.new_cohort(worker, limits)
        assert claim.new_trials > 0
        return claim.lease, self.begin(claim.lease, claim.new_trials)

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

    def evaluation(self) -> None:
        """Open the held-out set."""
        finished = sum(state.is_finished for state in self.states())
        ledger = Ledger(self.database)
        assert ledger.claim(self.study, 0, "best", evaluation=1, reason="", finished=finished)


@pytest.fixture
def case(database: Database, records: Records) -> StudyCase:
    return StudyCase(database, create_example(records))


def someone(home: str = "") -> Worker:
    """Return a worker that nobody has met before; without a home only its lease tells of it."""
    return replace(new_worker(600.0, is_alone=False), process=home)


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


# New cohorts.


def test_claim_reserves_a_whole_cohort_or_what_is_left(case: StudyCase) -> None:
    limits = Limits(trials=5, cohort=2)
    for cohort, count in enumerate((2, 2, 1)):
        worker = someone()
        claim = case.new_cohort(worker, limits)
        assert claim == NewCohort(Lease(cohort, worker, attempt=1), count)
        assert case.lease_rows()[cohort].trials == count
        case.begin(claim.lease, count)
    assert case.claim(someone(), limits) == WAIT


def test_numbers_and_cohorts_go_up_without_gaps(case: StudyCase) -> None:
    leases = []
    for cohort in range(3):
        lease, numbers = case.train(someone())
        assert lease.cohort == cohort
        assert numbers == [2 * cohort, 2 * cohort + 1]
        leases.append((lease, numbers))
    assert [trial.cohort for trial in case.trials()] == [0, 0, 1, 1, 2, 2]
    for lease, numbers in reversed(leases):
        case.finish(lease, numbers)
    assert case.states() == [TrialState.COMPLETE] * 6
    for lease, _ in leases:
        assert lease.cohort in case.lease_rows()
        assert case.claim(lease.worker, Limits(trials=6, cohort=2)) == SPENT
        assert lease.cohort not in case.lease_rows()


def test_one_worker_proposes_at_a_time(case: StudyCase) -> None:
    lease = case.lease(someone())
    with unchanged(case.database):
        assert case.claim(someone()) == WAIT
    case.begin(lease)
    assert case.lease(someone()).cohort == 1


def test_new_trials_wait_for_no_other_cohort(case: StudyCase) -> None:
    first, numbers = case.train(someone())
    second, others = case.train(someone())
    case.finish(second, others)
    third, _ = case.train(second.worker)
    assert third.cohort == 2
    case.finish(first, numbers)
    assert list(case.lease_rows()) == [0, 2]


def test_worker_between_two_cohorts_is_seen_and_nobody_waits_for_it(case: StudyCase) -> None:
    limits = Limits(trials=4, cohort=2)
    first, numbers = case.train(someone(), limits)
    case.finish(first, numbers)
    assert not case.renew(first, Progress(members=6, epoch=2, epochs=2))
    running = RunningCohort(0, first.worker.host, 0, Progress())
    assert case.leases.running(case.study) == [running]
    second, others = case.train(someone(), limits)
    assert second.cohort == 1
    case.finish(second, others)
    assert list(case.lease_rows()) == [0, 1]
    assert case.claim(someone(), limits) == SPENT
    assert list(case.lease_rows()) == [0, 1]
    case.release(first)
    case.expire(1)
    assert case.leases.running(case.study) == []
    assert case.states() == [TrialState.COMPLETE] * 4
    assert case.claim(someone(), limits) == SPENT
    assert case.lease_rows() == {}


def test_study_is_spent_only_when_nobody_trains(case: StudyCase) -> None:
    limits = Limits(trials=2, cohort=2)
    lease, numbers = case.train(someone(), limits)
    assert case.claim(someone(), limits) == WAIT
    case.finish(lease, numbers)
    assert case.claim(lease.worker, limits) == SPENT
    with unchanged(case.database):
        assert case.claim(someone(), limits) == SPENT
        assert case.claim(lease.worker, limits) == SPENT
    assert case.new_cohort(someone(), Limits(trials=3, cohort=2)).new_trials == 1


def test_study_without_a_budget_is_spent_at_once(case: StudyCase) -> None:
    assert case.claim(someone(), Limits(trials=0, cohort=2)) == SPENT


def test_a_repeated_claim_is_one_reservation(case: StudyCase) -> None:
    worker = someone()
    first = case.claim(worker)
    assert case.claim(worker) == first
    assert list(case.lease_rows()) == [0]


def test_studies_do_not_see_each_other(case: StudyCase, records: Records) -> None:
    other = StudyCase(case.database, create_example(records, example_spec("other")))
    worker = someone()
    mine, numbers = case.train(worker)
    yours, others = other.train(worker)
    assert (mine.cohort, numbers) == (yours.cohort, others) == (0, [0, 1])
    with case.database.writing() as connection:
        is_mine = lease_table.c.study_uuid == case.study.uuid
        connection.execute(sa.update(lease_table).where(is_mine).values(expires_at=LONG_AGO))
    case.lease(someone())
    other.release(yours)
    assert list(case.lease_rows()) == [0]
    assert other.lease_rows() == {}
    with pytest.raises(LostCohortError):
        case.finish(mine, numbers)


# Dead and living workers.


@pytest.mark.parametrize("home", ["", "another-machine:1/1/1"])
def test_lease_that_ended_is_taken_up_by_the_next_attempt(case: StudyCase, home: str) -> None:
    lease, numbers = case.train(someone(home))
    case.train(someone())
    asked = [dict(trial.params) for trial in case.trials()][:2]
    case.expire(0)
    worker = someone()
    claim = case.resume(worker)
    assert claim.lease == Lease(0, worker, attempt=2)
    assert [trial.number for trial in claim.trials] == numbers
    assert [dict(trial.params) for trial in claim.trials] == asked
    assert {trial.state for trial in claim.trials} == {TrialState.RUNNING}
    assert case.states() == [TrialState.RUNNING] * 4
    assert case.attempts() == [2, 2, 1, 1]
    row = case.lease_rows()[0]
    assert (row.worker, row.attempt, row.lost, row.trials) == (worker.uuid, 2, 1, 2)
    assert (row.members, row.epoch, row.epochs) == (0, 0, 0)
    case.finish(claim.lease, numbers)
    with case.database.reading() as connection:
        assert set(connection.scalars(sa.select(fold_table.c.attempt))) == {2}
    assert lease.attempt == 1
    assert [trial.value for trial in case.trials()][:2] == [
        result.value for result in results(numbers).values()
    ]


@pytest.mark.parametrize(
    "home",
    ["", "another-machine:1/1/1", this_process()],
    ids=["unknown", "another machine", "this process"],
)
def test_living_lease_is_not_taken(case: StudyCase, home: str) -> None:
    limits = Limits(trials=2, cohort=2)
    case.train(someone(home), limits)
    with unchanged(case.database):
        assert case.claim(someone(), limits) == WAIT


def test_dead_cohorts_are_taken_up_in_order(case: StudyCase) -> None:
    for _ in range(3):
        case.train(someone())
    case.expire(2)
    case.expire(0)
    assert [case.lease(someone()).cohort for _ in range(2)] == [0, 2]
    assert case.claim(someone()) == WAIT


def test_only_what_is_not_finished_is_taken_up(case: StudyCase) -> None:
    lease, _ = case.train(someone())
    case.finish(lease, [0])
    assert list(case.lease_rows()) == [0], "a cohort that is finished in part is still held"
    case.expire(0)
    claim = case.resume(someone())
    assert [trial.number for trial in claim.trials] == [1]
    assert case.attempts() == [1, 2]
    case.finish(claim.lease, [1])
    assert case.states() == [TrialState.COMPLETE] * 2


def test_worker_of_this_machine_that_was_killed_is_lost_at_once(case: StudyCase) -> None:
    limits = Limits(trials=2, cohort=2)
    with child() as (process, home):
        case.train(someone(home), limits)
        assert case.claim(someone(), limits) == WAIT
        assert not is_dead(home)
        process.kill()
        process.wait()
        assert is_dead(home)
        claim = case.resume(someone(), limits)
    assert claim.lease.attempt == 2
    assert case.lease_rows()[0].lost == 1


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


def test_number_of_a_process_that_was_given_again_is_dead(case: StudyCase) -> None:
    machine_and_pid, _, started = this_process().rpartition("/")
    assert int(started) > 0
    reused = f"{machine_and_pid}/{int(started) - 1}"
    assert is_dead(reused)
    case.train(someone(reused))
    assert case.lease(someone()).attempt == 2


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


def test_worker_that_is_alone_takes_everything(case: StudyCase) -> None:
    case.train(someone())
    case.train(someone(this_process()))
    case.lease(someone())
    alone = replace(someone(), is_alone=True)
    for cohort in range(2):
        claim = case.resume(alone)
        assert claim.lease == Lease(cohort, alone, attempt=2)
        case.finish(claim.lease, [trial.number for trial in claim.trials])
    assert case.claim(alone) == NewCohort(Lease(2, alone, attempt=1), 2)


def test_own_lease_is_taken_again_and_not_counted_as_lost(case: StudyCase) -> None:
    worker = someone()
    lease, numbers = case.train(worker)
    again = case.resume(worker)
    assert again.lease == Lease(0, worker, attempt=2)
    assert [trial.number for trial in again.trials] == numbers
    assert case.lease_rows()[0].lost == 0
    with pytest.raises(LostCohortError):
        case.finish(lease, numbers)
    case.finish(again.lease, numbers)


@pytest.mark.parametrize("home", ["", "dead"])
def test_reservation_of_a_dead_worker_is_handed_out_again(case: StudyCase, home: str) -> None:
    case.train(someone())
    dead = f"{this_process().rpartition('/')[0]}/1"
    lost = case.lease(someone(dead if home else ""))
    if not home:
        case.expire(1)
    worker = someone()
    claim = case.new_cohort(worker)
    assert claim == NewCohort(Lease(1, worker, attempt=1), 2)
    assert case.lease_rows()[1].lost == 0
    with unchanged(case.database), pytest.raises(LostCohortError):
        case.begin(lost)
    assert case.begin(claim.lease) == [2, 3]
    with unchanged(case.database), pytest.raises(LostCohortError):
        case.begin(lost)


def test_dead_reservation_is_given_up_when_the_study_is_spent(case: StudyCase) -> None:
    case.lease(someone())
    case.expire(0)
    assert case.claim(someone(), Limits(trials=0, cohort=2)) == SPENT
    assert case.lease_rows() == {}


def test_late_worker_whose_cohort_nobody_took_goes_on(case: StudyCase) -> None:
    lease = case.lease(someone())
    case.expire(0)
    numbers = case.begin(lease)
    assert case.renew(lease)
    case.expire(0)
    case.finish(lease, numbers)
    assert case.states() == [TrialState.COMPLETE] * 2


# Repeated, and too late.


def test_repeated_begin_writes_once(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    with unchanged(case.database):
        assert case.begin(lease) == numbers == [0, 1]


def test_repeated_finish_writes_once(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    case.finish(lease, numbers)
    with unchanged(case.database):
        case.finish(lease, numbers)


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED])
def test_repeated_finish_with_other_ends_writes_once(case: StudyCase, state: TrialState) -> None:
    lease, numbers = case.train(someone())
    case.finish(lease, numbers, state)
    with unchanged(case.database):
        case.finish(lease, numbers, state)
    assert case.states() == [state] * 2


def test_repeated_finish_is_heard_after_an_evaluation(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    case.finish(lease, numbers)
    case.evaluation()
    with unchanged(case.database):
        case.finish(lease, numbers)


@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAILED])
def test_late_attempt_is_refused_and_writes_nothing(
    case: StudyCase, state: TrialState, is_finished: bool
) -> None:
    late, numbers = case.train(someone())
    case.expire(0)
    lease = case.lease(someone())
    if is_finished:
        case.finish(lease, numbers, state)
    with unchanged(case.database):
        with pytest.raises(LostCohortError, match=r"cohort 0 given to another worker"):
            case.finish(late, numbers, state)
        with pytest.raises(LostCohortError, match="example: "):
            case.begin(late)
        assert not case.renew(late, Progress(1, 1, 1))
        case.release(late)
    if not is_finished:
        case.finish(lease, numbers)
        assert case.states() == [TrialState.COMPLETE] * 2


def test_late_attempt_of_the_same_worker_is_refused(case: StudyCase) -> None:
    worker = someone()
    late, numbers = case.train(worker)
    lease = case.lease(worker)
    with unchanged(case.database):
        with pytest.raises(LostCohortError):
            case.finish(late, numbers)
        assert not case.renew(late)
        case.release(late)
    assert case.renew(lease)


def test_finish_of_a_released_cohort_is_refused(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    case.release(lease)
    with unchanged(case.database), pytest.raises(LostCohortError):
        case.finish(lease, numbers)
    assert not case.renew(lease)


def test_finish_after_the_cohort_was_given_up_is_refused(case: StudyCase) -> None:
    limits = Limits(trials=2, cohort=2, max_retries=0)
    late, numbers = case.train(someone(), limits)
    case.expire(0)
    assert case.claim(someone(), limits) == SPENT
    with unchanged(case.database), pytest.raises(LostCohortError):
        case.finish(late, numbers)


def test_finish_that_is_not_whole_leaves_the_cohort_held(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    broken = {**results(numbers), 1: example_result(1, folds=4)}
    with (
        unchanged(case.database),
        pytest.raises(StudyStateError, match="must have 6 folds to be complete"),
    ):
        case.cohorts.finish(case.study, lease, broken)
    case.finish(lease, numbers)


def test_everything_is_refused_when_the_study_is_gone(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    case.database.storage.delete_study(case.study.optuna_study_id)
    again = create_example(Records(case.database))
    with unchanged(case.database):
        for act in (
            lambda: case.claim(someone()),
            lambda: case.begin(lease),
            lambda: case.finish(lease, numbers),
            lambda: case.release(lease),
        ):
            with pytest.raises(StudyStateError, match="a deleted study"):
                act()
        assert not case.renew(lease)
    assert StudyCase(case.database, again).lease(someone()).cohort == 0


# Given back.


def test_released_cohort_waits_for_any_worker(case: StudyCase) -> None:
    lease, numbers = case.train(someone())
    case.release(lease)
    assert case.states() == [TrialState.WAITING] * 2
    assert case.lease_rows() == {}
    with unchanged(case.database):
        case.release(lease)
    claim = case.resume(someone())
    assert claim.lease.attempt == 2
    assert [trial.number for trial in claim.trials] == numbers
    assert case.states() == [TrialState.RUNNING] * 2


def test_released_reservation_is_free(case: StudyCase) -> None:
    case.release(case.lease(someone()))
    assert case.lease_rows() == {}
    assert case.lease(someone()).cohort == 0


def test_release_by_a_late_worker_does_nothing(case: StudyCase) -> None:
    late, numbers = case.train(someone())
    case.expire(0)
    lease = case.lease(someone())
    with unchanged(case.database):
        case.release(late)
    case.finish(lease, numbers)


def test_release_resets_the_count_of_losses(case: StudyCase) -> None:
    limits = replace(LIMITS, max_retries=1)
    case.train(someone(), limits)
    case.expire(0)
    lease = case.lease(someone(), limits)
    assert case.lease_rows()[0].lost == 1
    case.release(lease)
    again = case.lease(someone(), limits)
    assert (again.cohort, again.attempt) == (0, 3)
    assert case.lease_rows()[0].lost == 0
    case.expire(0)
    assert case.lease(someone(), limits).attempt == 4
    assert case.lease_rows()[0].lost == 1


# Lost too often, failed too often, late.


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_cohort_that_costs_too_many_workers_is_failed(case: StudyCase, max_retries: int) -> None:
    limits = replace(LIMITS, max_retries=max_retries)
    case.train(someone(), limits)
    for lost in range(max_retries):
        case.expire(0)
        lease = case.lease(someone(), limits)
        assert (lease.cohort, lease.attempt) == (0, lost + 2)
    case.expire(0)
    claim = case.new_cohort(someone(), limits)
    assert (claim.lease.cohort, claim.new_trials) == (1, 2)
    assert list(case.lease_rows()) == [1]
    for trial in case.trials():
        assert trial.state is TrialState.FAILED
        workers = f"{max_retries + 1} workers in a row died while they trained it"
        assert trial.reason == f"lost: {workers}"
        assert (trial.value, trial.fold_scores) == (None, ())


def test_claim_goes_on_past_cohorts_that_are_failed(case: StudyCase) -> None:
    limits = replace(LIMITS, max_retries=0)
    for _ in range(3):
        case.train(someone(), limits)
    for cohort in (0, 2):
        case.expire(cohort)
    assert case.claim(someone(), limits) == WAIT
    failed, running = TrialState.FAILED, TrialState.RUNNING
    assert case.states() == [failed, failed, running, running, failed, failed]
    assert list(case.lease_rows()) == [1]


def test_own_lease_does_not_cost_a_retry(case: StudyCase) -> None:
    limits = replace(LIMITS, max_retries=0)
    worker = someone()
    case.train(worker, limits)
    for attempt in range(2, 5):
        assert case.lease(worker, limits).attempt == attempt


def test_cohort_is_tried_for_ever_without_a_limit(case: StudyCase) -> None:
    case.train(someone())
    for attempt in range(2, 12):
        case.expire(0)
        assert case.lease(someone()).attempt == attempt
    assert case.lease_rows()[0].lost == 10


def test_too_many_failures_in_a_row_stop_the_study(case: StudyCase) -> None:
    limits = replace(LIMITS, max_consecutive_failures=4)
    for _ in range(2):
        lease, numbers = case.train(someone(), limits)
        case.finish(lease, numbers, TrialState.FAILED)
    message = (
        "example: fewer than 4 trials may fail in a row, but got 4, the last because: failed for a "
        "test. Fix the cause; then raise [search] max_consecutive_failures and run the file again."
    )
    with unchanged(case.database), pytest.raises(StudyStateError) as caught:
        case.claim(someone(), limits)
    assert str(caught.value) == message
    for allowed in (5, 0):
        lease = case.lease(someone(), replace(limits, max_consecutive_failures=allowed))
        case.release(lease)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_one_trial_in_between_keeps_the_study_going(case: StudyCase, state: TrialState) -> None:
    limits = replace(LIMITS, max_consecutive_failures=3)
    ends = [TrialState.FAILED, TrialState.FAILED, state, TrialState.FAILED]
    for index in (0, 2):
        lease, numbers = case.train(someone(), limits)
        finished = {
            n: example_result(n, ends[index + at], epochs=2) for at, n in enumerate(numbers)
        }
        case.cohorts.finish(case.study, lease, finished)
    assert case.new_cohort(someone(), limits).new_trials == 2


def test_failing_study_still_takes_up_what_was_begun(case: StudyCase) -> None:
    limits = replace(LIMITS, max_consecutive_failures=2)
    case.train(someone(), limits)
    lease, numbers = case.train(someone(), limits)
    case.finish(lease, numbers, TrialState.FAILED)
    case.expire(0)
    taken = case.lease(someone(), limits)
    assert (taken.cohort, taken.attempt) == (0, 2)


def test_cohort_lost_too_often_is_failed_even_if_that_stops_the_study(case: StudyCase) -> None:
    limits = replace(LIMITS, max_retries=0, max_consecutive_failures=2)
    case.train(someone(), limits)
    case.expire(0)
    with pytest.raises(StudyStateError, match=r"got 2, the last because: lost: 1 workers"):
        case.claim(someone(), limits)
    assert case.states() == [TrialState.FAILED] * 2
    assert case.lease_rows() == {}


def spans(case: StudyCase, *seconds: tuple[int, int]) -> None:
    """Let each trial start and end so many seconds after one moment."""
    start = datetime(2026, 1, 1)
    with case.database.writing() as connection:
        for number, (begun, ended) in enumerate(seconds):
            values = {
                "datetime_start": start + timedelta(seconds=begun),
                "datetime_complete": start + timedelta(seconds=ended),
            }
            is_it = optuna_trials.c.number == number
            connection.execute(sa.update(optuna_trials).where(is_it).values(values))


def test_time_of_parallel_cohorts_is_counted_once(case: StudyCase) -> None:
    begun = [case.train(someone()) for _ in range(2)]
    for lease, numbers in begun:
        case.finish(lease, numbers)
    spans(case, (0, 60), (0, 50), (30, 100), (40, 90))
    assert Records(case.database).elapsed_seconds(case.study) == 100
    assert case.claim(someone(), replace(LIMITS, timeout_seconds=100.0)) == SPENT
    assert case.new_cohort(someone(), replace(LIMITS, timeout_seconds=100.5)).new_trials == 2


def test_cohort_inside_another_adds_no_time(case: StudyCase) -> None:
    for _ in range(3):
        case.finish(*case.train(someone()))
    spans(case, (0, 100), (0, 100), (10, 20), (10, 20), (50, 120), (50, 120))
    assert Records(case.database).elapsed_seconds(case.study) == 120


def test_pauses_between_cohorts_are_not_counted(case: StudyCase) -> None:
    for _ in range(2):
        case.finish(*case.train(someone()))
    spans(case, (0, 10), (0, 10), (5000, 5020), (5000, 5020))
    assert Records(case.database).elapsed_seconds(case.study) == 30


def test_late_study_lets_running_cohorts_end(case: StudyCase) -> None:
    limits = replace(LIMITS, timeout_seconds=10.0)
    first, numbers = case.train(someone(), limits)
    second, others = case.train(someone(), limits)
    case.finish(first, numbers)
    spans(case, (0, 60), (0, 60))
    assert case.claim(someone(), limits) == WAIT
    assert case.renew(second)
    case.expire(1)
    claim = case.resume(someone(), limits)
    assert (claim.lease.cohort, claim.lease.attempt) == (1, 2)
    case.finish(claim.lease, others)
    assert case.claim(someone(), limits) == SPENT


def test_late_study_has_its_first_cohort(case: StudyCase) -> None:
    assert case.new_cohort(someone(), replace(LIMITS, timeout_seconds=1e-9)).new_trials == 2


# Watched.


def test_running_cohorts_are_those_of_living_workers(case: StudyCase) -> None:
    dead = f"{this_process().rpartition('/')[0]}/1"
    limits = Limits(trials=12, cohort=2)
    first, _ = case.train(someone(this_process()), limits)
    case.train(someone(), limits)
    third, _ = case.train(someone(), limits)
    case.lease(someone(), limits)
    case.expire(1)
    case.change_lease(2, home=dead)
    assert case.renew(first, Progress(members=11, epoch=3, epochs=20))
    host = first.worker.host
    assert case.leases.running(case.study) == [
        RunningCohort(0, host, 2, Progress(11, 3, 20)),
        RunningCohort(3, host, 2, Progress()),
    ]
    assert case.renew(third), "a lease is lost when it is taken, not when it looks dead"


def test_renewed_lease_ends_later(case: StudyCase) -> None:
    lease, _ = case.train(someone())
    case.expire(0)
    assert case.leases.running(case.study) == []
    assert case.renew(lease)
    assert [cohort.cohort for cohort in case.leases.running(case.study)] == [0]
    limits = Limits(trials=2, cohort=2)
    assert case.claim(someone(), limits) == WAIT


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
        first = StudyCase(here, create_example(Records(here)))
        second = StudyCase(there, first.study)
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


# After an evaluation.


def test_everything_is_refused_after_an_evaluation(case: StudyCase) -> None:
    case.finish(*case.train(someone()))
    begun, numbers = case.train(someone())
    reserved = case.lease(someone())
    case.evaluation()
    assert case.states() == [TrialState.COMPLETE] * 2 + [TrialState.FAILED] * 2
    assert case.leases.running(case.study) == []
    with unchanged(case.database):
        for act in (
            lambda: case.claim(someone()),
            lambda: case.claim(begun.worker),
            lambda: case.claim(replace(someone(), is_alone=True)),
            lambda: case.begin(reserved),
            lambda: case.begin(begun),
            lambda: case.finish(begun, numbers),
            lambda: case.finish(begun, numbers, TrialState.FAILED),
        ):
            with pytest.raises(RefusedError, match="after its held-out set was opened"):
                act()
        assert not case.renew(begun)
        assert not case.renew(reserved)
        case.release(begun)
        case.release(reserved)


# Renewed by a thread of its own.


class MadeUpLeases(Leases):
    """Answer each renewal with the next of these, and with the last one for ever."""

    def __init__(self, *assessments: bool | StorageError) -> None:
        self.assessments = list(assessments)
        self.finished: list[Progress] = []

    def renew(self, study: StudyRecord, lease: Lease, progress: Progress) -> bool:
        self.finished.append(progress)
        answer = self.assessments.pop(0) if len(self.assessments) > 1 else self.assessments[0]
        if isinstance(answer, StorageError):
            raise answer
        return answer


BRIEF = Lease(0, replace(someone(), lease_seconds=0.04), attempt=1)


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    """A study that no database knows."""
    moment = datetime(2026, 1, 1)
    return StudyRecord("u", "example", 1, {}, "s", "d", None, FACTS, {}, moment)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def lease_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lease"]


def is_lost(held: Heartbeat) -> bool:
    try:
        held.report(Progress())
    except LostCohortError:
        return True
    return False


def test_holding_renews_with_the_newest_progress(study: StudyRecord) -> None:
    leases = MadeUpLeases(True)
    with heartbeat(leases, study, BRIEF) as held:
        until(lambda: Progress() in leases.finished)
        held.report(Progress(5, 1, 9))
        until(lambda: Progress(5, 1, 9) in leases.finished)
    assert lease_threads() == []
    count = len(leases.finished)
    time.sleep(0.05)
    assert len(leases.finished) == count


def test_holding_says_that_the_lease_was_lost_and_asks_no_more(study: StudyRecord) -> None:
    leases = MadeUpLeases(True, False, True)
    with heartbeat(leases, study, BRIEF) as held:
        until(lambda: is_lost(held))
        with pytest.raises(LostCohortError, match="cohort 0 given to another worker"):
            held.report(Progress())
        until(lambda: lease_threads() == [])
    assert len(leases.finished) == 2


def test_holding_survives_a_database_that_fails(study: StudyRecord) -> None:
    leases = MadeUpLeases(StorageError(ERROR), UnreachableError(ERROR), True)
    with heartbeat(leases, study, BRIEF) as held:
        until(lambda: len(leases.finished) > 3)
        held.report(Progress())


def test_holding_that_heard_no_answer_for_long_still_hears_of_a_loss(study: StudyRecord) -> None:
    leases = MadeUpLeases(*[UnreachableError(ERROR)] * 5, False)
    with heartbeat(leases, study, BRIEF) as held:
        until(lambda: is_lost(held))


def test_thread_ends_with_a_block_that_fails(study: StudyRecord) -> None:
    def fail() -> None:
        with heartbeat(MadeUpLeases(True), study, BRIEF):
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
    with heartbeat(leases, study, replace(BRIEF, worker=someone())):
        pass
    assert time.monotonic() - begun < 30
    assert leases.finished == []


def test_cohort_that_trains_longer_than_its_lease_stays_held(
    case: StudyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock is moved by hand, or a busy machine could let the lease end before it is renewed.
    passed = timedelta()

    def moved_now(connection: sa.Connection) -> datetime:
        return database_now(connection) + passed

    for module in ("leases", "claiming"):
        monkeypatch.setattr(f"selection.store.{module}.database_now", moved_now)
    monkeypatch.setattr("selection.store.heartbeat.LONGEST_PAUSE_SECONDS", 0.02)
    limits = Limits(trials=2, cohort=2)
    lease, numbers = case.train(someone(), limits)
    step = timedelta(seconds=0.75 * lease.worker.lease_seconds)
    with heartbeat(case.leases, case.study, lease) as held:
        held.report(Progress(12, 1, 7))
        for _ in range(3):
            end = case.lease_rows()[0].expires_at
            passed += step
            assert case.claim(someone(), limits) == WAIT
            until(lambda end=end: case.lease_rows()[0].expires_at > end + step / 2)
        running = case.leases.running(case.study)
        assert [cohort.progress for cohort in running] == [Progress(12, 1, 7)]
    case.finish(lease, numbers)


def test_worker_hears_that_its_cohort_was_taken(case: StudyCase) -> None:
    lease, _ = case.train(replace(someone(), lease_seconds=0.2))
    with heartbeat(case.leases, case.study, lease) as held:
        # Taken at once, as by a worker that is alone: the thread may renew at any moment.
        taken = case.lease(replace(someone(), is_alone=True))
        until(lambda: is_lost(held))
    assert case.renew(taken)


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
    assert retry(lambda: 7, said.append) == 7
    assert (said, clock.pauses) == ([], [])


def test_server_that_does_not_answer_is_asked_again(clock: MadeUpTime) -> None:
    assessments: list[Any] = [UnreachableError(ERROR)] * 9 + [7]
    said: list[str] = []

    def act() -> int:
        answer = assessments.pop(0)
        if isinstance(answer, UnreachableError):
            raise answer
        return int(answer)

    assert retry(act, said.append) == 7
    assert said == [f"{ERROR} Trying again for 300 seconds."]
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[0] < 1
    assert clock.pauses[-1] == LONGEST_WAIT


@pytest.mark.parametrize("seconds", [0.0, 0.1, 3.0, 60.0])
def test_patience_ends(clock: MadeUpTime, seconds: float) -> None:
    tries: list[float] = []

    def act() -> None:
        tries.append(clock.now)
        raise UnreachableError(ERROR)

    with pytest.raises(UnreachableError):
        retry(act, lambda line: None, seconds)
    assert tries[-1] <= seconds
    assert seconds - tries[-1] <= LONGEST_WAIT


@pytest.mark.parametrize("kind", [StorageError, StudyStateError, LostCohortError, KeyError])
def test_other_errors_are_not_waited_for(clock: MadeUpTime, kind: type[Exception]) -> None:
    tries: list[None] = []

    def act() -> None:
        tries.append(None)
        raise kind(ERROR)

    with pytest.raises(kind):
        retry(act, lambda line: None)
    assert len(tries) == 1
    assert clock.pauses == []


def test_a_beginning_that_a_crash_has_undone_is_found_out_and_begun_again(case: StudyCase) -> None:
    me = someone()
    lease, numbers = case.train(me)
    with case.database.writing() as connection:
        for table in (trial_table, trial_params, trial_user_attrs, optuna_trials):
            connection.execute(sa.delete(table))
    with pytest.raises(LostCohortError, match="cohort 0 given to another worker"):
        case.finish(lease, numbers)
    case.release(lease)
    again, same_numbers = case.train(me)
    assert (again.cohort, same_numbers) == (lease.cohort, numbers)
    case.finish(again, same_numbers)
    assert set(case.states()) == {TrialState.COMPLETE}
