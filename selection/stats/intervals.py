"""Intervals of a score: Wilson's for a share of rows, percentiles of resampled rows otherwise.

Source: Wilson (1927); Efron and Tibshirani (1993).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

BLOCK = 128


def wilson(hits: int, rows: int, level: float) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    interval = stats.binomtest(hits, rows).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def percentiles(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return the central interval of resampled scores, without those that are undefined."""
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def prediction_interval(
    draws: NDArray[np.float64], level: float, rows: int, new_rows: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Return the interval of the score that so many new rows will show.

    draws are out-of-bag scores of bootstraps over the rows, of which each leaves out a share of
    1/e. Such a subset deviates from all rows by a variance of (e - 1) / rows in units of one row's;
    a score on new rows deviates from the estimate by 1 / rows + 1 / new_rows. The draws are spread
    by the root of that ratio. bounds are those of the metric.
    """
    estimate = float(np.nanmean(draws))
    spread = math.sqrt((1.0 + rows / new_rows) / (math.e - 1.0))
    low, high = (estimate + spread * (each - estimate) for each in percentiles(draws, level))
    return max(low, bounds[0]), min(high, bounds[1])


def bootstrap_counts(
    rows: int, groups: NDArray[np.int64] | None, bootstraps: int, seed: int, run: int = 1
) -> Iterator[NDArray[np.int16]]:
    """Yield how often each row is drawn in each bootstrap, a block of bootstraps at a time.

    Rows are drawn with replacement. With groups, whole groups are drawn, because rows of one group
    are not independent; with a run above 1, runs of so many rows that follow one another, because
    neighbours in time are not (the first row follows the last).
    Shape: (b, N), b bootstraps in this block.
    Source: Politis and Romano (1992), the circular block bootstrap.
    """
    generator = np.random.default_rng(seed)
    if run > 1:
        yield from _runs(generator, rows, bootstraps, run)
        return
    codes = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(codes.max()) + 1
    for first in range(0, bootstraps, BLOCK):
        block = np.empty((min(BLOCK, bootstraps - first), rows), dtype=np.int16)
        for line in block:
            drawn = np.bincount(generator.integers(0, units, units), minlength=units)
            line[:] = drawn[codes]
        yield block


def length_of_runs(rows: int) -> int:
    """Return how many rows in time are drawn together: the cube root of their number, rounded up.

    Source: Hall, Horowitz and Jing (1995).
    """
    return math.ceil(round(math.cbrt(rows), 9)) if rows else 1


def _runs(
    generator: np.random.Generator, rows: int, bootstraps: int, run: int
) -> Iterator[NDArray[np.int16]]:
    starts = -(-rows // run)
    for first in range(0, bootstraps, BLOCK):
        block = np.empty((min(BLOCK, bootstraps - first), rows), dtype=np.int16)
        for line in block:
            drawn = generator.integers(0, rows, starts)[:, None] + np.arange(run)
            line[:] = np.bincount(drawn.ravel()[:rows] % rows, minlength=rows)
        yield block
