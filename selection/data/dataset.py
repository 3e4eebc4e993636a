"""The development rows of a study, and nothing else.

Held-out rows are split off before anything is looked at; only their number and identity remain.
Source: statistics.md's rule that nobody sees them before the final evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from selection.data.rows import Rows, hash_rows
from selection.data.sources import data_set_info, official_identity, read_named
from selection.data.tables import read_table
from selection.errors import DataError, Fault
from selection.seeds import seed32_for
from selection.study.faults import place_name, show
from selection.study.fields import HeldOutColumn
from selection.study.setting import Task
from selection.study.spec import StudySpec

DEFAULT_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Dataset:
    """Hold the development rows of a study in the order of their source.

    Shape: features is (N, D), uint8 for images and float64 otherwise, NaN where a value is missing
    and imputed later; categories has (N,) text per categorical column; target is (N,) int64 class
    indices or float64; groups is (N,) int64.
    """

    name: str
    task: Task
    features: NDArray[Any]
    feature_names: tuple[str, ...]
    categories: Mapping[str, NDArray[np.object_]]
    target: NDArray[Any]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None
    fingerprint: str
    held_out_fingerprint: str
    held_out_rows: int
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    @property
    def class_counts(self) -> dict[str, int]:
        """The number of development rows of each class; empty for regression."""
        if self.task == "regression":
            return {}
        counts = np.bincount(self.target, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))


def load_development(spec: StudySpec, folder: Path) -> Dataset:
    """Return the development rows of a study; the data folder holds fetched files.

    Raises: DataError if the rows cannot be had or break a rule of the study.
    """
    rows = read_rows(spec, folder)
    development, held_out = split_rows(rows, spec)
    kept = rows.take(development) if len(held_out) else rows
    return Dataset(
        name=rows.name,
        task=rows.task,
        features=kept.features,
        feature_names=rows.feature_names,
        categories=kept.categories,
        target=kept.target,
        class_names=rows.class_names,
        groups=kept.groups,
        fingerprint=hash_rows(kept),
        held_out_fingerprint=_held_out_identity(rows, held_out, spec),
        held_out_rows=len(held_out) or data_set_info(rows.name).held_out_rows,
        warnings=_border_warnings(rows, development, held_out),
    )


def read_rows(spec: StudySpec, folder: Path) -> Rows:
    """Return the rows that a study may split; an official held-out set is not among them.

    Raises: DataError if the rows cannot be had, or do not fit the metric or held_out.
    """
    data = spec.sections.data
    if data.dataset is None:
        if data.held_out == "official":
            mend = "Give a fraction, or { column = ..., value = ... }."
            raise DataError(_held_out_fault(spec, "a table has no official held-out set", mend))
        return read_table(data, spec.task)
    info = data_set_info(data.dataset)
    if data.held_out == "official" and not info.held_out_rows:
        rule = f"{info.name} has no official held-out set"
        raise DataError(_held_out_fault(spec, rule, "Give a fraction, such as 0.2."))
    if isinstance(data.held_out, HeldOutColumn):
        rule = "held_out by column belongs to path"
        raise DataError(_held_out_fault(spec, rule, "Give a fraction, such as 0.2."))
    if info.task != spec.task:
        at = place_name(spec.name, ("search", "metric"))
        needed = "classification" if info.classes else "regression"
        some = "accuracy" if info.classes else "rmse"
        rule = f"{info.name} needs a metric of {needed}"
        raise DataError(Fault(at, rule, show(spec.metric), f"Choose another, such as {some}."))
    return read_named(info.name, spec.seed, folder)


def is_official(spec: StudySpec) -> bool:
    """Say whether the study holds out the official held-out set of its data set."""
    data = spec.sections.data
    if data.dataset is None or data.held_out not in (None, "official"):
        return False
    return data_set_info(data.dataset).held_out_rows > 0


def split_rows(rows: Rows, spec: StudySpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the development rows and of the held-out rows, both ascending.

    An official held-out set lies outside these rows: then all are development rows.
    A fraction is stratified by class, takes whole groups, or the latest rows of a time series.

    Raises: DataError if either side would be empty or lack a class.
    """
    numbers = np.arange(len(rows), dtype=np.int64)
    if is_official(spec):
        held_out = numbers[:0]
    elif rows.marks is not None:
        held_out = numbers[rows.marks]
    else:
        held_out = _by_fraction(rows, spec)
    development = np.setdiff1d(numbers, held_out)
    if rows.task == "classification":
        _check_classes(rows, development, spec)
    return development, held_out


