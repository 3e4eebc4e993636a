"""Proposals and pruning beside Optuna's own loop."""

from __future__ import annotations

import io
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import optuna
import pytest
from optuna.distributions import json_to_distribution

from selection.search import CohortPruner, History, propose, shared_start
from selection.seeds import seed32_for
from selection.study.optuna_names import distribution_json, from_optuna, to_optuna
from selection.study.space import nearest_inside
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial, TrialState


def test_a_proposal_logs_nothing_and_leaves_the_level_of_the_log(optuna_log: io.StringIO) -> None:
    propose(make_spec(), [], 2, 0)
    assert optuna_log.getvalue() == ""
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    optuna.create_study()
    assert "A new study created in memory" in optuna_log.getvalue()


def test_the_import_leaves_the_level_of_the_log() -> None:
    code = (
        "import optuna, selection.search\n"
        "assert optuna.logging.get_verbosity() == optuna.logging.INFO"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def make_spec(**search: Any) -> StudySpec:
    return parse_study(
        {
            "name": "s",
            "data": {"dataset": "iris"},
            "training": {"epochs": 9},
            "space": {
                "width": {"low": 4, "high": 64, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
                "activation": {"choices": ["relu", "tanh"]},
            },
            "search": {"default": {"width": 32, "weight_decay": 0.0}, **search},
        },
        "s.toml",
    )


def finished(number: int, params: Any, means: list[float], **options: Any) -> Trial:
    state = options.pop("state", TrialState.COMPLETE)
    value = means[-1] if state is TrialState.COMPLETE else None
    return Trial(number, state, params, 0, value=value, fold_means=tuple(means), **options)


def some_finished(spec: StudySpec, count: int) -> list[Trial]:
    rng = random.Random(1)
    done = []
    for number, params in enumerate(propose(spec, [], count, 0)):
        means = [rng.random() for _ in range(9)]
        if number % 3 == 1:
            done.append(finished(number, params, means[:4], state=TrialState.PRUNED))
        elif number % 7 == 5:
            done.append(finished(number, params, means[:2], state=TrialState.FAILED))
        else:
            done.append(finished(number, params, means))
    return done


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_proposals_are_a_pure_function_of_the_finished_trials(sampler: str) -> None:
    spec = make_spec(sampler=sampler)
    done = some_finished(spec, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = propose(spec, done, 4, cohort=3)
    assert propose(spec, done, 4, cohort=3) == first
    assert propose(spec, done, 4, cohort=4) != first
    assert len(first) == 4
    for params in first:
        assert list(params) == ["width", "weight_decay", "activation"]
        assert isinstance(params["width"], int)
        assert 4 <= params["width"] <= 64
        assert isinstance(params["weight_decay"], float)
        assert 1e-6 <= params["weight_decay"] <= 1e-2
        assert params["activation"] in ("relu", "tanh")


def from_scratch(
    spec: StudySpec, done: list[Trial], n: int, cohort: int, running: Sequence[Trial] = ()
) -> list[dict[str, Any]]:
    """Propose as Optuna's manual says: a new study, every trial added to it, and then asked."""
    seed = seed32_for(spec.seed, "sampler", cohort)
    samplers: dict[str, Any] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=1),
        "gp": lambda: optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=1, deterministic_objective=False
        ),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    study = optuna.create_study(
        study_name=spec.name,
        direction="minimize" if spec.is_minimised else "maximize",
        sampler=samplers[spec.sections.search.sampler](),
    )
    space = spec.space
    distributions = {
        name: json_to_distribution(distribution_json(dim)) for name, dim in space.items()
    }
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING"}
    for trial in (*done, *running):
        inside = nearest_inside(space, trial.params)
        means = () if trial.state is TrialState.FAILED else trial.fold_means
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[states[trial.state]],
                params={name: to_optuna(space[name], inside[name]) for name in space},
                distributions=distributions,
                intermediate_values=dict(enumerate(means, start=1)),
                value=trial.value,
            )
        )
    asked = [study.ask(distributions) for _ in range(n)]
    return [
        {name: from_optuna(dim, trial.params[name]) for name, dim in space.items()}
        for trial in asked
    ]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_one_finished_cohort_is_enough_to_learn_from(sampler: str) -> None:
    spec = make_spec(sampler=sampler)
    done = some_finished(spec, 8)
    assert propose(spec, done, 4, 1) == from_scratch(spec, done, 4, 1)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_trials_of_other_workers_are_shown_as_running(sampler: str) -> None:
    spec = make_spec(sampler=sampler)
    done = some_finished(spec, 12)
    pending = as_running(propose(spec, done, 4, 3), cohort=3)
    proposed = propose(spec, done, 4, 4, pending)
    assert proposed == from_scratch(spec, done, 4, 4, pending)
    assert proposed != propose(spec, done, 4, 4), "pending trials change nothing"
    # A trial that ends while the record is read is in both.
    assert propose(spec, done, 4, 4, [done[3], *pending]) == proposed


