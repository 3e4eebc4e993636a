"""Charts by name: each is defined once, applies where it can, and is a figure of plotly's."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest

from selection.report.plots.chart_source import ChartSource, Subject
from selection.report.plots.charts import CHARTS, charts_of, draw, make_chart, plotly_figure
from selection.report.study_view import view_study
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
    view = source.view
    winner = None if source.assessment is None else source.assessment.winner
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
