"""Turns what pydantic says of a study file into error details, one per key.

Never decides whether something is wrong; only words it so that the fix is clear.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from selection.errors import ErrorDetail, location_name, nearest_name, show, usual_name
from selection.study.fields import OwnSpaceFields, space_names


def errors_of(error: ValidationError, model: type[BaseModel], where: str) -> list[ErrorDetail]:
    """Return one error per key, however many branches of a union each key failed."""
    errors: dict[tuple[str, ...], ErrorDetail] = {}
    for item in error.errors():
        location = _location(model, item["loc"])
        if location not in errors or _fits(item):
            errors[location] = _error(model, item, location, where)
    return list(errors.values())


def _fits(item: Any) -> bool:
    """Say whether an error is of the branch of a union that the user had in mind."""
    return item["type"] in ("extra_forbidden", "missing") or item["type"].endswith("_than")


def _location(model: type[BaseModel], loc: tuple[Any, ...]) -> tuple[str, ...]:
    """Cut a pydantic location to section and key; what follows names branches of a union."""
    first = str(loc[0]) if loc else ""
    section = _section(model, first)
    if section is None or len(loc) == 1:
        return (first,) if first else ()
    return first, str(loc[1])


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = model.model_fields.get(name)
    kind = field.annotation if field is not None else None
    for option in (kind, *get_args(kind)):  # a section that may be left out is a union with None
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _key_hint(model: type[BaseModel], known: Iterable[str], key: str) -> str:
    """Say what a key that a section does not have is called, or where it belongs."""
    name = usual_name(key)
    home = _home(model, name)
    if key in ("task", "direction"):
        return f"The metric decides it: remove it, and choose metric in [{home}]."
    if name in known or home is None:
        return nearest_name(key, known)
    return f"Write {name} in [{home}]."


def _home(model: type[BaseModel], name: str) -> str | None:
    """Return the section that a key belongs to."""
    if name in OwnSpaceFields.model_fields:
        return "space"
    for section in model.model_fields:
        own = _section(model, section)
        if own is not None and name in own.model_fields:
            return section
    return None


def _search_hint(location: tuple[str, ...], value: Any) -> str:
    """Say where several values of a hyperparameter are written; nothing of other keys."""
    if len(location) < 2 or location[0] == "search" or location[1] not in space_names():
        return ""
    if isinstance(value, list | tuple):
        return f"To search it, write {location[1]} = {{ choices = {show(value)} }} in [space]."
    return f"To search it, move {location[1]} to [space]." if isinstance(value, dict) else ""


def _error(model: type[BaseModel], item: Any, location: tuple[str, ...], where: str) -> ErrorDetail:
    at = location_name(where, location)
    owner = model if len(location) < 2 else (_section(model, location[0]) or model)
    match item["type"]:
        case "extra_forbidden":
            known = owner.model_fields
            key = str(item["loc"][-1])
            if key != location[-1]:
                return ErrorDetail(at, "the key must be known", key, "Known: column, value.")
            return ErrorDetail(at, "the key must be known", key, _key_hint(model, known, key))
        case "missing":
            key = str(item["loc"][-1])
            return ErrorDetail(at, f"the key {key} must be given", "nothing", f"Add {key} = ...")
        case "model_type":
            return ErrorDetail(
                at, "must be a section", show(item["input"]), f"Write [{location[0]}]."
            )
        case "literal_error":
            expected = item["ctx"]["expected"].replace("'", '"')
            options = [option.strip('"') for option in expected.replace(" or ", ", ").split(", ")]
            hint = _search_hint(location, item["input"])
            hint = hint or nearest_name(str(item["input"]), options)
            return ErrorDetail(at, f"must be one of {expected}", show(item["input"]), hint)
        case "value_error":
            got = show(item["input"])
            return ErrorDetail(at, str(item["ctx"]["error"]), got, "Fix this line.")
    rule = item["msg"].replace("Input should be", "must be")
    hint = _search_hint(location, item["input"]) or "Fix this value."
    return ErrorDetail(at, rule, show(item["input"]), hint)
