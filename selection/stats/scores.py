"""Every metric we offer under row weights, for many models and many weightings at once.

A bootstrap is a weighting, out-of-bag rows are a weighting, and plain scores have weight 1. A class
without weight is left out of a mean over classes. scikit-learn is the oracle of every function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def reduce_outputs(metric: str, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Return what a metric needs of one model's outputs, row by row.

    Shape: outputs (N, C) logits, or (N, 1) predictions in units of the target; targets (N,) ->
    (N,), or (N, C) chances for a ROC AUC over several classes.
    """
    match metric:
        case "accuracy":
            hits: NDArray[Any] = outputs.argmax(axis=1) == targets
            return hits
        case "balanced_accuracy" | "macro_f1":
            codes: NDArray[Any] = outputs.argmax(axis=1).astype(np.int16)
            return codes
        case "cross_entropy":
            return -log_softmax(outputs)[np.arange(len(targets)), targets.astype(np.int64)]
        case "roc_auc":
            chances = np.exp(log_softmax(outputs))
            return chances[:, 1] if outputs.shape[1] == 2 else chances
        case "rmse" | "mae" | "r2":
            return outputs[:, 0].astype(np.float64)
    raise AssertionError(f"metric {metric} is refused by the study file")


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
        match metric:
            case "accuracy":
                # Sums of whole numbers below 2^24 are exact in float32, at twice the speed.
                kind = np.float32 if reduced.shape[1] < 2**17 else np.float64
                hits = weights.astype(kind) @ reduced.T.astype(kind)
                shares: Floats = hits.astype(np.float64) / _total(weights)
                return shares
            case "cross_entropy":
                return _sums(weights, reduced) / _total(weights)
            case "mae":
                return _sums(weights, np.abs(_errors(reduced, targets))) / _total(weights)
            case "rmse":
                squares = _sums(weights, np.square(_errors(reduced, targets)))
                return np.sqrt(squares / _total(weights))
            case "r2":
                return _r2(reduced, targets.astype(np.float64), weights)
            case "balanced_accuracy":
                return _balanced_accuracy(reduced, targets, weights)
            case "macro_f1":
                return _macro_f1(reduced, targets, weights)
            case "roc_auc":
                return _roc_auc(reduced, targets, weights)
    raise AssertionError(f"metric {metric} is refused by the study file")


def log_softmax(outputs: NDArray[Any]) -> Floats:
    """Return the logarithms of the chances of each class. Shape: (N, C)."""
    shifted: Floats = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _total(weights: NDArray[Any]) -> Floats:
    total: Floats = weights.sum(axis=1, dtype=np.float64)[:, None]  # (B, 1)
    return total


def _sums(weights: NDArray[Any], rows: NDArray[Any]) -> Floats:
    """Shape: (B, N), (T, N) -> (B, T)."""
    sums: Floats = weights.astype(np.float64) @ rows.T.astype(np.float64)
    return sums


def _errors(reduced: NDArray[Any], targets: NDArray[Any]) -> Floats:
    errors: Floats = reduced.astype(np.float64) - targets.astype(np.float64)
    return errors


def _r2(reduced: NDArray[Any], targets: Floats, weights: NDArray[Any]) -> Floats:
    residual = _sums(weights, np.square(_errors(reduced, targets)))  # (B, T)
    means = _sums(weights, targets[None, :]) / _total(weights)  # (B, 1)
    # About each weighting's own mean: a difference of squares would lose digits.
    squares = weights * np.square(targets - means)  # (B, N)
    total = squares.sum(axis=1, keepdims=True)
    is_flat = total <= 1e-24 * _sums(weights, np.square(targets)[None, :])
    flat = np.where(residual == 0, 1.0, 0.0)
    score = np.where(is_flat, flat, 1.0 - residual / total)
    return np.where(_total(weights) > 0, score, np.nan)


def _balanced_accuracy(codes: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]) -> Floats:
    recalls, present = [], []
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        of_class = _total(weights[:, rows])  # (B, 1)
        recalls.append(_sums(weights[:, rows], codes[:, rows] == label) / of_class)
        present.append(of_class > 0)
    return _mean_over_classes(recalls, present)


def _macro_f1(codes: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]) -> Floats:
    scores, present = [], []
    for label in np.union1d(targets, codes):
        rows = np.flatnonzero(targets == label)
        hits = _sums(weights[:, rows], codes[:, rows] == label)
        named = _sums(weights, codes == label) + _total(weights[:, rows])  # predicted + true
        scores.append(2.0 * hits / named)
        present.append(named > 0)
    return _mean_over_classes(scores, present)


def _mean_over_classes(scores: list[Floats], present: list[NDArray[np.bool_]]) -> Floats:
    total = sum(
        np.where(is_there, score, 0.0) for score, is_there in zip(scores, present, strict=True)
    )
    mean: Floats = total / np.sum(np.broadcast_arrays(*present), axis=0)
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
    """Return the chance that a positive row ranks above a negative one, ties counted half.

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
    # Negatives are summed between the ranks of positives only, not rank by rank.
    bounds = np.unique(np.concatenate([[0], first, last, [len(ordered)]]))
    between = np.add.reduceat(by_rank, bounds[:-1], axis=0)
    below = np.zeros((len(bounds), weights.shape[1]))
    np.cumsum(between, axis=0, dtype=np.float64, out=below[1:])
    ranks = np.searchsorted(bounds, first), np.searchsorted(bounds, last)
    ranked = np.einsum("nb,nb->b", of_positive, below[ranks[0]] + below[ranks[1]])
    area: Floats = ranked / (2.0 * of_positive.sum(axis=0) * below[-1])
    return area
