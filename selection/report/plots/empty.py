"""Charts that have too little to show: figures without traces that say why."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from selection.report.cells import count_of
from selection.report.plots.parts import Figure, figure, last_score
from selection.study.trial import Trial, TrialState

# Fewer trials show chance where a reader would see a shape.
FEWEST_TRIALS = 8
NONE_COMPLETE = "No trial is complete."
NONE_SCORED = "No trial has ended with a score."
# Narrow enough for a phone.
WHY_CHARACTERS = 40


def empty_figure(why: str) -> Figure:
    """Return a figure without traces that says why; a page shows the sentence alone."""
    sentence = {
        "text": "<br>".join(textwrap.wrap(html.escape(why, quote=False), WHY_CHARACTERS)),
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
    }
    hidden = {"visible": False, "fixedrange": True}
    return figure([], hidden, hidden, annotations=[sentence], meta={"why": why})


def why_empty(drawn: Figure) -> str:
    """Return what empty_figure was told; nothing for a figure with traces."""
    return str(drawn["layout"].get("meta", {}).get("why", ""))


def scored(finished: Sequence[Trial]) -> list[Trial]:
    """Return the trials that charts of scores draw: those that failed have none to compare."""
    return [
        trial
        for trial in finished
        if trial.state is not TrialState.FAILED and last_score(trial) is not None
    ]


def too_few(count: int, noun: str, which: str = "") -> str:
    """Say that so many trials are too few."""
    found = f"{count_of(count, noun)}{f' {which}' if which else ''}"
    return f"{found}: fewer than {FEWEST_TRIALS} would show chance."
