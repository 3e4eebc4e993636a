"""The unit cube: shares of ranges, of logarithms and of options."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from selection.search.unit_cube import from_unit, to_unit
from selection.study.space import Choices, Dimension, Range

DIMENSIONS: list[Dimension] = [
    Range(0.0, 0.5),
    Range(1e-6, 1e-1, log=True),
    Range(1, 3, integer=True),
    Range(1, 512, log=True, integer=True),
    Range(16, 256, step=16, integer=True),
    Range(0.1, 0.55, step=0.2),
    Choices(("relu", "tanh", "sigmoid")),
    Choices(((64, 32), (128,))),
]


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=str)
def test_a_point_lies_where_its_share_says(dimension: Dimension) -> None:
    for step in range(21):
        value = from_unit(dimension, step / 20)
        share = to_unit(dimension, value)
        assert 0.0 <= share <= 1.0
        again = from_unit(dimension, share)
        is_number = isinstance(dimension, Range)
        assert again == (pytest.approx(value, rel=1e-12) if is_number else value)
    if isinstance(dimension, Range):
        assert from_unit(dimension, 0.0) == pytest.approx(dimension.low)
        assert from_unit(dimension, 1.0) == dimension.nearest(dimension.high)


def test_equal_lengths_hold_equal_shares() -> None:
    shares = [(index + 0.5) / 600 for index in range(600)]
    assert from_unit(Range(1e-4, 1.0, log=True), 0.25) == pytest.approx(1e-3)
    assert from_unit(Range(2.0, 4.0), 0.25) == 2.5
    counts = [
        Counter(from_unit(dimension, share) for share in shares)
        for dimension in (Range(1, 3, integer=True), Range(0.1, 0.55, step=0.2), DIMENSIONS[6])
    ]
    assert [sorted(count.values()) for count in counts] == [[200] * 3] * 3
    octaves = Counter(
        int(math.log2(from_unit(Range(1, 512, log=True, integer=True), share)))  # type: ignore[arg-type]
        for share in shares
    )
    assert set(octaves) == set(range(9))
