"""Two models on the same folds or on the same rows: is the difference more than chance?

Folds share training rows, so their differences are correlated, and an uncorrected t test finds
differences far too often.
Source: Nadeau and Bengio (2003); Benavoli, Corani, Demsar, Zaffalon (2017); McNemar (1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Word = Literal["", "identical", "constant"]
ROUNDING = 1e-12


@dataclass(frozen=True)
class Comparison:
    """Hold the difference between two models over paired folds.

    word is "identical" where every difference is 0 and "constant" where all are the same other
    number: then there is no variance to test by, and neither an interval nor a p.
    Units: those of the score; low and high bound the mean difference at the level asked for.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    word: Word


@dataclass(frozen=True)
class Posterior:
    """Hold the probabilities that the first model is worse, practically equal and better."""

    worse: float
    equal: float
    better: float


def validation_ratio(folds: int, *, is_time_series: bool) -> float:
    """Return validation rows / training rows, which measures how far folds share rows.

    In a time series split k trains on the k + 1 parts before it: the mean ratio is returned.
    """
    if is_time_series:
        return sum(1 / (index + 1) for index in range(folds)) / folds
    return 1 / (folds - 1)


def paired_differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return first - second, fold by fold, to 12 digits of the scores.

    Two differences that differ only by the rounding of the scores become equal.

    Raises: ValueError where the folds are not paired.
    """
    if len(first) != len(second):
        raise ValueError(f"folds must be paired, but got {len(first)} and {len(second)} of them")
    scale = max(map(abs, [*first, *second]), default=0.0)
    if scale == 0:
        return [0.0] * len(first)
    # A power of two, by which division and multiplication are exact.
    quantum = 2.0 ** math.floor(math.log2(scale * ROUNDING))
    return [round((a - b) / quantum) * quantum for a, b in zip(first, second, strict=True)]


def corrected_resampled_t(differences: Sequence[float], ratio: float, level: float) -> Comparison:
    """Test whether the mean of paired differences is 0, corrected for shared training rows.

    t = mean(d) / sqrt((1/J + n_val/n_train) s_d^2), df = J - 1, two-sided.
    """
    count, mean, spread = len(differences), float(np.mean(differences)), _spread(differences)
    if spread == 0 and mean == 0:
        return Comparison(0.0, 0.0, 0.0, 1.0, "identical")
    if spread == 0:
        return Comparison(mean, None, None, None, "constant")
    error = spread * math.sqrt(1 / count + ratio)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, count - 1))
    return Comparison(mean, mean - half, mean + half, p, "")


def correlated_bayes(differences: Sequence[float], ratio: float, rope: float) -> Posterior:
    """Return the posterior probabilities under a region of practical equivalence [-rope, rope].

    The posterior of the mean is Student's t with df = J - 1, mean(d), s_d^2 (1/J + n_val/n_train).
    """
    count, mean, spread = len(differences), float(np.mean(differences)), _spread(differences)
    if spread == 0:
        return Posterior(float(mean < -rope), float(abs(mean) <= rope), float(mean > rope))
    scale = spread * math.sqrt(1 / count + ratio)
    worse = float(stats.t.cdf((-rope - mean) / scale, count - 1))
    better = float(stats.t.sf((rope - mean) / scale, count - 1))
    return Posterior(worse, max(0.0, 1 - worse - better), better)


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p of two models that are right on different rows.

    only_first counts the rows that the first model alone has right.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(only_first, discordant, 0.5).pvalue)


def _spread(differences: Sequence[float]) -> float:
    """Return s with ddof = 1; numbers that differ only by rounding count as equal."""
    values = np.asarray(differences, dtype=np.float64)
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return 0.0
    return float(np.std(values, ddof=1))