def as_running(proposed: list[dict[str, Any]], cohort: int) -> list[Trial]:
    return [
        Trial(100 + number, TrialState.RUNNING, params, cohort)
        for number, params in enumerate(proposed)
    ]


def as_workers_learn(done: list[Trial]) -> list[list[Trial]]:
    """Return what a loop is done, cohort by cohort of 4, when others finish theirs out of order."""
    learned = [done[:4], done[:8], done[:4] + done[8:12], done[:12], done[:12], done[:20]]
    # Not what a record ever tells: trials that are gone, and others in their place.
    return [*learned, done[:6], done[1:20], []]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_kept_history_proposes_what_a_study_built_from_scratch_does(sampler: str) -> None:
    spec = make_spec(sampler=sampler, pruner_options={"min_resource": 1})
    done = some_finished(spec, 20)
    history = History(spec)
    for cohort, known in enumerate(as_workers_learn(done), start=1):
        # Without a finished trial, TPE and GP are not asked: the Sobol sequence goes on.
        is_asked = known or sampler == "random"
        ask = from_scratch if is_asked else propose
        expected = ask(spec, known, 3, cohort)
        assert propose(spec, known, 3, cohort, (), history) == expected
        assert propose(spec, known, 3, cohort) == expected


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_kept_history_shows_the_trials_that_run_now(sampler: str) -> None:
    spec = make_spec(sampler=sampler)
    done = some_finished(spec, 12)
    pending = as_running(propose(spec, done, 8, 3), cohort=3)
    other = [replace(pending[0], params=done[2].params), *pending[1:]]
    history = History(spec)
    for cohort, running in enumerate([pending, pending[2:], [], other, pending[:3]], start=4):
        expected = from_scratch(spec, done, 3, cohort, running)
        assert propose(spec, done, 3, cohort, running, history) == expected


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_kept_history_begins_with_the_default(sampler: str) -> None:
    spec = make_spec(sampler=sampler)
    history = History(spec)
    first = propose(spec, [], 4, 0, (), history)
    assert propose(spec, [], 4, 0, (), history) == first == propose(spec, [], 4, 0)
    assert first[0] == dict(spec.default)


def test_each_finished_trial_is_translated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec()
    done = some_finished(spec, 20)
    frozen: list[int] = []
    honest = History._freeze

    def counting(self: History, *args: Any) -> Any:
        frozen.append(1)
        return honest(self, *args)

    monkeypatch.setattr(History, "_freeze", counting)
    history = History(spec)
    for cohort in range(1, 6):
        known = done[: 4 * cohort]
        propose(spec, known, 4, cohort, (), history)
    assert len(frozen) == 20


def test_each_running_trial_is_translated_once() -> None:
    spec = make_spec()
    done = some_finished(spec, 4)
    pending = as_running(propose(spec, done, 12, 1), cohort=1)
    history = History(spec)
    placed = history.place(pending)
    assert all(placed[2 + index] is each for index, each in enumerate(history.place(pending[2:])))
    assert history.place(pending)[0] is not placed[0], "one that has ended is forgotten"


