"""What an earlier export left in a folder, so that one folder never speaks of two models."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A mark is near the beginning of a file or near its end; weights between may be large.
MARGIN_BYTES = 1_000_000
# By what it holds, a file of each name is known for one that an export wrote.
MARKS: Mapping[str, bytes] = {
    "best.toml": b"# One trial as a study of its own.",
    "best.json": b'"study_file": {',
    "best.yaml": b"study_file:",
    "trials.csv": b"number,state,reason,",
    "trials.parquet": b'"name": "reason"',
    "model.safetensors": b'"format":"selection-model"',
    "model.json": b'"format": "selection-model"',
    "model.onnx": b"\x12\tselection",
    "MODEL_CARD.md": b"\n## Evaluations of the held-out set\n",
}


@dataclass(frozen=True)
class Subject:
    """Say what of which study is exported; title is the first line of its model card.

    counts say how often each trial of an ensemble counts.
    """

    study: str
    number: int
    title: str
    counts: Mapping[int, int] | None = None


def stale_files(folder: Path, subject: Subject) -> list[Path]:
    """Return the files of earlier exports, unless all that say so are of this trial."""
    found = [folder / name for name, mark in MARKS.items() if _has(folder / name, mark)]
    said = [is_same for path in found if (is_same := _is_of(path, subject)) is not None]
    return [] if said and all(said) else found


def _has(path: Path, mark: bytes) -> bool:
    if not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        head = file.read(MARGIN_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - MARGIN_BYTES, 0))
        return mark in head or mark in file.read(MARGIN_BYTES)
    return False


def _is_of(path: Path, subject: Subject) -> bool | None:
    """Say whether a file is of this trial; None where it does not say of which it is."""
    readers: Mapping[str, Callable[[str], tuple[Any, Any]]] = {
        "best.toml": _of_toml,
        "best.json": lambda text: _of_json(text, "number", subject),
        "model.json": lambda text: _of_json(text, "trial", subject),
        "MODEL_CARD.md": lambda text: (
            (subject.study, subject.number) if text.startswith(f"{subject.title}\n") else ("", -1)
        ),
    }
    if path.name not in readers:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = readers[path.name](path.read_text(encoding="utf-8"))
        return found == (subject.study, subject.number)
    # Whatever it holds, it is no reason to keep the others.
    return False


def _of_toml(text: str) -> tuple[Any, Any]:
    provenance = tomllib.loads(text)["provenance"]
    return provenance["study"], provenance["number"]


def _of_json(text: str, number: str, subject: Subject) -> tuple[Any, Any]:
    value = json.loads(text)
    counts = value.get("trials")
    if "ensemble" in value:
        counts = {str(member["number"]): member["count"] for member in value["ensemble"]}
    own = None
    if subject.counts is not None:
        own = {str(trial): count for trial, count in subject.counts.items()}
    return value["study"], value[number] if counts == own else None
