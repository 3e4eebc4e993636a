"""The queue and foreign trials, on both databases: what Optuna put in, and what we make of it."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from selection.errors import LostCohortError, RefusedError
from selection.report.other_trials import other_params, other_reason, trial_values
from selection.store.claims import Limits, NewCohort, ResumedCohort, Spent
from selection.store.cohorts import Cohorts
from selection.store.copy_study import copy_study
from selection.store.database import open_database
from selection.store.doctor import examine
from selection.store.leases import new_worker
from selection.store.optuna_rows import trials as optuna_trials
from selection.store.other_trials import OtherTrial
from selection.store.records import Records
from selection.store.tables import trial_table
from selection.study.asked import asked_setting
from selection.study.trial import TrialState
from tests.store.store_examples import create_example, example_params, example_result, example_spec
from tests.store.study_case import LIMITS, SPENT, StudyCase, someone, unchanged

ASKED = {"batch_size": 32, "width": "[32]"}


def others(case: StudyCase) -> list[OtherTrial]:
    return Records(case.database).others(case.study)


def begin(case: StudyCase, claim: NewCohort) -> list[int]:
    params = example_params(case.study.spec(), claim.new_trials + 1)
    params = params[1:] if claim.lease.cohort else params[:-1]
    return case.cohorts.begin(
        case.study, claim.lease, params, case.study.space, tuple(claim.queued)
    )


def train(case: StudyCase, limits: Limits = LIMITS) -> list[int]:
    """Train the next cohort and return its numbers."""
    claim = case.new_cohort(someone(), limits)
    numbers = begin(case, claim)
    case.finish(claim.lease, numbers)
    return numbers


def own_numbers(case: StudyCase) -> list[tuple[int, int]]:
    """Return our number of each trial and Optuna's."""
    query = sa.select(trial_table.c.number, optuna_trials.c.number.label("theirs")).join(
        optuna_trials, optuna_trials.c.trial_id == trial_table.c.optuna_trial_id
    )
    with case.database.reading() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(trial_table.c.number))]


def test_what_optuna_enqueued_comes_first_in_the_next_cohort(
    case: StudyCase, study: optuna.Study
) -> None:
    train(case)
    study.enqueue_trial(ASKED)
    assert examine(case.database) == []
    (queued,) = others(case)
    assert (queued.number, queued.is_queued, queued.asked_for) == (2, True, "enqueued")
    params = {**case.study.spec().default, "batch_size": 32, "width": (32,)}
    assert queued.params == params
    claim = case.new_cohort(someone())
    assert (claim.new_trials, list(claim.queued)) == (1, [queued])
    assert case.lease_rows()[1].trials == 2
    numbers = begin(case, claim)
    assert numbers == [2, 3]
    with unchanged(case.database):
        assert begin(case, claim) == numbers
    trials = case.trials()
    assert dict(trials[2].params) == params
    assert [trial.asked_for for trial in trials] == ["", "", "enqueued", ""]
    assert case.states()[2:] == [TrialState.RUNNING] * 2
    case.finish(claim.lease, numbers)
    assert case.states() == [TrialState.COMPLETE] * 4
    assert others(case) == []
    assert examine(case.database) == []
    theirs = study.trials[2]
    assert theirs.state is OptunaState.COMPLETE
    assert theirs.value == case.trials()[2].value
    assert theirs.params["width"] == "[32]"
    assert theirs.params["batch_size"] == 32
    assert theirs.user_attrs["asked_for"] == "enqueued"


