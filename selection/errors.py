"""Every error that selection raises on purpose, and the helpers that word them.

Each error names its location, the rule that must hold, the value that broke it, and the fix.
A user's error is one line on the screen; a stack trace is for our own mistakes.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# What the package index knows us by: `selection` is somebody else's there.
DISTRIBUTION = "selection-sweep"

# How many names an error lists.
MOST_NAMES = 50

# What other libraries call it, and what a study file calls it.
ALIASES: Mapping[str, str] = {
    "alpha": "weight_decay",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "depth": "hidden_layers",
    "direction": "metric",
    "eta": "learning_rate",
    "file": "path",
    "hidden_size": "width",
    "hidden_units": "width",
    "label": "target",
    "lambda": "weight_decay",
    "layers": "hidden_layers",
    "loss": "metric",
    "lr": "learning_rate",
    "n_folds": "folds",
    "n_layers": "hidden_layers",
    "n_splits": "folds",
    "n_trials": "trials",
    "neurons": "width",
    "random_state": "seed",
    "scoring": "metric",
    "task": "metric",
    "test_size": "held_out",
    "units": "width",
    "wd": "weight_decay",
}


@dataclass(frozen=True)
class ErrorDetail:
    """Say what is wrong, where, and how to fix it."""

    where: str
    rule: str
    got: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}, but got {self.got}. {self.hint}"


def install_command(extra: str) -> str:
    """Return the command that installs one of our extras."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


class SelectionError(Exception):
    """The base class of every error that a user can fix; details holds one entry per error."""

    exit_code = 1

    def __init__(self, *errors: ErrorDetail) -> None:
        super().__init__(*errors)
        self.details = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.details)


class StudyFileError(SelectionError):
    """A study file breaks a rule; all its errors are carried at once."""


class DataError(SelectionError):
    """The rows cannot be had, cannot be read, or break a rule of the study."""


class StorageError(SelectionError):
    """The database cannot be had, is of another schema, or is in use by another writer."""


class DeviceError(SelectionError):
    """The device asked for is absent."""


class UnreachableError(StorageError):
    """The server of the database does not answer now; the same may succeed a little later."""

    exit_code = 4


class BusyError(UnreachableError):
    """Another program holds the write lock of an SQLite database for longer than we wait."""

    exit_code = 1


class MovedFileError(StorageError):
    """The file of an SQLite database was deleted, moved or replaced while it was written."""


class StudyStateError(SelectionError):
    """The record of the study does not allow what was asked."""


class LostCohortError(StudyStateError):
    """A worker was silent for so long that its cohort was given to another."""


class OutputError(SelectionError):
    """Results could not be written to stdout; without details where their reader has gone."""


class ServeError(SelectionError):
    """The server cannot listen at the given address."""


class ExportError(SelectionError):
    """A folder cannot be written as asked, or does not hold a model that can be read."""


class RefusedError(SelectionError):
    """The held-out set may not be opened, or the study may not go on because it was.

    result is that of the first evaluation, None where it left none.
    """

    exit_code = 3

    def __init__(self, *errors: ErrorDetail, result: Any = None) -> None:
        super().__init__(*errors)
        self.result = result


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


def shown_name(name: str) -> str:
    """Return a name as it can stand in one line: quoted where it is blank or not printable."""
    return name if name.strip() and name.isprintable() else show(name)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the fix for a misspelt name, or for one that other libraries use."""
    known = sorted(known)
    alias = usual_name(name)
    if alias in known:
        return f"Did you mean {alias}?"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]}?"
    more = f" and {len(known) - MOST_NAMES:,} more" if len(known) > MOST_NAMES else ""
    return f"Known: {', '.join(known[:MOST_NAMES])}{more}."


def usual_name(name: str) -> str:
    """Return what a study file calls a key that has other names elsewhere."""
    return ALIASES.get(name.lower().replace("-", "_"), name)


def location_name(where: str, location: tuple[str, ...]) -> str:
    """Return the location as the study file shows it: FILE: [section] key."""
    if len(location) > 1:
        return f"{where}: [{location[0]}] {'.'.join(location[1:])}"
    return f"{where}: {location[0]}" if location else where


def value_error(item: Any, at: str) -> ErrorDetail:
    """Return one of pydantic's errors of a value in our words."""
    rule = item["msg"].replace("Input should be", "must be")
    return ErrorDetail(at, rule, show(item["input"]), "Fix this value.")


def errors_of(
    error: ValidationError, model: type[BaseModel], where: str, space: Collection[str] = ()
) -> list[ErrorDetail]:
    """Return one error per key, however many branches of a union each key failed.

    space are the names that [space] may hold.
    """
    errors: dict[tuple[str, ...], ErrorDetail] = {}
    for item in error.errors():
        location = _location(model, item["loc"])
        if location not in errors or _fits(item):
            errors[location] = _error(model, item, location, where, space)
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


def _key_hint(
    model: type[BaseModel], known: Iterable[str], key: str, space: Collection[str]
) -> str:
    """Say what a key that a section does not have is called, or where it belongs."""
    name = usual_name(key)
    home = _home(model, name, space)
    if key in ("task", "direction"):
        return f"The metric decides it: remove it, and choose metric in [{home}]."
    if name in known or home is None:
        return nearest_name(key, known)
    return f"Write {name} in [{home}]."


def _home(model: type[BaseModel], name: str, space: Collection[str]) -> str | None:
    """Return the section that a key belongs to."""
    for section in model.model_fields:
        own = _section(model, section)
        if own is not None and name in own.model_fields:
            return section
    return "space" if name in space else None


def _search_hint(location: tuple[str, ...], value: Any, space: Collection[str]) -> str:
    """Say where several values of a hyperparameter are written; nothing of other keys."""
    if len(location) < 2 or location[0] == "search" or location[1] not in space:
        return ""
    if isinstance(value, list | tuple):
        return f"To search it, write {location[1]} = {{ choices = {show(value)} }} in [space]."
    return f"To search it, move {location[1]} to [space]." if isinstance(value, dict) else ""


def _error(
    model: type[BaseModel],
    item: Any,
    location: tuple[str, ...],
    where: str,
    space: Collection[str],
) -> ErrorDetail:
    at = location_name(where, location)
    owner = model if len(location) < 2 else (_section(model, location[0]) or model)
    match item["type"]:
        case "extra_forbidden":
            known = owner.model_fields
            key = str(item["loc"][-1])
            if key != location[-1]:
                return ErrorDetail(at, "the key must be known", key, "Known: column, value.")
            hint = _key_hint(model, known, key, space)
            return ErrorDetail(at, "the key must be known", key, hint)
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
            hint = _search_hint(location, item["input"], space)
            hint = hint or nearest_name(str(item["input"]), options)
            return ErrorDetail(at, f"must be one of {expected}", show(item["input"]), hint)
        case "value_error":
            got = show(item["input"])
            return ErrorDetail(at, str(item["ctx"]["error"]), got, "Fix this line.")
    found = value_error(item, at)
    hint = _search_hint(location, item["input"], space)
    return replace(found, hint=hint) if hint else found
