"""Every error selection raises on purpose.

Each error names its place, the rule that must hold, the value that broke it, and the fix.
A user's error is one line on the screen; a stack trace is for our own mistakes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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


class SelectionError(Exception):
    """Carry one or more users' errors to the front that prints them."""

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


class StudyStateError(SelectionError):
    """The record of the study does not allow what was asked."""


class LostCohortError(StudyStateError):
    """A worker was silent for so long that its cohort was given to another."""


class ServeError(SelectionError):
    """The server cannot listen where it was told to."""


class ExportError(SelectionError):
    """A folder cannot be written as asked, or does not hold a model that can be read."""


class RefusedError(SelectionError):
    """The held-out set may not be opened, or the study may not go on because it was."""

    exit_code = 3


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


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the fix for a misspelt name, or for one that other libraries use."""
    known = sorted(known)
    alias = usual_name(name)
    if alias in known:
        return f"Did you mean {alias}?"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."


def usual_name(name: str) -> str:
    """Return what a study file calls a key that has other names elsewhere."""
    return ALIASES.get(name.lower().replace("-", "_"), name)


def location_name(where: str, location: tuple[str, ...]) -> str:
    """Return the location as the study file shows it: FILE: [section] key."""
    if len(location) > 1:
        return f"{where}: [{location[0]}] {'.'.join(location[1:])}"
    return f"{where}: {location[0]}" if location else where
