"""Makes a table of arrays, so that rows in memory are read by the rules of a table in a file.

Columns of text and of pandas' category type are categorical; everything else is a number. Never
copies a value into another spelling: column types stay as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from selection.errors import DataError, ErrorDetail, show

# The `path` of a study whose rows were given as arrays.
IN_MEMORY = "arrays"


def table_from_arrays(
    X: Any,
    y: Any,
    groups: Any = None,
    held_out: Any = None,
    section: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return one frame of all columns, and the [data] section that says what each of them is.

    held_out is the fraction of the rows to hold out, or True for each row that is held out.
    section holds what else the study says of its rows, such as prepare or impute.

    Shape: X is (N, D); y, groups and a mask are (N,).

    Raises: DataError if they do not fit together.
    """
    frame = _features(X)
    stated = dict(section or {})
    known = [name for name in ("dataset", "path", "target", "groups") if name in stated]
    if known:
        rule = "[data] of a study of arrays says nothing of where rows come from"
        raise DataError(ErrorDetail("X, y", rule, show(known), "Remove these keys."))
    text = [str(name) for name in frame.columns if _is_categorical(frame[name])]
    dropped = stated.get("drop", ())
    stated.setdefault("categorical", [name for name in text if name not in dropped])
    stated["path"] = IN_MEMORY
    stated["target"] = _add(frame, y, "y", getattr(y, "name", None) or "target")
    if groups is not None:
        stated["groups"] = _add(frame, groups, "groups", getattr(groups, "name", None) or "groups")
    if isinstance(held_out, float):
        stated["held_out"] = held_out
    elif held_out is not None:
        name = _add(frame, np.asarray(held_out, dtype=bool), "held_out", "held_out")
        stated["held_out"] = {"column": name, "value": True}
    return frame, stated


def _features(X: Any) -> pd.DataFrame:
    """Return features as a frame with names and with rows counted from 0."""
    if hasattr(X, "toarray"):
        hint = "Pass X.toarray(), or fewer columns."
        raise DataError(ErrorDetail("X", "features must be dense", "a sparse matrix", hint))
    if isinstance(X, pd.DataFrame):
        frame = X.reset_index(drop=True)
        frame.columns = frame.columns.map(str)
        return frame
    values = np.asarray(X)
    if values.ndim != 2 or not values.size:
        rule = "features must be a table of rows and columns, (N, D)"
        raise DataError(ErrorDetail("X", rule, f"shape {values.shape}", "Reshape it."))
    names = [f"feature_{index}" for index in range(values.shape[1])]
    return pd.DataFrame(values, columns=names).infer_objects()


def _is_categorical(column: pd.Series[Any]) -> bool:
    kinds = pd.api.types
    is_text = kinds.is_object_dtype(column.dtype) or kinds.is_string_dtype(column.dtype)
    return is_text or isinstance(column.dtype, pd.CategoricalDtype)


def _add(frame: pd.DataFrame, values: Any, where: str, name: Any) -> str:
    """Add a column under a name that no feature has, and return the name."""
    column = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values).tolist())
    if len(column) != len(frame) or np.ndim(values) != 1:
        rule = f"{where} must have one value for each of the {len(frame)} rows of X"
        got = f"shape {np.shape(values)}"
        raise DataError(ErrorDetail(where, rule, got, "Pass arrays of one length."))
    free = str(name)
    while free in frame.columns:
        free += "_"
    frame[free] = column.reset_index(drop=True)
    return free
