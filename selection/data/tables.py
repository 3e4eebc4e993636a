"""Reads a table of the user's into the rows and columns a study asks for.

Every cell is read by itself, and every row, held-out rows included, must be readable before
anything is trained. Every broken column is named. Nothing is scaled, filled or dropped silently.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.arrays import IN_MEMORY
from selection.data.columns import Columns, Header, Use, collect
from selection.data.csv_file import CsvFormat
from selection.data.labels import UNKNOWN, LabelKind, Labels, match_names, rows_with
from selection.data.numbers import DECIMAL_COMMA, Numbers
from selection.data.row_hashes import RowHashes
from selection.data.rows import RowKeys, Rows
from selection.data.table_errors import (
    WEIGHTS_HINT,
    check_two_classes,
    class_errors,
    empty_table,
    identifier_errors,
    missing_errors,
    negative_errors,
    raise_all,
    target_hint,
    time_ranks,
)
from selection.data.table_source import FileSource, FrameSource, make_format
from selection.errors import DataError, ErrorDetail, nearest_name, show, shown_name
from selection.metrics import Task
from selection.study.fields import CSV_KEYS, DataSection, HeldOutColumn


@dataclass(frozen=True, eq=False)
class Table:
    """Hold the columns of a table, every cell of which can be read, and some of its rows.

    Shape: numbers has the places of the rows, (N,), in the order of the study.
    """

    columns: Columns
    section: DataSection
    task: Task
    numbers: NDArray[np.int64]
    time: str | None = None

    @property
    def where(self) -> str:
        return str(self.section.path)

    @property
    def hashes(self) -> RowHashes:
        """The hashes of these rows."""
        assert self.columns.hashes is not None, "the table of a study has rows"
        return self.columns.hashes.take(self.numbers)

    def take(self, numbers: NDArray[np.int64]) -> Table:
        """Return the rows at these places of these rows, in that order."""
        return replace(self, numbers=self.numbers[numbers])

    def labels(self, name: str) -> Labels:
        """Return a column of labels. Shape: (N,)."""
        return self.columns.labels[name].take(self.numbers)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers. Shape: (N,)."""
        return self.columns.numbers[name].values[self.numbers]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the numeric features, in the order of the file."""
        return _numeric(self.columns.names, self.section, self.time)

    def keys(self, *, is_stratified: bool) -> RowKeys:
        """Return what decides which rows are held out, and nothing else of them.

        Raises: DataError if a column that decides is broken.
        """
        section = self.section
        groups = None if section.groups is None else self.labels(section.groups).groups()
        if isinstance(section.held_out, HeldOutColumn):
            # The file itself says who is held out: their labels are not looked at.
            return RowKeys(len(self.numbers), None, (), groups, self._marks(section.held_out))
        if not is_stratified:
            return RowKeys(len(self.numbers), None, (), groups, None)
        codes, names = self.labels(str(section.target)).sorted()
        check_two_classes(names, f"{self.where}: column {shown_name(str(section.target))}")
        return RowKeys(len(self.numbers), codes, names, groups, None)

    def rows(self, class_names: tuple[str, ...] = (), *, release: bool = False) -> Rows:
        """Return these rows with the columns the study uses.

        class_names are the known classes; without them, the classes are the values found here.
        release gives the memory of each feature of the table back as it is copied; the table is of
        no use afterwards.

        Raises: DataError if these rows have one class only.
        """
        section = self.section
        # Column by column in memory, so that what is copied can be given back as it is.
        features = np.empty((len(self.numbers), len(self.features)), order="F")
        names = self.features
        for index, name in enumerate(names):
            features[:, index] = self.values(name)
            if release:
                del self.columns.numbers[name]
        categories = {name: self.labels(name) for name in section.categories}
        target, classes = self._target(class_names)
        return Rows(
            name=self.where,
            task=self.task,
            features=features,
            feature_names=names,
            categories={name: column.texts() for name, column in categories.items()},
            target=target,
            class_names=classes,
            groups=None if section.groups is None else self.labels(section.groups).groups(),
            weights=None if section.weights is None else self.values(section.weights),
            class_kind=self._class_kind(),
            category_kinds={name: column.kind for name, column in categories.items()},
        )

    def check_target(self) -> None:
        """Refuse a target of one value.

        Raises: DataError.
        """
        name = str(self.section.target)
        where = f"{self.where}: column {shown_name(name)}"
        if self.task == "classification":
            check_two_classes(self.labels(name).names, where)
        elif (values := self.values(name)).size and (values == values[0]).all():
            rule = "regression needs a target of at least two values"
            hint = "Choose another target, or add rows of another value."
            raise DataError(ErrorDetail(where, rule, f"only {values[0]:g}", hint))

    def count_targets(self) -> int:
        """Return how many different targets these rows have."""
        name = str(self.section.target)
        if self.task == "classification":
            return len(self.labels(name).names)
        return len(np.unique(self.values(name)))

    def unknown_classes(self, known: Collection[str]) -> list[str]:
        """Return the classes of these rows that are not among the known ones."""
        return [each for each in self.labels(str(self.section.target)).names if each not in known]

    def _target(self, known: tuple[str, ...]) -> tuple[NDArray[Any], tuple[str, ...]]:
        name = str(self.section.target)
        where = f"{self.where}: column {shown_name(name)}"
        if self.task == "regression":
            return self.values(name), ()
        labels = self.labels(name)
        if not known:
            codes, names = labels.sorted()
            check_two_classes(names, where)
            return codes, names
        places = match_names(labels.names, labels.kind, known, labels.kind)
        assert (places != UNKNOWN).all(), "unknown classes are refused before"
        return places[labels.codes], known

    def _class_kind(self) -> LabelKind:
        if self.task == "regression":
            return "text"
        return self.columns.labels[str(self.section.target)].kind

    def _marks(self, held_out: HeldOutColumn) -> NDArray[np.bool_]:
        """Return which rows the study's column holds out; some must be, and not all."""
        labels = self.labels(held_out.column)
        marks = rows_with(labels, held_out.value)
        if marks.any() and not marks.all():
            return marks
        rule = f"{held_out.column} = {show(held_out.value)} must hold for some rows and not for all"
        values = [show(value) for value in sorted(labels.names)[:10]]
        got = f"{marks.sum()} of {len(marks)} rows"
        hint = f"Values there: {', '.join(values)}."
        raise DataError(ErrorDetail(self.where, rule, got, hint))


