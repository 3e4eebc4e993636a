"""A bound that the winner's true score respects whichever trial was chosen, and however.

The bound is simultaneous over all trials: its level is raised until the largest of their bootstrap
deviations, in units of its own standard deviation, stays below it as often as was asked. At that
level the rows of the winner are tilted, exponentially, until its score would be surprising.
Source: Rink and Brannath (2025), "Post-selection confidence bounds for prediction performance";
Efron (1981) for bootstrap tilting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from selection.stats.intervals import bootstrap_counts
from selection.stats.scores import Floats


def simultaneous_level(in_bag: NDArray[np.floating[Any]], whole: Floats, level: float) -> float:
    """Return the level at which one trial's bound holds for all trials at once; at least level.

    Shape: in_bag (B, T) bootstrap scores, whole (T,) the scores of the record, larger is better.
    """
    units = (in_bag - whole).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        units /= np.nanstd(units, axis=0)
    units[~np.isfinite(units)] = -np.inf
    largest = units.max(axis=1).astype(np.float64)
    largest[np.isneginf(largest)] = 0.0  # where no score has a spread, none deviates
    return max(level, float(special.ndtr(np.quantile(largest, level))))


def share_bound(hits: int, rows: int, level: float) -> float:
    """Return the lower bound of a share of independent rows.

    Tilting the rows of a share changes its probability, so this is Clopper's and Pearson's bound.
    """
    return float(stats.beta.ppf(1 - level, hits, rows - hits + 1)) if hits else 0.0


def mean_bound(
    values: Floats, groups: NDArray[np.int64] | None, level: float, bootstraps: int, seed: int
) -> float:
    """Return the lower bound of the mean of rows, larger is better; groups are drawn whole.

    Shape: values (N,), groups (N,) or None.
    """
    codes = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(codes, values), np.bincount(codes).astype(np.float64)
    units = len(sums)
    mean = sums.sum() / sizes.sum()
    influence = units * (sums - mean * sizes) / sizes.sum()  # (U,)
    largest = np.abs(influence).max()
    if largest == 0:
        return float(mean)
    draws = np.concatenate(
        [counts @ influence for counts in bootstrap_counts(units, None, bootstraps, seed)]
    )
    reached = draws[draws >= 0]

    def surprise(tilt: float) -> float:
        """Return how much likelier than asked the tilted rows are to reach the observed mean."""
        growth = special.logsumexp(tilt * influence) - np.log(units)
        return float(np.exp(tilt * reached - units * growth).sum() / bootstraps - (1 - level))

    tilt = _root(surprise, -50.0 / largest)
    weights = special.softmax(tilt * influence)
    return float(weights @ sums / (weights @ sizes))


def _root(function: Callable[[float], float], lowest: float) -> float:
    """Return where an increasing function of a tilt from lowest to 0 is 0, or the nearer end."""
    if function(lowest) > 0:
        return lowest
    if function(0.0) < 0:
        return 0.0
    return float(optimize.brentq(function, lowest, 0.0))
