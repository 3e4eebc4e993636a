"""Reads a table of the user's, CSV or Parquet, into the rows and columns a study asks for.

The cells of a CSV file stay text until it is known which rows are asked for: what a held-out row
says never decides how a development row is read. Every broken column is named at once. Nothing is
scaled, filled or dropped silently here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.arrays import IN_MEMORY
from selection.data.columns import (
    category_names,
    check_two_classes,
    class_codes,
    group_codes,
    missing_count,
    numeric_values,
    readable,
    rows_with,
    text_values,
)
from selection.data.rows import RowKeys, Rows
from selection.errors import DataError, ErrorDetail, install_command, nearest_name, show
from selection.metrics import Task, metrics_of
from selection.study.fields import DataSection, HeldOutColumn

SUFFIXES = (".csv", ".parquet")
TARGET_RULE = "the target must have no missing values"
FILL = "Fill the values, or remove their rows or columns."


@dataclass(frozen=True, eq=False)
class Table:
    """Hold a table as its file has it, and what the study makes of its columns.

    frame is indexed by the numbers of its rows, from 0.
    """

    frame: pd.DataFrame
    section: DataSection
    task: Task

    @property
    def where(self) -> str:
        return str(self.section.path)

    def take(self, numbers: NDArray[np.int64]) -> Table:
        """Return the rows with these numbers, in that order."""
        return replace(self, frame=self.frame.loc[numbers])

    def typed(self) -> pd.DataFrame:
        """Return the cells as the numbers, booleans and missing values that they spell."""
        return _typed(self.frame, self.where)

    def keys(self, *, is_stratified: bool) -> RowKeys:
        """Return what decides which rows are held out, and nothing else of them.

        Raises: DataError if a column that decides is broken.
        """
        section = self.section
        groups = None
        if section.groups is not None:
            groups = group_codes(self.frame[section.groups])
        if isinstance(section.held_out, HeldOutColumn):
            # The file itself says who is held out: their labels are not looked at.
            return RowKeys(len(self.frame), None, (), groups, _marks(self.frame, section))
        if not is_stratified:
            return RowKeys(len(self.frame), None, (), groups, None)
        target = str(section.target)
        column = _typed(self.frame[[target]], self.where)[target]
        if missing := missing_count(column):
            raise DataError(_missing_target(self.where, [f"{readable(target)} ({missing})"]))
        where = f"{self.where}: column {readable(target)}"
        codes, names = class_codes(column, where)
        check_two_classes(names, where)
        return RowKeys(len(self.frame), codes, names, groups, None)

    def rows(self, class_names: tuple[str, ...] = ()) -> Rows:
        """Return these rows with the columns the study uses.

        class_names are the known classes; without them, the classes are the values found here.

        Raises: DataError with every error of these rows.
        """
        section = self.section
        unused = _not_features(section)
        names = [name for name in self.frame.columns if name not in unused]
        used = {section.target, section.groups, *section.categorical, *names}
        kept = self.frame[[name for name in self.frame.columns if name in used]]
        frame = _typed(kept, self.where)
        _check_missing(frame, names, section, self.where)
        columns = _Columns(frame, self.where)
        features = columns.read_features(names)
        target, classes = columns.read_target(str(section.target), self.task, class_names)
        if not names and not section.categorical:
            rule = "the table needs a feature"
            columns.details.append(
                ErrorDetail(self.where, rule, "a target alone", "Drop fewer columns.")
            )
        if columns.details:
            raise DataError(*columns.details)
        return Rows(
            name=self.where,
            task=self.task,
            features=features,
            feature_names=tuple(names),
            categories={name: category_names(self.frame[name]) for name in section.categorical},
            target=target,
            class_names=classes,
            groups=None if section.groups is None else group_codes(self.frame[section.groups]),
        )

    def identity(self) -> str:
        """Return the SHA-256 of every cell of these rows, as the file writes them."""
        if self.section.path == IN_MEMORY:
            return _hash_columns(self.frame)
        cells = self.frame.astype(str)
        content = [list(cells.columns), cells.to_numpy(dtype=object).tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def open_table(section: DataSection, task: Task, frame: pd.DataFrame | None = None) -> Table:
    """Read the file of a table and check that the study's columns are there.

    frame is the table of a study of arrays.

    Raises: DataError if it cannot be read, or names are unknown, doubled or used twice.
    """
    assert section.path is not None
    if frame is None:
        if section.path == IN_MEMORY:
            rule = "the rows of a study of arrays are in no file"
            hint = "Open it in Python: selection.open_study(NAME, X, y)."
            raise DataError(ErrorDetail("[data] path", rule, "no arrays", hint))
        path = Path(section.path)
        frame = _read_frame(_read_bytes(path), path)
    _check_names(frame, section, section.path)
    return Table(frame, section, task)


def read_features(
    path: Path, names: Sequence[str], categorical: Sequence[str]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.object_]]]:
    """Return the numeric features of a table by name, NaN where missing, and its categories.

    Shape: (N, D) and (N,) per categorical column; other columns are left unread.

    Raises: DataError if a column is missing or broken.
    """
    where = str(path)
    frame = _read_frame(_read_bytes(path), path)
    absent = [name for name in (*names, *categorical) if name not in frame.columns]
    if absent:
        rule = "the table must have the features of the model"
        shown = f"none named {', '.join(map(readable, absent[:5]))}"
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        hint = nearest_name(absent[0], list(map(readable, frame.columns)))
        raise DataError(ErrorDetail(where, rule, f"{shown}{more}", hint))
    cells = frame[list(categorical)]
    frame = _typed(frame[[*names, *categorical]], where)
    columns = _Columns(frame, where)
    features = columns.read_features(list(names))
    for name in categorical:
        if count := missing_count(frame[name]):
            rule = "categorical columns must have no missing values"
            got = f"{readable(name)} ({count})"
            columns.details.append(ErrorDetail(where, rule, got, "Fill the values."))
    if columns.details:
        raise DataError(*columns.details)
    return features, {name: category_names(cells[name]) for name in categorical}


class _Columns:
    """Read columns and keep their errors, so that all of them are shown at once."""

    def __init__(self, frame: pd.DataFrame, where: str) -> None:
        self.frame = frame
        self.where = where
        self.details: list[ErrorDetail] = []

    def read_features(self, names: list[str]) -> NDArray[np.float64]:
        """Return the numeric features. Shape: (N, D)."""
        features = np.empty((len(self.frame), len(names)))
        for index, name in enumerate(names):
            try:
                features[:, index] = numeric_values(self.frame[name], self._where(name))
            except DataError as error:
                self.details += error.details
        return features

    def read_target(
        self, name: str, task: Task, known: tuple[str, ...]
    ) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Return the target and its class names: the known ones, or those found here."""
        try:
            if task == "classification":
                codes, found = class_codes(self.frame[name], self._where(name))
                if not known:
                    check_two_classes(found, self._where(name))
                    return codes, found
                return self._known_codes(name, codes, found, known), known
            some = metrics_of("classification")[0]
            hint = f"Choose a classification metric, such as {some}, or another target."
            return numeric_values(self.frame[name], self._where(name), hint), ()
        except DataError as error:
            self.details += error.details
            return np.empty(0), ()

    def _known_codes(
        self, name: str, codes: NDArray[np.int64], found: tuple[str, ...], known: tuple[str, ...]
    ) -> NDArray[np.int64]:
        """Return indices into the known classes."""
        strange = [each for each in found if each not in known]
        if strange:
            rule = "every class must have a development row"
            hint = "Hold out other rows, or remove the class."
            raise DataError(ErrorDetail(self._where(name), rule, f"none of {show(strange)}", hint))
        indices = np.array([known.index(each) for each in found], dtype=np.int64)
        return indices[codes]

    def _where(self, name: str) -> str:
        return f"{self.where}: column {readable(name)}"


