"""Reads a table of the user's, CSV or Parquet, into the rows and columns a study asks for.

Every broken column is named at once. Nothing is scaled, filled or dropped silently here.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.columns import (
    class_codes,
    group_codes,
    missing_count,
    numeric_values,
    readable,
    rows_with,
    text_values,
)
from selection.data.rows import Rows
from selection.errors import DataError, Fault
from selection.study.faults import nearest_name, show
from selection.study.fields import DataSection, HeldOutColumn
from selection.study.setting import Task

SUFFIXES = (".csv", ".parquet")


def read_table(section: DataSection, task: Task) -> Rows:
    """Return all rows of a table with the columns the study uses.

    Raises: DataError with every fault of the table.
    """
    assert section.path is not None
    assert section.target is not None
    where = section.path
    content = _read_bytes(Path(section.path))
    frame = _read_frame(content, Path(section.path))
    _check_names(frame, section, where)
    names = [name for name in frame.columns if name not in _not_features(section)]
    _check_missing(frame, names, section, where)

    columns = _Columns(frame, where)
    features = columns.read_features(names)
    target, class_names = columns.read_target(section.target, task)
    if not names and not section.categorical:
        rule = "the table needs a feature"
        columns.faults.append(Fault(where, rule, "a target alone", "Drop fewer columns."))
    if columns.faults:
        raise DataError(*columns.faults)
    return Rows(
        name=section.path,
        task=task,
        features=features,
        feature_names=tuple(names),
        categories={name: text_values(frame[name]) for name in section.categorical},
        target=target,
        class_names=class_names,
        groups=None if section.groups is None else group_codes(frame[section.groups]),
        marks=_marks(frame, section, where),
        file_hash=hashlib.sha256(content).hexdigest(),
    )


class _Columns:
    """Read columns and keep their faults, so that all of them are shown at once."""

    def __init__(self, frame: pd.DataFrame, where: str) -> None:
        self.frame = frame
        self.where = where
        self.faults: list[Fault] = []

    def read_features(self, names: list[str]) -> NDArray[np.float64]:
        """Return the numeric features. Shape: (N, D)."""
        features = np.empty((len(self.frame), len(names)))
        for index, name in enumerate(names):
            try:
                features[:, index] = numeric_values(self.frame[name], self._place(name))
            except DataError as error:
                self.faults += error.faults
        return features

    def read_target(self, name: str, task: Task) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Return the target and its class names."""
        try:
            if task == "classification":
                return class_codes(self.frame[name], self._place(name))
            mend = "Choose a classification metric, such as accuracy, or another target."
            return numeric_values(self.frame[name], self._place(name), mend), ()
        except DataError as error:
            self.faults += error.faults
            return np.empty(0), ()

    def _place(self, name: str) -> str:
        return f"{self.where}: column {readable(name)}"


def _read_bytes(path: Path) -> bytes:
    where = str(path)
    if path.suffix not in SUFFIXES:
        rule = "a table must be a .csv or .parquet file"
        raise DataError(Fault(where, rule, path.suffix or "no suffix", "Convert it."))
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "an unreadable file"
        mend = "Paths count from the working directory: mend [data] path."
        raise DataError(Fault(where, "the table must be readable", reason, mend)) from None
    if not content.strip():
        raise DataError(_empty(where))
    return content


def _empty(where: str) -> Fault:
    return Fault(where, "a table needs a header and a row", "an empty file", "Fill it.")


def _read_frame(content: bytes, path: Path) -> pd.DataFrame:
    read = _read_csv if path.suffix == ".csv" else _read_parquet
    where = str(path)
    try:
        frame = read(content)
    except ImportError:
        mend = "Install it: pip install 'selection[parquet]'."
        raise DataError(Fault(where, "Parquet needs pyarrow", "none installed", mend)) from None
    except pd.errors.EmptyDataError:
        raise DataError(_empty(where)) from None
    except (ValueError, OSError, pd.errors.ParserWarning) as error:  # ParserError is a ValueError
        reason = " ".join(str(error).split())
        mend = "Mend the file, or write it anew."
        raise DataError(Fault(where, f"must be a {path.suffix[1:]} file", reason, mend)) from None
    if frame.empty:
        raise DataError(_empty(where))
    return frame


