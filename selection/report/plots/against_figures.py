"""All trials against one hyperparameter: training and validation scores, with running medians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selection.report.cells import finite_mean
from selection.report.plots.parts import (
    BLUE,
    MOST_POINTS,
    ORANGE,
    Figure,
    Trace,
    even_indices,
    figure,
    line,
    param_axis,
    points,
    pruned_trials,
    safe,
    score_axis,
)
from selection.study.space import Choices, Dimension, Range
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState, Value

BINS = 8


def numeric_names(spec: StudySpec) -> list[str]:
    """Return the hyperparameters that scores_against can put on an axis."""
    return [
        name
        for name, dimension in spec.space.items()
        if isinstance(dimension, Range) or all(map(_is_numeric, dimension.options))
    ]


def scores_against(spec: StudySpec, trials: Sequence[Trial], name: str) -> Figure:
    """Return training and validation scores of trials against one hyperparameter.

    Open marks are pruned trials, where they were pruned. The lines are running medians of the
    complete ones: where both are poor the MLP underfits, where they part it
    overfits. A default outside the range is drawn at the nearest point inside, as Optuna has it.
    """
    dimension = spec.space[name]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    pruned = pruned_trials(trials)
    data: list[Trace] = []
    shown: list[float] = []
    for part, colour, symbol, dash in (
        ("training", ORANGE, "diamond", "dash"),
        ("validation", BLUE, "circle", "solid"),
    ):
        found = _part_scores(dimension, name, complete, part)
        data.append(_part_points(found, part, colour, symbol))
        x, y = _running_median([x for x, _, _ in found], [y for _, y, _ in found])
        label = f"{part}, median"
        data.append(line(x, y, label, colour, line={"dash": dash}, hoverinfo="skip"))
        cut = _part_scores(dimension, name, pruned, part)
        if cut:
            data.append(_part_points(cut, f"{part}, pruned", colour, f"{symbol}-open"))
        shown += [y for _, y, _ in [*found, *cut]]
    title = safe(name)
    if isinstance(dimension, Choices) and any(isinstance(v, tuple) for v in dimension.options):
        title += " (widest layer)" if name == "width" else " (greatest of the layers)"
    is_log = isinstance(dimension, Range) and dimension.log
    values = [value for trace in data for value in trace["x"]]
    x_axis = param_axis(title, "log" if is_log else None, values)
    return figure(data, x_axis, score_axis(spec, shown))


def _part_scores(
    dimension: Dimension, name: str, trials: Sequence[Trial], part: str
) -> list[tuple[float, float, int]]:
    """Return value, mean score and number of each trial whose training or validation is defined."""
    found = []
    for trial in trials:
        scores = trial.fold_scores if part == "validation" else trial.train_scores
        if (score := finite_mean(scores)) is not None:
            found.append((_largest(dimension.nearest(trial.params[name])), score, trial.number))
    return found


def _part_points(
    found: Sequence[tuple[float, float, int]], name: str, colour: str, symbol: str
) -> Trace:
    kept = [found[index] for index in even_indices(len(found), MOST_POINTS)]
    return points(
        [x for x, _, _ in kept],
        [y for _, y, _ in kept],
        name,
        colour,
        symbol,
        # Open marks are thin: seen through, they would be lost on a dark page.
        opacity=0.9 if symbol.endswith("-open") else 0.6,
        customdata=[number for _, _, number in kept],
        hovertemplate=f"trial %{{customdata}}, {name}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
    )


def _running_median(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the medians of x and y in bins of equal counts; repeated values are bins of their own.

    Nothing where there are too few points for two bins.
    """
    order = np.argsort(np.asarray(x, dtype=np.float64), kind="stable")
    xs, ys = np.asarray(x, dtype=np.float64)[order], np.asarray(y, dtype=np.float64)[order]
    starts = np.flatnonzero(np.diff(xs)) + 1
    if len(starts) < BINS and len(xs) >= 2 * (len(starts) + 1):
        bins = np.split(np.arange(len(xs)), starts)
    else:
        bins = np.array_split(np.arange(len(xs)), max(1, min(BINS, len(xs) // 3)))
    if len(bins) < 2:
        return [], []
    return (
        [float(np.median(xs[indices])) for indices in bins],
        [float(np.median(ys[indices])) for indices in bins],
    )


def _is_numeric(value: Value) -> bool:
    return isinstance(value, tuple | int | float) and not isinstance(value, bool)


def _largest(value: Value) -> float:
    largest = max(value) if isinstance(value, tuple) else value
    assert isinstance(largest, int | float), "numeric_names says what has an axis"
    return float(largest)
