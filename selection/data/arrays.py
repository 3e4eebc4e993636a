"""Makes a table of arrays, so that rows in memory are read by the rules of a table in a file.

Columns of text and of pandas' category type are categorical; everything else is a number. Rows of X
and y are paired by position, whatever their indexes say. Never changes a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.numbers import numbers_of
from selection.errors import DataError, ErrorDetail, show

# The `path` of a study whose rows were given as arrays.
IN_MEMORY = "arrays"


def table_from_arrays(
    X: Any,
    y: Any,
    groups: Any = None,
    held_out: Any = None,
    section: Mapping[str, Any] | None = None,
    time: str | None = None,
    sample_weight: Any = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return one frame of all columns, and the [data] section that says what each of them is.

    held_out is the fraction of the rows to hold out, or True for each row that is held out.
    section holds what else the study says of its rows, such as prepare or impute; time is the
    column that orders them.

    Shape: X is (N, D); y, groups, sample_weight and a mask are (N,).

    Raises: DataError if they do not fit together.
    """
    frame = _features(X)
    stated = dict(section or {})
    taken = ("dataset", "path", "target", "groups", "weights")
    known = [name for name in taken if name in stated]
    if held_out is not None and stated.get("held_out") is not None:
        known.append("held_out")
    if known:
        rule = "[data] of a study of arrays must leave to the arguments what they say"
        raise DataError(ErrorDetail("X, y", rule, show(known), "Remove these keys."))
    text = [str(name) for name in frame.columns if _is_categorical(frame[name])]
    part = stated.get("held_out")
    others = {*stated.get("drop", ()), time, part.get("column") if isinstance(part, dict) else None}
    stated.setdefault("categorical", [name for name in text if name not in others])
    stated["path"] = IN_MEMORY
    stated["target"] = _add(frame, y, "target", "y")
    if groups is not None:
        stated["groups"] = _add(frame, groups, "groups", "groups")
    if sample_weight is not None:
        stated["weights"] = _add(frame, sample_weight, "weights", "sample_weight")
    if isinstance(held_out, Real) and not isinstance(held_out, bool | np.bool_):
        stated["held_out"] = float(held_out)
    elif held_out is not None:
        name = _add(frame, _mask(held_out), "held_out", "held_out")
        stated["held_out"] = {"column": name, "value": True}
    return frame, stated


def _features(X: Any) -> pd.DataFrame:
    """Return features as a frame with names and with rows counted from 0."""
    if hasattr(X, "toarray"):
        raise _refusal("X", "features must be dense", "a sparse matrix", "Pass X.toarray().")
    if isinstance(X, np.ma.MaskedArray):
        raise _refusal("X", "values must not be masked", "a masked array", "Fill it with NaN.")
    frame = X.reset_index(drop=True) if isinstance(X, pd.DataFrame) else _from_array(X)
    frame.columns = frame.columns.map(str)
    if not frame.size:
        rule = "features must be a table of rows and columns, (N, D)"
        raise _refusal("X", rule, f"shape {frame.shape}", "Pass at least one row and column.")
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        rule = "columns must have different names"
        raise _refusal("X", rule, f"two named {show(twice[0])}", "Rename one.")
    return frame


def _from_array(X: Any) -> pd.DataFrame:
    values = np.asarray(X, dtype=object) if isinstance(X, list | tuple) else np.asarray(X)
    if values.ndim != 2:
        rule = "features must be a table of rows and columns, (N, D)"
        raise _refusal("X", rule, f"shape {values.shape}", "Reshape it.")
    if np.iscomplexobj(values):
        raise _refusal("X", "features must be real numbers", "complex ones", "Split them in two.")
    names = [f"feature_{index}" for index in range(values.shape[1])]
    return pd.DataFrame(values, columns=names).infer_objects()


def _mask(held_out: Any) -> NDArray[np.bool_]:
    """Return which rows are held out."""
    values = pd.Series(np.asarray(held_out).tolist() if np.ndim(held_out) == 1 else [None])
    if not values.map(lambda value: isinstance(value, bool)).all():
        rule = "held_out must be a fraction, or one True or False for each row"
        raise _refusal("held_out", rule, show(type(held_out).__name__), "Pass a mask of booleans.")
    return values.to_numpy(dtype=bool)


def _is_categorical(column: pd.Series[Any]) -> bool:
    kinds = pd.api.types
    if kinds.is_object_dtype(column.dtype):
        return bool(numbers_of(column).unreadable)
    return kinds.is_string_dtype(column.dtype) or isinstance(column.dtype, pd.CategoricalDtype)


def _add(frame: pd.DataFrame, values: Any, name: str, where: str) -> str:
    """Add a column under a name that no feature has, and return the name."""
    if isinstance(values, np.ma.MaskedArray):
        hint = "Fill it, or leave these rows out."
        raise _refusal(where, "values must not be masked", "a masked array", hint)
    column = column_of(values) if np.ndim(values) == 1 else pd.Series([None])
    if np.ndim(values) != 1 or len(column) != len(frame):
        rule = f"{where} must have one value for each of the {len(frame)} rows of X"
        raise _refusal(where, rule, f"shape {np.shape(values)}", "Pass arrays of one length.")
    while name in frame.columns:
        name += "_"
    frame[name] = column.reset_index(drop=True)
    return name


def column_of(values: Any) -> pd.Series[Any]:
    """Return values as a column, each of its own type: NaN among text stays missing."""
    if isinstance(values, pd.Series):
        return values
    return pd.Series(list(values) if isinstance(values, list | tuple) else np.asarray(values))


def _refusal(where: str, rule: str, got: str, hint: str) -> DataError:
    return DataError(ErrorDetail(where, rule, got, hint))
