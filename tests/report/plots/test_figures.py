"""Every chart: the trials' own numbers, JSON that holds no NaN, names that are only names."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from selection.report.plots import figures
from selection.report.plots.parts import (
    MOST_POINTS,
    PALETTE,
    STATES,
    bulk_range,
    even_indices,
    safe,
    value_label,
)
from selection.stats.paired_tests import Comparison
from selection.stats.selection_rules import rank
from selection.study.spec import StudySpec
from selection.study.trial import CURVE_COLUMNS, FoldResult, LearningCurve, Trial, TrialState
from selection.workflows.assess import Assessment
from tests.sweep_bench import Bench, make_spec

SPACE = {
    "width": {"choices": [4, [8, 8], [16, 4], 32]},
    "learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
    "activation": {"choices": ["relu", "tanh"]},
    "momentum": {"low": 0.0, "high": 0.9},
    "nesterov": {"choices": [True, False]},
}
NAN = float("nan")
EVIL = '<a href="javascript:x">'


@dataclasses.dataclass(frozen=True)
class Real:
    """Hold one small study that was really trained."""

    spec: StudySpec
    assessment: Assessment
    curves: dict[int, list[FoldResult]]

    @property
    def trials(self) -> list[Trial]:
        return list(self.assessment.trials)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    bench = Bench(Path(tmp_path_factory.mktemp("figures")))
    spec = make_spec(space=SPACE, trials=20, cohort=5)
    study, _ = bench.procedure(spec)
    assessment = bench.assess(study)
    curves = {
        each.number: list(bench.records.curves(study, each.number)) for each in assessment.trials
    }
    yield Real(spec, assessment, curves)
    bench.database.close()


@pytest.fixture
def spec() -> StudySpec:
    return make_spec(space=SPACE)


def some_trials(count: int, folds: int = 3) -> list[Trial]:
    rng = random.Random(5)
    found = []
    for number in range(count):
        params: dict[str, Any] = {
            "width": rng.choice([4, (8, 8), (16, 4), 32]),
            "learning_rate": 10 ** rng.uniform(-3, 0),
            "activation": rng.choice(["relu", "tanh"]),
            "momentum": rng.uniform(0, 0.9),
            "nesterov": rng.choice([True, False]),
        }
        scores = tuple(rng.uniform(0.5, 1.0) for _ in range(folds))
        state = rng.choice(list(STATES))
        value = float(np.mean(scores)) if state is TrialState.COMPLETE else None
        epochs = 4 if state is TrialState.COMPLETE else rng.randint(1, 3)
        training = tuple(score + 0.01 for score in scores)
        found.append(
            Trial(
                number,
                state,
                params,
                0,
                value=value,
                fold_scores=scores,
                train_scores=training,
                epochs=epochs,
            )
        )
    return found


def some_curves(trials: int, folds: int, epochs: int) -> dict[int, list[FoldResult]]:
    rng = np.random.default_rng(7)
    shape = (epochs, len(CURVE_COLUMNS))
    return {
        number: [FoldResult(0, fold, LearningCurve(rng.random(shape))) for fold in range(folds)]
        for number in range(trials)
    }


def all_figures(
    spec: StudySpec, trials: list[Trial], curves: dict[int, list[FoldResult]]
) -> dict[str, figures.Figure]:
    winner = next((t.number for t in trials if t.state is TrialState.COMPLETE), None)
    importance = figures.importance(spec, trials)
    return {
        "history": figures.optimisation_history(spec, trials, winner),
        "loss": figures.learning_curves(spec, curves, "loss"),
        "score": figures.learning_curves(spec, curves, "score"),
        "band": figures.learning_band(spec, curves),
        "leaders": figures.leader_folds(spec, rank(trials, is_minimised=spec.is_minimised)[:10]),
        "parallel": figures.parallel_coordinates(spec, trials),
        "contour": figures.contour(spec, trials, "width", "learning_rate"),
        "epochs": figures.epochs_spent(spec, trials),
        **({"importance": importance} if importance else {}),
        **{f"slice {name}": plot for name, plot in figures.slices(spec, trials).items()},
        **{
            f"curve {name}": figures.scores_against(spec, trials, name)
            for name in figures.numeric_names(spec)
        },
    }


def test_the_epoch_that_scores_a_trial_is_marked_where_it_was_chosen(spec: StudySpec) -> None:
    plain = some_curves(2, 3, 8)
    marked = {**plain, 1: [dataclasses.replace(fold, best_epoch=5) for fold in plain[1]]}
    for draw in (partial(figures.learning_curves, kind="score"), figures.learning_band):
        assert not any("best" in trace["name"] for trace in draw(spec, plain)["data"])
        (mark,) = (trace for trace in draw(spec, marked)["data"] if "best" in trace["name"])
        assert mark["name"] == "trial 1, best epoch"
        assert set(mark["x"]) == {5}
        scores = [fold.curve.column("validation_score")[4] for fold in plain[1]]
        assert np.mean(mark["y"]) == pytest.approx(np.mean(scores), abs=1e-4)


def check(plot: figures.Figure) -> str:
    """Say that a figure is plotly's, light, and leaves the colours of the text to the page."""
    text = json.dumps(plot, allow_nan=False)
    go.Figure(plot)
    layout = plot["layout"]
    assert set(plot) == {"data", "layout"}
    assert '"template"' not in text
    assert "bdata" not in text
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert "width" not in layout
    assert "title" not in layout
    for colour in ('"black"', '"white"', '"#000', '"#fff', '"#FFF', '"#444"', "rgb(0"):
        assert colour not in text
    assert {trace["type"] for trace in plot["data"]} <= {"scatter", "bar", "heatmap", "contour"}
    return text


