"""Trials and their scores as frozen plain values.

These values are passed between packages; nothing here trains or stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | tuple[int, ...] | tuple[float, ...]
Params: TypeAlias = Mapping[str, Value]
# Logits, or values in units of the target, which float32 would round.
Outputs: TypeAlias = NDArray[np.floating[Any]]


class TrialState(StrEnum):
    """Name the state of a trial; a diverged trial is FAILED with the reason "diverged: ..."."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


CURVE_COLUMNS = (
    "running_loss",
    "running_score",
    "training_loss",
    "training_score",
    "validation_loss",
    "validation_score",
)


LAYER_COLUMNS = ("gradient_norm", "weight_norm", "dead_share")


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Hold one member's losses and scores against epochs.

    Shape: points is (T, 6) float64, columns as in CURVE_COLUMNS. "running" is taken in train mode
    while the epoch runs; the rest in eval mode after it. No loss contains the penalty.
    """

    points: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column against epochs. Shape: (T,)."""
        return self.points[:, CURVE_COLUMNS.index(name)]


@dataclass(frozen=True, eq=False)
class LayerCurves:
    """Hold the diagnostics of one member's layers against epochs; the last layer is the output.

    Shape: points is (T, L, 3) float64, columns as in LAYER_COLUMNS. Taken in eval mode after each
    epoch, on the training rows that are scored: the norms of the weights and of the gradient of the
    mean loss with respect to them, without biases and penalty; the share of units that are 0 for
    every row, NaN for activations that are not 0 below 0.
    """

    points: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column against epochs. Shape: (T, L)."""
        return self.points[:, :, LAYER_COLUMNS.index(name)]


@dataclass(frozen=True, eq=False)
class FoldResult:
    """Hold the result of one member (trial, repeat, fold).

    layers is None unless the study asks for diagnostics. best_epoch is the epoch, from 1, whose
    scores and outputs are the member's, the same for all members of a trial; None is the last.

    Shape: outputs is (N_validation, C) float32 logits, (N_validation, 1) float64 predictions in
    units of the target for regression, in the order of the split's validation rows; None unless
    the trial is COMPLETE. rungs has, by epoch, what the metric needs of the predictions at the
    epochs where the pruner judges, and at those that compete to be the best: (N_validation,), or
    (N_validation, C) for a ROC AUC over several classes.
    """

    repeat: int
    fold: int
    curve: LearningCurve
    outputs: Outputs | None = None
    layers: LayerCurves | None = None
    rungs: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    best_epoch: int | None = None

    @property
    def scored(self) -> LearningCurve:
        """The learning curve up to the epoch that scores the member."""
        return LearningCurve(self.curve.points[: self.best_epoch])

    @property
    def score(self) -> float:
        """The validation score after the epoch that scores the member."""
        return float(self.scored.column("validation_score")[-1])

    @property
    def train_score(self) -> float:
        """The training score in eval mode after the epoch that scores the member."""
        return float(self.scored.column("training_score")[-1])


@dataclass(frozen=True, eq=False)
class TrialResult:
    """Hold how the training of one trial ended, after so many epochs."""

    state: TrialState
    reason: str
    folds: tuple[FoldResult, ...]
    epochs: int
    seconds: float

    @cached_property
    def fold_means(self) -> tuple[float, ...]:
        """The mean validation score over folds, epoch by epoch."""
        return fold_means([fold.curve for fold in self.folds])

    @property
    def best_epoch(self) -> int | None:
        """The epoch that scores the trial; None is the last."""
        return self.folds[0].best_epoch if self.folds else None

    @property
    def value(self) -> float | None:
        """The cross-validated score: the mean over folds; None unless COMPLETE."""
        if self.state is not TrialState.COMPLETE:
            return None
        return self.fold_means[(self.best_epoch or 0) - 1]


@dataclass(frozen=True)
class Trial:
    """Hold one trial of the record, without curves and predictions.

    asked_for says who asked for its setting: "enqueued", or where a warm start found it; empty for
    the default and for what the sampler proposed. known_cohorts is how many cohorts, from the
    first on, its pruner knew, and its sampler at most; None means all that had finished. epochs is
    how long it trained; value and scores are those after best_epoch, from 1, None for the last.
    """

    number: int
    state: TrialState
    params: Params
    cohort: int
    reason: str = ""
    value: float | None = None
    fold_scores: tuple[float, ...] = ()
    train_scores: tuple[float, ...] = ()
    fold_means: tuple[float, ...] = ()
    epochs: int = 0
    seconds: float | None = None
    asked_for: str = ""
    known_cohorts: int | None = None
    best_epoch: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    @property
    def standard_error(self) -> float | None:
        """The standard error over folds, s / sqrt(J) with ddof = 1; descriptive only.

        None for one fold, and where a score is not finite.
        """
        if len(self.fold_scores) < 2 or not np.isfinite(self.fold_scores).all():
            return None
        return float(np.std(self.fold_scores, ddof=1) / np.sqrt(len(self.fold_scores)))


def fold_means(curves: list[LearningCurve]) -> tuple[float, ...]:
    """Return the mean validation score over folds, epoch by epoch; () without curves."""
    if not curves:
        return ()
    scores = np.stack([curve.column("validation_score") for curve in curves], axis=1)  # (T, K)
    return tuple(np.mean(np.ascontiguousarray(scores), axis=1).tolist())


def mean_over_folds(scores: NDArray[np.float64]) -> float:
    """Return the mean over folds, bit for bit the same wherever it is computed.

    Shape: (K,).
    """
    # NumPy sums strided and contiguous arrays in different orders.
    return float(np.mean(np.ascontiguousarray(scores)))
