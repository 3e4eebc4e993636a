"""One column of a table as an array: numbers, text, classes, groups; or what is wrong with it.

A column is indexed by the numbers of its rows in the table, from 0. Row numbers in messages count
from 1, the first row under the header.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.errors import DataError, ErrorDetail, show
from selection.metrics import metrics_of

FEATURE_HINT = "Add the column to categorical or to drop, or correct the value."


def numeric_values(
    column: pd.Series[Any], where: str, hint: str = FEATURE_HINT
) -> NDArray[np.float64]:
    """Return a column as float64, true and false as 1 and 0, missing values as NaN.

    Raises: DataError naming the first text or infinity, and its row.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):  # booleans are numeric to pandas
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = np.array([_number(value) for value in column], dtype=np.float64)
        _check_text(column, np.isnan(values) & column.notna().to_numpy(), where, hint)
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        got = f"{values[infinite[0]]} in row {_row(column, infinite[0])}"
        raise DataError(
            ErrorDetail(where, "values must be finite", got, "Correct or remove that row.")
        )
    return values


def _number(value: Any) -> float:
    return float(value) if isinstance(value, Real | Decimal | np.bool_) else math.nan


def _check_text(column: pd.Series[Any], is_text: NDArray[np.bool_], where: str, hint: str) -> None:
    """Refuse text; one bad cell makes text of all, so name the first that is no number."""
    rows = np.flatnonzero(is_text)
    if not rows.size:
        return
    texts = column.iloc[rows].astype(str)
    unreadable = rows[pd.to_numeric(texts, errors="coerce").isna().to_numpy()]
    row = unreadable[0] if unreadable.size else rows[0]
    got = f"{show(str(column.iloc[row]))} in row {_row(column, row)}"
    raise DataError(ErrorDetail(where, "a numeric column must be free of text", got, hint))


def readable(name: str) -> str:
    """Return a name as it can stand in one line: quoted where it is blank or not printable."""
    return name if name.strip() and name.isprintable() else show(name)


def missing_count(column: pd.Series[Any]) -> int:
    """Return how many values of a column are missing."""
    return int(column.isna().sum())


def text_values(column: pd.Series[Any]) -> NDArray[np.object_]:
    """Return the values of a column as text."""
    return np.array([str(value) for value in column], dtype=object)


def category_names(column: pd.Series[Any]) -> NDArray[np.object_]:
    """Return the categories of a column, each a function of its own cell alone.

    So 1, 1.0 and the text "1.0" are one category whoever else is in the column; "01" is another.
    """
    return np.array([_category(value) for value in column], dtype=object)


def _category(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value)
    if text.casefold() in ("true", "false"):
        return text.casefold()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)


def group_codes(column: pd.Series[Any]) -> NDArray[np.int64]:
    """Return a number per row, equal where the column's values are equal."""
    codes: NDArray[np.int64] = np.unique(category_names(column), return_inverse=True)[1]
    return codes.astype(np.int64)


def _row(column: pd.Series[Any], index: Any) -> int:
    return int(column.index[int(index)]) + 1


def class_codes(column: pd.Series[Any], where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class indices and class names; classes are the sorted distinct values.

    Raises: DataError if the values are continuous.
    """
    values: NDArray[Any]
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = _whole_numbers(column, where)
    else:
        values = text_values(column)
    classes, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), tuple(str(name) for name in classes)


def check_two_classes(classes: tuple[str, ...], where: str) -> None:
    """Refuse a target that has one value only.

    Raises: DataError.
    """
    if len(classes) < 2:
        got = f"only {show(classes[0])}"
        hint = "Choose another target, or add rows of another class."
        raise DataError(ErrorDetail(where, "classification needs at least two classes", got, hint))


def _whole_numbers(column: pd.Series[Any], where: str) -> NDArray[np.int64]:
    values = numeric_values(column, where)
    broken = np.flatnonzero(values != np.floor(values))
    if broken.size:
        got = f"{values[broken[0]]} in row {_row(column, broken[0])}"
        *names, last = metrics_of("regression")
        hint = f"Choose a regression metric: {', '.join(names)} or {last}."
        raise DataError(ErrorDetail(where, "classes are words or whole numbers", got, hint))
    return values.astype(np.int64)


def rows_with(column: pd.Series[Any], value: str | int | float | bool) -> NDArray[np.bool_]:
    """Return which rows hold a value: numbers match by value, everything else by its text."""
    is_numeric = pd.api.types.is_numeric_dtype(column.dtype)
    if is_numeric and isinstance(value, int | float):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        matches: NDArray[np.bool_] = numbers == float(value)
        return matches
    texts = text_values(column)
    # TOML writes true where Python and pandas write True.
    wanted = {str(value), show(value)} if isinstance(value, bool) else {str(value)}
    return np.array([text in wanted for text in texts], dtype=np.bool_)