def test_the_default_is_trial_0_whatever_was_asked_for_before(
    case: StudyCase, study: optuna.Study
) -> None:
    study.enqueue_trial(ASKED)
    study.add_trial(create_trial(value=9.0))
    study.enqueue_trial({"batch_size": 33})
    study.enqueue_trial({"batch_size": 34})
    claim = case.new_cohort(someone(), Limits(trials=6, cohort=3))
    assert claim.new_trials == 1
    assert begin(case, claim) == [0, 1, 3]
    trials = case.trials()
    assert trials[0].params == case.study.spec().default
    assert [trial.params["batch_size"] for trial in trials] == [4, 32, 33]
    assert own_numbers(case) == [(0, 0), (1, 1), (3, 3)]
    assert [(each.number, each.value) for each in others(case)] == [(2, 9.0), (4, None)]
    assert sorted(trial.number for trial in study.get_trials()) == list(range(5))
    case.finish(claim.lease, [0, 1, 3])
    assert train(case, Limits(trials=6, cohort=3)) == [4, 5, 6]
    assert examine(case.database) == []


def test_a_budget_of_one_trial_is_the_default(case: StudyCase, study: optuna.Study) -> None:
    study.enqueue_trial(ASKED)
    limits = Limits(trials=1, cohort=2)
    assert train(case, limits) == [0]
    assert case.claim(someone(), limits) == SPENT
    assert [each.is_queued for each in others(case)] == [True]


def test_what_is_asked_for_counts_into_the_budget(case: StudyCase, study: optuna.Study) -> None:
    for size in range(20, 30):
        study.enqueue_trial({"batch_size": size})
    limits = Limits(trials=5, cohort=2)
    for numbers in ([0, 1], [2, 3], [4]):
        assert train(case, limits) == numbers
    assert case.claim(someone(), limits) == SPENT
    sizes = [trial.params["batch_size"] for trial in case.trials()]
    assert sizes == [4, 20, 21, 22, 23]
    assert [each.params["batch_size"] for each in others(case)] == list(range(24, 30))
    assert train(case, Limits(trials=7, cohort=2)) == [5, 6], "a larger budget goes on with them"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"batch_size": 7}, "batch_size must be a whole number from 16 to 128, but got 7"),
        ({"momentum": 0.5}, "only set what [space] searches, but got momentum = 0.5"),
        ({"x": [1, {"y": None}]}, "only set what [space] searches, but got x = "),
        ({"width": {"a": 1}}, "width must be one of [[64], [32], [16]], but got { a = 1 }"),
        ({}, "a setting needs a hyperparameter, but got none"),
    ],
)
def test_what_the_space_does_not_have_fails_with_its_reason(
    case: StudyCase, study: optuna.Study, setting: dict[str, Any], reason: str
) -> None:
    train(case)
    study.enqueue_trial(setting)
    study.enqueue_trial({"batch_size": 40})
    assert train(case) == [3, 4]
    (refused,) = others(case)
    assert (refused.number, refused.state, refused.is_queued) == (2, TrialState.FAILED, False)
    assert reason in refused.reason
    theirs = study.trials[2]
    assert theirs.state is OptunaState.FAIL
    assert reason in theirs.user_attrs["refused"]
    assert [trial.number for trial in case.trials()] == [0, 1, 3, 4]
    assert case.trials()[2].params["batch_size"] == 40
    assert examine(case.database) == []


def test_a_waiting_trial_with_params_of_other_distributions_is_taken_up(
    case: StudyCase, study: optuna.Study
) -> None:
    train(case)
    params: dict[str, Any] = {"batch_size": 48.0, "activation": "tanh"}
    distributions: dict[str, Any] = {
        "batch_size": FloatDistribution(1.0, 64.0),
        "activation": CategoricalDistribution(["tanh", "gelu"]),
    }
    trial_id = case.database.storage.create_new_trial(
        case.study.optuna_study_id,
        create_trial(state=OptunaState.WAITING),
    )
    with case.database.writing() as connection:
        for name, value in params.items():
            internal = distributions[name].to_internal_repr(value)
            text = optuna.distributions.distribution_to_json(distributions[name])
            row = {"trial_id": trial_id, "param_name": name, "param_value": internal}
            table = sa.table("trial_params", *map(sa.column, [*row, "distribution_json"]))
            connection.execute(sa.insert(table), {**row, "distribution_json": text})
    assert examine(case.database) == []
    assert train(case) == [2, 3]
    found = case.trials()[2]
    assert (found.params["batch_size"], found.params["activation"]) == (48, "tanh")
    assert study.trials[2].distributions == study.trials[3].distributions


