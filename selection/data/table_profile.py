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

from selection.data.cells import is_truth, number_in
from selection.data.columns import Use
from selection.data.csv_file import CsvFormat
from selection.data.labels import Labels
from selection.data.numbers import Numbers
from selection.data.table_errors import (
    LEAST_ROWS_OF_A_CLASS,
    MOST_CLASSES,
    check_two_classes,
    empty_table,
    missing_target,
)
from selection.data.table_source import guess_format, make_format
from selection.data.tables import column_names, read_columns
from selection.errors import DataError, ErrorDetail, nearest_name, show, shown_name
from selection.metrics import Task

MOST_CATEGORIES = 20


@dataclass(frozen=True)
class TableProfile:
    """Hold what a table seems to be: its task, and the use of every column but the target.

    form is how a CSV file seems to write its cells. class_counts is empty for regression. missing
    counts the gaps of the columns that are used; left_out says why a column is no feature.
    """

    path: str
    form: CsvFormat
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
    form = guess_format(path, make_format(path, {}))
    names = column_names(path, form)
    if target not in names:
        rule = "target must name a column of the table"
        hint = nearest_name(target, map(shown_name, names))
        raise DataError(ErrorDetail(str(path), rule, show(target), hint))
    where = f"{path}: column {shown_name(target)}"
    others = [name for name in names if name != target]
    first: dict[str, Use] = dict.fromkeys(others, "numbers")
    first[target] = "labels"
    rows, numbers, labels = read_columns(path, first, form)
    if not rows:
        raise DataError(empty_table(str(path)))
    words = [name for name in others if numbers[name].unreadable]
    again: dict[str, Use] = dict.fromkeys(words, "labels")
    labels |= read_columns(path, again, form)[2] if words else {}
    if labels[target].missing:
        raise DataError(missing_target(str(path), target, labels[target]))
    task = _task(labels[target])
    counts = _class_counts(labels[target], where) if task == "classification" else {}
    uses: dict[str, list[str]] = {"numeric": [], "categorical": []}
    left_out: dict[str, str] = {}
    for name in others:
        column = labels[name] if name in labels else numbers[name]
        use, reason = _use(name, column)
        if use == "drop":
            left_out[name] = reason
        else:
            uses[use].append(name)
    if not any(uses.values()):
        got = "; ".join(f"{shown_name(name)}: {reason}" for name, reason in left_out.items())
        rule = "the table needs a column to learn from"
        raise DataError(ErrorDetail(str(path), rule, got or "a target alone", "Add features."))
    gaps = {name: numbers[name].missing for name in uses["numeric"]}
    gaps |= {name: labels[name].missing for name in uses["categorical"]}
    return TableProfile(
        path=str(path),
        form=form,
        target=target,
        rows=rows,
        task=task,
        class_counts=counts,
        numeric=tuple(uses["numeric"]),
        categorical=tuple(uses["categorical"]),
        missing={name: count for name, count in gaps.items() if count},
        left_out=left_out,
    )


def _task(target: Labels) -> Task:
    """Take few whole numbers and words for classes, and other numbers for quantities."""
    values = [number_in(name) for name in target.names]
    if target.kind == "boolean" or any(value is None for value in values):
        return "classification"
    if all(map(is_truth, target.names)):
        return "classification"
    is_whole = all(value is not None and value.is_integer() for value in values)
    few = min(MOST_CLASSES, len(target) / LEAST_ROWS_OF_A_CLASS)
    return "classification" if is_whole and len(values) <= few else "regression"


def _class_counts(target: Labels, where: str) -> dict[str, int]:
    _, names = target.sorted()
    found = {name: target.counts()[name] for name in names}
    check_two_classes(tuple(found), where)
    rare = [name for name, count in found.items() if count < LEAST_ROWS_OF_A_CLASS]
    if rare:
        rule = f"every class needs at least {LEAST_ROWS_OF_A_CLASS} rows"
        hint = "Join rare classes, remove their rows, or choose another target."
        got = f"{len(rare)} of {len(found)} classes with fewer, such as {show(rare[0])}"
        raise DataError(ErrorDetail(where, rule, got, hint))
    return found


def _use(
    name: str, column: Numbers | Labels
) -> tuple[Literal["numeric", "categorical", "drop"], str]:
    """Return the use of a column, and why it is left out if it is."""
    if column.missing == len(column):
        return "drop", "no values"
    if isinstance(column, Labels):
        return _use_of_text(column)
    if column.errors(name):
        return "drop", "values that are not finite, or far too large"
    present = column.values[np.isfinite(column.values)]
    if len(np.unique(present)) == 1:
        return "drop", "the same value in every row"
    if _is_identifier(name, present) and len(present) == len(column):
        return "drop", "a different number in every row, as in an identifier"
    return "numeric", ""


def _use_of_text(column: Labels) -> tuple[Literal["categorical", "drop"], str]:
    distinct = len(column.names) + bool(column.missing)
    if distinct == 1:
        return "drop", "the same value in every row"
    if distinct > max(MOST_CATEGORIES, len(column) // 20):
        return "drop", f"{distinct} different values in {len(column)} rows"
    return "categorical", ""


def _is_identifier(name: str, values: np.ndarray[Any, Any]) -> bool:
    """Say whether whole numbers count the rows, or are all different under such a name."""
    if len(np.unique(values)) < len(values) or not (values == np.floor(values)).all():
        return False
    is_named = re.search(r"(^|[_\W])(id|index|key|nr|no|number)$", name.lower()) is not None
    return is_named or bool(len(values) > MOST_CATEGORIES and (np.diff(values) == 1).all())