def test_shared_start_is_the_longest() -> None:
    done = some_finished(make_spec(), 5)
    again = some_finished(make_spec(), 5)
    for length in range(6):
        assert shared_start(done[:length], again) == length
        assert shared_start(done, again[:length]) == length
        assert shared_start(done, [*again[:length], finished(7, {}, [0.0])]) == length
        assert shared_start(done, tuple(again[:length])) == length


def test_the_first_trial_is_the_default_even_outside_the_space() -> None:
    spec = make_spec()
    first = propose(spec, [], 3, cohort=0)
    assert first[0] == {"width": 32, "weight_decay": 0.0, "activation": "relu"}
    assert first[1] != first[2]


def test_tpe_learns_from_finished_trials() -> None:
    spec = make_spec(metric="accuracy")
    rng = random.Random(0)
    done = [
        finished(number, params, [1.0 - abs(params["width"] - 50) / 64])  # type: ignore[operator]
        for number, params in enumerate(propose(make_spec(sampler="random"), [], 60, 0))
    ]
    rng.shuffle(done)
    widths = [float(str(params["width"])) for params in propose(spec, done, 30, cohort=1)]
    assert sum(widths) / 30 > 35, "random proposals on a log scale have a mean near 21"


def test_a_grid_visits_every_point_once_in_an_order_by_seed() -> None:
    def grid(seed: int) -> list[Any]:
        spec = parse_study(
            {
                "name": "s",
                "seed": seed,
                "data": {"dataset": "iris"},
                "space": {
                    "width": {"low": 4, "high": 6},
                    "activation": {"choices": ["relu", "tanh"]},
                },
                "search": {"sampler": "grid", "trials": 99, "default": {"width": 5}},
            },
            "s.toml",
        )
        done: list[Trial] = []
        for cohort in range(5):
            n = min(2, spec.budget - len(done))
            for params in propose(spec, done, n, cohort):
                done.append(finished(len(done), params, [0.5]))
        return [(trial.params["width"], trial.params["activation"]) for trial in done]

    visited = grid(0)
    assert visited[0] == (5, "relu")
    assert sorted(visited) == [(w, a) for w in (4, 5, 6) for a in ("relu", "tanh")]
    assert any(grid(seed) != visited for seed in range(1, 5))


def optuna_pruner(name: str, options: dict[str, Any]) -> optuna.pruners.BasePruner:
    match name:
        case "successive_halving":
            return optuna.pruners.SuccessiveHalvingPruner(**options)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(max_resource=9, **options)
        case "median":
            return optuna.pruners.MedianPruner(**options)
        case "percentile":
            return optuna.pruners.PercentilePruner(**options)
        case "patient":
            with pytest.warns(optuna.exceptions.ExperimentalWarning):
                return optuna.pruners.PatientPruner(None, **options)
    return optuna.pruners.ThresholdPruner(**options)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("successive_halving", {"min_resource": 1, "reduction_factor": 2}),
        (
            "successive_halving",
            {"min_resource": 2, "reduction_factor": 2, "min_early_stopping_rate": 1},
        ),
        ("hyperband", {"min_resource": 1, "reduction_factor": 3}),
        ("median", {"n_startup_trials": 3, "n_warmup_steps": 1}),
        ("percentile", {"percentile": 30.0, "n_startup_trials": 2}),
        ("patient", {"patience": 2}),
        ("threshold", {"lower": 0.2, "upper": 0.9}),
        ("hyperband", {"min_resource": 2, "reduction_factor": 2}),
        ("median", {"n_startup_trials": 0, "n_min_trials": 4, "interval_steps": 3}),
        ("percentile", {"percentile": 71.0, "n_warmup_steps": 2, "interval_steps": 2}),
        ("patient", {"patience": 0, "min_delta": 0.3}),
        ("threshold", {"upper": 0.9, "n_warmup_steps": 3, "interval_steps": 2}),
    ],
)
def test_one_trial_at_a_time_is_judged_as_by_optuna(
    name: str,
    options: dict[str, Any],
    direction: Literal["minimize", "maximize"],
) -> None:
    metric = "accuracy" if direction == "maximize" else "cross_entropy"
    ours_only = {"finalists": 0} if name == "successive_halving" else {}
    spec = make_spec(pruner=name, pruner_options={**options, **ours_only}, metric=metric)
    study = optuna.create_study(
        study_name="s", direction=direction, pruner=optuna_pruner(name, options)
    )
    rng = random.Random(5)
    done: list[Trial] = []
    ends = []
    for number in range(40):
        params = dict(spec.default)
        theirs = study.ask()
        pruner = CohortPruner(spec, done, {number: params})
        means: list[float] = []
        state = TrialState.COMPLETE
        for epoch in range(1, 10):
            means.append(rng.random())
            theirs.report(means[-1], epoch)
            ours, expected = pruner.decide(epoch, {number: means[-1]}), theirs.should_prune()
            assert ours == ({number} if expected and number > 0 else set())
            if ours:
                state = TrialState.PRUNED
                break
        done.append(finished(number, params, means, state=state))
        pruned = optuna.trial.TrialState.PRUNED
        if state is TrialState.PRUNED:
            study.tell(theirs, state=pruned)
        else:
            study.tell(theirs, means[-1])
        ends.append(len(means))
    assert min(ends) < 9, "nothing was pruned: the test shows nothing"
    assert max(ends) == 9


