"""What all figures share: colours, axes, legends, names made safe, and how much is drawn.

A figure is plotly's JSON as plain values. The page sets the colours of text and grid, so nothing
here is black or white.
Source: Okabe and Ito (2008), "Color universal design", for the palette.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from selection.metrics import METRICS
from selection.report.cells import finite_mean
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState, Value

Figure: TypeAlias = dict[str, Any]
Trace: TypeAlias = dict[str, Any]

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
# Of Okabe and Ito's eight, black and yellow are missing: they vanish on a dark and a light page.
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
NEUTRAL = "#888888"
# Plotly names this one, made for the colour-blind too; it chooses text colours to match.
HEAT_SCALE = "Cividis"
NAME_CHARACTERS = 24
# Enough for every digit of four layers.
LABEL_CHARACTERS = 100
MOST_POINTS = 1000
FEW_TICKS = 10
SINGLE_PAD = 0.1
# How many times the bulk's height a score may lie away and still be on the axis.
SCALE_SPANS = 5.0


@dataclass(frozen=True)
class Style:
    """Hold how a state is drawn: never by colour alone."""

    colour: str
    symbol: str
    pattern: str


STATES = {
    TrialState.COMPLETE: Style(BLUE, "circle", ""),
    TrialState.PRUNED: Style(ORANGE, "circle-open", "/"),
    TrialState.FAILED: Style(VERMILLION, "triangle-down", "x"),
}


def figure(data: Sequence[Trace], x: Trace, y: Trace, **layout: Any) -> Figure:
    """Return traces on two axes, with the legend below and no colour behind."""
    return {
        "data": list(data),
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 52, "r": 12, "t": 12, "b": 44},
            "hovermode": "closest",
            "legend": legend(-0.2),
            "xaxis": x,
            "yaxis": y,
            **layout,
        },
    }


def legend(y: float, **more: Any) -> Trace:
    """Return a legend in lines, its top at this height of the plot."""
    return {
        "orientation": "h",
        "x": 0,
        "y": y,
        "yanchor": "top",
        "font": {"size": 11},
        "tracegroupgap": 0,
        **more,
    }


def axis(title: str, **more: Any) -> Trace:
    """Return an axis whose margin grows with its labels."""
    label = {"text": title, "standoff": 8}
    return {"title": label, "automargin": True, "zeroline": False, **more}


def count_axis(title: str, numbers: Sequence[float]) -> Trace:
    """Return an axis of whole numbers as far as they go; few of them are all ticks."""
    if not numbers:
        return axis(title)
    low, high = min(numbers), max(numbers)
    # A bar of one trial alone would fill the figure.
    pad = 0.9 if low == high else max(0.5, 0.02 * (high - low))
    ticks: Trace = {"dtick": 1} if high - low < FEW_TICKS else {}
    return axis(title, range=[low - pad, high + pad], **ticks)


def named_axis(title: str, names: Sequence[str], most: int = 25) -> Trace:
    """Return an axis of the positions 0, 1, ... with these names; of many, some are shown."""
    step = max(1, math.ceil(len(names) / most))
    indices = list(range(0, len(names), step))
    return axis(
        title,
        tickmode="array",
        tickvals=indices,
        ticktext=[names[index] for index in indices],
        range=[-0.5, len(names) - 0.5],
        # Slanted, the last name would not fit beside the figure, and plotly would leave it out.
        autotickangles=[0, 90],
    )


def points(
    x: Sequence[Any], y: Sequence[Any], name: str, colour: str, symbol: str, **more: Any
) -> Trace:
    """Return a trace of markers."""
    marker = {"color": colour, "symbol": symbol, "size": 7, **more.pop("marker", {})}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "name": name,
        "marker": marker,
        **more,
    }


def line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, **more: Any) -> Trace:
    """Return a trace of a line."""
    style = {"color": colour, "width": 2, **more.pop("line", {})}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": list(y),
        "name": name,
        "line": style,
        **more,
    }


def rule_at(x: float, ends: tuple[float, float] | None = None) -> Trace:
    """Return a vertical line at x, between two heights or through the whole figure."""
    low, high = ends or (0, 1)
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "y" if ends else "paper",
        "y0": low,
        "y1": high,
        "line": {"color": NEUTRAL, "width": 1, "dash": "dot"},
        "layer": "below",
    }


def safe(text: str, most: int = NAME_CHARACTERS) -> str:
    """Return a name of the user's, shortened, as text that plotly takes for no HTML."""
    short = " ".join(text.split())
    if len(short) > most:
        short = f"{short[: most - 1]}…"
    # Plotly reads back &lt; and &amp;, and would show &quot; as it stands.
    return html.escape(short, quote=False)


