"""Puts values in the place of those of a study file, by dotted keys such as training.epochs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from selection.errors import ErrorDetail, StudyFileError, show
from selection.study.toml_text import refuse_deep


def with_overrides(
    content: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the content of a study file with other values under the given keys, unchecked.

    Raises: StudyFileError if a key leads into a value that is not a table.
    """
    refuse_deep(content, where)
    merged = copy.deepcopy(dict(content))
    for key, value in overrides.items():
        *path, last = key.split(".")
        table = merged
        for depth, name in enumerate(path, start=1):
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                at = ".".join(path[:depth])
                hint = f"Set {at} as a whole."
                raise StudyFileError(
                    ErrorDetail(f"{where}: {key}", f"{at} must be a table", show(inner), hint)
                )
            table = inner
        table[last] = value
    return merged