def test_successive_halving_keeps_the_best_half_of_a_cohort_whatever_their_numbers() -> None:
    options = {"min_resource": 2, "reduction_factor": 2, "finalists": 0}
    spec = make_spec(pruner="successive_halving", pruner_options=options)
    values = [0.1, 0.9, 0.3, 0.7, 0.5, 0.6, 0.2, 0.8]
    rng = random.Random(2)
    for _ in range(5):
        rng.shuffle(values)
        cohort = {number: dict(spec.default) for number in range(1, 9)}
        pruner = CohortPruner(spec, [], cohort)
        means = dict(zip(cohort, values, strict=True))
        assert pruner.decide(1, means) == set()
        out = pruner.decide(2, means)
        assert sorted(means[number] for number in out) == [0.1, 0.2, 0.3, 0.5]
        living = {number: mean for number, mean in means.items() if number not in out}
        assert pruner.decide(3, living) == set()
        assert sorted(means[n] for n in pruner.decide(4, living)) == [0.6, 0.7]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("successive_halving", {"min_resource": 1, "reduction_factor": 2}),
        ("hyperband", {"min_resource": 1, "reduction_factor": 3}),
        ("median", {"n_startup_trials": 3}),
        ("percentile", {"percentile": 60.0, "n_startup_trials": 2}),
        ("patient", {"patience": 1}),
        ("threshold", {"lower": 0.3}),
        ("none", {}),
    ],
)
def test_a_pruner_decides_the_same_in_another_process(name: str, options: dict[str, Any]) -> None:
    spec = make_spec(pruner=name, pruner_options=options)
    done = some_finished(spec, 12)
    rng = random.Random(3)
    cohort = {number: dict(spec.default) for number in range(20, 28)}
    here = CohortPruner(spec, done, cohort)
    there = pickle.loads(pickle.dumps(here))
    means = {number: rng.random() for number in cohort}
    for epoch in range(1, 10):
        out = here.decide(epoch, means)
        assert there.decide(epoch, means) == out
        # In the middle of a cohort too.
        there = pickle.loads(pickle.dumps(there))
        means = {number: rng.random() for number in means if number not in out}
    assert (len(means) == len(cohort)) == (name == "none")


def test_the_default_is_never_pruned() -> None:
    spec = make_spec(pruner="threshold", pruner_options={"lower": 0.5})
    pruner = CohortPruner(spec, [], {0: dict(spec.default), 1: dict(spec.default)})
    assert pruner.decide(1, {0: 0.1, 1: 0.1}) == {1}


def test_no_pruner_prunes_nobody() -> None:
    spec = make_spec(pruner="none")
    pruner = CohortPruner(spec, [], {1: dict(spec.default)})
    assert pruner.decide(1, {1: -1e9}) == set()
