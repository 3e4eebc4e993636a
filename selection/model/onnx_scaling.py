"""The scalings of selection.data.scaling as nodes of an ONNX graph, in float64 throughout.

ONNX has no interpolation and no normal quantiles: knots are found by a binary search of Gather
nodes, all columns at once, and scores by a rational approximation with a relative error of 1e-16.
Source: Wichura 1988, algorithm AS 241 (PPND16).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.data.scaling import (
    CLIP,
    FARTHEST,
    LEAST_LEVEL,
    Linear,
    Quantile,
    Robust,
    Scaling,
    power_of_two,
)

Floats = NDArray[np.float64]
# Coefficients from the constant term on, of the middle (|p - 1/2| <= 0.425) and of the tails.
MIDDLE_BELOW = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
MIDDLE_ABOVE = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
TAIL_BELOW = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
TAIL_ABOVE = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)


@dataclass(frozen=True)
class ScalingNodes:
    """Add a scaling to a graph: node and constant add one of each and return its name."""

    node: Callable[..., str]
    constant: Callable[[NDArray[Any]], str]

    def add(self, scaling: Scaling, unit: str) -> str:
        """Add the nodes of a scaling and return the name of what it gives. Shape: (N, D)."""
        match scaling:
            case Linear(center, scale):
                return self._line(center, scale, unit)
            case Robust(center, scale):
                return self._clip(self._line(center, scale, unit))
            case Quantile():
                return self._score(self._level(scaling, unit))

    def _line(self, center: Floats, scale: Floats, unit: str) -> str:
        # onnxruntime takes a small enough center for 0; powers of two are exact.
        power = _power_if_unusual(scale)
        unit = self._divide(unit, power)
        unit = self.node("Sub", [unit, self.constant(center[None] / power)])
        return self.node("Div", [unit, self.constant(scale[None] / power)])

    def _clip(self, unit: str) -> str:
        unit = self.node("Clip", [unit, self._number(-FARTHEST), self._number(FARTHEST)])
        share = self.node("Div", [unit, self._number(CLIP)])
        square = self.node("Mul", [share, share])
        root = self.node("Sqrt", [self.node("Add", [square, self._number(1.0)])])
        return self.node("Div", [unit, root])

    def _level(self, scaling: Quantile, unit: str) -> str:
        """Add the interpolation between quantiles: level + rise * clip((x - start) / width)."""
        power = _power_if_unusual(np.abs(scaling.quantiles).max(axis=0))
        table = _segments(scaling, power)  # four of (D, S)
        # Knots lie within 1e20 of 0 by now; an infinite value would be beyond the last segment.
        unit = self._divide(unit, power)
        unit = self.node("Clip", [unit, self._number(-FARTHEST), self._number(FARTHEST)])
        start, width, level, rise = (self.constant(part.ravel()) for part in table)
        place = self._search(start, table[0].shape, unit)
        share = self.node("Sub", [unit, self.node("Gather", [start, place])])
        share = self.node("Div", [share, self.node("Gather", [width, place])])
        share = self.node("Clip", [share, self._number(0.0), self._number(1.0)])
        step = self.node("Mul", [share, self.node("Gather", [rise, place])])
        return self.node("Add", [self.node("Gather", [level, place]), step])

    def _search(self, start: str, shape: tuple[int, ...], unit: str) -> str:
        """Add the search for the last segment of each column that starts at or below a value.

        Shape: (N, D) places in the table of all columns, or (1, D) where each has one segment.
        """
        columns, segments = shape
        place = self.constant(segments * np.arange(columns, dtype=np.int64)[None])
        step = segments // 2
        while step:
            ahead = self.node("Add", [place, self.constant(np.array(step))])
            is_below = self.node("LessOrEqual", [self.node("Gather", [start, ahead]), unit])
            place = self.node("Where", [is_below, ahead, place])
            step //= 2
        return place

    def _score(self, level: str) -> str:
        """Add the normal score of a level: the inverse of the normal distribution function."""
        least = self._number(LEAST_LEVEL), self._number(1.0 - LEAST_LEVEL)
        level = self.node("Clip", [level, *least])
        offset = self.node("Sub", [level, self._number(0.5)])
        near = self.node("Mul", [offset, offset])
        near = self.node("Sub", [self._number(0.180625), near])
        middle = self.node("Mul", [offset, self._ratio(MIDDLE_ABOVE, MIDDLE_BELOW, near)])
        other = self.node("Sub", [self._number(1.0), level])
        log = self.node("Log", [self.node("Min", [level, other])])
        far = self.node("Sub", [self.node("Sqrt", [self.node("Neg", [log])]), self._number(1.6)])
        tail = self._ratio(TAIL_ABOVE, TAIL_BELOW, far)
        tail = self.node("Mul", [self.node("Sign", [offset]), tail])
        is_middle = self.node("LessOrEqual", [self.node("Abs", [offset]), self._number(0.425)])
        return self.node("Where", [is_middle, middle, tail])

    def _ratio(self, above: Sequence[float], below: Sequence[float], unit: str) -> str:
        return self.node("Div", [self._polynomial(above, unit), self._polynomial(below, unit)])

    def _polynomial(self, coefficients: Sequence[float], unit: str) -> str:
        """Add a polynomial by Horner's rule."""
        value = self._number(coefficients[-1])
        for each in coefficients[-2::-1]:
            value = self.node("Add", [self.node("Mul", [value, unit]), self._number(each)])
        return value

    def _divide(self, unit: str, power: Floats) -> str:
        """Add a division by powers of two, if any is not 1."""
        return self.node("Div", [unit, self.constant(power[None])]) if (power != 1).any() else unit

    def _number(self, value: float) -> str:
        return self.constant(np.array(value, dtype=np.float64))


def _segments(scaling: Quantile, power: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return where the segments between knots start, how wide they are, and their levels.

    A column has at least one segment; columns of fewer than others end in segments that no value
    reaches. Shape: (D, S) each, S a power of two.
    """
    columns = [(knots / unit, own) for (knots, own), unit in zip(scaling.knots, power, strict=True)]
    most = max(2, *(len(knots) for knots, _ in columns)) - 1
    shape = (len(columns), 1 << (most - 1).bit_length())
    start, width = np.full(shape, np.inf), np.ones(shape)
    level, rise = np.zeros(shape), np.zeros(shape)
    for index, (knots, own) in enumerate(columns):
        count = max(1, len(knots) - 1)
        start[index, :count], level[index, :count] = knots[:count], own[:count]
        if len(knots) > 1:
            width[index, :count], rise[index, :count] = np.diff(knots), np.diff(own)
    return start, width, level, rise


def _power_if_unusual(size: Floats) -> Floats:
    """Return the powers of two that bring unusual sizes near 1; 1 for all others."""
    is_kept = (size > 1e-20) & (size < 1e20) | (size == 0) | np.isinf(size)
    powers: Floats = np.where(is_kept, 1.0, power_of_two(np.where(is_kept, 1.0, size)))
    return powers
