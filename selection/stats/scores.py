"""Every metric of the registry under row weights, for many models and many weightings at once.

A bootstrap is a weighting, out-of-bag rows are a weighting, and plain scores have weight 1. A class
without weight is left out of a mean over classes. Tests compare every metric with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selection.metrics import (
    METRICS,
    ClassCounts,
    ExplainedVariance,
    MeanOverClasses,
    MeanOverRows,
    RankArea,
    RowValue,
)

Floats = NDArray[np.float64]


def reduce_outputs(metric: str, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Return what a metric needs of one model's outputs, row by row.

    Shape: outputs (N, C) logits, or (N, 1) predictions in units of the target; targets (N,) ->
    (N,), or (N, C) probabilities for a ROC AUC over several classes.
    """
    reduced: NDArray[Any]
    match METRICS[metric].computation:
        case MeanOverRows("hit"):
            reduced = outputs.argmax(axis=1) == targets
        case MeanOverRows("negative_log_likelihood"):
            lines = np.arange(len(targets))
            reduced = -log_softmax(outputs)[lines, targets.astype(np.int64)]
        case MeanOverClasses():
            reduced = outputs.argmax(axis=1).astype(np.int16)
        case RankArea():
            chances = np.exp(log_softmax(outputs))
            reduced = chances[:, 1] if outputs.shape[1] == 2 else chances
        case MeanOverRows() | ExplainedVariance():
            reduced = outputs[:, 0].astype(np.float64)
    return reduced


def compact(metric: str, reduced: NDArray[Any]) -> NDArray[Any]:
    """Return what a metric needs of one model's rows in few bytes, for the scores of this fold.

    No score changes by more than its share of 1e-6: a ROC AUC depends on ranks alone, classes and
    hits are whole numbers, and losses keep the precision of the outputs. Values are kept in float64
    where float32 would round them by a millionth of their deviation, as it does 1.7e12.
    Shape: reduced (N,) or (N, C), of the rows of one fold -> the same.
    """
    match METRICS[metric].computation:
        case RankArea():
            columns = np.atleast_2d(reduced.T)
            ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in columns])
            return ranks.reshape(reduced.T.shape).T.astype(np.uint32)
        case MeanOverRows("hit") | MeanOverClasses():
            return reduced
        case MeanOverRows("negative_log_likelihood"):
            return reduced.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = reduced.astype(np.float32)
        loss = np.abs(rounded - reduced).max(initial=0.0)
        return rounded if loss <= 1e-6 * reduced.std() else reduced


