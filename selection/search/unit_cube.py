"""Maps a search space to the unit cube and back: one coordinate for each dimension.

Equal lengths hold equal shares of the range, of its logarithm, or of the options.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from selection.study.space import Choices, Dimension, Range, SearchSpace, nearest_inside
from selection.study.trial import Params, Value

Position: TypeAlias = NDArray[np.float64]


def from_unit(dimension: Dimension, share: float) -> Value:
    """Return the point of the dimension at this share of it.

    Units: share is in [0, 1].
    """
    if isinstance(dimension, Choices):
        count = len(dimension.options)
        return dimension.options[min(int(share * count), count - 1)]
    low, high = _ends(dimension)
    at = low + share * (high - low)
    return dimension.nearest(math.exp(at) if dimension.log else at)


def to_unit(dimension: Dimension, value: Value) -> float:
    """Return the share of the dimension at which a point of it lies.

    Units: in [0, 1]; a discrete value lies in the middle of its share.
    """
    if isinstance(dimension, Choices):
        return (dimension.options.index(value) + 0.5) / len(dimension.options)
    assert isinstance(value, int | float), "a range holds numbers"
    low, high = _ends(dimension)
    return ((math.log(value) if dimension.log else value) - low) / (high - low)


def position_of(space: SearchSpace, params: Params) -> Position:
    """Return where params lie, or the nearest point of the space. Shape: (D,)."""
    inside = nearest_inside(space, params)
    return np.array([to_unit(dimension, inside[name]) for name, dimension in space.items()])


def _ends(dimension: Range) -> tuple[float, float]:
    """Return the ends of the range, of which each discrete value has an equal share around it."""
    step = dimension.step if dimension.step is not None else float(dimension.integer)
    last = dimension.nearest(dimension.high)
    assert isinstance(last, int | float), "a range holds numbers"
    ends = dimension.low - step / 2, last + step / 2
    return (math.log(ends[0]), math.log(ends[1])) if dimension.log else ends
