"""Turns what pydantic and TOML say into the house's one-line faults.

Never decides whether something is wrong; only says it so that the mend is clear.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from selection.errors import Fault


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the mend for a misspelt name."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."


def show(value: object) -> str:
    """Return a value as a study file would write it, cut to a line."""
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(item) for item in value) + "]"
    elif isinstance(value, dict):
        text = "{ " + ", ".join(f"{key} = {show(item)}" for key, item in value.items()) + " }"
    else:
        text = str(value)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= 120 else f"{text[:117]}..."


def faults_of(error: ValidationError, model: type[BaseModel], where: str) -> list[Fault]:
    """Return one fault per key, however many branches of a union each key failed."""
    faults: dict[tuple[str, ...], Fault] = {}
    for item in error.errors():
        place = _place(model, item["loc"])
        if place not in faults or _fits(item):
            faults[place] = _fault(model, item, place, where)
    return list(faults.values())


def _fits(item: Any) -> bool:
    """Say whether a fault is of the branch of a union that the user had in mind."""
    return item["type"] in ("extra_forbidden", "missing") or item["type"].endswith("_than")


def place_name(where: str, place: tuple[str, ...]) -> str:
    """Return the place as the study file shows it: FILE: [section] key."""
    if len(place) > 1:
        return f"{where}: [{place[0]}] {'.'.join(place[1:])}"
    return f"{where}: {place[0]}" if place else where


def _place(model: type[BaseModel], loc: tuple[Any, ...]) -> tuple[str, ...]:
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


def _fault(model: type[BaseModel], item: Any, place: tuple[str, ...], where: str) -> Fault:
    at = place_name(where, place)
    owner = model if len(place) < 2 else (_section(model, place[0]) or model)
    match item["type"]:
        case "extra_forbidden":
            known = owner.model_fields
            key = str(item["loc"][-1])
            if key != place[-1]:
                return Fault(at, "the key must be known", key, "Known: column, value.")
            return Fault(at, "the key must be known", key, nearest_name(key, known))
        case "missing":
            key = str(item["loc"][-1])
            return Fault(at, f"the key {key} must be given", "nothing", f"Add {key} = ...")
        case "model_type":
            return Fault(at, "must be a section", show(item["input"]), f"Write [{place[0]}].")
        case "literal_error":
            expected = item["ctx"]["expected"].replace("'", '"')
            options = [option.strip('"') for option in expected.replace(" or ", ", ").split(", ")]
            mend = nearest_name(str(item["input"]), options)
            return Fault(at, f"must be one of {expected}", show(item["input"]), mend)
        case "value_error":
            got = show(item["input"])
            return Fault(at, str(item["ctx"]["error"]), got, "Mend this line.")
    rule = item["msg"].replace("Input should be", "must be")
    return Fault(at, rule, show(item["input"]), "Mend this value.")