def named(plot: figures.Figure, name: str) -> dict[str, Any]:
    (found,) = [trace for trace in plot["data"] if trace["name"] == name]
    return dict(found)


def test_every_figure_of_a_real_study(real: Real) -> None:
    plots = all_figures(real.spec, real.trials, real.curves)
    plots["competitors"] = figures.competitors(real.assessment)
    assert {"importance", "slice width", "curve width"} <= set(plots)
    for name, plot in plots.items():
        check(plot)
        assert plot["data"], name
        titles = json.dumps([plot["layout"][way] for way in ("xaxis", "yaxis")])
        assert name in ("loss", "epochs", "contour") or "observed" in titles, name


def test_every_figure_of_next_to_nothing(spec: StudySpec) -> None:
    trials = some_trials(12)
    params = trials[0].params
    failed = [
        dataclasses.replace(
            t, state=TrialState.FAILED, value=None, fold_scores=(NAN, 1.0), train_scores=()
        )
        for t in trials
    ]
    constant = [dataclasses.replace(t, params=params) for t in trials]
    undefined = [
        dataclasses.replace(t, value=t.value and NAN, fold_scores=(NAN, NAN)) for t in trials
    ]
    waiting = [Trial(n, state, params, 0) for n, state in enumerate(TrialState) if n < 2]
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    broken = {3: [FoldResult(0, 0, LearningCurve(np.full((2, 6), NAN)))], 4: []}
    for case in ([], waiting, complete[:1], failed, constant, undefined, [*trials, *waiting]):
        for plot in all_figures(spec, case, broken).values():
            check(plot)
    outside = [dataclasses.replace(complete[0], params={**params, "learning_rate": 0.0})]
    plot = figures.scores_against(spec, outside, "learning_rate")
    assert named(plot, "validation")["x"] == [1e-3]


