"""TOML that a user wrote, and the values in it, before anybody looks at what they mean."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selection.errors import ErrorDetail, StudyFileError

# No study needs more; what is deeper would exhaust the stack of whoever reads it.
MOST_LEVELS = 16
MOST_BYTES = 4_000_000


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a study file says, unchecked.

    Raises: StudyFileError if it cannot be read or is not TOML.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "an unreadable file"
        hint = "Give the path of a study file."
        raise _error(where, "the study file must be readable", reason, hint) from None
    if len(data) > MOST_BYTES:
        rule = f"a study file has at most {MOST_BYTES:,} bytes"
        raise _error(where, rule, "more", "Give the path of a study file.")
    try:
        # Some editors begin UTF-8 with a mark of the order of bytes.
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        hint = "Save it as UTF-8."
        raise _error(where, "a study file is UTF-8 text", "other bytes", hint) from None
    return parse_toml(text, where)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return what a text of TOML says.

    Raises: StudyFileError if it is not TOML, or nests too deep.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _error(where, "a study file is TOML", str(error), "Fix that line.") from None
    except RecursionError:
        raise _too_deep(where) from None
    refuse_deep(content, where)
    return content


def refuse_deep(content: Mapping[str, Any], where: str) -> None:
    """Refuse values inside values inside values without end.

    Raises: StudyFileError.
    """
    level: list[Any] = [content]
    for _ in range(MOST_LEVELS):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, Mapping):
                inner += each.values()
            elif isinstance(each, list | tuple):
                inner += each
        level = [each for each in inner if isinstance(each, Mapping | list | tuple)]
        if not level:
            return
    raise _too_deep(where)


def _too_deep(where: str) -> StudyFileError:
    rule = f"values may be nested at most {MOST_LEVELS} deep"
    return _error(where, rule, "more", "Close the brackets earlier.")


def _error(where: str, rule: str, got: str, hint: str) -> StudyFileError:
    return StudyFileError(ErrorDetail(where, rule, got, hint))