def test_a_waiting_trial_without_a_setting_is_a_finding_until_a_cohort_ends_it(
    case: StudyCase, study: optuna.Study
) -> None:
    train(case)
    study.add_trial(create_trial(state=OptunaState.WAITING))
    (found,) = examine(case.database)
    assert str(found) == (
        "example: a waiting trial of another tool must have a setting, but got none in trials "
        "[2]. The next cohort ends them as failed; nothing is lost."
    )
    assert train(case) == [3, 4]
    assert examine(case.database) == []


def test_foreign_trials_are_shown_and_never_count(case: StudyCase, study: optuna.Study) -> None:
    train(case)
    study.add_trial(create_trial(value=99.0))
    asked = study.ask({"batch_size": IntDistribution(16, 64, log=True)})
    study.add_trial(create_trial(state=OptunaState.PRUNED, value=None))
    running = others(case)
    assert [each.state.value for each in running] == ["complete", "running", "pruned"]
    assert examine(case.database) == []
    study.tell(asked, 98.0)
    assert [(each.number, each.value) for each in others(case)] == [(2, 99.0), (3, 98.0), (4, None)]
    assert others(case)[1].params == {"batch_size": asked.params["batch_size"]}
    assert not any(each.is_queued for each in others(case))
    assert [train(case), train(case)] == [[5, 6], [7, 8]]
    assert case.claim(someone()) == SPENT
    assert [trial.number for trial in case.trials()] == [0, 1, 5, 6, 7, 8]
    assert max(trial.value or 0.0 for trial in case.trials()) < 98.0
    assert examine(case.database) == []
    records = Records(case.database)
    assert records.finished_numbers(case.study) == [0, 1, 5, 6, 7, 8]
    assert records.finished_within(case.study, 60.0) == 6


def test_what_another_program_takes_before_the_cohort_begins_is_noticed(
    case: StudyCase, study: optuna.Study
) -> None:
    train(case)
    study.enqueue_trial(ASKED)
    worker = someone()
    claim = case.new_cohort(worker)
    theirs = study.ask()
    assert theirs.number == 2
    with (
        unchanged(case.database),
        pytest.raises(LostCohortError, match="trial 2 taken by another program"),
    ):
        begin(case, claim)
    case.release(claim.lease)
    again = case.new_cohort(worker)
    assert (again.new_trials, list(again.queued)) == (2, [])
    assert begin(case, again) == [3, 4]
    study.tell(theirs, 0.5)
    assert [each.number for each in others(case)] == [2]


def test_what_is_asked_for_after_a_claim_waits_for_the_next_cohort(
    case: StudyCase, study: optuna.Study
) -> None:
    train(case)
    claim = case.new_cohort(someone())
    study.enqueue_trial(ASKED)
    assert begin(case, claim) == [3, 4]
    later = case.new_cohort(someone())
    assert begin(case, later) == [2, 5]
    case.finish(later.lease, [2, 5])
    case.finish(claim.lease, [3, 4])
    assert [(trial.number, trial.cohort) for trial in case.trials()] == [
        (0, 0),
        (1, 0),
        (2, 2),
        (3, 1),
        (4, 1),
        (5, 2),
    ]
    assert examine(case.database) == []


def test_a_resumed_cohort_knows_what_was_asked_for(case: StudyCase, study: optuna.Study) -> None:
    train(case)
    study.enqueue_trial(ASKED)
    claim = case.new_cohort(someone())
    begin(case, claim)
    case.expire(1)
    resumed = case.resume(someone())
    assert [(trial.number, trial.asked_for) for trial in resumed.trials] == [
        (2, "enqueued"),
        (3, ""),
    ]
    assert resumed.trials[0].params["batch_size"] == 32


