"""A lease is renewed by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from selection.errors import (
    LostCohortError,
    StorageError,
    UnreachableError,
)
from selection.store.claims import Limits
from selection.store.clock import database_now
from selection.store.heartbeat import Heartbeat, heartbeat
from selection.store.leases import (
    Lease,
    Leases,
    Progress,
)
from selection.store.process_identity import this_process
from selection.store.study_record import StudyRecord
from tests.store.store_examples import FACTS
from tests.store.study_case import (
    ERROR,
    WAIT,
    StudyCase,
    someone,
)

# A process that had the number of this one earlier.
DEAD = this_process().rpartition("/")[0] + "/0"


class MadeUpLeases(Leases):
    """Answer each renewal with the next of these, and with the last one for ever."""

    def __init__(self, *assessments: bool | StorageError) -> None:
        self.assessments = list(assessments)
        self.finished: list[Progress] = []

    def renew(self, study: StudyRecord, progress: Mapping[Lease, Progress]) -> set[Lease]:
        self.finished += progress.values()
        answer = self.assessments.pop(0) if len(self.assessments) > 1 else self.assessments[0]
        if isinstance(answer, StorageError):
            raise answer
        return set() if answer else set(progress)


@dataclass(frozen=True)
class Held:
    """Hold one lease by a heartbeat."""

    heartbeat: Heartbeat
    lease: Lease

    def report(self, progress: Progress) -> None:
        self.heartbeat.report(self.lease, progress)


@contextmanager
def holding(leases: Leases, study: StudyRecord, lease: Lease) -> Iterator[Held]:
    """Renew one lease while the block runs."""
    with heartbeat(leases, study, lease.worker.lease_seconds) as beating:
        beating.hold(lease)
        yield Held(beating, lease)


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


def is_lost(held: Held) -> bool:
    try:
        held.report(Progress())
    except LostCohortError:
        return True
    return False


def test_holding_renews_with_the_newest_progress(study: StudyRecord) -> None:
    leases = MadeUpLeases(True)
    with holding(leases, study, BRIEF) as held:
        until(lambda: Progress() in leases.finished)
        held.report(Progress(5, 1, 9))
        until(lambda: Progress(5, 1, 9) in leases.finished)
    assert lease_threads() == []
    count = len(leases.finished)
    time.sleep(0.05)
    assert len(leases.finished) == count


def test_holding_says_that_the_lease_was_lost_and_asks_no_more(study: StudyRecord) -> None:
    leases = MadeUpLeases(True, False, True)
    with holding(leases, study, BRIEF) as held:
        until(lambda: is_lost(held))
        with pytest.raises(LostCohortError, match="cohort 0 given to another worker"):
            held.report(Progress())
        time.sleep(0.05)
    assert len(leases.finished) == 2


def test_holding_survives_a_database_that_fails(study: StudyRecord) -> None:
    leases = MadeUpLeases(StorageError(ERROR), UnreachableError(ERROR), True)
    with holding(leases, study, BRIEF) as held:
        until(lambda: len(leases.finished) > 3)
        held.report(Progress())


def test_holding_that_heard_no_answer_for_long_still_hears_of_a_loss(study: StudyRecord) -> None:
    leases = MadeUpLeases(*[UnreachableError(ERROR)] * 5, False)
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
    with holding(case.leases, case.study, lease) as held:
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
    with holding(case.leases, case.study, lease) as held:
        # Its process is known to be dead, however often the thread renews.
        case.change_lease(0, home=DEAD)
        taken = case.lease(someone())
        until(lambda: is_lost(held))
    assert case.renew(taken)


def test_several_leases_are_renewed_at_once_until_they_are_let_go(study: StudyRecord) -> None:
    leases = MadeUpLeases(True)
    first, second = BRIEF, replace(BRIEF, cohort=1)
    with holding(leases, study, first) as held:
        held.heartbeat.hold(second)
        held.heartbeat.report(second, Progress(1, 1, 1))
        until(lambda: Progress(1, 1, 1) in leases.finished)
        held.heartbeat.let_go(second)
        held.heartbeat.report(second, Progress(2, 2, 2))
        count = len(leases.finished)
        until(lambda: len(leases.finished) > count + 2)
    assert Progress(2, 2, 2) not in leases.finished


def test_only_the_lease_that_is_lost_is_heard_of(case: StudyCase) -> None:
    kept, _ = case.train(replace(someone(), lease_seconds=0.2))
    lost, _ = case.train(replace(someone(), lease_seconds=0.2))
    with heartbeat(case.leases, case.study, 0.2) as held:
        for lease in (kept, lost):
            held.hold(lease)
        case.change_lease(lost.cohort, home=DEAD)
        case.lease(someone())
        until(lambda: is_lost(Held(held, lost)))
        assert not is_lost(Held(held, kept))