def _read_bytes(path: Path) -> bytes:
    where = str(path)
    if path.suffix not in SUFFIXES:
        rule = "a table must be a .csv or .parquet file"
        raise DataError(ErrorDetail(where, rule, path.suffix or "no suffix", "Convert it."))
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "an unreadable file"
        hint = "Paths count from the working directory: fix [data] path."
        raise DataError(ErrorDetail(where, "the table must be readable", reason, hint)) from None
    if not content.strip():
        raise DataError(_empty(where))
    return content


def _empty(where: str) -> ErrorDetail:
    return ErrorDetail(where, "a table needs a header and a row", "an empty file", "Fill it.")


def _read_frame(content: bytes, path: Path) -> pd.DataFrame:
    read = _read_csv if path.suffix == ".csv" else _read_parquet
    where = str(path)
    try:
        frame = read(content)
    except ImportError:
        hint = f"Install it: {install_command('parquet')}."
        raise DataError(
            ErrorDetail(where, "Parquet needs pyarrow", "none installed", hint)
        ) from None
    except pd.errors.EmptyDataError:
        raise DataError(_empty(where)) from None
    except (ValueError, OSError, pd.errors.ParserWarning) as error:  # ParserError is a ValueError
        reason = " ".join(str(error).split())
        hint = "Fix the file, or write it anew."
        raise DataError(
            ErrorDetail(where, f"must be a {path.suffix[1:]} file", reason, hint)
        ) from None
    if frame.empty:
        raise DataError(_empty(where))
    return frame


