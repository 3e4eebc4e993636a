"""Who wins: the stated rule by which trials are ranked.

Only COMPLETE trials rank; a pruned trial has no cross-validated score and never wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from selection.study.trial import Trial, TrialState


def rank(trials: Sequence[Trial], *, is_minimised: bool) -> list[Trial]:
    """Return the COMPLETE trials, best mean over folds first; of equals the earlier number."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    sign = 1.0 if is_minimised else -1.0
    return sorted(complete, key=lambda trial: (sign * _score(trial), trial.number))


def _score(trial: Trial) -> float:
    assert trial.value is not None, "a COMPLETE trial has a value"
    return trial.value
