"""Does a trial underfit or overfit? A stated rule over its learning curves; advice by fit_advice.

Two losses a and b are compared fold by fold as (a - b) / (a + b). This measures their ratio and
stays between -1 and 1, so no single fold with a huge or a tiny loss decides. The verdict is about
losses in eval mode without the penalty, not about rank: the best trial of a study may overfit.
Source: Goodfellow, Bengio, Courville (2016), section 5.2, for the two terms; Nadeau and
Bengio (2003) for the interval. The limits are our own choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import Task
from selection.stats.fit_advice import (
    ANOTHER_RATE,
    HIGHER_RATE,
    LARGER,
    LESS_DECAY,
    LESS_DROPOUT,
    MORE_DECAY,
    MORE_DROPOUT,
    MORE_EPOCHS,
    MORE_ROWS,
    SMALLER,
    Evidence,
    advise,
    better_neighbour,
)
from selection.stats.paired_tests import corrected_resampled_t
from selection.study.trial import LearningCurve, mean_over_folds

MATERIAL = 1.5  # validation loss / training loss from which a gap matters
RISEN = 1.1  # last validation loss / lowest validation loss from which a rise matters
WORSE = 1.1  # training loss / the reference's validation loss from which a poor fit matters
FALLING = 0.95  # last training loss / that of a quarter before, below which it still falls
NEGLIGIBLE = 0.01
NOTHING_KNOWN = Evidence()

Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """Name the verdict on a trial."""

    UNDERFIT = "underfit"
    BALANCED = "balanced"
    OVERFIT = "overfit"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class FoldMean:
    """Hold a mean over folds and its standard error, s / sqrt(J) with ddof = 1.

    The standard error is None for one fold.
    """

    mean: float
    standard_error: float | None


@dataclass(frozen=True)
class Diagnosis:
    """Hold a verdict, the rule that gave it, and the observed numbers after the last epoch.

    gap is the generalisation gap, validation minus training loss, paired by fold; low and high
    bound it by a t interval that is corrected for shared training rows, None for one fold.
    """

    verdict: Verdict
    rule: str
    advice: str
    training_loss: FoldMean
    validation_loss: FoldMean
    training_score: FoldMean
    validation_score: FoldMean
    gap: FoldMean
    gap_low: float | None
    gap_high: float | None


@dataclass(frozen=True)
class _Quotient:
    """Hold the ratio of one loss to another over folds, with its interval."""

    times: float
    low: float
    high: float
    note: str

    def is_at_least(self, limit: float) -> bool:
        """Return whether one loss is larger beyond chance, and by at least the limit."""
        return self.low > 1 and self.times >= limit

    def __str__(self) -> str:
        high = f"to {self.high:.3g}" if math.isfinite(self.high) else "and more"
        return (
            f"over folds the first is about {self.times:.3g} times the second "
            f"({self.note} {self.low:.3g} {high})"
        )


@dataclass(frozen=True)
class _Scale:
    """Hold the numbers needed to compare two losses over paired folds."""

    negligible: float
    ratio: float
    level: float

    def quotient(self, above: Floats, below: Floats) -> _Quotient:
        """Return above / below; smaller losses count as the negligible loss. Shape: (J,)."""
        floor = max(self.negligible, float(np.finfo(np.float64).tiny))
        above, below = np.maximum(above, floor), np.maximum(below, floor)
        shares = (above - below) / (above + below)
        low, high = self.interval(shares)
        ends = np.clip([shares.mean(), low, high], -1.0, 1.0)
        times, least, most = ((1 + ends) / (1 - ends)).tolist()
        note = f"{100 * self.level:.4g}% interval over {len(shares)} folds"
        return _Quotient(times, least, most, note)

    def interval(self, values: Floats) -> tuple[float, float]:
        """Return the interval of a mean over folds; without spread it is a single point."""
        found = corrected_resampled_t(values.tolist(), self.ratio, self.level)
        return (
            found.mean if found.low is None else found.low,
            found.mean if found.high is None else found.high,
        )


def diagnose(
    curves: Sequence[LearningCurve],
    references: Mapping[str, Sequence[float]],
    *,
    negligible: float,
    ratio: float,
    level: float,
    evidence: Evidence = NOTHING_KNOWN,
) -> Diagnosis:
    """Return whether a trial underfits or overfits; the first rule that holds gives the verdict.

    1. underfit: its training loss is at least 1.1 times the validation loss of the best reference.
    2. overfit: its validation loss is at least 1.5 times its training loss.
    3. overfit: its validation loss is at least 1.1 times its lowest mean over folds, and its
       training loss is not higher than at that epoch.
    4. balanced: validation is under 1.5 times training, training under 1.1 times the reference.
    5. inconclusive: everything else, one fold, and losses that are not finite.
    "At least" means that the mean over folds reaches the limit and its interval lies above 1;
    "under" means that the whole interval lies under the limit.
    curves are those of a complete trial, by fold. references are the last validation losses, by
    fold, of other complete trials or baselines of the study, by name; the best of many is partly
    luck, so few references are safer. ratio is that of paired_tests.validation_ratio, negligible
    that of negligible_loss. evidence is what is on record of the trial's neighbours: the advice
    never goes against it.

    Raises: ValueError where the folds of a reference are not paired.
    """
    scale = _Scale(negligible, ratio, level)
    training = _column(curves, "training_loss")
    validation = _column(curves, "validation_loss")
    low, high = None, None
    with np.errstate(all="ignore"):  # a loss that is not finite is inconclusive
        gaps = validation[-1] - training[-1]
        verdict, rule, advice = _judge(
            training,
            validation,
            _column(curves, "validation_score"),
            _best(references, len(curves)),
            scale,
            evidence,
        )
        if len(curves) > 1:
            low, high = scale.interval(gaps)
        return Diagnosis(
            verdict=verdict,
            rule=rule,
            advice=advice,
            training_loss=over_folds(training[-1]),
            validation_loss=over_folds(validation[-1]),
            training_score=over_folds(_column(curves, "training_score")[-1]),
            validation_score=over_folds(_column(curves, "validation_score")[-1]),
            gap=over_folds(gaps),
            gap_low=low,
            gap_high=high,
        )


def over_folds(values: Floats) -> FoldMean:
    """Return the mean and its standard error. Shape: (J,)."""
    error = None
    if len(values) > 1:
        error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return FoldMean(mean_over_folds(values), error)


def negligible_loss(task: Task, targets: NDArray[Any], *, is_standardized: bool) -> float:
    """Return the loss below which two losses count as equal.

    It is 1% of the cross-entropy of the best constant prediction, or the square of 1% of its RMSE.
    is_standardized means that losses are in units of a standardised target. Shape: (N,).
    """
    if task == "regression":
        variance = 1.0 if is_standardized else float(np.var(targets))
        return NEGLIGIBLE * NEGLIGIBLE * variance
    shares = np.unique(targets, return_counts=True)[1] / len(targets)
    return NEGLIGIBLE * float(-(shares * np.log(shares)).sum())


def _column(curves: Sequence[LearningCurve], name: str) -> Floats:
    """Shape: (T, J)."""
    return np.stack([curve.column(name) for curve in curves], axis=1)


def _best(references: Mapping[str, Sequence[float]], folds: int) -> tuple[str, Floats] | None:
    """Return the reference with the lowest mean; None where none is finite."""
    for name, losses in references.items():
        if len(losses) != folds:
            got = f"{len(losses)} of {name} beside {folds}"
            raise ValueError(f"folds must be paired, but got {got}")
    known = [(name, np.array(losses, dtype=np.float64)) for name, losses in references.items()]
    finite = [(name, losses) for name, losses in known if np.isfinite(losses).all()]
    return min(finite, key=lambda pair: float(pair[1].mean()), default=None)


def _judge(
    training: Floats,
    validation: Floats,
    scores: Floats,
    reference: tuple[str, Floats] | None,
    scale: _Scale,
    evidence: Evidence,
) -> tuple[Verdict, str, str]:
    """Return the verdict, the rule and the advice.

    Shape: training and validation losses and validation scores (T, J).
    """
    if not (np.isfinite(training).all() and np.isfinite(validation).all()):
        rule = "a loss of its learning curves is not a finite number"
        return Verdict.INCONCLUSIVE, rule, "Look at its learning curves: its training diverged."
    if training.shape[1] < 2:
        rule = "one fold has no spread to judge by"
        return Verdict.INCONCLUSIVE, rule, "Judge it on two folds or more."
    gap = scale.quotient(validation[-1], training[-1])
    gap_text = (
        f"observed validation loss {_mean(validation[-1])}, "
        f"training loss {_mean(training[-1])}; {gap}"
    )
    fit, fit_text = None, ""
    if reference is not None:
        name, losses = reference
        fit = scale.quotient(training[-1], losses)
        fit_text = (
            f"observed training loss {_mean(training[-1])}, "
            f"validation loss {_mean(losses)} of {name}; {fit}"
        )
    if fit is not None and fit.is_at_least(WORSE):
        return Verdict.UNDERFIT, f"{fit_text}: at least {WORSE}", _more_fit(training, evidence)
    if gap.is_at_least(MATERIAL):
        advice = advise([MORE_DECAY, MORE_DROPOUT, SMALLER, MORE_ROWS], evidence)
        return Verdict.OVERFIT, f"{gap_text}: at least {MATERIAL}", advice
    rise = _rise(training, validation, scores, scale, evidence)
    if rise is not None:
        return Verdict.OVERFIT, *rise
    if gap.high >= MATERIAL:
        advice = "More folds, repeats or rows would narrow the interval."
        rule = f"{gap_text}: neither clearly under {MATERIAL} nor clearly a gap"
        return Verdict.INCONCLUSIVE, rule, advice + better_neighbour(evidence)
    if fit is None:
        rule = f"{gap_text}: under {MATERIAL}, but nothing shows how far the loss could fall"
        return Verdict.INCONCLUSIVE, rule, "Complete another trial to compare it with."
    if fit.high >= WORSE:
        advice = f"It may be able to fit better. {advise([LARGER, MORE_EPOCHS], evidence)}"
        rule = f"{fit_text}: neither clearly under {WORSE} nor clearly a poor fit"
        return Verdict.INCONCLUSIVE, rule, advice
    rule = f"{gap_text}: under {MATERIAL}. And {fit_text}: under {WORSE}"
    advice = "Neither more nor less capacity is called for."
    return Verdict.BALANCED, rule, advice + better_neighbour(evidence)


def _rise(
    training: Floats, validation: Floats, scores: Floats, scale: _Scale, evidence: Evidence
) -> tuple[str, str] | None:
    """Return the rule and the advice where validation rises while training does not."""
    best = int(validation.mean(axis=1).argmin())
    rise = scale.quotient(validation[-1], validation[best])
    # If both have risen, training became unstable, which is not overfitting.
    if not rise.is_at_least(RISEN) or training[-1].mean() > training[best].mean():
        return None
    rule = (
        f"observed validation loss {_mean(validation[-1])}, lowest {_mean(validation[best])} "
        f"after epoch {best + 1}; {rise}: at least {RISEN}, while the training loss did not rise"
    )
    then, now = mean_over_folds(scores[best]), mean_over_folds(scores[-1])
    stop = f"Stop near epoch {best + 1}."
    if evidence.is_worse(then, now):
        # Chances grow too sure while more rows are still told apart.
        stop = (
            f"Do not stop near epoch {best + 1}: the score was {then:.4g} there and is {now:.4g} "
            "at the end (observed)."
        )
    return rule, f"{stop} {advise([MORE_DECAY, MORE_DROPOUT], evidence)}"


def _more_fit(training: Floats, evidence: Evidence) -> str:
    """Return advice on lowering the training loss: more epochs if it still falls."""
    before = training[-1 - len(training) // 4].mean()
    if training[-1].mean() < FALLING * before:
        return f"Its training loss still falls. {advise([MORE_EPOCHS, HIGHER_RATE], evidence)}"
    moves = [LARGER, LESS_DECAY, LESS_DROPOUT, ANOTHER_RATE]
    return f"Its training loss has levelled off. {advise(moves, evidence)}"


def _mean(losses: Floats) -> str:
    return f"{mean_over_folds(losses):.4g}"
