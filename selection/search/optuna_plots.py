"""Optuna's own charts of the complete trials, as plain plotly JSON, and its importances.

Optuna is not asked what it would only answer with a warning: nothing reaches a terminal, and the
filter of warnings, which all threads share, is not changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from selection.search.history import History
from selection.study.optuna_names import to_optuna
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState

MOST_TRIALS = 1000
# Each line takes Optuna half a millisecond, and more of them hide each other.
MOST_LINES = 500
# The table behind a contour has a cell for each pair of values.
MOST_IN_CONTOUR = 150
# The share of trials whose setting PED-ANOVA compares with that of all: Optuna's default.
TARGET_QUANTILE = 0.1

PlotlyJson = dict[str, Any]


def slices(spec: StudySpec, finished: Sequence[Trial]) -> dict[str, PlotlyJson]:
    """Return a chart of the score against each hyperparameter, by name, coloured by number."""
    shown = thinned(spec, finished)
    if not shown:
        return {}
    study = History(spec).study(shown)
    found = {}
    for name in spec.space:
        plot = _json(visualization.plot_slice(study, [name], target_name=spec.metric))
        for trace in plot["data"]:
            # Optuna numbers the trials that it is given from 0.
            trace["marker"]["color"] = [shown[index].number for index in trace["marker"]["color"]]
        found[name] = plot
    return found


def parallel_coordinates(spec: StudySpec, finished: Sequence[Trial]) -> PlotlyJson:
    """Return a chart with one line per trial; it has no data if there are no trials."""
    shown = thinned(spec, finished, MOST_LINES)
    if not shown:
        return _empty()
    study = History(spec).study(shown)
    return _json(visualization.plot_parallel_coordinate(study, target_name=spec.metric))


def contour(spec: StudySpec, finished: Sequence[Trial], first: str, second: str) -> PlotlyJson:
    """Return a chart of the score over two hyperparameters; the first in the alphabet is on x.

    It has no data if one of them has the same value in all trials.
    """
    shown = thinned(spec, finished, MOST_IN_CONTOUR)
    if first == second or any(_is_constant(spec, shown, name) for name in (first, second)):
        return _empty()
    study = History(spec).study(shown)
    figure = visualization.plot_contour(study, [first, second], target_name=spec.metric)
    plot = _json(figure)
    # Plotly writes a table as base64, with NaN for pairs that were not tried.
    plot["data"][0]["z"] = [
        [score if math.isfinite(score) else None for score in line]
        for line in figure.data[0].z.tolist()
    ]
    return plot


def importances(spec: StudySpec, finished: Sequence[Trial]) -> dict[str, float]:
    """Return the share of each hyperparameter by PED-ANOVA, the largest first.

    Empty if they cannot be computed: with one hyperparameter, with the same values in all trials,
    or if no trial scores worse than the best ones.
    """
    complete = _complete(finished)
    if len(spec.space) < 2 or not _has_leaders(spec, complete):
        return {}
    if all(_is_constant(spec, complete, name) for name in spec.space):
        return {}
    # All trials: a sample would have another best tenth.
    found = get_param_importances(
        History(spec).study(complete),
        evaluator=PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE),
    )
    return {name: float(share) for name, share in found.items()}


def thinned(spec: StudySpec, finished: Sequence[Trial], most: int = MOST_TRIALS) -> list[Trial]:
    """Return at most this many complete trials: the best as one half, the others sampled evenly.

    They stay ordered by number.
    """
    complete = _complete(finished)
    if len(complete) <= most:
        return complete
    ranked = sorted(complete, key=lambda trial: _loss(spec, trial))
    best, others = ranked[: most // 2], ranked[most // 2 :]
    count = most - len(best)
    sample = [others[index * len(others) // count] for index in range(count)]
    return sorted([*best, *sample], key=lambda trial: trial.number)


def _complete(finished: Sequence[Trial]) -> list[Trial]:
    return [
        trial
        for trial in finished
        if trial.state is TrialState.COMPLETE
        and trial.value is not None
        and math.isfinite(trial.value)
    ]


def _loss(spec: StudySpec, trial: Trial) -> float:
    assert trial.value is not None, "a complete trial has a value"
    return trial.value if spec.is_minimised else -trial.value


def _has_leaders(spec: StudySpec, complete: Sequence[Trial]) -> bool:
    """Say whether some trial is worse than the best ones that PED-ANOVA compares with."""
    losses = sorted(_loss(spec, trial) for trial in complete)
    count = math.ceil(TARGET_QUANTILE * len(losses))
    return len(losses) > 1 and losses[count - 1] < losses[-1]


def _is_constant(spec: StudySpec, shown: Sequence[Trial], name: str) -> bool:
    dimension = spec.space[name]
    values = {to_optuna(dimension, dimension.nearest(trial.params[name])) for trial in shown}
    return len(values) < 2


def _json(figure: Any) -> PlotlyJson:
    """Return the figure without its template, which would be most of the JSON."""
    figure.update_layout(template=None, title=None)
    plot: PlotlyJson = json.loads(figure.to_json())
    return plot


def _empty() -> PlotlyJson:
    return {"data": [], "layout": {}}
