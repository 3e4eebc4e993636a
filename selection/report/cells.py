"""One value as people read it: a hyperparameter, a score, a state; the same in every medium."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selection.study.space import Choices, Dimension
from selection.study.trial import Trial, TrialState, Value

if TYPE_CHECKING:
    from selection.stats.fit_diagnosis import FoldMean


def show_value(value: Value) -> str:
    """Return a hyperparameter at reading precision: 3 digits, or as written if that is short."""
    if isinstance(value, tuple):
        return " ".join(show_value(item) for item in value)
    if isinstance(value, float):
        short, exact = f"{value:.3g}", f"{value:g}"
        return exact if len(exact) <= len(short) + 1 else short
    return str(value)


def show_dimension(dimension: Dimension) -> str:
    """Return where a searched hyperparameter may lie."""
    if isinstance(dimension, Choices):
        return ", ".join(map(show_value, dimension.options))
    kinds = [
        "log" if dimension.log else "",
        "integer" if dimension.integer else "",
        f"step {dimension.step:g}" if dimension.step is not None else "",
    ]
    return " ".join([f"{dimension.low:g} to {dimension.high:g}", *filter(None, kinds)])


def show_number(value: float, like: float | None = None) -> str:
    """Return a score or a loss: four places, and fewer where it is large.

    like is a number beside it, which decides on the places.
    """
    size = abs(value if like is None else like)
    places = 4 if size < 10 else 2 if size < 1000 else 0
    return f"{value:.{places}f}"


def show_interval(low: float | None, high: float | None, level: float) -> str:
    """Return an interval and its level."""
    if low is None or high is None:
        return "without an interval: one group"
    widest = max(abs(low), abs(high))
    bounds = f"[{show_number(low, like=widest)}, {show_number(high, like=widest)}]"
    return f"{bounds} at {100 * level:g}%"


def show_difference(difference: float) -> str:
    """Return the size of a difference with the two digits that a reader can use."""
    size = abs(difference)
    return f"{size:.0f}" if size >= 10 else f"{size:.2g}"


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show_epochs(trial: Trial) -> str:
    """Return how long a trial was trained, and where the best mean over folds was."""
    if trial.best_epoch is None:
        return f"{trial.epochs}"
    return f"{trial.best_epoch} of {trial.epochs}"


def show_score(trial: Trial) -> str:
    """Return the fold mean and its standard error; a trial cut short shows its last mean."""
    if not trial.fold_scores or trial.state is TrialState.FAILED:
        return ""
    average, error = mean(trial.fold_scores), trial.standard_error
    return _with_error(average, error)


def show_state(trial: Trial) -> str:
    """Return the state, and the reason where it says more than the state and the epochs do."""
    if not says_more(trial):
        return trial.state.value
    return f"{trial.state.value}: {trial.reason}"


def says_more(trial: Trial) -> bool:
    """Say whether the reason says more than the state and the epochs do."""
    is_plain = trial.reason.startswith("pruned after") and "(" not in trial.reason
    return bool(trial.reason) and not is_plain


def finite_mean(scores: Sequence[float]) -> float | None:
    """Return the mean of scores; None without any, or where one is not defined."""
    average = mean(scores) if scores else math.nan
    return average if math.isfinite(average) else None


def mean(scores: Sequence[float]) -> float:
    """Return the mean of scores."""
    return sum(scores) / len(scores)


def show_fold_mean(value: FoldMean) -> str:
    """Return a mean over folds with its standard error."""
    return _with_error(value.mean, value.standard_error)


def _with_error(mean: float, error: float | None) -> str:
    shown = show_number(mean)
    return shown if error is None else f"{shown} +- {show_number(error, like=mean)}"


def show_share(value: float | None) -> str:
    """Return a share of a per-class table, which may not be defined."""
    return "n/a" if value is None else f"{value:.4f}"
