"""Knows what a study has asked for, so that no setting is asked for twice while others are untried.

A proposal also keeps its distance from the trials that run now, in its own cohort and with other
workers: until they end, a sampler cannot learn from them.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Container, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from selection.search.history import Placed
from selection.search.unit_cube import from_unit, position_of
from selection.study.setting import Setting
from selection.study.space import Choices, Dimension, Range, SearchSpace
from selection.study.spec import StudySpec
from selection.study.trial import Params, Value

# Trials closer than this share of every range are near-copies.
NEAR = 0.01
RANDOM_TRIES = 64
# A discrete space with more points is not searched for its last untried settings.
MOST_POINTS = 100_000


class Asked:
    """Hold the settings of all earlier trials, and where the running ones lie.

    total is how many trials run once the cohort is proposed.
    """

    def __init__(
        self,
        spec: StudySpec,
        earlier: Container[Setting],
        running: Sequence[Placed],
        total: int,
        generator: random.Random,
    ) -> None:
        self._spec = spec
        self._earlier = earlier
        self._generator = generator
        self._settings = {placed.setting for placed in running}
        # Room for all that will run, of which count lie here already. Shape: (total, D).
        self._positions = np.empty((max(total, len(running)), len(spec.space)))
        self._count = len(running)
        for index, placed in enumerate(running):
            self._positions[index] = placed.position
        self._near = _distances(spec.space, total)
        self._untried: Iterator[dict[str, Value]] | None = None
        # Whether random_new() has found nothing: nothing is new from then on.
        self.is_exhausted = False

    def add(self, params: Params) -> None:
        """Count a trial among those that run."""
        self._settings.add(self._spec.setting(params))
        self._positions[self._count] = position_of(self._spec.space, params)
        self._count += 1

    def is_new(self, params: Params) -> bool:
        """Say whether the setting is untried and not a near-copy of a running trial."""
        return self._is_untried(params) and not self._is_near_copy(params)

    def random_new(self) -> dict[str, Value] | None:
        """Return new params at random; None if every setting of a discrete space was tried.

        Where all that is left are near-copies, return one of them. Also None where 64 random points
        of a space that is continuous, or has more than 100,000 points, were all tried.
        """
        space = self._spec.space
        for _ in range(RANDOM_TRIES):
            params = {name: from_unit(dim, self._generator.random()) for name, dim in space.items()}
            if self.is_new(params):
                return params
        if self._untried is None:
            # Kept for the whole cohort: what was tried once stays tried.
            points = _all_points(space, self._generator)
            self._untried = (params for params in points if self._is_untried(params))
        found = next(self._untried, None)
        self.is_exhausted = found is None
        return found

    def _is_untried(self, params: Params) -> bool:
        setting = self._spec.setting(params)
        return setting not in self._earlier and setting not in self._settings

    def _is_near_copy(self, params: Params) -> bool:
        position = position_of(self._spec.space, params)
        away = np.abs(self._positions[: self._count] - position)  # (running, D)
        return bool((away < self._near).all(axis=1).any())


def _distances(space: SearchSpace, total: int) -> NDArray[np.float64]:
    """Return how close a near-copy is along each dimension. Shape: (D,)."""
    ranges = sum(isinstance(dimension, Range) for dimension in space.values())
    # Boxes that reach so far around total points fill at most half of the ranges.
    near = min(NEAR, (0.5 / max(total, 1)) ** (1 / max(ranges, 1)) / 2)
    # Options are no distance apart: a near-copy has the same ones.
    return np.array(
        [0.5 / len(dim.options) if isinstance(dim, Choices) else near for dim in space.values()]
    )


def _all_points(space: SearchSpace, generator: random.Random) -> Iterator[dict[str, Value]]:
    """Yield every point of a discrete space once, in random order; nothing for other spaces."""
    values = [_values(dimension) for dimension in space.values()]
    count = math.prod(map(len, values))
    if 0 < count <= MOST_POINTS:
        points = list(itertools.product(*values))
        generator.shuffle(points)
        for point in points:
            yield dict(zip(space, point, strict=True))


def _values(dimension: Dimension) -> Sequence[Value]:
    """Return every value of a discrete dimension, or none."""
    if isinstance(dimension, Range) and dimension.integer and dimension.step is None:
        # A logarithmic range of integers has no grid(), but few enough values.
        return range(int(dimension.low), int(dimension.high) + 1)
    return dimension.grid() or ()
