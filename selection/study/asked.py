"""Settings that somebody asks for: checked against the search space, and made whole.

What is left out takes the value of the default setting, which may lie outside the space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selection.errors import ErrorDetail, StudyStateError, nearest_name, show, usual_name
from selection.study.hyperparameters import space_names
from selection.study.optuna_names import to_optuna
from selection.study.space import Choices, Dimension, Range, value_from_json
from selection.study.spec import StudySpec
from selection.study.trial import Params, Value

# What a trial's asked_for says of a setting that a person asked for.
ENQUEUED = "enqueued"
ROUNDING = 1e-9


@dataclass(frozen=True)
class AskedSetting:
    """Hold a setting to train; asked_for says who asked for it, as Trial.asked_for does.

    from_default are the names that were left out.
    """

    params: Params
    from_default: tuple[str, ...]
    asked_for: str = ENQUEUED


def asked_setting(spec: StudySpec, given: Mapping[str, Any]) -> AskedSetting:
    """Check a setting and fill in what it leaves out.

    Values are those of a study file, or Optuna's, which knows a list as its JSON.

    Raises: StudyStateError with all errors, each with the name of its hyperparameter.
    """
    where = f"study {spec.name}"
    errors: list[ErrorDetail] = []
    params: dict[str, Value] = {}
    if not given:
        hint = f"Set one of {', '.join(spec.space)}."
        errors.append(ErrorDetail(where, "a setting needs a hyperparameter", "none", hint))
    for name, value in given.items():
        if name not in spec.space:
            errors.append(_unknown(spec, where, name, value))
        elif (found := _point(spec, name, value)) is None:
            rule = f"{name} must be {_where(spec.space[name])}"
            hint = "Ask for a value that the search space has."
            errors.append(ErrorDetail(where, rule, show(value), hint))
        else:
            params[name] = found
    if errors:
        raise StudyStateError(*errors)
    whole = {name: params.get(name, spec.default[name]) for name in spec.space}
    return AskedSetting(whole, tuple(name for name in spec.space if name not in params))


def _unknown(spec: StudySpec, where: str, name: str, value: Any) -> ErrorDetail:
    got = f"{name} = {show(value)}"
    if usual_name(name) not in spec.space and name in space_names():
        hint = f"The study fixes {name}; it searches {', '.join(spec.space) or 'nothing'}."
    else:
        hint = nearest_name(name, spec.space)
    return ErrorDetail(where, "a setting may only set what [space] searches", got, hint)


def _point(spec: StudySpec, name: str, value: Any) -> Value | None:
    """Return the point of the space, or the default, that a value names; None if it is neither."""
    dimension, default = spec.space[name], spec.default[name]
    if _is_same(value, default):
        return default
    if isinstance(dimension, Choices):
        options = (each for each in dimension.options if _is_same(value, each))
        named = (each for each in dimension.options if to_optuna(dimension, each) == value)
        is_text = isinstance(value, str)
        return next(options, next(named, None) if is_text else None)
    return _point_of_range(dimension, value)


def _point_of_range(dimension: Range, value: Any) -> Value | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    inside = dimension.nearest(value)
    assert isinstance(inside, int | float), "a range has numbers"
    return inside if math.isclose(inside, value, rel_tol=ROUNDING, abs_tol=0.0) else None


def _is_same(value: Any, option: Value) -> bool:
    """Say whether a value is an option: 1 is 1.0 and neither true nor "1"."""
    if isinstance(value, bool) != isinstance(option, bool):
        return False
    return bool(value_from_json(value) == option)


def _where(dimension: Dimension) -> str:
    """Say which values a dimension has."""
    if isinstance(dimension, Choices):
        return f"one of {show(list(dimension.options))}"
    kind = "a whole number" if dimension.integer else "a number"
    step = "" if dimension.step is None else f" in steps of {dimension.step:g}"
    return f"{kind} from {dimension.low:g} to {dimension.high:g}{step}"
