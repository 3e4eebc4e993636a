"""Translates a search space for the samplers, which the record never sees.

It differs from the record's in one thing: where the options of a choice are numbers, a sampler is
shown their ranks. So it knows that 32 lies between 16 and 64, as it would not from categories.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.distributions import BaseDistribution, IntDistribution, json_to_distribution

from selection.study.optuna_names import distribution_json, from_optuna, to_optuna
from selection.study.space import Choices, Dimension
from selection.study.trial import Scalar, Value


def sampled_distribution(dimension: Dimension) -> BaseDistribution:
    """Return the dimension as the samplers see it."""
    ranked = _ranked(dimension)
    if ranked:
        return IntDistribution(0, len(ranked) - 1)
    return json_to_distribution(distribution_json(dimension))


def to_sampled(dimension: Dimension, value: Value) -> Scalar:
    """Return a point of the dimension as the samplers see it."""
    ranked = _ranked(dimension)
    return ranked.index(value) if ranked else to_optuna(dimension, value)


def from_sampled(dimension: Dimension, scalar: Scalar) -> Value:
    """Return the point of the dimension that a sampler means."""
    ranked = _ranked(dimension)
    return ranked[int(scalar)] if ranked else from_optuna(dimension, scalar)


def _ranked(dimension: Dimension) -> Sequence[Value]:
    """Return the options in ascending order if all are numbers, or nothing.

    Two options have no order worth knowing.
    """
    if not isinstance(dimension, Choices) or len(dimension.options) < 3:
        return []
    numbers = [
        option
        for option in dimension.options
        if isinstance(option, int | float) and not isinstance(option, bool)
    ]
    return sorted(numbers) if len(numbers) == len(dimension.options) else []
