"""Leases: dead and living workers, and what is given back."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from selection.errors import (
    LostCohortError,
)
from selection.store.claims import Limits, NewCohort
from selection.store.database import Database, open_database
from selection.store.leases import (
    Lease,
    Progress,
    RunningCohort,
)
from selection.store.process_identity import is_dead, this_process
from selection.store.records import Records
from selection.store.tables import fold_table
from selection.study.trial import TrialState
from tests.store.store_examples import create_example
from tests.store.study_case import (
    LIMITS,
    SPENT,
    WAIT,
    StudyCase,
    child,
    results,
    someone,
    unchanged,
)


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


@pytest.mark.parametrize("home", ["", "another machine/1/1", None])
def test_worker_that_is_to_be_alone_waits_for_a_living_lease(
    case: StudyCase, home: str | None
) -> None:
    """Whether the other is seen to live or not: its lease decides."""
    home = this_process() if home is None else home
    lease, numbers = case.train(someone(home))
    alone = replace(someone(), is_alone=True)
    for _ in range(3):
        assert case.claim(alone) == WAIT
    assert case.attempts() == [1, 1]
    case.finish(lease, numbers)
    # It is between two cohorts.
    assert case.claim(alone) == WAIT
    case.expire(0)
    assert case.claim(alone) == NewCohort(Lease(1, alone, attempt=1), 2)


def test_worker_that_is_to_be_alone_takes_up_the_cohorts_of_dead_ones(case: StudyCase) -> None:
    for _ in range(2):
        case.train(someone())
    case.lease(someone())
    alone = replace(someone(), is_alone=True)
    for cohort in range(3):
        case.expire(cohort)
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


def test_process_that_died_under_its_driver_is_counted(case: StudyCase) -> None:
    driver = someone()
    lease, numbers = case.train(driver)
    other, _ = case.train(driver, training=[0])
    case.leases.lose(case.study, lease)
    assert [row.lost for row in case.lease_rows().values()] == [1, 0]
    assert case.renew(lease), "the driver still holds the cohort"
    again = case.resume(driver, training=[1])
    assert again.lease == Lease(0, driver, attempt=2)
    with unchanged(case.database):
        case.leases.lose(case.study, lease)
    case.leases.lose(case.study, again.lease)
    assert case.lease_rows()[0].lost == 2
    third = case.resume(driver, training=[1]).lease
    case.finish(third, numbers)
    with unchanged(case.database):
        case.leases.lose(case.study, third)
    assert case.renew(other)


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
