"""Figures of a diagnosis: the points of one curve, and what the layers of a trial did.

Pure functions of what is on record. Scores are observed; every number is a mean over folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selection.report.cells import show_value
from selection.report.plots.parts import (
    BLUE,
    ORANGE,
    PALETTE,
    Figure,
    Trace,
    axis,
    error_bars,
    even_indices,
    figure,
    finite,
    legend,
    line,
    named_axis,
    safe,
    score_axis,
    value_label,
)
from selection.stats.fit_diagnosis import FoldMean, over_folds
from selection.store.curve_points import ROWS, CurvePoint
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Scalar

# From this quotient of the largest and the smallest value on, the axis is logarithmic.
LOG_SPAN = 10.0
SHORT_SPAN = 100.0
MOST_TICKS = 10
MOST_EPOCHS = 200
# Neighbours differ in more than colour.
DASHES = ("solid", "dash", "dot", "dashdot")
DIGITS = 5
# Title and unit of each column of LayerCurves, and the factor from one to the other.
LAYER_TITLES = {
    "gradient_norm": ("gradient norm", 1.0),
    "weight_norm": ("weight norm", 1.0),
    "dead_share": ("dead ReLU units (%)", 100.0),
}
LOG_COLUMN = "gradient_norm"


def point_curve(spec: StudySpec, points: Sequence[CurvePoint]) -> Figure | None:
    """Return validation and training scores of one curve's points, in the points' order.

    Bars are one standard error over folds. A point that failed to train is left out; None without
    any other.
    """
    shown = [point for point in points if point.is_complete]
    if not shown:
        return None
    values = [point.value for point in shown]
    over = "training rows" if shown[0].over == ROWS else safe(shown[0].over)
    sizes = _sizes(values)
    x = list(range(len(shown))) if sizes is None else sizes
    data, means = [], []
    for part, colour, symbol, dash in (
        ("training", ORANGE, "diamond-open", "dash"),
        ("validation", BLUE, "circle", "solid"),
    ):
        scores = [_last(point, f"{part}_score") for point in shown]
        means += [score.mean for score in scores if np.isfinite(score.mean)]
        data.append(_scores(x, scores, part, colour, symbol, dash, over, values))
    if sizes is None:
        x_axis = named_axis(over, [value_label(value) for value in values])
    else:
        x_axis = _size_axis(over, sizes)
    return figure(data, x_axis, score_axis(spec, means))


def layer_curves(folds: Sequence[FoldResult], column: str) -> Figure | None:
    """Return one line per layer, the mean over folds against epochs; column is of LAYER_COLUMNS.

    None where no layer has a number.
    """
    means = layer_means(folds, column)
    if means is None:
        return None
    title, factor = LAYER_TITLES[column]
    is_log = column == LOG_COLUMN
    # A log axis cannot show 0.
    numbers = np.where(np.isfinite(means) & (means > 0), means, np.nan) if is_log else means
    layers = means.shape[1]
    data = []
    for layer in range(layers):
        drawn = finite((factor * numbers[:, layer]).tolist(), DIGITS)
        if all(number is None for number in drawn):
            continue
        indices = even_indices(len(drawn), MOST_EPOCHS)
        # Short names, so that the legend leaves the width to the plot.
        name = str(layer) + (", outputs" if layer == layers - 1 else "")
        data.append(
            line(
                [index + 1 for index in indices],
                [drawn[index] for index in indices],
                name,
                PALETTE[layer % len(PALETTE)],
                line={"dash": DASHES[layer % len(DASHES)]},
                hovertemplate=f"layer {name}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
            )
        )
    if not data:
        return None
    y_axis = _log_axis(title, numbers) if is_log else axis(title, rangemode="tozero")
    names = legend(-0.2, title={"text": "layer"})
    return figure(data, axis("epoch"), y_axis, showlegend=True, legend=names)


def layer_means(folds: Sequence[FoldResult], column: str) -> NDArray[np.float64] | None:
    """Return the mean over folds of a column of LAYER_COLUMNS; None where none is finite.

    Shape: (T, L).
    """
    known = [fold.layers.column(column) for fold in folds if fold.layers is not None]
    if not known:
        return None
    means: NDArray[np.float64] = np.mean(known, axis=0)
    return means if np.isfinite(means).any() else None


def _last(point: CurvePoint, column: str) -> FoldMean:
    return over_folds(np.array([fold.scored.column(column)[-1] for fold in point.folds]))


def _log_axis(title: str, numbers: NDArray[np.float64]) -> Trace:
    """Return a log axis for numbers, with ticks at 1, 2 and 5 where it spans few powers of 10."""
    is_short = np.nanmax(numbers) < SHORT_SPAN * np.nanmin(numbers)
    steps = {"dtick": "D2"} if is_short else {}
    return axis(title, type="log", exponentformat="power", **steps)


def _sizes(values: Sequence[Scalar]) -> list[float] | None:
    """Return values as numbers; None for words, and for true and false."""
    if any(isinstance(value, str | bool) for value in values):
        return None
    return [float(value) for value in values]


def _scores(
    x: Sequence[float],
    scores: Sequence[FoldMean],
    part: str,
    colour: str,
    symbol: str,
    dash: str,
    over: str,
    values: Sequence[Scalar],
) -> Trace:
    return line(
        x,
        finite([score.mean for score in scores]),
        part,
        colour,
        mode="lines+markers",
        line={"dash": dash},
        marker={"color": colour, "symbol": symbol, "size": 8},
        error_y=error_bars([score.standard_error for score in scores]),
        customdata=[value_label(value) for value in values],
        hovertemplate=f"{over} %{{customdata}}<br>{part}: %{{y:.4f}}<extra></extra>",
    )


def _size_axis(title: str, sizes: Sequence[float]) -> Trace:
    """Return an axis of numbers; on a log axis the values themselves are the ticks."""
    least, most = min(sizes), max(sizes)
    if least <= 0 or most <= LOG_SPAN * least:
        return axis(title)
    ticks: Trace = {"exponentformat": "power"}
    if len(sizes) <= MOST_TICKS:
        labels = [show_value(size) for size in sizes]
        ticks = {"tickmode": "array", "tickvals": list(sizes), "ticktext": labels}
    return axis(title, type="log", **ticks)
