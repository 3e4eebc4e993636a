"""Columns of numbers: as float64, with the cells that are none kept for the error that names them.

No value is filled, scaled or dropped here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.cells import is_typed_number, text_of
from selection.errors import ErrorDetail, show

# Squares of larger numbers come near the end of float64, and nothing measured is as large.
LARGEST = 1e100
DECIMAL_COMMA = r"[+-]?\d+,\d+"
FEATURE_HINT = "Add the column to categorical or to drop, correct the value, or list it in missing."


@dataclass(frozen=True, eq=False)
class Numbers:
    """Hold a column of numbers.

    unreadable holds rows and texts of cells that are no numbers; words counts the texts that were
    read as missing, other than an empty cell.
    Shape: values is (N,) float64, NaN where a value is missing or unreadable.
    """

    values: NDArray[np.float64]
    unreadable: tuple[tuple[int, str], ...] = ()
    words: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> int:
        """The number of rows without a value."""
        return int(np.isnan(self.values).sum()) - len(self.unreadable)

    def errors(self, where: str, hint: str = FEATURE_HINT) -> list[ErrorDetail]:
        """Return what is wrong with the first cell that is no finite number of usual size."""
        if self.unreadable:
            row, text = self.unreadable[0]
            got = f"{show(text)} in row {row + 1}"
            if hint == FEATURE_HINT and re.fullmatch(DECIMAL_COMMA, text):
                hint = 'If the comma is a decimal one, write decimal = "," in [data].'
            return [ErrorDetail(where, "a numeric column must be free of text", got, hint)]
        with np.errstate(invalid="ignore"):
            large = np.flatnonzero(np.abs(self.values) > LARGEST)
        if not len(large):
            return []
        value = float(self.values[large[0]])
        got = f"{value:g} in row {large[0] + 1}"
        if math.isinf(value):
            hint = "Correct or remove that row."
            return [ErrorDetail(where, "values must be finite", got, hint)]
        rule = f"values must be at most {LARGEST:g} in size"
        hint = "Rescale the column; if the value stands for a missing one, leave its cell empty."
        return [ErrorDetail(where, rule, got, hint)]


def numbers_of(column: pd.Series[Any]) -> Numbers:
    """Return typed values as numbers, true and false as 1 and 0; text is unreadable."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(object)
    elif pd.api.types.is_complex_dtype(dtype):
        return Numbers(np.full(len(column), math.nan), ((0, str(column.iloc[0])),))
    elif pd.api.types.is_numeric_dtype(dtype):  # booleans are numeric to pandas
        return Numbers(column.to_numpy(dtype=np.float64, na_value=np.nan))
    is_missing = column.isna().to_numpy()
    values = np.full(len(column), math.nan)
    unreadable = []
    for index, value in enumerate(column.to_numpy(dtype=object)):
        if is_missing[index]:
            continue
        if is_typed_number(value) or isinstance(value, bool | np.bool_):
            values[index] = float(value)
        else:
            unreadable.append((index, text_of(value)))
    return Numbers(values, tuple(unreadable))
