"""Charts of curves and layers: the record's own numbers, JSON that holds no NaN."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from selection.report.curve_values import curve_value, diagnosis_value
from selection.report.diagnosis_view import StoredCurve
from selection.report.plots.diagnosis_figures import layer_curves, point_curve
from selection.stats.fit_diagnosis import Diagnosis, FoldMean, Verdict
from selection.store.curve_points import CurvePoint
from selection.study.trial import (
    CURVE_COLUMNS,
    FoldResult,
    LayerCurves,
    LearningCurve,
    Scalar,
)
from tests.sweep_bench import make_spec

NAN = float("nan")
FOLDS, EPOCHS = 3, 5
SPEC = make_spec()


def make_points(over: str, values: Sequence[Scalar], failed: Sequence[Scalar] = ()) -> Any:
    rng = np.random.default_rng(3)
    return [
        CurvePoint(
            12,
            over,
            value,
            tuple(
                FoldResult(0, fold, LearningCurve(rng.random((EPOCHS, len(CURVE_COLUMNS)))))
                for fold in range(FOLDS)
            ),
            "diverged: the loss is not finite" if value in failed else "",
        )
        for value in values
    ]


def ends(point: CurvePoint, column: str) -> Any:
    return np.array([fold.curve.points[-1, CURVE_COLUMNS.index(column)] for fold in point.folds])


def error(values: Any) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def check(figure: Any) -> None:
    """Plotly takes it, and JSON can say it."""
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    go.Figure(figure)


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        ([8, 16, 64], False),
        ([8, 16, 81], True),
        ([1e-5, 1e-3, 1e-1], True),
        ([0, 10, 1000], False),
        ([1, 10], False),
        (list(range(1, 15)), True),
    ],
)
def test_points_are_means_over_folds_at_their_values(values: Any, is_log: bool) -> None:
    points = make_points("width", values)
    figure: Any = point_curve(SPEC, points)
    check(figure)
    assert (figure["layout"]["xaxis"].get("type") == "log") == is_log
    assert figure["layout"]["xaxis"]["title"]["text"] == "width"
    for trace, part in zip(figure["data"], ("training", "validation"), strict=True):
        assert trace["name"] == part
        assert trace["x"] == values
        scores = [ends(point, f"{part}_score") for point in points]
        assert trace["y"] == pytest.approx([np.mean(each) for each in scores])
        assert trace["error_y"]["array"] == pytest.approx([error(each) for each in scores])
    assert figure["data"][0]["line"]["dash"] != figure["data"][1]["line"]["dash"]
    if is_log and len(values) <= 10:
        assert figure["layout"]["xaxis"]["tickvals"] == values


@pytest.mark.parametrize(
    ("values", "names"),
    [(["relu", "tanh"], ["relu", "tanh"]), ([False, True], ["False", "True"])],
)
def test_words_stand_beside_each_other(values: Any, names: list[str]) -> None:
    figure: Any = point_curve(SPEC, make_points("activation", values))
    check(figure)
    assert figure["layout"]["xaxis"]["ticktext"] == names
    assert figure["data"][1]["x"] == [0, 1]
    assert figure["data"][1]["customdata"] == names


def test_a_point_that_failed_is_left_out_and_named() -> None:
    points = make_points("learning_rate", [0.1, 1.0, 1e30], failed=[1e30])
    figure: Any = point_curve(SPEC, points)
    assert figure["data"][0]["x"] == [0.1, 1.0]
    assert "type" not in figure["layout"]["xaxis"], "what is not drawn stretches no axis"
    setting = StoredCurve(12, "learning_rate", points).setting
    assert "Left out, because training failed: 1e+30." in setting
    assert point_curve(SPEC, make_points("width", [2, 4], failed=[2, 4])) is None
    assert "Left out" not in StoredCurve(12, "width", points[:2]).setting


def test_titles_and_texts_say_what_is_fixed() -> None:
    over_rows = StoredCurve(12, "rows", make_points("rows", [10, 100]))
    assert over_rows.title == "Sample-size curve, setting of trial 12"
    figure: Any = point_curve(SPEC, over_rows.points)
    assert figure["layout"]["xaxis"]["title"]["text"] == "training rows"
    assert over_rows.folds == 3
    for words in ("Nested subsets", "same validation rows", "updates"):
        assert words in over_rows.setting
    over_width = StoredCurve(12, "width", make_points("width", [2, 4]))
    assert over_width.title == "Validation curve over width, all else as in trial 12"
    assert "All hyperparameters but width are those of trial 12." in over_width.setting


def test_one_fold_has_no_bars() -> None:
    points = [
        CurvePoint(0, "width", each.value, each.folds[:1]) for each in make_points("width", [2, 4])
    ]
    figure: Any = point_curve(SPEC, points)
    check(figure)
    assert figure["data"][0]["error_y"]["array"] == [None, None]


def make_folds(change: Callable[[Any], Any], layers: int = 3) -> list[FoldResult]:
    rng = np.random.default_rng(5)
    curve = LearningCurve(np.zeros((EPOCHS, len(CURVE_COLUMNS))))
    return [
        FoldResult(0, fold, curve, layers=LayerCurves(change(rng.random((EPOCHS, layers, 3)))))
        for fold in range(FOLDS)
    ]


def without_relu_outputs(points: Any) -> Any:
    points[:, -1, 2] = NAN
    return points


@pytest.mark.parametrize("column", [0, 1, 2])
def test_layers_are_means_over_folds(column: int) -> None:
    name = ("gradient_norm", "weight_norm", "dead_share")[column]
    folds = make_folds(without_relu_outputs)
    figure: Any = layer_curves(folds, name)
    check(figure)
    traces = figure["data"]
    means = np.mean([fold.layers.points[:, :, column] for fold in folds if fold.layers], axis=0)
    factor = 100 if name == "dead_share" else 1
    names = ["0", "1", "2, outputs"][: 2 if name == "dead_share" else 3]
    assert [trace["name"] for trace in traces] == names
    for layer, trace in enumerate(traces):
        assert trace["x"] == list(range(1, EPOCHS + 1))
        assert trace["y"] == pytest.approx((factor * means[:, layer]).tolist(), rel=1e-4)
    assert (figure["layout"]["yaxis"].get("type") == "log") == (name == "gradient_norm")


def test_a_log_axis_has_no_place_for_what_vanished() -> None:
    def vanish(points: Any) -> Any:
        points[2:, 0, 0] = 0.0
        points[3:, 1, 0] = np.inf
        return points

    figure: Any = layer_curves(make_folds(vanish), "gradient_norm")
    check(figure)
    assert [value is None for value in figure["data"][0]["y"]] == [False, False, *[True] * 3]
    assert [value is None for value in figure["data"][1]["y"]] == [*[False] * 3, True, True]


def test_layers_differ_by_colour_and_their_neighbours_by_dash_too() -> None:
    # Four hidden layers are the most that a study may have.
    figure: Any = layer_curves(make_folds(lambda points: points, 5), "weight_norm")
    evaluations = [trace["line"] for trace in figure["data"]]
    assert len({evaluation["color"] for evaluation in evaluations}) == 5
    assert all(one["dash"] != other["dash"] for one, other in pairwise(evaluations))


def test_without_numbers_there_is_no_chart() -> None:
    bare = [FoldResult(0, 0, LearningCurve(np.zeros((EPOCHS, len(CURVE_COLUMNS)))))]
    nothing = make_folds(lambda points: np.full_like(points, NAN))
    zeros = make_folds(np.zeros_like)
    for column in ("gradient_norm", "weight_norm", "dead_share"):
        assert layer_curves(bare, column) is None
        assert layer_curves([], column) is None
        assert layer_curves(nothing, column) is None
    assert layer_curves(zeros, "gradient_norm") is None
    assert layer_curves(zeros, "dead_share") is not None


def a_diagnosis(loss: float) -> Diagnosis:
    mean = FoldMean(0.5, 0.1)
    return Diagnosis(
        Verdict.OVERFIT, "rule", "advice", mean, FoldMean(loss, None), mean, mean, mean, -0.1, loss
    )


def test_a_diagnosis_as_json_has_no_nan() -> None:
    value = diagnosis_value(a_diagnosis(NAN))
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["verdict"] == "overfit"
    assert value["validation_loss"] == {"mean": None, "standard_error": None}
    assert value["training_loss"] == {"mean": 0.5, "standard_error": 0.1}
    assert value["gap"] == {"mean": 0.5, "standard_error": 0.1, "low": -0.1, "high": None}


def test_a_curve_as_json_has_a_flat_row_per_point() -> None:
    points = make_points("width", [2, 4, 8], failed=[8])
    points[1].folds[0].curve.points[-1] = NAN
    rows = curve_value(points, [a_diagnosis(0.7), None, None], "accuracy")
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    scores, losses = ends(points[0], "validation_score"), ends(points[0], "training_loss")
    assert rows[0] == {
        "over": "width",
        "value": 2,
        "trial": 12,
        "folds": FOLDS,
        "validation_accuracy": pytest.approx(scores.mean()),
        "validation_accuracy_standard_error": pytest.approx(error(scores)),
        "training_accuracy": pytest.approx(ends(points[0], "training_score").mean()),
        "training_accuracy_standard_error": pytest.approx(error(ends(points[0], "training_score"))),
        "validation_loss": pytest.approx(ends(points[0], "validation_loss").mean()),
        "training_loss": pytest.approx(losses.mean()),
        "gap": 0.5,
        "gap_low": -0.1,
        "gap_high": 0.7,
        "verdict": "overfit",
        "reason": "",
    }
    assert rows[1]["validation_accuracy"] is None
    assert rows[1]["verdict"] is None
    assert rows[2]["training_loss"] is None
    assert rows[2]["reason"].startswith("diverged")
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