def open_table(
    section: DataSection,
    task: Task,
    frame: pd.DataFrame | None = None,
    time: str | None = None,
) -> Table:
    """Read a table and check that the study's columns are there and every cell can be read.

    frame is the table of a study of arrays; time is the column that orders the rows.

    Raises: DataError if it cannot be read, or names are unknown, doubled or used twice, or with
    every column that has a broken cell.
    """
    names, columns = _read(section, task, frame, time)
    if section.categorical is None:
        words = tuple(name for name in _numeric(names, section, time) if _is_words(columns, name))
        section = section.model_copy(update={"categorical": words})
        if words:
            names, columns = _read(section, task, frame, time)
    numeric = _numeric(names, section, time)
    if not columns.count:
        raise DataError(empty_table(str(section.path)))
    _check_cells(columns, section, task, numeric, time)
    return Table(columns, section, task, _order(columns, str(section.path), time), time)


def _read(
    section: DataSection, task: Task, frame: pd.DataFrame | None, time: str | None
) -> tuple[Sequence[str], Columns]:
    """Return the names of a table's columns, and all of them by the study's use."""
    source = _open_source(section, frame)
    names = source.names({str(section.target)})
    _check_names(names, section, time)
    numeric = _numeric(names, section, time)
    uses = _uses(names, section, task, numeric, time)
    seen = frozenset({str(section.target), *section.categories, *numeric})
    header = Header(tuple(names), uses, source.kinds(), seen)
    return names, collect(header, source.batches(), source.form, with_hashes=True)


def _is_words(columns: Columns, name: str) -> bool:
    """Say whether most values of a column are words, and so are categories."""
    column = columns.numbers[name]
    words = sum(re.fullmatch(DECIMAL_COMMA, text) is None for _, text in column.unreadable)
    return 2 * words > len(column) - column.missing


def read_columns(
    path: Path, uses: Mapping[str, Use], form: CsvFormat
) -> tuple[int, dict[str, Numbers], dict[str, Labels]]:
    """Return the number of rows, and the columns asked for by their use; others are left unread.

    Raises: DataError if a column is missing or doubled, or the file cannot be read.
    """
    source = FileSource(path, form)
    names = source.names(set(uses))
    absent = [name for name in uses if name not in names]
    if absent:
        rule = "the table must have the features of the model"
        shown = f"none named {', '.join(map(shown_name, absent[:5]))}"
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        hint = nearest_name(absent[0], list(map(shown_name, names)))
        raise DataError(ErrorDetail(str(path), rule, f"{shown}{more}", hint))
    _check_doubled(names, str(path), set(uses))
    read_as = tuple(uses.get(name, "other") for name in names)
    header = Header(tuple(names), read_as, source.kinds())
    columns = collect(header, source.batches(), form, with_hashes=False)
    return columns.count, dict(columns.numbers), dict(columns.labels)


def column_names(path: Path, form: CsvFormat) -> list[str]:
    """Return the names of a table's columns.

    Raises: DataError if it cannot be read.
    """
    names = FileSource(path, form).names(())
    _check_doubled(names, str(path), set(names))
    return names