def test_what_we_enqueue_is_what_optuna_enqueues(case: StudyCase, study: optuna.Study) -> None:
    records, spec = Records(case.database), case.study.spec()
    given = {"batch_size": 32, "dropout": 0.25}
    (first,) = records.enqueue(case.study, [asked_setting(spec, given)])
    assert (first.number, first.budget_left) == (1, 11)
    assert train(case, Limits(trials=12, cohort=2)) == [0, 1]
    assert case.trials()[1].params == first.params
    (second,) = records.enqueue(case.study, [asked_setting(spec, {"width": [16]})])
    assert (second.number, second.budget_left) == (2, 10)
    assert second.from_default == (
        "weight_decay",
        "dropout",
        "batch_size",
        "activation",
        "nesterov",
    )
    fixed = study.trials[2].system_attrs["fixed_params"]
    assert fixed == {
        "width": "[16]",
        "weight_decay": 0.0,
        "dropout": 0.25,
        "batch_size": 4,
        "activation": "relu",
        "nesterov": fixed["nesterov"],
    }
    assert [each.params for each in others(case)] == [second.params]
    assert train(case, Limits(trials=12, cohort=2)) == [2, 3]
    assert case.trials()[2].params == second.params


def test_nothing_is_enqueued_after_an_evaluation(case: StudyCase) -> None:
    train(case)
    case.evaluation()
    asked = [asked_setting(case.study.spec(), ASKED)]
    with unchanged(case.database), pytest.raises(RefusedError, match="got a setting to train"):
        Records(case.database).enqueue(case.study, asked)


def test_a_copy_has_the_queue_too(
    case: StudyCase, study: optuna.Study, made_sqlite_url: str
) -> None:
    if not case.database.storage.is_batched:
        pytest.skip("only Optuna's tables of the known revision can be copied")
    train(case)
    case.train(someone())
    study.ask({"batch_size": IntDistribution(16, 128, log=True)})
    study.enqueue_trial(ASKED)
    with open_database(made_sqlite_url, create=True, write=True) as target:
        assert copy_study(case.database, case.study, target).waiting == 2
        found = Records(target).find_study(case.study.name)
        assert found is not None
        copied = Records(target).others(found)
        own = others(case)
        assert [each.state for each in own] == [TrialState.RUNNING, TrialState.WAITING]
        assert [replace(each, trial_id=0) for each in copied] == [
            replace(each, trial_id=0) for each in own
        ]
        assert examine(target) == []


