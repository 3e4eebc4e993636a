"""Puts values in the place of those of a study file, by dotted keys such as training.epochs."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from selection.errors import ErrorDetail, StudyFileError, show

WORD = re.compile(r"[A-Za-z_][\w./-]*")


def read_override(text: str) -> tuple[str, Any]:
    """Return the key and the value of "key=value"; the value is TOML, or a word without quotes.

    Raises: StudyFileError.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals):
        hint = "Write --set training.epochs=20."
        raise StudyFileError(ErrorDetail("--set", "must be KEY=VALUE", show(text), hint))
    try:
        content = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        content = {}
    if list(content) == ["value"]:
        return key, content["value"]
    if WORD.fullmatch(value):
        return key, value
    rule, hint = "the value must be written as in a study file", "Quote it: --set 'KEY=\"text\"'."
    raise StudyFileError(ErrorDetail(f"--set {key}", rule, show(value), hint))


def with_overrides(
    content: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the content of a study file with other values under the given keys, unchecked.

    Raises: StudyFileError if a key leads into a value that is not a table.
    """
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
