"""A search space in Optuna's words, against Optuna itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from selection.study.optuna_names import distribution_json, from_optuna, to_optuna
from selection.study.space import Choices, Dimension, Range

PAIRS: list[tuple[Dimension, BaseDistribution]] = [
    (Range(0.0, 0.6), FloatDistribution(0.0, 0.6)),
    (Range(0, 1), FloatDistribution(0.0, 1.0)),
    (Range(1e-6, 1e-2, log=True), FloatDistribution(1e-6, 1e-2, log=True)),
    (Range(0.0, 0.6, step=0.1), FloatDistribution(0.0, 0.6, step=0.1)),
    (Range(0.0, 0.65, step=0.1), FloatDistribution(0.0, 0.6, step=0.1)),
    (Range(0.1, 0.95, step=0.3), FloatDistribution(0.1, 0.7, step=0.3)),
    (Range(1, 9, integer=True), IntDistribution(1, 9)),
    (Range(32, 512, log=True, integer=True), IntDistribution(32, 512, log=True)),
    (Range(16, 130, step=16, integer=True), IntDistribution(16, 128, step=16)),
    (Choices(("relu", "tanh")), CategoricalDistribution(["relu", "tanh"])),
    (Choices((True, False)), CategoricalDistribution([True, False])),
    (Choices((16, 0.5, "a")), CategoricalDistribution([16, 0.5, "a"])),
    (
        Choices(((256, 128), (64,), 32)),
        CategoricalDistribution(["[256, 128]", "[64]", 32]),
    ),
    (Choices(((0.2, 0.5), 0.0)), CategoricalDistribution(["[0.2, 0.5]", 0.0])),
]


@pytest.mark.parametrize(("dimension", "distribution"), PAIRS)
def test_json_is_the_one_optuna_writes(
    dimension: Dimension, distribution: BaseDistribution
) -> None:
    assert distribution_json(dimension) == distribution_to_json(distribution)
    # Warnings are errors: Optuna warns where a step does not end on the range.
    assert json_to_distribution(distribution_json(dimension)) == distribution


@pytest.mark.parametrize(("dimension", "distribution"), PAIRS)
def test_every_point_comes_back(dimension: Dimension, distribution: BaseDistribution) -> None:
    for value in dimension.grid() or (dimension.nearest(0.3), dimension.nearest(1e9)):
        scalar = to_optuna(dimension, value)
        stored = distribution.to_external_repr(distribution.to_internal_repr(scalar))
        back = from_optuna(dimension, stored)
        assert back == pytest.approx(value, rel=1e-12) if isinstance(value, float) else True
        assert isinstance(value, float) or (type(back), back) == (type(value), value)


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    low=st.floats(0.001, 1.0),
    width=st.floats(0.001, 10.0),
    step=st.none() | st.floats(0.001, 1.0),
    value=finite,
)
@settings(deadline=None)
def test_nearest_point_of_a_range_is_one_for_optuna(
    low: float, width: float, step: float | None, value: float
) -> None:
    # A study file holds numbers that people write.
    low, high = round(low, 3), round(low + width, 3)
    step = None if step is None else round(step, 3)
    if low >= high:
        high = low + 1
    dimension = Range(low, high, step=step)
    distribution = json_to_distribution(distribution_json(dimension))
    scalar = to_optuna(dimension, dimension.nearest(value))
    assert isinstance(scalar, float)
    assert distribution._contains(distribution.to_internal_repr(scalar))


@given(
    low=st.integers(1, 50), width=st.integers(1, 500), step=st.integers(1, 60), value=st.integers()
)
@settings(deadline=None)
def test_nearest_point_of_whole_numbers_is_one_for_optuna(
    low: int, width: int, step: int, value: int
) -> None:
    dimension = Range(low, low + width, step=step, integer=True)
    distribution = json_to_distribution(distribution_json(dimension))
    scalar = to_optuna(dimension, dimension.nearest(value))
    assert type(scalar) is int
    assert distribution._contains(scalar)
    assert from_optuna(dimension, scalar) == dimension.nearest(value)
