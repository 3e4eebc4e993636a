"""Guesses what the columns of a user's table are for, so that a study file can be drafted.

The guesses are rules of thumb that a reader can check: each column that is left out has a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from selection.data.columns import (
    category_names,
    check_two_classes,
    missing_count,
    numeric_values,
    readable,
)
from selection.data.tables import FILL, TARGET_RULE, open_table
from selection.errors import DataError, ErrorDetail, show
from selection.metrics import Task
from selection.study.fields import DataSection

MOST_CLASSES = 20
MOST_CATEGORIES = 20
LEAST_ROWS_OF_A_CLASS = 3


@dataclass(frozen=True)
class TableProfile:
    """Hold what a table seems to be: its task, and the use of every column but the target.

    class_counts is empty for regression. missing counts the gaps of numeric columns; left_out says
    why a column is no feature.
    """

    path: str
    target: str
    rows: int
    task: Task
    class_counts: Mapping[str, int]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    missing: Mapping[str, int]
    left_out: Mapping[str, str]

    @property
    def features(self) -> int:
        return len(self.numeric) + len(self.categorical)


def profile_table(path: Path, target: str) -> TableProfile:
    """Read a table and guess what its columns are for.

    Raises: DataError if it cannot be read, or no study can be made of it.
    """
    section = DataSection(path=str(path), target=target)
    frame = open_table(section, "classification").typed()
    where = f"{path}: column {readable(target)}"
    if missing := missing_count(frame[target]):
        got = f"{readable(target)} ({missing})"
        raise DataError(ErrorDetail(str(path), TARGET_RULE, got, FILL))
    task = _task(frame[target])
    counts = _class_counts(frame[target], where) if task == "classification" else {}
    uses: dict[str, list[str]] = {"numeric": [], "categorical": []}
    left_out: dict[str, str] = {}
    for name in frame.columns.drop(target):
        use, reason = _use(name, frame[name])
        if use == "drop":
            left_out[name] = reason
        else:
            uses[use].append(name)
    if not any(uses.values()):
        got = "; ".join(f"{readable(name)}: {reason}" for name, reason in left_out.items())
        rule = "the table needs a column to learn from"
        raise DataError(ErrorDetail(str(path), rule, got or "a target alone", "Add features."))
    gaps = {name: missing_count(frame[name]) for name in uses["numeric"]}
    return TableProfile(
        path=str(path),
        target=target,
        rows=len(frame),
        task=task,
        class_counts=counts,
        numeric=tuple(uses["numeric"]),
        categorical=tuple(uses["categorical"]),
        missing={name: count for name, count in gaps.items() if count},
        left_out=left_out,
    )


def _task(target: pd.Series[Any]) -> Task:
    """Take few whole numbers for classes and other numbers for quantities."""
    if not _is_numeric(target):
        return "classification"
    values = target.to_numpy(dtype=np.float64, na_value=np.nan)
    distinct = len(np.unique(values))
    is_whole = bool(np.isfinite(values).all() and (values == np.floor(values)).all())
    few = min(MOST_CLASSES, len(values) / LEAST_ROWS_OF_A_CLASS)
    return "classification" if is_whole and distinct <= few else "regression"


def _class_counts(target: pd.Series[Any], where: str) -> dict[str, int]:
    names, counts = np.unique(category_names(target).astype(str), return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    check_two_classes(tuple(found), where)
    rare = [name for name, count in found.items() if count < LEAST_ROWS_OF_A_CLASS]
    if rare:
        rule = f"every class needs at least {LEAST_ROWS_OF_A_CLASS} rows"
        hint = "Join rare classes, remove their rows, or choose another target."
        got = f"{len(rare)} of {len(found)} classes with fewer, such as {show(rare[0])}"
        raise DataError(ErrorDetail(where, rule, got, hint))
    return found


def _use(
    name: str, column: pd.Series[Any]
) -> tuple[Literal["numeric", "categorical", "drop"], str]:
    """Return the use of a column, and why it is left out if it is."""
    known = column.dropna()
    if known.empty:
        return "drop", "no values"
    if not _is_numeric(column) and not pd.api.types.is_bool_dtype(known.infer_objects().dtype):
        return _use_of_text(column)
    try:
        values = numeric_values(column, name)
    except DataError:
        return "drop", "values that are not finite"
    present = values[np.isfinite(values)]
    if len(np.unique(present)) == 1:
        return "drop", "the same value in every row"
    if _is_identifier(name, present) and len(present) == len(column):
        return "drop", "a different number in every row, as in an identifier"
    return "numeric", ""


def _use_of_text(column: pd.Series[Any]) -> tuple[Literal["categorical", "drop"], str]:
    if missing := missing_count(column):
        return "drop", f"{missing} missing; fill them and make it categorical"
    distinct = len(set(category_names(column)))
    if distinct == 1:
        return "drop", "the same value in every row"
    if distinct > max(MOST_CATEGORIES, len(column) // 20):
        return "drop", f"{distinct} different values in {len(column)} rows"
    return "categorical", ""


def _is_numeric(column: pd.Series[Any]) -> bool:
    dtype = column.dtype
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def _is_identifier(name: str, values: np.ndarray[Any, Any]) -> bool:
    """Say whether whole numbers count the rows, or are all different under such a name."""
    if len(np.unique(values)) < len(values) or not (values == np.floor(values)).all():
        return False
    is_named = re.search(r"(^|[_\W])(id|index|key|nr|no|number)$", name.lower()) is not None
    return is_named or bool(len(values) > MOST_CATEGORIES and (np.diff(values) == 1).all())