def weighted_scores(
    metric: str,
    reduced: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any],
) -> Floats:
    """Return the score of every model under every weighting; NaN where it is not defined.

    Shape: reduced (T, N) or (T, N, C), targets (N,), weights (B, N) -> (B, T).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match METRICS[metric].computation:
            case MeanOverRows(value, is_rooted):
                means: Floats = _row_sums(value, reduced, targets, weights) / _total(weights)
                if is_rooted:
                    np.sqrt(means, out=means)
                return means
            case MeanOverClasses(rate):
                return _mean_over_classes(rate, reduced, targets, weights)
            case RankArea():
                return _roc_auc(reduced, targets, weights)
            case ExplainedVariance():
                return _r2(reduced, targets.astype(np.float64), weights)


def log_softmax(outputs: NDArray[Any]) -> Floats:
    """Return the log probabilities of the classes in float64. Shape: (N, C)."""
    logs: Floats = special.log_softmax(outputs.astype(np.float64), axis=1)
    return logs


def row_values(value: RowValue, reduced: NDArray[Any], targets: NDArray[Any]) -> Floats:
    """Return the values whose mean over rows a metric is. Shape: (..., N), (N,) -> (..., N)."""
    match value:
        case "squared_error":
            return np.square(_errors(reduced, targets))
        case "absolute_error":
            return np.abs(_errors(reduced, targets))
    return reduced.astype(np.float64)


def _total(weights: NDArray[Any]) -> Floats:
    total: Floats = weights.sum(axis=1, dtype=np.float64)[:, None]  # (B, 1)
    return total


def _sums(weights: NDArray[Any], rows: NDArray[Any]) -> Floats:
    """Shape: (B, N), (T, N) -> (B, T)."""
    sums: Floats = weights.astype(np.float64) @ rows.T.astype(np.float64)
    return sums


def _row_sums(
    value: RowValue, reduced: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]
) -> Floats:
    """Return the sums of one value per row. Shape: (T, N), (N,), (B, N) -> (B, T)."""
    # Sums of whole numbers below 2^24 are exact in float32, at twice the speed.
    if value == "hit" and reduced.shape[1] < 2**17:
        hits = weights.astype(np.float32) @ reduced.T.astype(np.float32)
        return hits.astype(np.float64)
    return _sums(weights, row_values(value, reduced, targets))


def _errors(reduced: NDArray[Any], targets: NDArray[Any]) -> Floats:
    errors: Floats = reduced.astype(np.float64) - targets.astype(np.float64)
    return errors


def _r2(reduced: NDArray[Any], targets: Floats, weights: NDArray[Any]) -> Floats:
    residual = _sums(weights, np.square(_errors(reduced, targets)))  # (B, T)
    targets = targets - targets.mean()  # or an offset would hide what they differ by
    means = _sums(weights, targets[None, :]) / _total(weights)  # (B, 1)
    # About each weighting's own mean: a difference of squares would lose digits.
    squares = weights * np.square(targets - means)  # (B, N)
    total = squares.sum(axis=1, keepdims=True)
    is_flat = total <= 1e-24 * _sums(weights, np.square(targets)[None, :])
    flat = np.where(residual == 0, 1.0, 0.0)
    score = np.where(is_flat, flat, 1.0 - residual / total)
    return np.where(_total(weights) > 0, score, np.nan)


class _Counts:
    """Count the weights of one class, as metrics.ClassCounts names them, when they are asked for.

    Shape: hits and predicted (B, T), true (B, 1).
    """

    def __init__(
        self, label: int, codes: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]
    ) -> None:
        self._label, self._codes, self._weights = label, codes, weights
        self._rows = np.flatnonzero(targets == label)

    @property
    def hits(self) -> Floats:
        return _sums(self._weights[:, self._rows], self._codes[:, self._rows] == self._label)

    @property
    def true(self) -> Floats:
        return _total(self._weights[:, self._rows])

    @property
    def predicted(self) -> Floats:
        return _sums(self._weights, self._codes == self._label)


def _mean_over_classes(
    rate: Callable[[ClassCounts], Any],
    codes: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any],
) -> Floats:
    total, present = np.zeros((2, len(weights), len(codes)))
    for label in np.union1d(targets, np.flatnonzero(np.bincount(codes.ravel()))):
        rates = rate(_Counts(label, codes, targets, weights))  # (B, T)
        is_defined = np.isfinite(rates)
        total += np.where(is_defined, rates, 0.0)
        present += is_defined
    mean: Floats = total / present
    return mean


def _roc_auc(chances: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """One-vs-rest over the classes present; of two classes, the area of the second."""
    # Sums of whole numbers below 2^24 are exact in float32, at half the memory.
    is_exact = np.issubdtype(weights.dtype, np.integer) and weights.sum(axis=1).max() < 2**24
    by_row = np.ascontiguousarray(weights.T, dtype=np.float32 if is_exact else np.float64)
    areas = np.empty((len(weights), len(chances)))
    for trial, table in enumerate(chances.astype(np.float64)):
        columns = {1: table} if table.ndim == 1 else dict(enumerate(table.T))
        of_class = np.stack(
            [_area(column, targets == label, by_row) for label, column in columns.items()]
        )
        defined = np.isfinite(of_class)
        areas[:, trial] = np.where(defined, of_class, 0.0).sum(axis=0) / defined.sum(axis=0)
    return areas


def _area(column: Floats, is_positive: NDArray[np.bool_], weights: NDArray[Any]) -> Floats:
    """Return the probability that a positive row ranks above a negative one; ties count half.

    Shape: (N,), (N,), (N, B) -> (B,); NaN where one side has no weight.
    """
    if not np.isfinite(column).all() or not is_positive.any():
        return np.full(weights.shape[1], np.nan)
    order = np.argsort(column, kind="stable")
    ordered, positive = column[order], np.flatnonzero(is_positive[order])
    by_rank = weights[order]
    of_positive = by_rank[positive].astype(np.float64)
    by_rank[positive] = 0  # negatives are left
    first = np.searchsorted(ordered, ordered[positive], side="left")
    last = np.searchsorted(ordered, ordered[positive], side="right")
    # Negatives are summed only between the ranks of positives, which are fewer than all ranks.
    bounds = np.unique(np.concatenate([[0], first, last, [len(ordered)]]))
    between = np.add.reduceat(by_rank, bounds[:-1], axis=0)
    below = np.zeros((len(bounds), weights.shape[1]))
    np.cumsum(between, axis=0, dtype=np.float64, out=below[1:])
    ranks = np.searchsorted(bounds, first), np.searchsorted(bounds, last)
    ranked = np.einsum("nb,nb->b", of_positive, below[ranks[0]] + below[ranks[1]])
    area: Floats = ranked / (2.0 * of_positive.sum(axis=0) * below[-1])
    return area
