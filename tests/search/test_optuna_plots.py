"""Optuna's charts: of the right trials, and without a word on the terminal."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from selection.search import optuna_plots as plots
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialState
from tests.sweep_bench import make_spec

SPACE = {
    "width": {"choices": [8, [16, 4], [8, 8]]},
    "learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
    "activation": {"choices": ["relu", "tanh"]},
    "momentum": {"low": 0.0, "high": 0.9},
}


def trial(number: int, value: float, params: Params, state: Any = TrialState.COMPLETE) -> Trial:
    is_complete = state is TrialState.COMPLETE
    return Trial(number, state, params, 0, value=value if is_complete else None)


def some_trials(count: int, gap: int = 1) -> list[Trial]:
    rng = random.Random(3)
    found = []
    for index in range(count):
        params: dict[str, Any] = {
            "width": rng.choice([8, (16, 4), (8, 8)]),
            "learning_rate": 10 ** rng.uniform(-3, 0),
            "activation": rng.choice(["relu", "tanh"]),
            "momentum": rng.uniform(0, 0.9),
        }
        value = 1 - abs(params["learning_rate"] - 0.1) + rng.gauss(0, 0.001)
        found.append(trial(gap * index, value, params))
    return found


@pytest.fixture
def spec() -> StudySpec:
    return make_spec(space=SPACE)


@pytest.fixture(autouse=True)
def _silence(capfd: pytest.CaptureFixture[str]) -> Any:
    """Whatever is asked, nothing reaches the terminal; warnings are errors anyway."""
    yield
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
def test_a_selection_keeps_the_best_and_samples_the_rest(metric: str) -> None:
    spec = make_spec(space=SPACE, metric=metric)
    finished = [trial(n, float((n * 7919) % 2500), {}) for n in range(2500)]
    kept = plots.thinned(spec, finished)
    assert len(kept) == plots.MOST_TRIALS == len({each.number for each in kept})
    assert [each.number for each in kept] == sorted(each.number for each in kept)
    ranked = sorted(finished, key=lambda each: each.value or 0.0, reverse=not spec.is_minimised)
    values = {each.value for each in kept}
    assert {each.value for each in ranked[:500]} <= values
    # Evenly over the others: every tenth of them gives a tenth of the sample.
    others = ranked[500:]
    for tenth in range(10):
        part = {each.value for each in others[tenth * 200 : (tenth + 1) * 200]}
        assert len(part & values) == 50


def test_a_selection_holds_complete_trials_of_a_defined_score(spec: StudySpec) -> None:
    finished = [
        trial(0, 0.5, {}),
        trial(1, 0.9, {}, TrialState.PRUNED),
        trial(2, float("nan"), {}),
        trial(3, float("inf"), {}),
        trial(4, 0.1, {}, TrialState.FAILED),
    ]
    assert [each.number for each in plots.thinned(spec, finished)] == [0]


def test_slices_are_coloured_by_the_numbers_of_the_trials(spec: StudySpec) -> None:
    finished = some_trials(12, gap=5)
    finished.insert(3, trial(12, 0.0, finished[0].params, TrialState.PRUNED))
    found = plots.slices(spec, finished)
    assert list(found) == list(spec.space)
    assert not any(plot["layout"].get("template") for plot in found.values())
    trace = found["momentum"]["data"][0]
    complete = [each for each in finished if each.state is TrialState.COMPLETE]
    assert trace["marker"]["color"] == [each.number for each in complete]
    assert trace["x"] == [each.params["momentum"] for each in complete]
    assert trace["y"] == [each.value for each in complete]
    # By category Optuna changes the order.
    by_number = {each.number: each.value for each in complete}
    trace = found["width"]["data"][0]
    assert trace["y"] == [by_number[number] for number in trace["marker"]["color"]]
    assert found["learning_rate"]["layout"]["xaxis"]["type"] == "log"


def test_a_contour_is_a_small_table_of_what_was_tried(spec: StudySpec) -> None:
    finished = some_trials(400)
    plot = plots.contour(spec, finished, "momentum", "learning_rate")
    contour = plot["data"][0]
    scores = [score for line in contour["z"] for score in line if score is not None]
    shown = plots.thinned(spec, finished, plots.MOST_IN_CONTOUR)
    assert sorted(scores) == sorted(each.value for each in shown if each.value is not None)
    assert plot["layout"]["xaxis"]["title"]["text"] == "learning_rate"
    assert len(json.dumps(plot, allow_nan=False)) < 300_000


def test_a_parallel_plot_has_one_line_per_trial_and_no_webgl(spec: StudySpec) -> None:
    plot = plots.parallel_coordinates(spec, some_trials(20))
    lines = [trace for trace in plot["data"] if trace["mode"] == "lines"]
    assert len(lines) == 20
    assert {trace["type"] for trace in plot["data"]} == {"scatter"}
    assert [label for label, _ in lines[0]["customdata"]] == ["accuracy", *sorted(spec.space)]


def test_importance_finds_what_matters(spec: StudySpec) -> None:
    shares = plots.importances(spec, some_trials(200))
    assert next(iter(shares)) == "learning_rate"
    assert set(shares) == set(spec.space)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_importance_is_silent_where_there_is_none(spec: StudySpec) -> None:
    finished = some_trials(30)
    same = [trial(each.number, 0.5, each.params) for each in finished]
    one_better = [trial(0, 0.6, finished[0].params), *same[1:]]
    one_setting = [trial(each.number, each.value or 0.0, finished[0].params) for each in finished]
    failed = [trial(each.number, 0.5, each.params, TrialState.FAILED) for each in finished]
    for case in ([], finished[:1], same, one_better, one_setting, failed):
        assert plots.importances(spec, case) == {}
    alone = make_spec(space={"momentum": SPACE["momentum"]})
    assert plots.importances(alone, finished) == {}
    assert plots.importances(spec, finished[:2])


def test_nothing_to_show_is_no_error(spec: StudySpec) -> None:
    finished = some_trials(3)
    constant = [trial(each.number, 0.5, finished[0].params) for each in finished]
    failed = [trial(each.number, 0.5, each.params, TrialState.FAILED) for each in finished]
    for case in ([], failed):
        assert plots.slices(spec, case) == {}
        assert plots.parallel_coordinates(spec, case)["data"] == []
        assert plots.contour(spec, case, "width", "activation")["data"] == []
    for case in (finished[:1], constant):
        assert set(plots.slices(spec, case)) == set(spec.space)
        assert plots.parallel_coordinates(spec, case)["data"]
        assert plots.contour(spec, case, "width", "activation")["data"] == []
    assert plots.contour(spec, finished, "momentum", "momentum")["data"] == []


def test_a_default_outside_the_space_is_shown_inside(spec: StudySpec) -> None:
    finished = some_trials(4)
    finished[0] = trial(0, 0.5, {**finished[0].params, "learning_rate": 1e-9})
    found = plots.slices(spec, finished)
    assert found["learning_rate"]["data"][0]["x"][0] == 1e-3
