"""The charts of the search space: the observed score against the hyperparameters.

Most are Optuna's own plots, drawn anew: choices by the names people gave them, the colours and
axes of all our figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from selection.report.plots.parts import (
    BLUE,
    HEAT_SCALE,
    NEUTRAL,
    SKY,
    VERMILLION,
    Figure,
    Trace,
    axis,
    colour_bar,
    figure,
    finished,
    finite,
    last_score,
    legend,
    line,
    named_axis,
    param_axis,
    points,
    pruned_trials,
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
from selection.study.trial import Scalar, Trial

ORDER_SCALE = [[0.0, SKY], [1.0, VERMILLION]]
BINS = 8
MOST_HOVERED_LINES = 300


def slices(spec: StudySpec, trials: Sequence[Trial]) -> dict[str, Figure]:
    """Return the observed score against each hyperparameter, by name; later trials are redder.

    Open marks are pruned trials, where they were pruned.
    """
    found = {}
    pruned = pruned_trials(trials)
    numbers = [trial.number for trial in finished(trials)]
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
            "cmin": min(numbers),
            "cmax": max(numbers),
        }
        trace |= {"name": "complete", "showlegend": True}
        open_marks = _open_marks(spec, name, pruned, labels, trace["marker"])
        shown = [*trace["x"], *open_marks["x"]]
        x = param_axis(safe(name), plot["layout"]["xaxis"].get("type"), shown)
        if "categoryarray" in plot["layout"]["xaxis"]:
            x["categoryorder"] = "array"
            x["categoryarray"] = list(labels.values())
        y = score_axis(spec, [*trace["y"], *open_marks["y"]])
        found[name] = figure([trace, open_marks] if pruned else [trace], x, y)
    return found


def _open_marks(
    spec: StudySpec,
    name: str,
    pruned: Sequence[Trial],
    labels: Mapping[str, str],
    marker: Mapping[str, Any],
) -> Trace:
    """Return pruned trials against one hyperparameter, in the colours of the complete ones."""
    colour = {key: marker[key] for key in ("colorscale", "cmin", "cmax")}
    return points(
        [_on_axis(spec, name, trial, labels, repr) for trial in pruned],
        [last_score(trial) for trial in pruned],
        "pruned",
        NEUTRAL,
        "circle-open",
        marker={**colour, "color": [trial.number for trial in pruned]},
        hovertemplate="trial %{marker.color}, pruned<br>%{x}: %{y:.4f}<extra></extra>",
    )


def _on_axis(
    spec: StudySpec,
    name: str,
    trial: Trial,
    labels: Mapping[str, str],
    write: Callable[[Scalar], str],
) -> Scalar:
    """Return where Optuna's charts have a trial: choices by their names, else the number."""
    dimension = spec.space[name]
    value = to_optuna(dimension, dimension.nearest(trial.params[name]))
    return labels.get(write(value), value)


def contour(spec: StudySpec, trials: Sequence[Trial], first: str, second: str) -> Figure:
    """Return the observed score over two hyperparameters, the first by alphabet on the x axis.

    The surface is of the complete trials alone; open marks are pruned ones.
    """
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
            trace |= {"name": "complete", "showlegend": True}
            trace["hovertemplate"] = "%{x}, %{y}<extra></extra>"
    axes = []
    for way, name in (("x", across), ("y", up)):
        given = drawn.get(f"{way}axis", {})
        values = data[-1][way] if data else []
        axes.append(param_axis(safe(name), given.get("type"), values))
        if "range" in given:
            axes[-1]["range"] = given["range"]
    if data and (pruned := pruned_trials(trials)):
        data.append(_pruned_in_contour(spec, pruned, across, up))
    return figure(data, *axes)


def _pruned_in_contour(spec: StudySpec, pruned: Sequence[Trial], across: str, up: str) -> Trace:
    x, y = (
        [_on_axis(spec, name, trial, _choice_labels(spec, name, str), str) for trial in pruned]
        for name in (across, up)
    )
    return points(
        x,
        y,
        "pruned",
        VERMILLION,
        "circle-open",
        marker={"size": 6},
        hovertemplate="%{x}, %{y}, pruned<extra></extra>",
    )


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
