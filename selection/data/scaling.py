"""How numeric columns are brought to one scale: by a line, by quartiles, or by their quantiles.

Each scaling holds the constants fitted on some rows and applies them to any rows, column by column.
Source: scikit-learn's MinMaxScaler, StandardScaler and QuantileTransformer; the robust scaling and
smooth clipping of RealMLP (Holzmüller et al. 2024, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from selection.study.fields import Prepare

Floats: TypeAlias = NDArray[np.float64]
CLIP = 3.0
# Beyond it a value is clipped to CLIP exactly, and its square does not overflow.
FARTHEST = 1e30
FEWEST_QUANTILES, MOST_QUANTILES, ROWS_OF_A_QUANTILE = 10, 1000, 30
# The least level of a quantile that has a normal score of its own, as in scikit-learn.
LEAST_LEVEL = 1e-7 - float(np.spacing(1.0))


@dataclass(frozen=True, eq=False)
class Linear:
    """Subtract the center and divide by the scale. Shape: both (D,)."""

    center: Floats
    scale: Floats

    @property
    def width(self) -> int:
        return len(self.center)

    def column(self, index: int) -> Linear:
        """Return the scaling of one column."""
        return Linear(self.center[[index]], self.scale[[index]])

    def apply(self, values: Floats) -> Floats:
        """Return values scaled. Shape: (N, D)."""
        scaled: Floats = (values - self.center) / self.scale
        return scaled


@dataclass(frozen=True, eq=False)
class Robust:
    """Subtract the median, divide by the range of the quartiles, and clip smoothly to -3..3.

    The scale of a column of one value is infinite: whatever it holds becomes 0.
    Shape: center and scale are (D,).
    """

    center: Floats
    scale: Floats

    @property
    def width(self) -> int:
        return len(self.center)

    def column(self, index: int) -> Robust:
        """Return the scaling of one column."""
        return Robust(self.center[[index]], self.scale[[index]])

    def apply(self, values: Floats) -> Floats:
        """Return values scaled and clipped: x / sqrt(1 + (x / 3)^2). Shape: (N, D)."""
        scaled = np.clip((values - self.center) / self.scale, -FARTHEST, FARTHEST)
        clipped: Floats = scaled / np.sqrt(1.0 + np.square(scaled / CLIP))
        return clipped


@dataclass(frozen=True, eq=False)
class Quantile:
    """Replace a value by the normal score of its level among the quantiles of its column.

    Between quantiles the level is interpolated; values beyond them have the score of the last one.
    Of equal quantiles the level is their mean, and as scikit-learn has it the least value has level
    0 and the greatest level 1. scikit-learn jumps to that mean from the levels on both sides; here
    the level comes near to it without a jump, so that a value read in float32 keeps its score.
    A column of one value becomes 0.
    Shape: quantiles is (Q, D), ascending, at levels that are evenly spaced from 0 to 1.
    """

    quantiles: Floats

    @property
    def width(self) -> int:
        return int(self.quantiles.shape[1])

    def column(self, index: int) -> Quantile:
        """Return the scaling of one column."""
        return Quantile(self.quantiles[:, [index]])

    @cached_property
    def knots(self) -> tuple[tuple[Floats, Floats], ...]:
        """The different quantiles of each column, and the level of each."""
        return tuple(_knots(column) for column in self.quantiles.T)

    def apply(self, values: Floats) -> Floats:
        """Return the scores of values. Shape: (N, D)."""
        levels = np.empty_like(values)
        for index, (knots, own) in enumerate(self.knots):
            unit = power_of_two(np.abs(knots).max())  # so that no difference of knots vanishes
            levels[:, index] = np.interp(values[:, index] / unit, knots / unit, own)
        scores: Floats = ndtri(np.clip(levels, LEAST_LEVEL, 1.0 - LEAST_LEVEL))
        return scores


Scaling: TypeAlias = Linear | Robust | Quantile


def fit_scaling(values: Floats, prepare: Prepare) -> Scaling:
    """Fit the constants of a preparation on rows without missing values. Shape: (N, D)."""
    match prepare:
        case "none":
            return identity(values.shape[1])
        case "robust":
            return _fit_robust(values)
        case "quantile":
            count = min(MOST_QUANTILES, max(len(values) // ROWS_OF_A_QUANTILE, FEWEST_QUANTILES))
            levels = np.linspace(0.0, 1.0, max(1, min(count, len(values))))
            quantiles = np.percentile(values, 100.0 * levels, axis=0)
            # Rounding must not let a quantile fall below the one before it.
            return Quantile(np.maximum.accumulate(quantiles))
    return _fit_linear(values, prepare)


def mean_and_std(values: Floats) -> tuple[float, float]:
    """Return the mean and the standard deviation, 1 where all values are equal. Shape: (N,)."""
    fitted = _fit_linear(values.reshape(-1, 1), "standardize")
    return float(fitted.center[0]), float(fitted.scale[0])


def identity(width: int) -> Linear:
    """Return the scaling that leaves columns alone."""
    return Linear(np.zeros(width), np.ones(width))


def scaling_to_json(scaling: Scaling) -> dict[str, Any]:
    """Return the constants as JSON knows them: an infinite scale is null."""
    match scaling:
        case Quantile(quantiles):
            return {"kind": "quantile", "quantiles": quantiles.T.tolist()}
        case Robust(center, scale):
            finite = [value if np.isfinite(value) else None for value in scale.tolist()]
            return {"kind": "robust", "center": center.tolist(), "scale": finite}
        case Linear(center, scale):
            return {"kind": "linear", "center": center.tolist(), "scale": scale.tolist()}


def scaling_from_json(value: Mapping[str, Any]) -> Scaling:
    """Return the constants that scaling_to_json wrote.

    Raises: KeyError, TypeError or ValueError where the JSON is not such.
    """
    if value["kind"] == "quantile":
        columns = np.array(value["quantiles"], dtype=np.float64)
        return Quantile(columns.T if columns.size else np.empty((1, 0)))
    center = np.array(value["center"], dtype=np.float64)
    scale = [np.inf if each is None else each for each in value["scale"]]
    kinds: Mapping[str, type[Linear | Robust]] = {"linear": Linear, "robust": Robust}
    return kinds[value["kind"]](center, np.array(scale, dtype=np.float64))


def power_of_two(size: Any) -> Any:
    """Return the power of two just above each size: dividing by it is exact."""
    _, exponent = np.frexp(size)
    return np.ldexp(1.0, exponent)


def _fit_linear(values: Floats, prepare: Prepare) -> Linear:
    """Fit what to subtract and what to divide by; a constant column is divided by 1."""
    low, high = values.min(axis=0), values.max(axis=0)
    # Squares of what is left neither overflow nor vanish.
    unit = power_of_two(np.maximum(np.abs(low), np.abs(high)))
    if prepare == "scale":
        center, scale = low, (high / unit - low / unit) * unit
    else:
        center, scale = (values / unit).mean(axis=0) * unit, (values / unit).std(axis=0) * unit
    # The std of a constant column is a rounding error, not always 0.
    return Linear(center, np.where(high == low, 1.0, scale))


def _fit_robust(values: Floats) -> Robust:
    """Fit the median and the range of the quartiles, or where that is 0 half the whole range."""
    low, lower, center, upper, high = np.percentile(values, [0, 25, 50, 75, 100], axis=0)
    scale = np.where(upper > lower, upper - lower, 0.5 * (high - low))
    return Robust(center, np.where(scale > 0, scale, np.inf))


def _knots(column: Floats) -> tuple[Floats, Floats]:
    levels = np.linspace(0.0, 1.0, len(column))
    knots, first, counts = np.unique(column, return_index=True, return_counts=True)
    if len(knots) == 1:
        return knots, np.array([0.5])
    own = 0.5 * (levels[first] + levels[first + counts - 1])
    own[0], own[-1] = 0.0, 1.0
    return knots, own
