"""Turns what pydantic says of a study file into error details, one per key.

Never decides whether something is wrong; only words it so that the fix is clear.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from selection.errors import ErrorDetail, location_name, nearest_name, show


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


def _error(model: type[BaseModel], item: Any, location: tuple[str, ...], where: str) -> ErrorDetail:
    at = location_name(where, location)
    owner = model if len(location) < 2 else (_section(model, location[0]) or model)
    match item["type"]:
        case "extra_forbidden":
            known = owner.model_fields
            key = str(item["loc"][-1])
            if key != location[-1]:
                return ErrorDetail(at, "the key must be known", key, "Known: column, value.")
            return ErrorDetail(at, "the key must be known", key, nearest_name(key, known))
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
            hint = nearest_name(str(item["input"]), options)
            return ErrorDetail(at, f"must be one of {expected}", show(item["input"]), hint)
        case "value_error":
            got = show(item["input"])
            return ErrorDetail(at, str(item["ctx"]["error"]), got, "Fix this line.")
    rule = item["msg"].replace("Input should be", "must be")
    return ErrorDetail(at, rule, show(item["input"]), "Fix this value.")
