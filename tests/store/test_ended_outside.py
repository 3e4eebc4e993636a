"""Trials of ours that another program ends or changes while they train, on both databases."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from selection.errors import LostCohortError
from selection.store.claims import Limits
from selection.store.copy_study import copy_study
from selection.store.database import open_database
from selection.store.doctor import examine
from selection.store.ledger import Ledger
from selection.store.records import Records
from selection.store.study_list import StudyList
from selection.store.study_record import CHANGES_ATTR
from selection.store.tables import trial_table
from selection.store.trial_reader import ENDED
from selection.study.trial import TrialState
from tests.store.store_examples import example_params
from tests.store.study_case import SPENT, StudyCase, results, someone, unchanged

RUNNING, COMPLETE = TrialState.RUNNING, TrialState.COMPLETE

ENDINGS: dict[str, dict[str, Any]] = {
    "complete": {"values": 99.0},
    "pruned": {"state": OptunaState.PRUNED},
    "failed": {"state": OptunaState.FAIL},
}


def own_id(case: StudyCase, number: int) -> int:
    query = sa.select(trial_table.c.optuna_trial_id).where(trial_table.c.number == number)
    with case.database.reading() as connection:
        return int(connection.scalars(query).one())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_running_trial_that_was_told_from_outside_gets_its_own_result(
    case: StudyCase, study: optuna.Study, ending: str
) -> None:
    lease, numbers = case.train(someone())
    study.trials  # noqa: B018 - the other program knows them as running
    told = optuna.trial.Trial(study, own_id(case, 1))
    told.report(77.0, step=5000)
    study.tell(1, **ENDINGS[ending])
    assert case.states() == [RUNNING, RUNNING]
    assert [trial.value for trial in case.trials()] == [None, None]
    assert [each.number for each in Records(case.database).pending(case.study)] == [0, 1]
    assert Records(case.database).finished_numbers(case.study) == []
    assert Records(case.database).finished_within(case.study, 60.0) == 0
    (line,) = StudyList(case.database).lines(0, 9)
    assert line.summary.counts[RUNNING] == 2
    assert line.summary.best_value is None
    assert line.lately == 0
    (found,) = examine(case.database)
    assert "trials [1] ended by another program" in str(found)
    case.finish(lease, numbers)
    assert case.states() == [COMPLETE, COMPLETE]
    value = results([1])[1].value
    assert case.trials()[1].value == value
    theirs = stored(study)[1]
    assert (theirs.state, theirs.value) == (OptunaState.COMPLETE, value)
    assert 5000 not in theirs.intermediate_values
    assert examine(case.database) == []
    with unchanged(case.database):
        case.finish(lease, numbers)


def stored(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials as a program sees them that has just begun, without Optuna's cache."""
    storage = study._storage
    assert isinstance(storage, _CachedStorage)
    return storage._backend.get_all_trials(study._study_id)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_trial_told_from_outside_is_trained_again_after_its_worker_died(
    case: StudyCase, study: optuna.Study, ending: str
) -> None:
    case.train(someone())
    for number in (0, 1):
        study.tell(number, **ENDINGS[ending])
    case.expire(0)
    worker = someone()
    resumed = case.resume(worker)
    assert [trial.number for trial in resumed.trials] == [0, 1]
    assert [trial.state for trial in resumed.trials] == [RUNNING, RUNNING]
    assert {trial.state for trial in stored(study)} == {OptunaState.RUNNING}
    assert [trial.value for trial in stored(study)] == [None, None]
    case.finish(resumed.lease, [0, 1])
    assert examine(case.database) == []
    assert case.new_cohort(worker).new_trials == 2


def test_the_last_trial_told_from_outside_does_not_end_the_study(
    case: StudyCase, study: optuna.Study
) -> None:
    limits = Limits(trials=2, cohort=2)
    lease, numbers = case.train(someone(), limits)
    case.cohorts.finish(case.study, lease, results([0]))
    study.tell(1, 99.0)
    case.release(lease)
    assert {each.state for each in stored(study)} == {
        OptunaState.COMPLETE,
        OptunaState.WAITING,
    }
    resumed = case.resume(someone(), limits)
    assert [trial.number for trial in resumed.trials] == [1]
    case.finish(resumed.lease, [1])
    assert case.claim(someone(), limits) == SPENT
    assert numbers == [0, 1]


def test_a_trial_put_back_from_outside_is_finished_all_the_same(
    case: StudyCase, study: optuna.Study
) -> None:
    lease, numbers = case.train(someone())
    study._storage.set_trial_state_values(own_id(case, 0), OptunaState.WAITING)
    # Optuna's own optimize() takes what waits.
    assert study.ask().number == 0
    study._storage.set_trial_state_values(own_id(case, 1), OptunaState.WAITING)
    case.finish(lease, numbers)
    assert case.states() == [COMPLETE, COMPLETE]
    assert examine(case.database) == []