def _by_fraction(rows: Rows, spec: StudySpec) -> NDArray[np.int64]:
    held_out = spec.sections.data.held_out
    fraction = held_out if isinstance(held_out, float) else DEFAULT_FRACTION
    seed = seed32_for(spec.seed, "held_out")
    numbers = np.arange(len(rows), dtype=np.int64)
    if rows.groups is not None:
        _check_size(len(np.unique(rows.groups)), fraction, "groups", 1, spec)
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
        _, chosen = next(splitter.split(numbers, groups=rows.groups))
        return np.sort(numbers[chosen])
    if spec.sections.cv.kind == "time_series":
        _check_size(len(rows), fraction, "rows", 1, spec)
        return numbers[len(rows) - ceil(fraction * len(rows)) :]
    if rows.task == "regression":
        _check_size(len(rows), fraction, "rows", 1, spec)
        _, chosen = train_test_split(numbers, test_size=fraction, random_state=seed)
        return np.sort(chosen)
    _check_class_sizes(rows, spec)
    _check_size(len(rows), fraction, "rows", len(rows.class_names), spec)
    _, chosen = train_test_split(
        numbers, test_size=fraction, random_state=seed, stratify=rows.target
    )
    return np.sort(chosen)


def _check_size(count: int, fraction: float, unit: str, least: int, spec: StudySpec) -> None:
    """Refuse a fraction that leaves a side with fewer than it needs."""
    held_out = ceil(fraction * count)
    if min(held_out, count - held_out) >= least:
        return
    rule = f"both sides of held_out = {fraction} need at least {least} {unit}"
    got = f"{count - held_out} development and {held_out} held-out {unit}"
    at = place_name(spec.name, ("data", "held_out"))
    raise DataError(Fault(at, rule, got, "Change the fraction, or add rows."))


def _check_class_sizes(rows: Rows, spec: StudySpec) -> None:
    counts = np.bincount(rows.target, minlength=len(rows.class_names))
    alone = [rows.class_names[index] for index in np.flatnonzero(counts < 2)]
    if alone:
        at = place_name(spec.name, ("data", "held_out"))
        rule = "a class needs two rows, one for each side of held_out"
        got = f"one row of {show(alone)}"
        raise DataError(Fault(at, rule, got, "Add rows of it, or remove it."))


def _check_classes(rows: Rows, development: NDArray[np.int64], spec: StudySpec) -> None:
    counts = np.bincount(rows.target[development], minlength=len(rows.class_names))
    absent = [rows.class_names[index] for index in np.flatnonzero(counts == 0)]
    if absent:
        at = place_name(spec.name, ("data", "held_out"))
        rule = "every class needs a development row"
        got = f"none of {show(absent)}"
        raise DataError(Fault(at, rule, got, "Hold out other rows, or remove the class."))


def _border_warnings(
    rows: Rows, development: NDArray[np.int64], held_out: NDArray[np.int64]
) -> tuple[str, ...]:
    """Return what weakens the held-out score: classes it cannot judge, groups on both sides."""
    if not len(held_out):
        return ()
    lines = []
    if rows.task == "classification":
        counts = np.bincount(rows.target[held_out], minlength=len(rows.class_names))
        lines += [
            f"class {show(rows.class_names[index])} has no held-out row"
            for index in np.flatnonzero(counts == 0)
        ]
    if rows.groups is not None:
        shared = np.intersect1d(rows.groups[development], rows.groups[held_out])
        if len(shared):
            lines.append(f"{len(shared)} groups have development rows and held-out rows")
    return tuple(lines)


def _held_out_identity(rows: Rows, held_out: NDArray[np.int64], spec: StudySpec) -> str:
    """Return what tells these held-out rows from any others: their source and numbers."""
    if is_official(spec):
        return official_identity(rows.name, spec.seed)
    digest = hashlib.sha256((rows.file_hash or hash_rows(rows)).encode())
    digest.update(held_out.astype("<i8").tobytes())
    return digest.hexdigest()


def _held_out_fault(spec: StudySpec, rule: str, mend: str) -> Fault:
    data = spec.sections.data
    held_out = data.held_out
    shown = held_out.model_dump() if isinstance(held_out, HeldOutColumn) else held_out
    return Fault(place_name(spec.name, ("data", "held_out")), rule, show(shown), mend)
