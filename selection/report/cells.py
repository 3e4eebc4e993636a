"""One value as people read it: a hyperparameter, a score, a state; the same in every medium."""

from __future__ import annotations

from collections.abc import Sequence

from selection.stats.fit_diagnosis import FoldMean
from selection.study.trial import Trial, TrialState, Value


def show_value(value: Value) -> str:
    """Return a hyperparameter at reading precision: 3 digits, or as written if that is short."""
    if isinstance(value, tuple):
        return " ".join(show_value(item) for item in value)
    if isinstance(value, float):
        short, exact = f"{value:.3g}", f"{value:g}"
        return exact if len(exact) <= len(short) + 1 else short
    return str(value)


def show_difference(difference: float) -> str:
    """Return the size of a difference with the two digits that a reader can use."""
    size = abs(difference)
    return f"{size:.0f}" if size >= 10 else f"{size:.2g}"


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show_score(trial: Trial) -> str:
    """Return the fold mean and its standard error; a trial cut short shows its last mean."""
    if not trial.fold_scores or trial.state is TrialState.FAILED:
        return ""
    average, error = mean(trial.fold_scores), trial.standard_error
    return f"{average:.4f}" if error is None else f"{average:.4f} +- {error:.4f}"


def show_state(trial: Trial) -> str:
    """Return the state, and the reason where it says more than the state and the epochs do."""
    if not says_more(trial):
        return trial.state.value
    return f"{trial.state.value}: {trial.reason}"


def says_more(trial: Trial) -> bool:
    """Say whether the reason says more than the state and the epochs do."""
    is_plain = trial.reason.startswith("pruned after") and "(" not in trial.reason
    return bool(trial.reason) and not is_plain


def mean(scores: Sequence[float]) -> float:
    """Return the mean of scores."""
    return sum(scores) / len(scores)


def show_fold_mean(value: FoldMean) -> str:
    """Return a mean over folds with its standard error."""
    if value.standard_error is None:
        return f"{value.mean:.4f}"
    return f"{value.mean:.4f} +- {value.standard_error:.4f}"