def test_failures_told_from_outside_do_not_stop_a_study(
    case: StudyCase, study: optuna.Study
) -> None:
    limits = Limits(trials=6, cohort=2, max_consecutive_failures=2)
    case.train(someone(), limits)
    for number in (0, 1):
        study.tell(number, state=OptunaState.FAIL)
    case.train(someone(), limits)
    assert len(case.trials()) == 4


def test_a_late_attempt_is_refused_though_its_trials_were_told_from_outside(
    case: StudyCase, study: optuna.Study
) -> None:
    lease, numbers = case.train(someone())
    case.expire(0)
    later = case.resume(someone())
    for number in numbers:
        study.tell(number, 99.0)
    with unchanged(case.database), pytest.raises(LostCohortError):
        case.finish(lease, numbers)
    case.finish(later.lease, numbers)
    assert case.states() == [COMPLETE, COMPLETE]


def test_an_evaluation_fails_what_was_told_from_outside(
    case: StudyCase, study: optuna.Study
) -> None:
    lease, numbers = case.train(someone())
    case.finish(lease, numbers)
    case.train(someone())
    study.tell(2, 99.0)
    ledger = Ledger(case.database)
    assert ledger.claim(case.study, 0, "best", evaluation=1, reason="", finished=2)
    assert [(trial.state, trial.reason) for trial in case.trials()[2:]] == [
        (TrialState.FAILED, ENDED)
    ] * 2
    assert stored(study)[2].value is None


TAMPERED: dict[str, Any] = {
    "text": "width",
    "list": ["width"],
    "number": 1,
    "nothing": None,
    "other types": {"width": "wide", "weight_decay": "x", "dropout": None, "batch_size": [1]},
    "other values": {"dropout": 0.3, "width": [16], "batch_size": 77},
}


@pytest.mark.parametrize("written", TAMPERED)
def test_attributes_overwritten_from_outside_change_no_setting(
    case: StudyCase, study: optuna.Study, written: str
) -> None:
    params = dict(enumerate(example_params(case.study.spec(), 2)))
    lease, numbers = case.train(someone())
    for number in numbers:
        trial = optuna.trial.Trial(study, own_id(case, number))
        trial.set_user_attr("outside_space", TAMPERED[written])
        trial.set_user_attr("fold_0", "mine")
        trial.suggest_float("of theirs", 0.0, 1.0)
    assert len(case.trials()) == 2
    case.cohorts.finish(case.study, lease, results(numbers), params)
    assert [trial.params for trial in case.trials()] == list(params.values())
    assert stored(study)[1].user_attrs["fold_0"] == results([1])[1].folds[0].score
    assert examine(case.database) == []


def test_a_copy_trains_what_was_told_from_outside(
    case: StudyCase, study: optuna.Study, made_sqlite_url: str
) -> None:
    if not case.database.storage.is_batched:
        pytest.skip("only Optuna's tables of the known revision can be copied")
    case.train(someone())
    study.tell(1, 99.0)
    with open_database(made_sqlite_url, create=True, write=True) as target:
        copy_study(case.database, case.study, target)
        there = Records(target).find_study(case.study.name)
        assert there is not None
        copied = StudyCase(target, there)
        resumed = copied.resume(someone())
        assert [trial.number for trial in resumed.trials] == [0, 1]
        copied.finish(resumed.lease, [0, 1])
        assert examine(target) == []


CHANGES: dict[str, Any] = {
    "text": "x",
    "a number": 3,
    "an object": {"a": 1},
    "a list": [1],
    "no key": [{"from": 1}],
    "no numbers": [
        {"key": "search.trials", "from": [1], "to": 2, "at": "2026-01-01T00:00:00", "trials": 1}
    ],
    "no time": [{"key": "search.rule", "from": "a", "to": "b", "at": "today", "trials": 1}],
}


@pytest.mark.parametrize("written", CHANGES)
def test_recorded_changes_overwritten_from_outside_are_a_finding_and_no_obstacle(
    case: StudyCase, study: optuna.Study, written: str
) -> None:
    study.set_user_attr(CHANGES_ATTR, CHANGES[written])
    records = Records(case.database)
    (record,) = records.all_studies()
    assert record.changes == ()
    assert [each.name for each in records.list_studies()] == [case.study.name]
    (found,) = examine(case.database)
    assert "the recorded changes of a study file must be readable" in str(found)
    case.finish(*case.train(someone()))