def test_history_shows_means_and_standard_errors(real: Real) -> None:
    winner = real.assessment.winner
    assert winner is not None
    plot = figures.optimisation_history(real.spec, real.trials, winner.number)
    for state in STATES:
        trials = [t for t in real.trials if t.state is state and t.fold_scores]
        trace = named(plot, state.value)
        assert trace["x"] == [t.number for t in trials]
        assert trace["y"] == pytest.approx([np.mean(t.fold_scores) for t in trials], abs=1e-12)
    complete = [t for t in real.trials if t.state is TrialState.COMPLETE]
    errors = [np.std(t.fold_scores, ddof=1) / np.sqrt(len(t.fold_scores)) for t in complete]
    assert named(plot, "complete")["error_y"]["array"] == pytest.approx(errors)
    best = named(plot, "best so far")
    assert best["y"][-1] == max(t.value for t in complete if t.value is not None)
    assert best["y"] == sorted(best["y"])
    assert named(plot, f"winner, trial {winner.number}")["y"] == [winner.value]
    assert len({style.symbol for style in STATES.values()}) == len(STATES)
    assert named(plot, "pruned")["marker"]["symbol"] == "circle-open"


def test_the_best_so_far_falls_where_less_is_better() -> None:
    spec = make_spec(space=SPACE, metric="cross_entropy")
    trials = [dataclasses.replace(t, state=TrialState.COMPLETE) for t in some_trials(30)]
    trials = [dataclasses.replace(t, value=float(np.mean(t.fold_scores))) for t in trials]
    best = named(figures.optimisation_history(spec, trials, None), "best so far")
    least = np.minimum.accumulate([t.value or 0.0 for t in trials])
    assert best["y"] == [float(least[number]) for number in best["x"]]
    assert set(best["y"]) == set(least.tolist())


def test_a_long_history_keeps_the_best_and_the_winner(spec: StudySpec) -> None:
    trials = some_trials(4000)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    winner = complete[-1].number
    plot = figures.optimisation_history(spec, trials, winner)
    shown = {n for state in STATES for n in named(plot, state.value)["x"]}
    best = named(plot, "best so far")
    assert set(best["x"][:-1]) | {winner} <= shown
    assert max(best["y"]) == max(t.value for t in complete if t.value is not None)
    assert len(shown) <= MOST_POINTS + len(best["x"]) + 1
    assert "error_y" not in named(plot, "complete")
    assert len(check(plot)) < 100_000


