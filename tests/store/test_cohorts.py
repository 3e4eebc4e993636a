"""Cohorts: who gets them, and what is written once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from selection.errors import (
    LostCohortError,
    RefusedError,
    StudyStateError,
)
from selection.store.claims import Limits, NewCohort
from selection.store.leases import (
    Lease,
    Progress,
    RunningCohort,
)
from selection.store.optuna_rows import trial_params, trial_user_attrs
from selection.store.optuna_rows import trials as optuna_trials
from selection.store.records import Records
from selection.store.tables import lease_table, trial_table
from selection.study.lag import Lag
from selection.study.trial import TrialState
from tests.store.store_examples import (
    create_example,
    example_params,
    example_result,
    example_spec,
)
from tests.store.study_case import (
    LONG_AGO,
    SPENT,
    WAIT,
    StudyCase,
    results,
    someone,
    unchanged,
)


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


def test_a_driver_gets_cohorts_beside_those_that_it_trains(case: StudyCase) -> None:
    driver = someone()
    first, numbers = case.train(driver)
    second, others = case.train(driver, training=[0])
    third, last = case.train(driver, training=[0, 1])
    assert [each.cohort for each in (first, second, third)] == [0, 1, 2]
    assert case.claim(driver, training=[0, 1, 2]) == WAIT, "the study is not spent before they end"
    for lease, ended in ((second, others), (first, numbers), (third, last)):
        case.finish(lease, ended)
    assert case.claim(driver) == SPENT
    assert case.lease_rows() == {}
    assert case.attempts() == [1] * 6


def test_a_driver_that_is_to_be_alone_is_not_held_up_by_its_own_cohorts(case: StudyCase) -> None:
    driver = replace(someone(), is_alone=True)
    case.train(driver)
    assert case.train(driver, training=[0])[0].cohort == 1
    with unchanged(case.database):
        assert case.claim(replace(someone(), is_alone=True)) == WAIT


def test_a_driver_resumes_only_what_it_does_not_train(case: StudyCase) -> None:
    driver = someone()
    for _ in range(2):
        case.train(someone())
    case.train(driver)
    case.expire(1)
    assert case.resume(driver, training=[2]).lease == Lease(1, driver, attempt=2)
    assert case.attempts() == [1, 1, 2, 2, 1, 1]


def test_a_driver_has_one_reservation_at_a_time(case: StudyCase) -> None:
    driver = someone()
    case.train(driver)
    reserved = case.claim(driver, training=[0])
    assert case.claim(driver, training=[0]) == reserved
    assert list(case.lease_rows()) == [0, 1]


@pytest.mark.parametrize(("lag", "at_once"), [(1, 1), (2, 2), (3, 3), (None, 4)])
def test_a_new_cohort_waits_for_those_that_it_is_proposed_from(
    case: StudyCase, lag: int | None, at_once: int
) -> None:
    limits = Limits(trials=8, cohort=2, lag=Lag(lag))
    begun = [case.train(someone(), limits) for _ in range(at_once)]
    assert case.claim(someone(), limits) == WAIT
    if lag is None:
        return
    # The last one, when there is more than one, is no help.
    for lease, numbers in begun[:0:-1]:
        case.finish(lease, numbers)
        assert case.claim(someone(), limits) == WAIT
    case.finish(*begun[0])
    assert case.lease(someone(), limits).cohort == at_once


def test_one_that_is_proposed_ahead_waits_for_one_cohort_less(case: StudyCase) -> None:
    limits = Limits(trials=12, cohort=2, lag=Lag(1, is_ahead=True))
    first = case.train(someone(), limits)
    assert case.claim(someone(), limits) == WAIT, "the second is proposed from the first"
    case.finish(*first)
    for cohort in (1, 2):
        assert case.train(someone(), limits)[0].cohort == cohort
    assert case.claim(someone(), limits) == WAIT


def test_what_a_cohort_knows_is_on_record(case: StudyCase) -> None:
    for known in (None, 0, 1):
        lease = case.lease(someone())
        space, params = case.study.space, example_params(case.study.spec(), 2)
        numbers = case.cohorts.begin(case.study, lease, params, space, known=known)
        again = case.cohorts.begin(case.study, lease, params, space, known=known)
        assert again == numbers
    assert [trial.known_cohorts for trial in case.trials()] == [None, None, 0, 0, 1, 1]
    case.expire(2)
    assert [trial.known_cohorts for trial in case.resume(someone()).trials] == [1, 1]


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
    with unchanged(case.database), pytest.raises(StudyStateError, match="6 folds to be complete"):
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
