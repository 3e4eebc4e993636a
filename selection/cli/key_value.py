"""Reads KEY=VALUE as people type it: values as in a study file, words without quotes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from selection.errors import ErrorDetail, StudyStateError, show

WORD = re.compile(r"[A-Za-z_][\w./-]*")


def read_pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values by their keys.

    Raises: StudyStateError with all errors; no key may come twice.
    """
    pairs: dict[str, Any] = {}
    errors: list[ErrorDetail] = []
    for text in texts:
        key, equals, written = (part.strip() for part in text.partition("="))
        if not (key and equals):
            hint = "Write --set width=128."
            errors.append(ErrorDetail("--set", "must be KEY=VALUE", show(text), hint))
        elif key in pairs:
            errors.append(ErrorDetail("--set", "each key may be set once", key, "Remove one."))
        else:
            pairs[key] = _read_value(key, written, errors)
    if errors:
        raise StudyStateError(*errors)
    return pairs


def _read_value(key: str, text: str, errors: list[ErrorDetail]) -> Any:
    try:
        content = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        content = {}
    if list(content) == ["value"]:
        return content["value"]
    if WORD.fullmatch(text):
        return text
    hint = "Write a number, a word, true, false, or a list such as [64, 32]."
    rule = "the value must be written as in a study file"
    errors.append(ErrorDetail(f"--set {key}", rule, show(text), hint))
    return None