def test_a_score_far_off_does_not_hide_the_others(spec: StudySpec) -> None:
    trials = [dataclasses.replace(t, state=TrialState.PRUNED) for t in some_trials(20)]
    trials[5] = dataclasses.replace(trials[5], value=None, fold_scores=(-1e9,))
    axis = figures.optimisation_history(spec, trials, None)["layout"]["yaxis"]
    assert "1 off the scale" in axis["title"]["text"]
    assert axis["range"][0] > 0
    assert bulk_range([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) is None
    assert bulk_range([1.0] * 9 + [2.0]) is None


@pytest.mark.parametrize("kind", ["loss", "score"])
def test_learning_curves_are_the_folds_own(real: Real, kind: Any) -> None:
    curves = dict(list(real.curves.items())[:2])
    plot = figures.learning_curves(real.spec, curves, kind)
    folds = real.spec.sections.cv.folds
    assert len(plot["data"]) == 2 * 2 * folds
    for colour, (number, results) in zip(PALETTE, curves.items(), strict=False):
        for part, dash in (("training", "dash"), ("validation", "solid")):
            traces = [t for t in plot["data"] if t["name"] == f"trial {number}, {part}"]
            for trace, fold in zip(traces, results, strict=True):
                expected = fold.curve.column(f"{part}_{kind}").tolist()
                assert trace["y"] == pytest.approx(expected, rel=1e-4)
                assert trace["x"] == list(range(1, len(expected) + 1))
                assert trace["line"]["dash"] == dash
                assert trace["line"]["color"] == colour
                assert f"fold {fold.fold}" in trace["hovertemplate"]
            assert [t["showlegend"] for t in traces] == [True] + [False] * (folds - 1)
            assert len({t["legendgroup"] for t in traces}) == 1
    assert len({t["legendgroup"] for t in plot["data"]}) == 4


def test_learning_curves_say_their_units_and_repeats() -> None:
    regression = make_spec(
        {"data": {"dataset": "diabetes"}, "cv": {"folds": 3, "repeats": 2}},
        space=SPACE,
        metric="rmse",
    )
    curves = some_curves(8, 2, 3)
    plot = figures.learning_curves(regression, curves, "loss")
    assert plot["layout"]["yaxis"]["title"]["text"] == "squared error (standardised target)"
    assert "repeat 0, fold 1" in plot["data"][1]["hovertemplate"]
    assert len({t["line"]["color"] for t in plot["data"]}) == figures.MOST_CURVES
    title = figures.learning_curves(regression, curves, "score")["layout"]["yaxis"]["title"]["text"]
    assert title == "rmse, observed (target)"


def test_a_loss_that_diverged_is_a_gap(spec: StudySpec) -> None:
    points = np.ones((3, len(CURVE_COLUMNS)))
    points[1:] = [[NAN], [np.inf]]
    curves = {0: [FoldResult(0, 0, LearningCurve(points))]}
    plot = figures.learning_curves(spec, curves, "loss")
    assert plot["data"][0]["y"] == [1.0, None, None]
    band = figures.learning_band(spec, curves)
    assert named(band, "trial 0")["x"] == [1]
    check(band)


def test_the_band_spans_the_folds_and_is_small(spec: StudySpec) -> None:
    curves = some_curves(5, 10, 500)
    plot = figures.learning_band(spec, curves)
    assert len(check(plot)) < 50_000
    scores = np.stack([fold.curve.column("validation_score") for fold in curves[3]])
    mean, band = named(plot, "trial 3"), named(plot, "trial 3, folds")
    indices = [epoch - 1 for epoch in mean["x"]]
    assert (indices[0], indices[-1]) == (0, 499)
    assert 50 < len(indices) <= figures.MOST_EPOCHS_OF_BAND
    assert mean["y"] == pytest.approx(scores.mean(axis=0)[indices].tolist(), rel=1e-4)
    assert band["x"] == [*mean["x"], *mean["x"][::-1]]
    ends = [*scores.max(axis=0)[indices], *scores.min(axis=0)[indices][::-1]]
    assert band["y"] == pytest.approx(ends, rel=1e-4)


def test_the_folds_of_the_leaders_are_small(spec: StudySpec) -> None:
    complete = [t for t in some_trials(60, folds=50) if t.state is TrialState.COMPLETE]
    leaders = rank(complete, is_minimised=False)[:10]
    plot = figures.leader_folds(spec, leaders)
    assert len(check(plot)) < 50_000
    assert named(plot, "mean")["y"] == [t.value for t in leaders]
    folds = named(plot, "fold")
    for index, trial in enumerate(leaders):
        own = [y for x, y in zip(folds["x"], folds["y"], strict=True) if x == index]
        assert own == pytest.approx(list(trial.fold_scores), rel=1e-4)
    assert plot["layout"]["xaxis"]["ticktext"] == [str(t.number) for t in leaders]


def test_slices_name_choices_as_people_do(real: Real) -> None:
    found = figures.slices(real.spec, real.trials)
    assert set(found) == set(real.spec.space)
    complete = {t.number: t for t in real.trials if t.state is TrialState.COMPLETE}
    trace = named(found["width"], "complete")
    names = {4: "4", 32: "32", (8, 8): "8, 8", (16, 4): "16, 4"}
    shown = zip(trace["marker"]["color"], trace["x"], trace["y"], strict=True)
    for number, x, y in shown:
        assert x == names[complete[number].params["width"]]
        assert y == complete[number].value
    assert found["width"]["layout"]["xaxis"]["categoryarray"] == ["4", "8, 8", "16, 4", "32"]
    assert found["learning_rate"]["layout"]["xaxis"]["type"] == "log"
    assert "type" not in found["momentum"]["layout"]["xaxis"]
    cut = named(found["width"], "pruned")
    pruned = [t for t in real.trials if t.state is TrialState.PRUNED]
    assert cut["marker"]["symbol"] == "circle-open"
    assert cut["marker"]["color"] == [t.number for t in pruned]
    assert cut["x"] == [names[t.params["width"]] for t in pruned]
    assert cut["y"] == pytest.approx([np.mean(t.fold_scores) for t in pruned])
    rates = named(found["learning_rate"], "pruned")["x"]
    assert rates == pytest.approx([t.params["learning_rate"] for t in pruned])
    ends = [(trace["marker"]["cmin"], trace["marker"]["cmax"]) for trace in found["width"]["data"]]
    assert ends == [(0, len(real.trials) - 1)] * 2, "one colour means one number"


def test_a_contour_has_log_axes_and_named_choices(spec: StudySpec) -> None:
    trials = some_trials(40)
    plot = figures.contour(spec, trials, "width", "learning_rate")
    layout = plot["layout"]
    assert layout["xaxis"]["type"] == "log"
    assert layout["xaxis"]["title"]["text"] == "learning_rate"
    assert set(plot["data"][0]["y"]) == {"4", "8, 8", "16, 4", "32"}
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    assert sorted(plot["data"][1]["x"]) == pytest.approx(
        sorted(t.params["learning_rate"] for t in complete)
    )
    cut = plot["data"][2]
    pruned = [t for t in trials if t.state is TrialState.PRUNED]
    assert (cut["name"], cut["marker"]["symbol"]) == ("pruned", "circle-open")
    assert cut["x"] == pytest.approx([t.params["learning_rate"] for t in pruned])
    assert set(cut["y"]) <= {"4", "8, 8", "16, 4", "32"}
    empty = figures.contour(spec, trials[:1], "width", "learning_rate")
    assert empty["data"] == []


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
def test_parallel_lines_are_groups_by_score(metric: str) -> None:
    spec = make_spec(space=SPACE, metric=metric)
    complete = [t for t in some_trials(300) if t.state is TrialState.COMPLETE]
    plot = figures.parallel_coordinates(spec, complete)
    check(plot)
    assert len(plot["data"]) == 8
    names = [metric, *sorted(spec.space)]
    size = len(names) + 1
    heights = []
    for trace in plot["data"]:
        assert all(value is None for value in trace["y"][size - 1 :: size])
        heights.append(trace["y"][::size])
    ranked = rank(complete, is_minimised=spec.is_minimised)
    values = [t.value for t in complete if t.value is not None]
    best = [t.value for t in ranked if t.value is not None][: len(heights[-1])]
    expected = [(value - min(values)) / (max(values) - min(values)) for value in best]
    assert sorted(heights[-1]) == pytest.approx(sorted(expected), abs=1e-3)
    assert plot["data"][-1]["name"].startswith("best: ")
    assert plot["data"][0]["name"].startswith("worst: ")
    assert max(trace["line"]["width"] for trace in plot["data"][:-1]) < 1.5
    # Both ends of a range are labelled, and every choice.
    rates = [t.params["learning_rate"] for t in complete]
    marks = [m for m in plot["layout"]["annotations"] if m["x"] == names.index("learning_rate")]
    assert {m["text"] for m in marks} == {f"{end:.3g}" for end in (min(rates), max(rates))}
    marks = [m for m in plot["layout"]["annotations"] if m["x"] == names.index("width")]
    assert {m["text"] for m in marks} == {"4", "8, 8", "16, 4", "32"}


def test_many_parallel_lines_are_light(spec: StudySpec) -> None:
    plot = figures.parallel_coordinates(spec, some_trials(3000))
    assert len(check(plot)) < 60_000
    assert all(trace["hoverinfo"] == "skip" for trace in plot["data"])


def test_importance_says_by_what(real: Real) -> None:
    plot = figures.importance(real.spec, real.trials)
    assert plot is not None
    (bars,) = plot["data"]
    assert bars["orientation"] == "h"
    assert sum(bars["x"]) == pytest.approx(100)
    assert bars["x"] == sorted(bars["x"], reverse=True)
    assert "PED-ANOVA" in plot["layout"]["xaxis"]["title"]["text"]
    assert set(plot["layout"]["yaxis"]["ticktext"]) == set(real.spec.space)
    assert figures.importance(real.spec, real.trials[:1]) is None


def test_scores_against_a_hyperparameter_show_both_means(spec: StudySpec) -> None:
    trials = some_trials(60)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    assert figures.numeric_names(spec) == ["width", "learning_rate", "momentum"]
    plot = figures.scores_against(spec, trials, "learning_rate")
    for part, scores in (("validation", "fold_scores"), ("training", "train_scores")):
        trace = named(plot, part)
        assert trace["x"] == [t.params["learning_rate"] for t in complete]
        assert trace["customdata"] == [t.number for t in complete]
        assert trace["y"] == pytest.approx([np.mean(getattr(t, scores)) for t in complete])
        pruned = [t for t in trials if t.state is TrialState.PRUNED]
        cut = named(plot, f"{part}, pruned")
        assert cut["marker"]["symbol"] == f"{trace['marker']['symbol']}-open"
        assert cut["customdata"] == [t.number for t in pruned]
        assert cut["y"] == pytest.approx([np.mean(getattr(t, scores)) for t in pruned])
    assert plot["layout"]["xaxis"]["type"] == "log"
    plot = figures.scores_against(spec, trials, "width")
    widths = [8 if t.params["width"] == (8, 8) else t.params["width"] for t in complete]
    widths = [16 if width == (16, 4) else width for width in widths]
    assert named(plot, "validation")["x"] == widths
    assert "widest layer" in plot["layout"]["xaxis"]["title"]["text"]
    medians = named(plot, "validation, median")
    assert medians["x"] == [4, 8, 16, 32]
    for width, median in zip(medians["x"], medians["y"], strict=True):
        own = [t.value for t, at in zip(complete, widths, strict=True) if at == width]
        assert median == pytest.approx(np.median(own))  # type: ignore[arg-type]


def test_epochs_are_shown_by_colour_and_pattern(spec: StudySpec) -> None:
    trials = some_trials(30)
    plot = figures.epochs_spent(spec, trials)
    for state in STATES:
        own = [t for t in trials if t.state is state]
        trace = named(plot, state.value)
        assert trace["x"] == [t.number for t in own]
        assert trace["y"] == [t.epochs for t in own]
    assert len({t["marker"]["pattern"]["shape"] for t in plot["data"]}) == len(STATES)
    assert {t["width"] for t in plot["data"]} == {1}, "no bar covers a neighbour"
    assert plot["layout"]["xaxis"]["range"][0] <= -0.5, "the first bar is whole"
    assert plot["layout"]["xaxis"]["range"][1] >= 29.5
    many = figures.epochs_spent(spec, some_trials(1500))
    assert {t["type"] for t in many["data"]} == {"scatter"}
    totals = [sum(of_state) for of_state in zip(*(t["y"] for t in many["data"]), strict=True)]
    expected = np.mean([t.epochs for t in some_trials(1500)])
    assert np.mean(totals) == pytest.approx(expected, rel=1e-3)
    assert len(check(many)) < 20_000


def test_one_trial_alone_has_axes_that_fit_it(spec: StudySpec) -> None:
    trial = dataclasses.replace(some_trials(1)[0], state=TrialState.COMPLETE, value=0.8, epochs=4)
    history = figures.optimisation_history(spec, [trial], 0)["layout"]
    assert history["xaxis"]["range"] == [-0.9, 0.9]
    assert history["xaxis"]["dtick"] == 1
    assert history["yaxis"]["range"] == pytest.approx([0.7, 0.9])
    epochs = figures.epochs_spent(spec, [trial])["layout"]
    assert epochs["xaxis"]["range"] == [-0.9, 0.9]
    assert (epochs["yaxis"]["range"], epochs["yaxis"]["dtick"]) == ([0, 4.2], 1)
    curves = figures.learning_curves(spec, some_curves(1, 2, 1), "loss")
    assert {trace["mode"] for trace in curves["data"]} == {"markers"}, "a line needs two epochs"
    assert curves["layout"]["xaxis"]["range"] == pytest.approx([0.1, 1.9])
    longer = figures.learning_curves(spec, some_curves(1, 2, 20), "loss")
    assert {trace["mode"] for trace in longer["data"]} == {"lines"}
    assert longer["layout"]["xaxis"]["range"] == [0.5, 20.5]


def test_a_narrow_log_axis_writes_its_ticks_out(spec: StudySpec) -> None:
    trials = [trial for trial in some_trials(40) if trial.state is TrialState.COMPLETE]
    near = [
        dataclasses.replace(trial, params={**trial.params, "learning_rate": rate})
        for trial, rate in zip(trials, (0.1, 0.15, 0.4), strict=False)
    ]
    ticks = figures.scores_against(spec, near, "learning_rate")["layout"]["xaxis"]
    assert ticks["ticktext"][:4] == ["0.1", "0.2", "0.5", "1"]
    assert [f"{tick:g}" for tick in ticks["tickvals"]] == ticks["ticktext"]
    wide = figures.scores_against(spec, trials, "learning_rate")["layout"]["xaxis"]
    assert "tickvals" not in wide


def test_competitors_are_the_best_and_say_who_is_alike(real: Real) -> None:
    competitors = [
        dataclasses.replace(
            real.assessment.competitors[0],
            number=number,
            mean=number / 100,
            advantage=Comparison(0.1, 0.05, 0.2, 0.01 * (number % 2) or 0.5, ""),
        )
        for number in range(1, 31)
    ]
    constant = Comparison(0.3, None, None, None, "constant")
    competitors[-1] = dataclasses.replace(competitors[-1], advantage=constant)
    assessment = dataclasses.replace(real.assessment, competitors=competitors)
    plot = figures.competitors(assessment)
    check(plot)
    shown = [str(number) for number in range(30, 10, -1)]
    assert plot["layout"]["yaxis"]["ticktext"] == shown
    assert plot["layout"]["yaxis"]["range"] == [19.5, -0.5]
    alike, apart = named(plot, "ties with the winner"), named(plot, "differs from the winner")
    assert alike["marker"]["symbol"] != apart["marker"]["symbol"]
    assert [shown[index] for index in apart["y"]] == [n for n in shown if int(n) % 2]
    assert apart["error_x"]["array"] == pytest.approx([0.1] * 10)
    assert apart["error_x"]["arrayminus"] == pytest.approx([0.05] * 10)
    assert (alike["x"][0], alike["error_x"]["array"][0]) == (0.3, None)
    (line,) = plot["layout"]["shapes"]
    assert line["x0"] == line["x1"] == 0


def test_confusion_shows_counts_and_shares_of_lines() -> None:
    plot = figures.confusion(["a", "b", "c"], [[8, 2, 0], [0, 5, 5], [0, 0, 0]])
    check(plot)
    (heat,) = plot["data"]
    assert heat["z"] == [[0.8, 0.2, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]
    assert heat["text"][1] == ["0", "5", "5"]
    assert "true" in plot["layout"]["yaxis"]["title"]["text"]
    low, high = plot["layout"]["yaxis"]["range"]
    assert low > high
    many = figures.confusion([f"class {n}" for n in range(60)], np.eye(60, dtype=int).tolist())
    assert "text" not in many["data"][0]
    assert len(many["layout"]["xaxis"]["ticktext"]) <= 25


def test_names_are_only_names() -> None:
    text = check(figures.confusion([EVIL, "%{x}", "R&D"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert "<a" not in text
    assert "&lt;a" in text
    assert "R&amp;D" in text
    assert "R&amp;amp;D" not in text
    assert safe("<b>bold</b>\nline") == "&lt;b&gt;bold&lt;/b&gt; line"
    assert len(safe("x" * 100)) == 24
    layers: list[Any] = [(0.125, 0.125, 0.125, 0.25), (0.125, 0.125, 0.125, 0.35), "<b>"]
    assert len({value_label(each) for each in layers}) == 3
    assert value_label("<b>") == "&lt;b&gt;"


def test_even_places_keep_both_ends() -> None:
    assert even_indices(3, 5) == [0, 1, 2]
    indices = even_indices(1000, 7)
    assert (indices[0], indices[-1], len(indices)) == (0, 999, 7)
    assert even_indices(0, 5) == []
