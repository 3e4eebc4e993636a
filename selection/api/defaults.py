"""What is used where nobody names a database; imports nothing, so that help stays quick."""

from __future__ import annotations

import os

DEFAULT_STORAGE = "sqlite:///selection.db"
STORAGE_VARIABLE = "SELECTION_STORAGE"


def default_storage() -> str:
    """Return the database URL that is used where none is named."""
    return os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