def _open_source(section: DataSection, frame: pd.DataFrame | None) -> FileSource | FrameSource:
    assert section.path is not None
    if frame is not None:
        return FrameSource(frame)
    if section.path == IN_MEMORY:
        rule = "the rows of a study of arrays are in no file"
        hint = "Open it in Python: selection.open_study(NAME, X, y)."
        raise DataError(ErrorDetail("[data] path", rule, "no arrays", hint))
    path = Path(section.path)
    return FileSource(path, make_format(path, {name: getattr(section, name) for name in CSV_KEYS}))


def _numeric(names: Iterable[str], section: DataSection, time: str | None) -> tuple[str, ...]:
    held_out = section.held_out.column if isinstance(section.held_out, HeldOutColumn) else None
    others = {section.target, section.groups, section.weights, time, held_out}
    unused = {*others, *section.drop, *section.categories}
    return tuple(name for name in names if name not in unused)


def _uses(
    names: Sequence[str],
    section: DataSection,
    task: Task,
    numeric: Sequence[str],
    time: str | None,
) -> tuple[Use, ...]:
    """Return what each column is read as; those a study leaves out are hashed only."""
    held_out = section.held_out.column if isinstance(section.held_out, HeldOutColumn) else None
    labels = {section.groups, time, held_out, *section.categories}
    if task == "classification":
        labels.add(section.target)
    numbers = {*numeric, section.target, section.weights}
    return tuple(
        "labels" if name in labels else "numbers" if name in numbers else "other" for name in names
    )


def _check_doubled(names: Sequence[str], where: str, used: Collection[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1 and name in used})
    if twice:
        hint = "Rename or remove one of each."
        raise DataError(
            ErrorDetail(where, "column names must differ", f"twice {show(twice)}", hint)
        )


def _check_names(names: Sequence[str], section: DataSection, time: str | None) -> None:
    """Refuse columns of one name, names without a column, and columns with two uses."""
    where = str(section.path)
    if len(set(names)) < len(names):
        _check_doubled(names, where, set(names))
    uses = [("target", section.target), ("groups", section.groups), ("time", time)]
    uses.append(("weights", section.weights))
    uses += [("drop", name) for name in section.drop]
    uses += [("categorical", name) for name in section.categories]
    if isinstance(section.held_out, HeldOutColumn):
        uses.append(("held_out", section.held_out.column))
    known = set(names)
    errors = []
    first_use: dict[str, str] = {}
    for use, name in uses:
        if name is None:
            continue
        if name not in known:
            rule = f"{use} must name a column of the table"
            errors.append(
                ErrorDetail(where, rule, show(name), nearest_name(name, map(shown_name, names)))
            )
        # Rows may be held out by their group or time, or by a column that is dropped anyway.
        elif name in first_use and (
            use != "held_out" or first_use[name] in ("target", "categorical")
        ):
            rule = "a column has one use"
            got = f"{show(name)} as {first_use[name]} and {use}"
            errors.append(ErrorDetail(where, rule, got, "Remove it from one of them."))
        first_use.setdefault(name, use)
    raise_all(errors)


def _check_cells(
    columns: Columns,
    section: DataSection,
    task: Task,
    numeric: Sequence[str],
    time: str | None,
) -> None:
    """Refuse cells that cannot be read, of whatever row.

    Raises: DataError with every broken column.
    """
    where, target = str(section.path), str(section.target)
    errors = missing_errors(columns, section, numeric, time)
    for name, column in columns.numbers.items():
        at = f"{where}: column {shown_name(name)}"
        if name == target:
            errors += column.errors(at, target_hint())
        elif name == section.weights:
            errors += column.errors(at, WEIGHTS_HINT) or negative_errors(column, at)
        else:
            errors += column.errors(at)
    if task == "classification":
        errors += class_errors(columns.labels[target], f"{where}: column {shown_name(target)}")
    for name in section.categories:
        errors += identifier_errors(columns.labels[name], f"{where}: column {shown_name(name)}")
    if not numeric and not section.categories:
        rule = "the table needs a feature"
        errors.append(ErrorDetail(where, rule, "a target alone", "Drop fewer columns."))
    raise_all(errors)


def _order(columns: Columns, where: str, time: str | None) -> NDArray[np.int64]:
    """Return the rows in the order of time, if there is such a column, else of the file."""
    numbers = np.arange(columns.count, dtype=np.int64)
    if time is None:
        return numbers
    labels = columns.labels[time]
    moments = time_ranks(labels.names, f"{where}: column {shown_name(time)}")
    return np.argsort(moments[labels.codes], kind="stable").astype(np.int64)
