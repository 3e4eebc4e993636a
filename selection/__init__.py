"""Hyperparameter sweeps and K-fold model selection for MLPs, trained as one packed program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selection.model.files import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for, so that the command line starts quickly."""
    if name == "load_model":
        from selection.model.files import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
