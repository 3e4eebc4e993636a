"""Hyperparameter sweeps and K-fold model selection for MLPs, trained as one packed program."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selection.api.run import list_studies, open_study, run
    from selection.api.study import Study
    from selection.errors import (
        DataError,
        DeviceError,
        ExportError,
        RefusedError,
        SelectionError,
        StorageError,
        StudyFileError,
        StudyStateError,
        UnreachableError,
    )
    from selection.model.files import load_model
    from selection.study.spec import StudySpec
    from selection.workflows.callbacks import Callback, EpochEvent

# Imported when they are asked for, so that the command line starts quickly.
_MODULES = {
    "Callback": "selection.workflows.callbacks",
    "DataError": "selection.errors",
    "DeviceError": "selection.errors",
    "EpochEvent": "selection.workflows.callbacks",
    "ExportError": "selection.errors",
    "RefusedError": "selection.errors",
    "SelectionError": "selection.errors",
    "StorageError": "selection.errors",
    "Study": "selection.api.study",
    "StudyFileError": "selection.errors",
    "StudySpec": "selection.study.spec",
    "StudyStateError": "selection.errors",
    "UnreachableError": "selection.errors",
    "list_studies": "selection.api.run",
    "load_model": "selection.model.files",
    "open_study": "selection.api.run",
    "run": "selection.api.run",
}

__all__ = [
    "Callback",
    "DataError",
    "DeviceError",
    "EpochEvent",
    "ExportError",
    "RefusedError",
    "SelectionError",
    "StorageError",
    "Study",
    "StudyFileError",
    "StudySpec",
    "StudyStateError",
    "UnreachableError",
    "list_studies",
    "load_model",
    "open_study",
    "run",
]

__version__: str


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("selection-sweep")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
