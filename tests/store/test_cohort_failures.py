"""Cohorts that are lost or fail too often, and studies that are late."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from selection.errors import (
    StudyStateError,
)
from selection.store.optuna_rows import trials as optuna_trials
from selection.store.records import Records
from selection.study.trial import TrialState
from tests.store.store_examples import example_result
from tests.store.study_case import (
    LIMITS,
    SPENT,
    WAIT,
    StudyCase,
    someone,
    unchanged,
)


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


def test_processes_that_die_under_one_driver_cost_retries(case: StudyCase) -> None:
    limits = replace(LIMITS, max_retries=1)
    driver = someone()
    lease, _ = case.train(driver, limits)
    case.train(driver, limits, training=[0])
    case.leases.lose(case.study, lease)
    again = case.lease(driver, limits, training=[1])
    assert (again.cohort, again.attempt) == (0, 2)
    case.leases.lose(case.study, again)
    assert case.new_cohort(driver, limits, training=[1]).lease.cohort == 2
    failed, running = TrialState.FAILED, TrialState.RUNNING
    assert case.states() == [failed, failed, running, running]
    assert case.trials()[0].reason == "lost: 2 workers in a row died while they trained it"


def test_losses_under_a_driver_add_to_those_of_workers(case: StudyCase) -> None:
    limits = replace(LIMITS, max_retries=2)
    case.train(someone(), limits)
    case.expire(0)
    lease = case.lease(someone(), limits)
    case.leases.lose(case.study, lease)
    case.expire(0)
    assert case.new_cohort(someone(), limits).lease.cohort == 1
    assert case.trials()[0].reason == "lost: 3 workers in a row died while they trained it"


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