@pytest.mark.parametrize("seed", range(3))
def test_in_any_order_the_budget_is_met_and_numbers_agree(
    case: StudyCase, study: optuna.Study, seed: int
) -> None:
    chance, limits = random.Random(seed), Limits(trials=11, cohort=3)
    working: list[tuple[Any, list[int]]] = []
    for _ in range(40):
        act = chance.choice(["enqueue", "wrong", "add", "begin", "begin", "finish", "die"])
        if act == "enqueue":
            study.enqueue_trial({"batch_size": chance.randint(16, 128)})
        elif act == "wrong":
            study.enqueue_trial({"batch_size": 1000})
        elif act == "add":
            study.add_trial(create_trial(value=1000.0))
        elif act == "begin":
            claim = case.claim(someone(), limits)
            if isinstance(claim, NewCohort):
                working.append((claim.lease, begin(case, claim)))
            elif isinstance(claim, ResumedCohort):
                working.append((claim.lease, [trial.number for trial in claim.trials]))
        elif working:
            lease, numbers = working.pop(chance.randrange(len(working)))
            case.finish(lease, numbers) if act == "finish" else case.release(lease)
    for lease, _ in working:
        case.release(lease)
    last = someone()
    while not isinstance(claim := case.claim(last, limits), Spent):
        if isinstance(claim, NewCohort):
            case.finish(claim.lease, begin(case, claim))
        else:
            assert isinstance(claim, ResumedCohort)
            case.finish(claim.lease, [trial.number for trial in claim.trials])
    assert case.states() == [TrialState.COMPLETE] * limits.trials
    numbers_of_ours = own_numbers(case)
    assert all(ours == theirs for ours, theirs in numbers_of_ours)
    every = [*(ours for ours, _ in numbers_of_ours), *(each.number for each in others(case))]
    assert sorted(every) == list(range(len(study.get_trials(deepcopy=False))))
    assert case.trials()[0].params == case.study.spec().default
    assert examine(case.database) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_workers_and_people_who_ask_at_once_meet_the_budget(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"new_{kind}")()
    trials, asked, workers = 24, 9, 3
    errors: list[BaseException] = []
    with open_database(url, create=True, write=True) as database:
        study = create_example(Records(database), example_spec(trials=trials, cohort=3))
        case = StudyCase(database, study)
        train(case, Limits(trials, 3))

        def work() -> None:
            with open_database(url, create=False, write=True) as own:
                mine, worker = StudyCase(own, study), new_worker(60.0, is_alone=False)
                while not isinstance(claim := mine.claim(worker, Limits(trials, 3)), Spent):
                    if isinstance(claim, NewCohort):
                        numbers = begin(mine, claim)
                        results = {number: example_result(number) for number in numbers}
                        Cohorts(own).finish(study, claim.lease, results)

        def ask() -> None:
            storage = optuna.storages.RDBStorage(url)
            theirs = optuna.load_study(study_name=study.name, storage=storage)
            for size in range(asked):
                theirs.enqueue_trial({"batch_size": 20 + size})
            storage.remove_session()
            storage.engine.dispose()

        def caught(act: Any) -> None:
            try:
                act()
            except BaseException as error:
                errors.append(error)

        acts = [*[work] * workers, ask]
        threads = [threading.Thread(target=caught, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert errors == []
        found = case.trials()
        assert len(found) == trials
        assert {trial.state for trial in found} == {TrialState.COMPLETE}
        taken = [trial.params["batch_size"] for trial in found if trial.asked_for]
        left = [each.params["batch_size"] for each in others(case)]
        assert sorted([*taken, *left]) == [20 + size for size in range(asked)]
        assert len(own_numbers(case)) == trials
        assert examine(database) == []


NO_SETTINGS: dict[str, Any] = {
    "text": "x",
    "a list": [1],
    "a number": 3,
    "nothing": None,
    "no name": {},
    "another name": {"nope": 3},
    "an object": {"width": {"a": [float("nan"), {"b": float("inf")}]}},
    "no number": {"dropout": float("nan")},
    "no end": {"weight_decay": float("inf")},
    "a terminal's words": {"activation": "\x1b[31mred\n", "\x1b[2J": 1},
}


@pytest.mark.parametrize("written", NO_SETTINGS)
def test_whatever_another_program_puts_into_the_queue_is_shown_and_refused(
    case: StudyCase, study: optuna.Study, written: str
) -> None:
    train(case)
    attrs = {"fixed_params": NO_SETTINGS[written]}
    study.add_trial(create_trial(state=OptunaState.WAITING, system_attrs=attrs))
    refused = {"refused": {"\x1b[1m": 1}, "asked_for": [1]}
    study.add_trial(create_trial(state=OptunaState.RUNNING, user_attrs=refused))
    for _ in range(2):
        found = others(case)
        assert [each.number for each in found] == [2, 3]
        json.dumps(trial_values(case.trials(), found), allow_nan=False)
        shown = [other_reason(each) + other_params(each) for each in found]
        assert all(each.isprintable() for each in shown)
        assert not any(each.is_queued for each in found)
        if len(case.trials()) == 2:
            assert train(case) == [4, 5]
    assert examine(case.database) == []
