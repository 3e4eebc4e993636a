"""The area under the ROC curve of many models at once, where few weightings are asked for.

stats.scores sorts model by model for a thousand weightings; here all models are sorted together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.stats.scores import Floats


def rank_areas(
    chances: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the area of the second of two classes, or the mean of one class against the rest.

    NaN where it is not defined. Shape: chances (T, N) or (T, N, C), targets (N,), weights (B, N) ->
    (B, T).
    """
    tables = {1: chances} if chances.ndim == 2 else dict(enumerate(np.moveaxis(chances, 2, 0)))
    of_class = [_areas(table, targets == label, weights) for label, table in tables.items()]
    total, defined = np.zeros((2, len(weights), len(chances)))
    for areas in of_class:
        is_defined = np.isfinite(areas)
        total += np.where(is_defined, areas, 0.0)
        defined += is_defined
    with np.errstate(invalid="ignore"):
        means: Floats = total / defined
    return means


def _areas(table: NDArray[Any], is_positive: NDArray[np.bool_], weights: NDArray[Any]) -> Floats:
    """Return the chance that a positive row ranks above a negative one; ties count half.

    Shape: (T, N), (N,), (B, N) -> (B, T).
    """
    order = np.argsort(table, axis=1)
    ordered = np.take_along_axis(table, order, axis=1)
    starts = np.ones(order.shape, dtype=np.bool_)  # of runs of equal chances
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=starts[:, 1:])
    has_ties = not starts.all()
    areas = np.empty((len(weights), len(table)))
    for line, own in enumerate(weights.astype(np.float64)):
        positive = np.where(is_positive, own, 0.0)
        negative = own - positive
        sides = positive.sum() * negative.sum()
        if sides == 0:
            areas[line] = np.nan
            continue
        below = np.cumsum(negative[order], axis=1)
        ranked = 2.0 * below - negative[order]
        if has_ties:
            ranked = _over_ties(below, ranked - below, starts)
        areas[line] = np.einsum("tn,tn->t", positive[order], ranked) / (2.0 * sides)
    return areas


def _over_ties(upto: Floats, before: Floats, starts: NDArray[np.bool_]) -> Floats:
    """Return the negatives below and up to the whole run of equal chances that a row lies in.

    Both grow along a line, so that the first of a run is a running maximum, the last a minimum.
    Shape: (T, N) each.
    """
    first = np.maximum.accumulate(np.where(starts, before, 0.0), axis=1)
    ends = np.concatenate([starts[:, 1:], np.ones((len(starts), 1), dtype=np.bool_)], axis=1)
    last = np.where(ends, upto, np.inf)[:, ::-1]
    both: Floats = first + np.minimum.accumulate(last, axis=1)[:, ::-1]
    return both