def _read_csv(content: bytes) -> pd.DataFrame:
    # pandas renames a second column of one name, so the names are read as cells.
    header = pd.read_csv(
        io.BytesIO(content),
        header=None,
        nrows=1,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # it says that values are lost
        frame = pd.read_csv(
            io.BytesIO(content), index_col=False, low_memory=False, encoding="utf-8-sig"
        )
    frame.columns = pd.Index(header.iloc[0].tolist())
    return frame


def _read_parquet(content: bytes) -> pd.DataFrame:
    frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    frame.columns = frame.columns.map(str)
    return frame


def _not_features(section: DataSection) -> set[str | None]:
    held_out = section.held_out.column if isinstance(section.held_out, HeldOutColumn) else None
    return {section.target, section.groups, held_out, *section.drop, *section.categorical}


def _check_names(frame: pd.DataFrame, section: DataSection, where: str) -> None:
    """Refuse columns of one name, names without a column, and columns with two uses."""
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        mend = "Rename or remove one of each."
        raise DataError(Fault(where, "column names must differ", f"twice {show(twice)}", mend))
    uses = [("target", section.target), ("groups", section.groups)]
    uses += [("drop", name) for name in section.drop]
    uses += [("categorical", name) for name in section.categorical]
    if isinstance(section.held_out, HeldOutColumn):
        uses.append(("held_out", section.held_out.column))
    faults = []
    first_use: dict[str, str] = {}
    for use, name in uses:
        if name is None:
            continue
        if name not in frame.columns:
            rule = f"{use} must name a column of the table"
            known = map(readable, frame.columns)
            faults.append(Fault(where, rule, show(name), nearest_name(name, known)))
        # Rows may be held out by their group, or by a column that is dropped anyway.
        elif name in first_use and (
            use != "held_out" or first_use[name] in ("target", "categorical")
        ):
            rule = "a column has one use"
            got = f"{show(name)} as {first_use[name]} and {use}"
            faults.append(Fault(where, rule, got, "Remove it from one of them."))
        first_use.setdefault(name, use)
    if faults:
        raise DataError(*faults)


def _check_missing(
    frame: pd.DataFrame, numeric: list[str], section: DataSection, where: str
) -> None:
    impute = 'Write impute = "median", drop the columns, or fill them.'
    fill = "Fill the values, or remove their rows or columns."
    checks = [
        ("the target must have no missing values", [section.target], fill),
        ("categorical columns must have no missing values", section.categorical, fill),
        ("groups must have no missing values", [section.groups], fill),
    ]
    if section.impute is None:
        checks.append(("features must have no missing values", numeric, impute))
    faults = []
    for rule, names, mend in checks:
        counts = {name: missing_count(frame[name]) for name in names if name is not None}
        broken = [f"{readable(name)} ({count})" for name, count in counts.items() if count]
        if broken:
            faults.append(Fault(where, rule, ", ".join(broken), mend))
    if faults:
        raise DataError(*faults)


def _marks(frame: pd.DataFrame, section: DataSection, where: str) -> NDArray[np.bool_] | None:
    """Return which rows the study's column holds out; some must be, and not all."""
    held_out = section.held_out
    if not isinstance(held_out, HeldOutColumn):
        return None
    column = frame[held_out.column]
    marks = rows_with(column, held_out.value)
    if marks.any() and not marks.all():
        return marks
    rule = f"{held_out.column} = {show(held_out.value)} must hold for some rows and not for all"
    values = [show(value) for value in sorted(set(text_values(column)))[:10]]
    got = f"{marks.sum()} of {len(marks)} rows"
    raise DataError(Fault(where, rule, got, f"Values there: {', '.join(values)}."))
