"""Charts by name: each is defined once, applies where it can, and is a figure of plotly's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from selection.report.plots.chart_source import ChartSource, Subject
from selection.report.plots.charts import CHARTS, charts_of, draw, make_chart, plotly_figure
from selection.report.plots.empty import FEWEST_TRIALS, why_empty
from selection.report.study_view import view_study
from selection.study.trial import Trial, TrialState
from selection.workflows.assess import assess_study
from tests.sweep_bench import Bench, make_spec

# What needs more than a finished study: a curve traced, or layers kept.
ELSEWHERE = {"point-curve", "gradient-norm", "weight-norm", "dead-units"}


@pytest.fixture
def source(bench: Bench) -> ChartSource:
    study, _ = bench.procedure(make_spec())
    view = view_study(study, bench.repository)
    return ChartSource(view, assess_study(study, bench.repository), bench.repository)


def test_every_chart_is_a_figure_for_a_notebook_and_json_for_a_page(source: ChartSource) -> None:
    for name in CHARTS:
        figure = plotly_figure(name, source, param="width", trials=[0, 1])
        if name in ELSEWHERE:
            assert figure is None, name
            continue
        assert isinstance(figure, go.Figure), name
        drawn = draw(name, source, {"param": "width", "trials": "0,1"})
        assert drawn is not None
        assert len(figure.data) == len(drawn["data"]), name
        json.dumps(drawn, allow_nan=False)
        assert bool(drawn["data"]) != bool(why_empty(drawn)), name


def shortened(source: ChartSource, trials: Sequence[Trial]) -> ChartSource:
    """Return the source of a study that has these trials alone, and is not assessed."""
    return ChartSource(replace(source.view, trials=trials), None, source.repository)


def test_charts_of_too_few_trials_are_empty_and_say_why(bench: Bench) -> None:
    options: Any = {"pruner": "none", "pruner_options": {}}
    study, _ = bench.procedure(make_spec(trials=FEWEST_TRIALS, **options))
    view = view_study(study, bench.repository)
    source = ChartSource(view, assess_study(study, bench.repository), bench.repository)
    query = {"param": "width"}
    for name in ("importance", "contour", "slice"):
        enough = draw(name, source, query)
        assert enough is not None
        assert enough["data"], name
        found = draw(name, shortened(source, view.trials[1:]), query)
        assert found is not None
        assert found["data"] == []
        kind = "trials with a score" if name == "slice" else "complete trials"
        assert why_empty(found) == f"7 {kind}: fewer than 8 would show chance."
        assert not found["layout"]["xaxis"]["visible"], "no axis over nothing"
        assert "7 " in found["layout"]["annotations"][0]["text"], "Optuna Dashboard shows it too"


def test_pruned_trials_count_for_a_slice_alone(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec())
    view = view_study(study, bench.repository)
    assert len(view.ranked) < FEWEST_TRIALS < len(view.trials)
    source = ChartSource(view, None, bench.repository)
    drawn = draw("slice", source, {"param": "width"})
    assert drawn is not None
    assert [trace["name"] for trace in drawn["data"]] == ["complete", "pruned"]
    for name in ("importance", "contour"):
        assert (draw(name, source, {}) or {})["data"] == []


def test_every_chart_without_a_trial_says_why(source: ChartSource) -> None:
    params = source.view.trials[0].params
    failed = [Trial(0, TrialState.FAILED, params, 0, reason="diverged: in fold 0")]
    for case in ([], failed):
        nothing = shortened(source, case)
        for name in CHARTS:
            found = draw(name, nothing, {"param": "width"})
            if name in ELSEWHERE or name == "confusion":
                assert found is None, name
            elif case and name == "epochs":
                assert found is not None
                assert found["data"]
            else:
                assert found is not None, name
                assert found["data"] == [], name
                assert why_empty(found).endswith("."), name
                json.dumps(found, allow_nan=False)


def test_a_winner_without_competitors_and_equal_settings_say_why(source: ChartSource) -> None:
    assert source.assessment is not None
    lone = replace(source.assessment, competitors=[])
    found = draw("competitors", ChartSource(source.view, lone, source.repository), {})
    assert found is not None
    assert "no competitor" in why_empty(found)
    same = [replace(source.view.ranked[0], number=number) for number in range(9)]
    for name, why in (
        ("contour", "one value in all"),
        ("importance", "do not differ"),
        ("scores-against", "width has one value in all"),
    ):
        found = draw(name, shortened(source, same), {"param": "width"})
        assert found is not None
        assert why in why_empty(found)
    found = draw("parallel", shortened(source, same[:1]), {})
    assert found is not None
    assert "nothing to compare" in why_empty(found)


def test_a_notebook_chooses_as_a_reader_does(source: ChartSource) -> None:
    figure = plotly_figure("curves-score", source, trials=[0, 2])
    assert figure is not None
    names = {trace.name for trace in figure.data}
    assert names == {f"trial {n}, {part}" for n in (0, 2) for part in ("training", "validation")}
    assert source.winner is not None
    assert plotly_figure("confusion", source, trial=source.winner) == plotly_figure(
        "confusion", source
    )
    assert plotly_figure("confusion", source, trial=99) is None
    assert plotly_figure("slice", source, param="no") is None


def test_each_chart_says_what_its_numbers_are(source: ChartSource) -> None:
    view, assessment = source.view, source.assessment
    winner = assessment.winner if assessment else None
    assert winner is not None
    folds = source.folds([winner.number])[winner.number]
    of_trial = Subject(view, {}, winner, folds, has_predicted_classes=True)
    charts = charts_of("study", Subject(view)) + charts_of("trial", of_trial)
    assert [chart.title for chart in charts[:3]] == [
        "Optimisation history",
        "Which trials tie with the winner",
        "Learning curves: score",
    ]
    for chart in charts:
        assert "bserved" in chart.caption or chart.name == "epochs", chart.name
    titles = [chart.title for chart in charts_of("study", Subject(view))]
    assert len(set(titles)) == len(titles)


def test_charts_of_several_hyperparameters_need_several(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec(trials=3, space={"width": {"choices": [4, 8]}}))
    subject = Subject(view_study(study, bench.repository))
    names = {chart.name for chart in charts_of("study", subject)}
    assert names.isdisjoint({"parallel", "contour", "importance"})
    assert names >= {"history", "slice", "epochs"}


def test_a_chart_has_an_address_with_its_choices(source: ChartSource) -> None:
    chart = make_chart("slice", source.view, {"param": "width"})
    assert chart.address == "figures/slice.json?param=width"
    assert (chart.title, "accuracy" in chart.caption) == ("Slice: width", True)
