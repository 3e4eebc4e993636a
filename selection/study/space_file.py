"""Reads the [space] section of a study file: constants, ranges, choices, and their rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from selection.errors import (
    ErrorDetail,
    StudyFileError,
    location_name,
    nearest_name,
    show,
    value_error,
)
from selection.study.hyperparameters import (
    PER_LAYER_FIELDS,
    REAL_FIELDS,
    WHOLE_FIELDS,
    is_number,
    is_whole,
    section_of,
    space_names,
)
from selection.study.space import Choices, Dimension, Range, value_from_json
from selection.study.trial import Value

RANGE_KEYS = ("low", "high", "log", "step")


def read_space(
    section: Mapping[str, Any], where: str
) -> tuple[dict[str, Dimension], dict[str, Value], list[ErrorDetail]]:
    """Split [space] into searched dimensions and constants, and list every error."""
    space: dict[str, Dimension] = {}
    constants: dict[str, Value] = {}
    errors: list[ErrorDetail] = []
    for name, entry in section.items():
        at = location_name(where, ("space", name))
        if name not in space_names():
            errors.append(
                ErrorDetail(at, "the key must be known", name, nearest_name(name, space_names()))
            )
            continue
        try:
            parsed = _read_entry(name, entry, at)
        except StudyFileError as error:
            errors += error.details
            continue
        if isinstance(parsed, Range | Choices):
            space[name] = parsed
        else:
            constants[name] = parsed
    return space, constants, errors


def checked_value(name: str, value: Any, at: str) -> Value:
    """Return the value of one hyperparameter.

    Raises: StudyFileError if it breaks the rule of that hyperparameter.
    """
    section = section_of(name)
    if isinstance(value, Mapping):
        rule = f"a table of {name} must be that of all trials"
        raise StudyFileError(ErrorDetail(at, rule, show(value), "Write it under [training]."))
    try:
        return value_from_json(getattr(section.model_validate({name: value}), name))
    except ValidationError as error:
        first = {**error.errors()[0], "input": value}
        found = value_error(first, at)
        if isinstance(value, list) and name not in PER_LAYER_FIELDS:
            found = replace(found, hint=f"Write {{ choices = {show(value)} }}.")
        raise StudyFileError(found) from None


def wrong_value(name: str, value: Any, at: str) -> ErrorDetail | None:
    """Return what is wrong with the value of one hyperparameter, or None."""
    try:
        checked_value(name, value, at)
    except StudyFileError as error:
        return error.details[0]
    return None


def _read_entry(name: str, entry: Any, at: str) -> Dimension | Value:
    if not isinstance(entry, Mapping):
        return checked_value(name, entry, at)
    if "choices" in entry:
        return _read_choices(name, entry, at)
    return _read_range(name, entry, at)


def _read_choices(name: str, entry: Mapping[str, Any], at: str) -> Choices:
    extra = [key for key in entry if key != "choices"]
    if extra:
        raise StudyFileError(
            ErrorDetail(at, "choices must be the only key", extra[0], f"Remove {extra[0]}.")
        )
    listed = entry["choices"]
    if not isinstance(listed, list) or not listed:
        hint = "Write choices = [a, b]."
        raise StudyFileError(
            ErrorDetail(at, "choices must be a non-empty list", show(listed), hint)
        )
    options = tuple(checked_value(name, option, at) for option in listed)
    if len(set(options)) < len(options):
        raise StudyFileError(
            ErrorDetail(at, "choices must differ", show(listed), "Name each value once.")
        )
    return Choices(options)


def _read_range(name: str, entry: Mapping[str, Any], at: str) -> Range:
    for key in entry:
        if key not in RANGE_KEYS:
            hint = nearest_name(key, (*RANGE_KEYS, "choices"))
            raise StudyFileError(ErrorDetail(at, "the key must be known", key, hint))
    if name not in (*WHOLE_FIELDS, *REAL_FIELDS):
        rule = "a range needs a hyperparameter whose values are numbers"
        raise StudyFileError(ErrorDetail(at, rule, show(dict(entry)), "Write { choices = [...] }."))
    whole = name in WHOLE_FIELDS
    _check_ends(entry, whole, at)
    low, high = entry["low"], entry["high"]
    for end in (low, high):
        checked_value(name, end, at)
    log, step = entry.get("log", False), entry.get("step")
    _check_scale(low, log, step, whole, at)
    return Range(low=low, high=high, log=log, step=step, integer=whole)


def _check_ends(entry: Mapping[str, Any], whole: bool, at: str) -> None:
    is_right = is_whole if whole else is_number
    for key in ("low", "high"):
        if key not in entry:
            raise StudyFileError(
                ErrorDetail(at, f"a range needs {key}", show(dict(entry)), f"Add {key}.")
            )
        if not is_right(entry[key]):
            rule = f"{key} must be a {'whole ' if whole else ''}number"
            raise StudyFileError(ErrorDetail(at, rule, show(entry[key]), "Fix this value."))
    low, high = entry["low"], entry["high"]
    if low >= high:
        got = f"low = {low}, high = {high}"
        hint = "Swap them, or write the one value as a constant."
        raise StudyFileError(ErrorDetail(at, "low must be below high", got, hint))


def _check_scale(low: float, log: Any, step: Any, whole: bool, at: str) -> None:
    if not isinstance(log, bool):
        raise StudyFileError(
            ErrorDetail(at, "log must be true or false", show(log), "Fix this value.")
        )
    if log and low <= 0:
        hint = "Raise low, or remove log."
        raise StudyFileError(
            ErrorDetail(at, "a logarithmic range needs low above 0", f"low = {low}", hint)
        )
    if step is None:
        return
    if log:
        rule = "a logarithmic range has no step"
        raise StudyFileError(ErrorDetail(at, rule, f"step = {step}", "Remove step or log."))
    if not (is_whole(step) if whole else is_number(step)) or step <= 0:
        rule = f"step must be a {'whole ' if whole else ''}number above 0"
        raise StudyFileError(ErrorDetail(at, rule, show(step), "Fix this value."))
