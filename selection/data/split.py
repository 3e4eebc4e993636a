"""Splits held-out rows off, before anything else sees a row.

Only what decides the split is looked at: the number of rows, groups, the classes of a stratified
split, or the column that says who is held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from selection.data.column_warnings import copy_warnings
from selection.data.row_hashes import HeldOutRows, RowHashes, fingerprint
from selection.data.rows import RowKeys, Rows, hash_rows
from selection.data.sources import data_set_info, official_identity, read_named
from selection.data.tables import Table, open_table
from selection.errors import DataError, ErrorDetail, location_name, show, shown_name
from selection.metrics import METRICS, metrics_of
from selection.seeds import seed32_for
from selection.study.fields import HeldOutColumn
from selection.study.spec import StudySpec

DEFAULT_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Parts:
    """Hold a source and the numbers of its development and of its held-out rows, both ascending.

    An official held-out set lies outside the source: then all its rows are development rows, and
    hashes, which are of all rows otherwise, are None.
    """

    source: Rows | Table
    keys: RowKeys
    development: NDArray[np.int64]
    held_out: NDArray[np.int64]
    held_out_identity: str
    hashes: RowHashes | None

    @property
    def held_out_rows(self) -> HeldOutRows | None:
        """That by which the held-out rows are known again; None for an official held-out set."""
        if self.hashes is None:
            return None
        part = self.hashes.take(self.held_out)
        return HeldOutRows(part.named, part.content, part.seen, fingerprint(self.hashes.content))

    def rows(
        self,
        numbers: NDArray[np.int64],
        class_names: tuple[str, ...] = (),
        *,
        release: bool = False,
    ) -> Rows:
        """Return the rows with these numbers; release gives the memory of a table's features back.

        Raises: DataError if a cell of theirs is broken.
        """
        part = self.source.take(numbers)
        return part.rows(class_names, release=release) if isinstance(part, Table) else part


def split_source(spec: StudySpec, folder: Path, frame: pd.DataFrame | None = None) -> Parts:
    """Find the rows of a study and split off those that are held out.

    frame is the table of a study of arrays.

    A fraction is stratified by class, takes whole groups, or the latest rows of a time series.

    Raises: DataError if the rows cannot be had, do not fit the metric or held_out, or if either
    side would be empty or lack a class.
    """
    source = _open_source(spec, folder, frame)
    keys = source.keys(is_stratified=_is_stratified(spec))
    numbers = np.arange(keys.count, dtype=np.int64)
    if is_official(spec):
        held_out, hashes = numbers[:0], None
        identity = official_identity(str(spec.sections.data.dataset), spec.seed)
    else:
        held_out = numbers[keys.marks] if keys.marks is not None else _by_fraction(keys, spec)
        hashes = source.hashes
        part = source.take(held_out)
        # That of a data set is the one that its studies have had from the first version on.
        identity = (
            hash_rows(part) if isinstance(part, Rows) else fingerprint(hashes.whole[held_out])
        )
    development = np.setdiff1d(numbers, held_out)
    if keys.codes is not None:
        _check_classes(keys.codes[development], keys.class_names, spec)
    if isinstance(source, Table):
        source.take(development).check_target()
        if spec.task == "classification":
            _check_known_classes(source, development, held_out)
        _check_metric(source.take(held_out), spec)
    return Parts(source, keys, development, held_out, identity, hashes)


def _is_stratified(spec: StudySpec) -> bool:
    """Say whether labels decide which rows a fraction holds out."""
    is_whole = spec.sections.data.groups is not None or spec.sections.cv.kind == "time_series"
    return spec.task == "classification" and not is_whole


def is_official(spec: StudySpec) -> bool:
    """Say whether the study holds out the official held-out set of its data set."""
    data = spec.sections.data
    if data.dataset is None or data.held_out not in (None, "official"):
        return False
    return data_set_info(data.dataset).held_out_rows > 0


def border_warnings(parts: Parts) -> tuple[str, ...]:
    """Return what makes the held-out score too good: groups on both sides, and copies."""
    lines: tuple[str, ...] = ()
    groups = parts.keys.groups
    if groups is not None and len(parts.held_out):
        shared = np.intersect1d(groups[parts.development], groups[parts.held_out])
        if len(shared):
            have = "1 group has" if len(shared) == 1 else f"{len(shared)} groups have"
            lines = (f"{have} rows in both the development set and the held-out set",)
    if parts.hashes is not None:
        named = parts.hashes.named
        lines += copy_warnings(named[parts.development], named[parts.held_out])
    return lines


def _open_source(spec: StudySpec, folder: Path, frame: pd.DataFrame | None) -> Rows | Table:
    """Return the rows that a study may split; an official held-out set is not among them."""
    data = spec.sections.data
    if data.dataset is None:
        if data.held_out == "official":
            hint = "Give a fraction, or { column = ..., value = ... }."
            raise DataError(_held_out_error(spec, "a table has no official held-out set", hint))
        return open_table(data, spec.task, frame, spec.sections.cv.time)
    info = data_set_info(data.dataset)
    if spec.sections.cv.time is not None:
        at = location_name(spec.name, ("cv", "time"))
        got = show(spec.sections.cv.time)
        raise DataError(ErrorDetail(at, "[cv] time needs [data] path", got, "Leave it out."))
    if data.held_out == "official" and not info.held_out_rows:
        rule = f"{info.name} has no official held-out set"
        raise DataError(_held_out_error(spec, rule, "Give a fraction, such as 0.2."))
    if isinstance(data.held_out, HeldOutColumn):
        rule = "held_out by column belongs to path"
        raise DataError(_held_out_error(spec, rule, "Give a fraction, such as 0.2."))
    if info.task != spec.task:
        at = location_name(spec.name, ("search", "metric"))
        rule = f"{info.name} needs a metric of {info.task}"
        hint = f"Choose another, such as {metrics_of(info.task)[0]}."
        raise DataError(ErrorDetail(at, rule, show(spec.metric), hint))
    return read_named(info.name, spec.seed, folder)


def _by_fraction(keys: RowKeys, spec: StudySpec) -> NDArray[np.int64]:
    held_out = spec.sections.data.held_out
    fraction = held_out if isinstance(held_out, float) else DEFAULT_FRACTION
    seed = seed32_for(spec.seed, "held_out")
    numbers = np.arange(keys.count, dtype=np.int64)
    if keys.groups is not None:
        _check_size(len(np.unique(keys.groups)), fraction, "groups", 2, spec)
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
        _, chosen = next(splitter.split(numbers, groups=keys.groups))
        return np.sort(numbers[chosen])
    if spec.sections.cv.kind == "time_series":
        _check_size(keys.count, fraction, "rows", 1, spec)
        return numbers[keys.count - ceil(fraction * keys.count) :]
    if keys.codes is None:
        _check_size(keys.count, fraction, "rows", 1, spec)
        _, chosen = train_test_split(numbers, test_size=fraction, random_state=seed)
        return np.sort(chosen)
    _check_class_sizes(keys.codes, keys.class_names, spec)
    _check_size(keys.count, fraction, "rows", len(keys.class_names), spec)
    _, chosen = train_test_split(
        numbers, test_size=fraction, random_state=seed, stratify=keys.codes
    )
    return np.sort(chosen)


def _check_size(count: int, fraction: float, unit: str, least: int, spec: StudySpec) -> None:
    """Refuse a fraction that leaves a side with fewer than it needs."""
    held_out = ceil(fraction * count)
    if min(held_out, count - held_out) >= least:
        return
    rule = f"both sides of held_out = {fraction} need at least {least} {unit}"
    got = f"{count - held_out} development and {held_out} held-out {unit}"
    at = location_name(spec.name, ("data", "held_out"))
    raise DataError(ErrorDetail(at, rule, got, "Change the fraction, or add rows."))


def _check_class_sizes(
    codes: NDArray[np.int64], class_names: tuple[str, ...], spec: StudySpec
) -> None:
    counts = np.bincount(codes, minlength=len(class_names))
    alone = [class_names[index] for index in np.flatnonzero(counts < 2)]
    if alone:
        at = location_name(spec.name, ("data", "held_out"))
        rule = "a class needs two rows, one for each side of held_out"
        got = f"one row of {show(alone)}"
        raise DataError(ErrorDetail(at, rule, got, "Add rows of it, or remove it."))


def _check_classes(codes: NDArray[np.int64], class_names: tuple[str, ...], spec: StudySpec) -> None:
    counts = np.bincount(codes, minlength=len(class_names))
    absent = [class_names[index] for index in np.flatnonzero(counts == 0)]
    if absent:
        at = location_name(spec.name, ("data", "held_out"))
        rule = "every class needs a development row"
        got = f"none of {show(absent)}"
        raise DataError(ErrorDetail(at, rule, got, "Hold out other rows, or remove the class."))


def _check_metric(held_out: Table, spec: StudySpec) -> None:
    """Refuse held-out rows on which the metric is not defined: they could never be scored."""
    least = METRICS[spec.metric].distinct_targets
    found = held_out.count_targets()
    if found < least:
        what = "classes" if spec.task == "classification" else "targets"
        rule = f"{spec.metric} needs {least} different {what} among the held-out rows"
        at = location_name(spec.name, ("data", "held_out"))
        raise DataError(ErrorDetail(at, rule, str(found), "Hold out other rows."))


def _check_known_classes(
    table: Table, development: NDArray[np.int64], held_out: NDArray[np.int64]
) -> None:
    """Refuse a held-out row of a class that no development row has: no model could know it."""
    target = str(table.section.target)
    known = set(table.take(development).labels(target).names)
    others = table.take(held_out)
    strange = others.unknown_classes(known)
    if strange:
        row = others.numbers[others.labels(target).texts() == strange[0]][0] + 1
        where = f"{table.where}: column {shown_name(target)}"
        rule = "every class must have a development row"
        hint = "Hold out other rows, or remove the class."
        raise DataError(ErrorDetail(where, rule, f"none of {show(strange)}, as in row {row}", hint))


def _held_out_error(spec: StudySpec, rule: str, hint: str) -> ErrorDetail:
    data = spec.sections.data
    held_out = data.held_out
    shown = held_out.model_dump() if isinstance(held_out, HeldOutColumn) else held_out
    return ErrorDetail(location_name(spec.name, ("data", "held_out")), rule, show(shown), hint)