def _read_csv(content: bytes) -> pd.DataFrame:
    """Return every cell as the text that the file has."""
    # pandas renames a second column of one name, so the names are read as cells.
    options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    header = pd.read_csv(io.BytesIO(content), header=None, nrows=1, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # it says that values are lost
        cells = pd.read_csv(io.BytesIO(content), index_col=False, na_filter=False, **options)
    frame = pd.DataFrame(cells)
    frame.columns = pd.Index(header.iloc[0].tolist())
    return frame


def _typed(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return text cells as the numbers, booleans and missing values that they spell.

    The columns of a Parquet file have types already.
    """
    if Path(where).suffix != ".csv" or not len(frame.columns):
        return frame
    text = io.StringIO()
    frame.to_csv(text, index=False, quoting=csv.QUOTE_ALL)
    text.seek(0)
    typed = pd.read_csv(text, index_col=False, low_memory=False)
    typed.columns, typed.index = frame.columns, frame.index
    return typed


def _read_parquet(content: bytes) -> pd.DataFrame:
    frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    frame.columns = frame.columns.map(str)
    return frame.reset_index(drop=True)


def _not_features(section: DataSection) -> set[str | None]:
    held_out = section.held_out.column if isinstance(section.held_out, HeldOutColumn) else None
    return {section.target, section.groups, held_out, *section.drop, *section.categorical}


def _check_names(frame: pd.DataFrame, section: DataSection, where: str) -> None:
    """Refuse columns of one name, names without a column, and columns with two uses."""
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        hint = "Rename or remove one of each."
        raise DataError(
            ErrorDetail(where, "column names must differ", f"twice {show(twice)}", hint)
        )
    uses = [("target", section.target), ("groups", section.groups)]
    uses += [("drop", name) for name in section.drop]
    uses += [("categorical", name) for name in section.categorical]
    if isinstance(section.held_out, HeldOutColumn):
        uses.append(("held_out", section.held_out.column))
    errors = []
    first_use: dict[str, str] = {}
    for use, name in uses:
        if name is None:
            continue
        if name not in frame.columns:
            rule = f"{use} must name a column of the table"
            known = map(readable, frame.columns)
            errors.append(ErrorDetail(where, rule, show(name), nearest_name(name, known)))
        # Rows may be held out by their group, or by a column that is dropped anyway.
        elif name in first_use and (
            use != "held_out" or first_use[name] in ("target", "categorical")
        ):
            rule = "a column has one use"
            got = f"{show(name)} as {first_use[name]} and {use}"
            errors.append(ErrorDetail(where, rule, got, "Remove it from one of them."))
        first_use.setdefault(name, use)
    if errors:
        raise DataError(*errors)


def _check_missing(
    frame: pd.DataFrame, numeric: list[str], section: DataSection, where: str
) -> None:
    impute = 'Write impute = "median", drop the columns, or fill them.'
    checks = [
        (TARGET_RULE, [section.target], FILL),
        ("categorical columns must have no missing values", section.categorical, FILL),
        ("groups must have no missing values", [section.groups], FILL),
    ]
    if section.impute is None:
        checks.append(("features must have no missing values", numeric, impute))
    errors = []
    for rule, names, hint in checks:
        counts = {name: missing_count(frame[name]) for name in names if name is not None}
        broken = [f"{readable(name)} ({count})" for name, count in counts.items() if count]
        if broken:
            errors.append(ErrorDetail(where, rule, ", ".join(broken), hint))
    if errors:
        raise DataError(*errors)


def _hash_columns(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of a frame: numbers by value, other cells by their text."""
    digest = hashlib.sha256(json.dumps(list(frame.columns)).encode())
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column.dtype):
            values = column.to_numpy(dtype="<f8", na_value=np.nan)
            digest.update(b"numbers" + values.tobytes())
        else:
            digest.update(json.dumps(list(map(str, column))).encode())
    return digest.hexdigest()


def _missing_target(where: str, broken: list[str]) -> ErrorDetail:
    return ErrorDetail(where, TARGET_RULE, ", ".join(broken), FILL)


def _marks(frame: pd.DataFrame, section: DataSection) -> NDArray[np.bool_]:
    """Return which rows the study's column holds out; some must be, and not all."""
    held_out = section.held_out
    assert isinstance(held_out, HeldOutColumn)
    where = str(section.path)
    column = _typed(frame[[held_out.column]], where)[held_out.column]
    marks = rows_with(column, held_out.value)
    if marks.any() and not marks.all():
        return marks
    rule = f"{held_out.column} = {show(held_out.value)} must hold for some rows and not for all"
    values = [show(value) for value in sorted(set(text_values(column)))[:10]]
    got = f"{marks.sum()} of {len(marks)} rows"
    raise DataError(ErrorDetail(where, rule, got, f"Values there: {', '.join(values)}."))