def value_label(value: Value) -> str:
    """Return a choice as a name on an axis, all digits of it, so that no two are one."""
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return safe(text, LABEL_CHARACTERS)


def score_title(spec: StudySpec) -> str:
    """Return the name of the observed score and its unit, where it has one."""
    unit = METRICS[spec.metric].unit
    return f"{spec.metric}, observed{'' if unit == 'share' else f' ({unit})'}"


def loss_title(spec: StudySpec) -> str:
    """Return the name of the loss and its unit."""
    if spec.task == "classification":
        return "cross-entropy loss (nats)"
    is_scaled = spec.sections.data.is_target_standardized
    return f"squared error ({'standardised target' if is_scaled else 'target²'})"


def finite(values: Iterable[float | None], digits: int | None = None) -> list[float | None]:
    """Return what JSON can say, None for the rest, to so many significant digits."""
    found: list[float | None] = []
    for value in values:
        if value is None or not math.isfinite(value):
            found.append(None)
        else:
            found.append(value if digits is None else float(f"{value:.{digits}g}"))
    return found


def even_indices(count: int, most: int) -> list[int]:
    """Return at most so many of the indices 0 to count - 1, evenly, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(index) for index in np.linspace(0, count - 1, most).tolist()})


def faded(colour: str, alpha: float) -> str:
    """Return the colour, seen through."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def bulk_range(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the part of the axis that holds the bulk, where few values would hide it.

    None where all of them can be shown: the axis finds its own range.
    """
    if len(values) < 5:
        return None
    low, high = (float(end) for end in np.quantile(values, [0.1, 0.9]))
    reach = SCALE_SPANS * (high - low)
    inside = [value for value in values if low - reach <= value <= high + reach]
    if len(inside) == len(values) or min(inside) == max(inside):
        return None
    pad = 0.05 * (max(inside) - min(inside))
    return min(inside) - pad, max(inside) + pad


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that have ended, in whatever way."""
    return [trial for trial in trials if trial.state.is_finished]


def pruned_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the pruned trials that have a score; of many, some evenly."""
    known = [
        trial
        for trial in trials
        if trial.state is TrialState.PRUNED and last_score(trial) is not None
    ]
    return [known[index] for index in even_indices(len(known), MOST_POINTS)]


def last_score(trial: Trial) -> float | None:
    """Return the value, or the last mean over folds of a trial without one; None if undefined."""
    return finite_mean(trial.fold_scores if trial.value is None else [trial.value])


def difference(first: float | None, second: float | None) -> float | None:
    """Return first - second; None where either is missing."""
    return None if first is None or second is None else first - second


def param_axis(title: str, kind: str | None, values: Sequence[Any]) -> Trace:
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


def error_bars(halves: Sequence[float | None]) -> Trace:
    """Return error bars of these half lengths; None draws none."""
    return {
        "type": "data",
        "array": finite(halves),
        "thickness": 1,
        "width": 3,
    }


def score_axis(spec: StudySpec, values: Sequence[float]) -> Trace:
    """Return an axis of scores that shows the bulk, and says how many lie outside."""
    title, ends = score_title(spec), bulk_range(values)
    if values and min(values) == max(values):
        # By itself plotly would go on for 1 either way.
        pad = max(SINGLE_PAD * abs(values[0]), SINGLE_PAD)
        return axis(title, range=[values[0] - pad, values[0] + pad])
    if ends is None:
        return axis(title)
    outside = sum(not ends[0] <= value <= ends[1] for value in values)
    return axis(f"{title}<br>({outside} off the scale)", range=list(ends))


def colour_bar(title: str) -> Trace:
    """Return a narrow bar of colours that leaves a small screen to the plot."""
    return {"title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0}
