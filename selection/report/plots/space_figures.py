"""The charts of the search space: the observed score against the hyperparameters.

Most are Optuna's own plots, drawn anew: choices by the names people gave them, the colours and
axes of all our figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from selection.report.cells import finite_mean
from selection.report.plots.parts import (
    BLUE,
    HEAT_SCALE,
    MOST_POINTS,
    NEUTRAL,
    ORANGE,
    SKY,
    VERMILLION,
    Figure,
    Trace,
    axis,
    colour_bar,
    even_indices,
    figure,
    finished,
    finite,
    legend,
    line,
    named_axis,
    points,
    rule_at,
    safe,
    score_axis,
    score_title,
    value_label,
)
from selection.search import optuna_plots as plots
from selection.study.optuna_names import to_optuna
from selection.study.space import Choices, Range
from selection.study.spec import StudySpec
from selection.study.trial import Scalar, Trial, TrialState, Value

ORDER_SCALE = [[0.0, SKY], [1.0, VERMILLION]]
BINS = 8
MOST_HOVERED_LINES = 300


def slices(spec: StudySpec, trials: Sequence[Trial]) -> dict[str, Figure]:
    """Return the observed score against each hyperparameter, by name; later trials are redder."""
    found = {}
    for name, plot in plots.slices(spec, finished(trials)).items():
        labels = _choice_labels(spec, name, repr)
        trace = plot["data"][0]
        trace["x"] = [labels.get(value, value) for value in trace["x"]]
        trace["hovertemplate"] = "trial %{marker.color}<br>%{x}: %{y:.4f}<extra></extra>"
        trace["marker"] = {
            "color": trace["marker"]["color"],
            "colorscale": ORDER_SCALE,
            "colorbar": colour_bar("trial"),
            "size": 7,
            "line": {"color": NEUTRAL, "width": 0.5},
        }
        trace["name"] = "trial"
        x = _param_axis(safe(name), plot["layout"]["xaxis"].get("type"), trace["x"])
        if "categoryarray" in plot["layout"]["xaxis"]:
            x["categoryorder"] = "array"
            x["categoryarray"] = list(labels.values())
        found[name] = figure([trace], x, score_axis(spec, trace["y"]))
    return found


def contour(spec: StudySpec, trials: Sequence[Trial], first: str, second: str) -> Figure:
    """Return the observed score over two hyperparameters, the first by alphabet on the x axis."""
    across, up = sorted((first, second))
    plot = plots.contour(spec, finished(trials), first, second)
    drawn = plot["layout"]
    data = [trace for trace in plot["data"] if trace.get("x")]
    for trace in data:
        for way, name in (("x", across), ("y", up)):
            labels = _choice_labels(spec, name, str)
            trace[way] = [labels.get(value, value) for value in trace[way]]
        if trace["type"] == "contour":
            trace["colorscale"] = HEAT_SCALE
            trace["colorbar"] = colour_bar(score_title(spec))
        else:
            trace["marker"] = {
                "color": VERMILLION,
                "size": 6,
                "line": {"color": NEUTRAL, "width": 1},
            }
            trace["name"] = "trial"
            trace["hovertemplate"] = "%{x}, %{y}<extra></extra>"
    axes = []
    for way, name in (("x", across), ("y", up)):
        given = drawn.get(f"{way}axis", {})
        values = data[-1][way] if data else []
        axes.append(_param_axis(safe(name), given.get("type"), values))
        if "range" in given:
            axes[-1]["range"] = given["range"]
    return figure(data, *axes)


def parallel_coordinates(spec: StudySpec, trials: Sequence[Trial]) -> Figure:
    """Return complete trials as lines across score and hyperparameters, in groups by score.

    Every axis is drawn from its least to its greatest value; the best group lies on top.
    """
    plot = plots.parallel_coordinates(spec, finished(trials))
    lines = [trace for trace in plot["data"] if trace["mode"] == "lines"]
    lines.sort(key=lambda trace: trace["y"][0], reverse=spec.is_minimised)
    names = [spec.metric, *sorted(spec.space)]
    groups = np.array_split(np.arange(len(lines)), min(BINS, len(lines))) if lines else []
    data = [
        _line_group(spec, names, [lines[at] for at in indices], number, len(groups))
        for number, indices in enumerate(groups)
    ]
    marks = plot["layout"].get("annotations", [])
    x = {
        **named_axis("", [f"{spec.metric},<br>observed", *map(safe, names[1:])], len(names)),
        "showgrid": False,
        "range": [-0.35, len(names) - 0.65],
    }
    return figure(
        data,
        x,
        {"range": [-0.1, 1.1], "visible": False, "fixedrange": True},
        annotations=[
            mark
            for index, name in enumerate(names)
            for mark in _tick_labels(spec, name, index, [m for m in marks if m["x"] == index])
        ],
        shapes=[rule_at(index, ends=(0, 1)) for index in range(len(names))],
        margin={"l": 12, "r": 12, "t": 36, "b": 44},
        legend=legend(1.02, yanchor="bottom"),
    )


def importance(spec: StudySpec, trials: Sequence[Trial]) -> Figure | None:
    """Return the share of each hyperparameter in what sets the best tenth of the trials apart.

    None where it cannot be computed.
    """
    shares = plots.importances(spec, finished(trials))
    if not shares:
        return None
    names = [safe(name) for name in shares]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [100 * share for share in shares.values()],
        "y": list(range(len(shares))),
        "marker": {"color": BLUE},
        "hovertemplate": "%{x:.1f}%<extra></extra>",
        "showlegend": False,
    }
    title = f"share in % (PED-ANOVA)<br>of {score_title(spec)}"
    y = named_axis("", names, len(names)) | {"range": [len(names) - 0.5, -0.5]}
    return figure([bars], axis(title, range=[0, 100]), y)


def numeric_names(spec: StudySpec) -> list[str]:
    """Return the hyperparameters that scores_against can put on an axis."""
    return [
        name
        for name, dimension in spec.space.items()
        if isinstance(dimension, Range) or all(map(_is_numeric, dimension.options))
    ]


def scores_against(spec: StudySpec, trials: Sequence[Trial], name: str) -> Figure:
    """Return training and validation scores of complete trials against one hyperparameter.

    The lines are running medians: where both are poor the MLP underfits, where they part it
    overfits. A default outside the range is drawn at the nearest point inside, as Optuna has it.
    """
    dimension = spec.space[name]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    data: list[Trace] = []
    shown: list[float] = []
    for part, colour, symbol, dash in (
        ("training", ORANGE, "diamond-open", "dash"),
        ("validation", BLUE, "circle", "solid"),
    ):
        found = []
        for trial in complete:
            scores = trial.fold_scores if part == "validation" else trial.train_scores
            if (score := finite_mean(scores)) is not None:
                found.append((_largest(dimension.nearest(trial.params[name])), score, trial.number))
        kept = [found[index] for index in even_indices(len(found), MOST_POINTS)]
        data.append(
            points(
                [x for x, _, _ in kept],
                [y for _, y, _ in kept],
                part,
                colour,
                symbol,
                opacity=0.6,
                customdata=[number for _, _, number in kept],
                hovertemplate=f"trial %{{customdata}}, {part}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
            )
        )
        x, y = _running_median([x for x, _, _ in found], [y for _, y, _ in found])
        label = f"{part}, median"
        data.append(line(x, y, label, colour, line={"dash": dash}, hoverinfo="skip"))
        shown += [y for _, y, _ in found]
    title = safe(name)
    if isinstance(dimension, Choices) and any(isinstance(v, tuple) for v in dimension.options):
        title += " (widest layer)" if name == "width" else " (greatest of the layers)"
    is_log = isinstance(dimension, Range) and dimension.log
    x_axis = _param_axis(title, "log" if is_log else None, data[0]["x"])
    return figure(data, x_axis, score_axis(spec, shown))


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


def _param_axis(title: str, kind: str | None, values: Sequence[Any]) -> Trace:
    """Return the axis of a hyperparameter, as Optuna names its kind, that is to show values."""
    if kind != "log":
        return axis(title, **({"type": kind} if kind else {}))
    return axis(title, type="log", exponentformat="power", **_log_steps(values))


def _log_steps(values: Sequence[float]) -> Trace:
    """Return ticks at 1, 2 and 5 alone where plotly would crowd a narrow axis with all digits."""
    if not values or max(values) > 15 * min(values):
        return {}
    first = math.floor(math.log10(min(values)))
    ticks = [digit * 10.0**power for power in range(first, first + 3) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if min(values) <= tick <= max(values)]
    if len(shown) < 2:
        return {}
    # With dtick plotly would write 0.2 as a small 2 beside 10 to the power of -1.
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _choice_labels(spec: StudySpec, name: str, write: Callable[[Scalar], str]) -> dict[str, str]:
    """Return what Optuna writes for each choice, to what people are shown."""
    dimension = spec.space[name]
    if isinstance(dimension, Range):
        return {}
    return {
        write(to_optuna(dimension, option)): value_label(option) for option in dimension.options
    }


def _line_group(
    spec: StudySpec, names: Sequence[str], lines: Sequence[Trace], number: int, groups: int
) -> Trace:
    """Return Optuna's lines of about equal score as one; the last group is the best."""
    x: list[int | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    tables = [_choice_labels(spec, name, str) if name in spec.space else {} for name in names]
    for each in lines:
        x += [*each["x"], None]
        y += [*finite(each["y"], 4), None]
        for name, table, (_, value) in zip(names, tables, each["customdata"], strict=True):
            texts.append(f"{safe(name)}: {table.get(value, safe(value))}")
        texts.append(None)
    low, high = (each["customdata"][0][1] for each in (lines[0], lines[-1]))
    span = low if low == high else f"{low} to {high}"
    is_hovered = len(lines) * groups <= MOST_HOVERED_LINES
    hover: Trace = {"text": texts, "hoverinfo": "text"} if is_hovered else {"hoverinfo": "skip"}
    if number == groups - 1:
        return line(x, y, f"best: {span}", VERMILLION, line={"width": 1.5}, **hover)
    share = number / groups
    return line(
        x,
        y,
        f"worst: {span}" if number == 0 else span,
        _blend(NEUTRAL, BLUE, share),
        line={"width": 1},
        opacity=0.4 + 0.35 * share,
        showlegend=number == 0,
        **hover,
    )


def _blend(first: str, second: str, share: float) -> str:
    """Return the colour between two, with this share of the second."""
    pairs = ((int(first[at : at + 2], 16), int(second[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def _tick_labels(
    spec: StudySpec, name: str, index: int, marks: Sequence[Mapping[str, Any]]
) -> list[Trace]:
    """Return the ends of a range below and above its axis, and all choices beside theirs."""
    if not marks:
        return []
    labels = _choice_labels(spec, name, str) if name in spec.space else {}
    common = {"x": index, "showarrow": False, "font": {"size": 10, "shadow": "auto"}}
    if isinstance(spec.space.get(name), Choices) or len(marks) == 1:
        side = {"xanchor": "right", "xshift": -3} if index else {"xanchor": "left", "xshift": 3}
        return [
            {
                **common,
                **side,
                "y": mark["y"],
                "text": labels.get(mark["text"], safe(mark["text"])),
            }
            for mark in marks
        ]
    ends = (
        (min(marks, key=lambda m: m["y"]), "top"),
        (max(marks, key=lambda m: m["y"]), "bottom"),
    )
    return [
        {**common, "y": end["y"], "yanchor": anchor, "text": end["text"]} for end, anchor in ends
    ]


def _is_numeric(value: Value) -> bool:
    return isinstance(value, tuple | int | float) and not isinstance(value, bool)


def _largest(value: Value) -> float:
    largest = max(value) if isinstance(value, tuple) else value
    assert isinstance(largest, int | float), "numeric_names says what has an axis"
    return float(largest)
