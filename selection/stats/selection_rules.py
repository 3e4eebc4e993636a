"""The stated rules by which the winner is chosen among complete trials.

Only COMPLETE trials are ranked; a pruned trial has no cross-validated score and never wins. Each
rule is written once, for many resamplings of the folds at a time; the record is one of them.
Source: Breiman, Friedman, Olshen, Stone (1984) for the rule of one standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selection.study.fields import Rule
from selection.study.setting import Setting
from selection.study.trial import Trial, TrialState

RULES: dict[Rule, str] = {
    "best": "the best mean over folds",
    "one_standard_error": (
        "the simplest within one standard error of the best mean: "
        "fewer parameters, then more weight decay, then more dropout"
    ),
    "ensemble": (
        "the best mean of the predictions of several trials, added one by one: "
        "each time the one that helps most"
    ),
}


def rank(trials: Sequence[Trial], *, is_minimised: bool) -> list[Trial]:
    """Return the COMPLETE trials, best mean over folds first; ties go to the earlier number."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    sign = 1.0 if is_minimised else -1.0
    return sorted(complete, key=lambda trial: (sign * _score(trial), trial.number))


def simplicity_ranks(settings: Sequence[Setting], inputs: int, outputs: int) -> NDArray[np.int64]:
    """Return the rank of each setting by simplicity, 0 for the simplest.

    Equally simple settings share a rank. Shape: (T,).
    """
    keys = [_complexity(setting, inputs, outputs) for setting in settings]
    ranks = {key: index for index, key in enumerate(sorted(set(keys)))}
    return np.array([ranks[key] for key in keys], dtype=np.int64)


def choose(
    fold_scores: NDArray[np.float64],
    rule: Rule,
    simplicity: NDArray[np.int64],
    *,
    is_minimised: bool,
) -> NDArray[np.int64]:
    """Return the winner of each resampling, by a rule that chooses one trial; ties go to the first.

    A score that is NaN (a class absent from a resampled fold) is left out of its mean.
    Shape: fold_scores (B, T, J), simplicity (T,) -> (B,).
    """
    counts = np.isfinite(fold_scores).sum(axis=2)  # (B, T)
    means = np.nansum(fold_scores, axis=2) / np.maximum(counts, 1)
    gains = np.where(counts > 0, -means if is_minimised else means, -np.inf)  # (B, T)
    best: NDArray[np.int64] = gains.argmax(axis=1)
    if rule == "best":
        return best
    lines = np.arange(len(best))
    errors = _standard_error(fold_scores[lines, best])  # (B,)
    is_near = gains >= (gains[lines, best] - errors)[:, None]  # (B, T)
    ranks = np.where(is_near, simplicity, np.iinfo(np.int64).max)
    is_simplest = ranks == ranks.min(axis=1, keepdims=True)
    chosen: NDArray[np.int64] = np.where(is_simplest, gains, -np.inf).argmax(axis=1)
    return chosen


def _standard_error(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return s / sqrt(J) with ddof = 1, 0 where fewer than two scores are defined.

    Shape: (B, J) -> (B,).
    """
    counts = np.isfinite(scores).sum(axis=1)
    means = np.nansum(scores, axis=1) / np.maximum(counts, 1)
    squares = np.nansum(np.square(scores - means[:, None]), axis=1)
    errors: NDArray[np.float64] = np.sqrt(squares / np.maximum(counts - 1, 1) / counts.clip(1))
    return errors


def _complexity(setting: Setting, inputs: int, outputs: int) -> tuple[float, ...]:
    dropout = sum(setting.dropout) / max(len(setting.dropout), 1)
    decay = setting.weight_decay + setting.l2
    return (setting.count_parameters(inputs, outputs), -decay, -dropout)


def _score(trial: Trial) -> float:
    assert trial.value is not None, "a COMPLETE trial has a value"
    return trial.value


def choose_trial(
    trials: Sequence[Trial],
    rule: Rule,
    settings: Sequence[Setting],
    inputs: int,
    outputs: int,
    *,
    is_minimised: bool,
) -> Trial | None:
    """Return the winner; None without a COMPLETE trial.

    settings are those of the trials, in the same order; inputs and outputs size every MLP.
    """
    pairs = [
        (trial, setting)
        for trial, setting in zip(trials, settings, strict=True)
        if trial.state is TrialState.COMPLETE
    ]
    if not pairs:
        return None
    scores = np.array([trial.fold_scores for trial, _ in pairs])[None]  # (1, T, J)
    simplicity = simplicity_ranks([setting for _, setting in pairs], inputs, outputs)
    (index,) = choose(scores, rule, simplicity, is_minimised=is_minimised).tolist()
    winner: Trial = pairs[index][0]
    return winner
