"""The search space: where each searched hyperparameter may lie.

A space is a plain mapping from name to Range or Choices. It does not depend on samplers; search/
translates it for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from selection.study.trial import Params, Value


@dataclass(frozen=True)
class Range:
    """Hold an interval of integers or floats that includes both ends."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def nearest(self, value: Value) -> Value:
        """Return the point of the range nearest to value."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return self.low
        inside = min(max(value, self.low), self.high)
        if self.step is not None:
            low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
            steps = min(round((Decimal(str(inside)) - low) / step), int((high - low) / step))
            # In decimals: 0.1 + 2 * 0.1 must equal the 0.3 of a study file.
            inside = float(low + steps * step)
        return round(inside) if self.integer else float(inside)

    def grid(self) -> tuple[Value, ...] | None:
        """Return every point of the range, or None where it has no step."""
        step = self.step if self.step is not None else (1 if self.integer else None)
        if step is None or self.log:
            return None
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.nearest(self.low + index * step) for index in range(count))


@dataclass(frozen=True)
class Choices:
    """Hold a finite set of values in the order of the study file."""

    options: tuple[Value, ...]

    def nearest(self, value: Value) -> Value:
        """Return value if it is one of the options, the first option otherwise."""
        return value if value in self.options else self.options[0]

    def grid(self) -> tuple[Value, ...]:
        """Return every option."""
        return self.options


Dimension: TypeAlias = Range | Choices
SearchSpace: TypeAlias = Mapping[str, Dimension]


def most_of(dimension: Dimension) -> float:
    """Return the largest number of a dimension."""
    values = dimension.options if isinstance(dimension, Choices) else (dimension.high,)
    return max(value for value in values if isinstance(value, int | float))


def nearest_inside(space: SearchSpace, params: Params) -> dict[str, Value]:
    """Return the params moved to the nearest point of the space.

    The default setting may lie outside (no weight decay, where the range is logarithmic), but
    samplers and Optuna's tools only accept points inside.
    """
    return {name: dimension.nearest(params[name]) for name, dimension in space.items()}


def value_to_json(value: Value) -> Any:
    """Return the value as JSON: a tuple becomes a list."""
    return list(value) if isinstance(value, tuple) else value


def value_from_json(value: Any) -> Value:
    """Return the value read from JSON: a list becomes a tuple."""
    return tuple(value) if isinstance(value, list) else value
