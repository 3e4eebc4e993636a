"""Translates a search space to Optuna's names, without importing Optuna.

A dimension becomes the JSON of one of Optuna's distributions and a value one of its scalars. The
store writes both and search/ reads both, so they have one definition.
Source: optuna.distributions, version 5.0.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from selection.study.space import Choices, Dimension, Range
from selection.study.trial import Scalar, Value


def distribution_json(dimension: Dimension) -> str:
    """Return the dimension as optuna.distributions.json_to_distribution reads it."""
    name, attributes = _distribution(dimension)
    return json.dumps({"name": name, "attributes": attributes})


def to_optuna(dimension: Dimension, value: Value) -> Scalar:
    """Return a point of the dimension as Optuna's scalar; a tuple becomes its JSON text."""
    if isinstance(dimension, Choices):
        return json.dumps(value) if isinstance(value, tuple) else value
    assert isinstance(value, int | float)
    inside = min(value, _high(dimension))
    return int(inside) if dimension.integer else float(inside)


def from_optuna(dimension: Dimension, scalar: Scalar) -> Value:
    """Return the point of the dimension that Optuna's scalar names."""
    if isinstance(dimension, Choices):
        return {to_optuna(dimension, option): option for option in dimension.options}[scalar]
    return int(scalar) if dimension.integer else float(scalar)


def _distribution(dimension: Dimension) -> tuple[str, dict[str, Any]]:
    if isinstance(dimension, Choices):
        options = [to_optuna(dimension, option) for option in dimension.options]
        return "CategoricalDistribution", {"choices": options}
    if dimension.integer:
        return "IntDistribution", {
            "log": dimension.log,
            "step": int(dimension.step or 1),
            "low": int(dimension.low),
            "high": int(_high(dimension)),
        }
    return "FloatDistribution", {
        "step": None if dimension.step is None else float(dimension.step),
        "low": float(dimension.low),
        "high": float(_high(dimension)),
        "log": dimension.log,
    }


def _high(dimension: Range) -> float:
    """Return the last point of the range; Optuna warns where the step does not end on it."""
    if dimension.step is None:
        return dimension.high
    low, high, step = (
        Decimal(str(number)) for number in (dimension.low, dimension.high, dimension.step)
    )
    return float((high - low) // step * step + low)
