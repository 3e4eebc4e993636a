"""Development rows as folds: who trains and who validates.

scikit-learn's splitters with integer seeds only, so that every trial sees the same folds.
Source: scikit-learn, sklearn.model_selection.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from selection.data.dataset import Dataset
from selection.errors import DataError, ErrorDetail, location_name, show
from selection.metrics import METRICS
from selection.seeds import seed32_for
from selection.study.spec import StudySpec

Kind = Literal["kfold", "stratified", "group", "stratified_group", "time_series"]


@dataclass(frozen=True, eq=False)
class Split:
    """Hold the row numbers of one training part and one validation part, both ascending."""

    repeat: int
    fold: int
    training: NDArray[np.int64]
    validation: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Hold all splits, repeat by repeat and fold by fold, and what the report must say of them."""

    splits: tuple[Split, ...]
    warnings: tuple[str, ...]


def make_splits(dataset: Dataset, spec: StudySpec) -> FoldPlan:
    """Split the development rows into folds, each repeat with a seed of its own.

    Raises: DataError if there are too few rows, groups or members of a class, or if some fold's
    validation rows leave the study's metric undefined.
    """
    kind = fold_kind(dataset, spec)
    _check_counts(dataset, spec, kind)
    cv = spec.sections.cv
    splits = []
    for repeat in range(cv.repeats):
        splitter = _splitter(kind, cv.folds, seed32_for(spec.seed, "folds", repeat))
        for fold, (training, validation) in enumerate(_pairs(splitter, dataset)):
            splits.append(
                Split(repeat, fold, training.astype(np.int64), validation.astype(np.int64))
            )
    _check_parts(dataset, spec, splits)
    _check_metric(dataset, spec, splits)
    return FoldPlan(tuple(splits), _warnings(dataset, kind, cv.folds, splits))


def fold_kind(dataset: Dataset, spec: StudySpec) -> Kind:
    """Return the kind of folds: the study's, or the one that classes and groups ask for.

    Raises: DataError if stratified folds are asked for without classes.
    """
    kind, has_classes = spec.sections.cv.kind, dataset.task == "classification"
    if kind in ("stratified", "stratified_group") and not has_classes:
        at = location_name(spec.name, ("cv", "kind"))
        other = "kfold" if kind == "stratified" else "group"
        hint = f'Write kind = "{other}", or choose a classification metric.'
        raise DataError(ErrorDetail(at, "stratified folds need classes", "regression", hint))
    if kind is not None:
        return kind
    if dataset.groups is not None:
        return "stratified_group" if has_classes else "group"
    return "stratified" if has_classes else "kfold"


def fold_identity(split: Split) -> str:
    """Return the SHA-256 of the row numbers of a split."""
    digest = hashlib.sha256()
    for numbers in (split.training, split.validation):
        digest.update(f"{len(numbers)}:".encode() + numbers.astype("<i8").tobytes())
    return digest.hexdigest()


def fold_fingerprint(identities: Iterable[str]) -> str:
    """Return the SHA-256 of the identities of all splits, in order."""
    return hashlib.sha256("/".join(identities).encode()).hexdigest()


def duplicate_rows_across_folds(dataset: Dataset, splits: Iterable[Split]) -> int:
    """Count the rows that some split validates while it trains an exact copy, target included."""
    codes = _copy_codes(dataset)
    leaked = np.zeros(len(dataset), dtype=np.bool_)
    for split in splits:
        trained = np.zeros(len(dataset), dtype=np.bool_)
        trained[codes[split.training]] = True
        leaked[split.validation] |= trained[codes[split.validation]]
    return int(leaked.sum())


def _copy_codes(dataset: Dataset) -> NDArray[np.int64]:
    """Return a number per row, equal for exact copies. Shape: (N,)."""
    columns = [dataset.features + dataset.features.dtype.type(0)]  # -0.0 becomes 0.0
    for column in dataset.categories.values():
        columns.append(np.unique(column, return_inverse=True)[1].reshape(-1, 1))
    columns.append(dataset.target.reshape(-1, 1))
    known: dict[bytes, int] = {}
    codes = np.empty(len(dataset), dtype=np.int64)
    for index in range(len(dataset)):
        content = b"".join(column[index].tobytes() for column in columns)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        codes[index] = known.setdefault(digest, len(known))
    return codes


def _splitter(kind: Kind, folds: int, seed: int) -> Any:
    match kind:
        case "kfold":
            return KFold(folds, shuffle=True, random_state=seed)
        case "stratified":
            return StratifiedKFold(folds, shuffle=True, random_state=seed)
        case "group":
            return GroupKFold(folds, shuffle=True, random_state=seed)
        case "stratified_group":
            return StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        case "time_series":
            return TimeSeriesSplit(folds)


def _pairs(splitter: Any, dataset: Dataset) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    with warnings.catch_warnings():
        # Said in our own words, with the names of the classes, by _warnings.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        numbers = np.arange(len(dataset))
        return list(splitter.split(numbers, dataset.target, dataset.groups))


def _check_counts(dataset: Dataset, spec: StudySpec, kind: Kind) -> None:
    folds = spec.sections.cv.folds
    at = location_name(spec.name, ("cv", "folds"))
    parts = folds + 1 if kind == "time_series" else folds  # the first part is only trained on
    if parts > len(dataset):
        rule = f"{folds} folds need at least {parts} development rows"
        raise DataError(ErrorDetail(at, rule, str(len(dataset)), "Lower folds."))
    if kind in ("group", "stratified_group"):
        assert dataset.groups is not None
        groups = len(np.unique(dataset.groups))
        if folds > groups:
            rule = f"{folds} folds need at least {folds} groups"
            raise DataError(
                ErrorDetail(at, rule, f"{groups} in the development set", "Lower folds.")
            )
    if dataset.task == "classification" and max(dataset.class_counts.values()) < folds:
        largest = max(dataset.class_counts.values())
        rule = f"{folds} folds need a class with at least {folds} development rows"
        raise DataError(
            ErrorDetail(at, rule, f"{largest} rows in the largest class", "Lower folds.")
        )


def _check_parts(dataset: Dataset, spec: StudySpec, splits: list[Split]) -> None:
    """Refuse a split without rows on one side, or without a class among its training rows."""
    at = location_name(spec.name, ("cv", "folds"))
    for split in splits:
        name = f"repeat {split.repeat}, fold {split.fold}"
        if not len(split.training) or not len(split.validation):
            rule = "every fold needs rows"
            raise DataError(
                ErrorDetail(at, rule, f"none in {name}", "Lower folds, or split a group.")
            )
        if dataset.task == "regression":
            continue
        counts = np.bincount(dataset.target[split.training], minlength=len(dataset.class_names))
        absent = [dataset.class_names[index] for index in np.flatnonzero(counts == 0)]
        if absent:
            rule = "every class needs a member among the training rows of every fold"
            got = f"none of {show(absent)} in {name}"
            raise DataError(ErrorDetail(at, rule, got, "Add rows of that class, or remove it."))


def _check_metric(dataset: Dataset, spec: StudySpec, splits: list[Split]) -> None:
    """Refuse a split whose validation rows have too few different targets for the metric."""
    least = METRICS[spec.metric].distinct_targets
    for split in splits:
        found = np.unique(dataset.target[split.validation])
        if len(found) < least:
            rule = (
                f"{spec.metric} needs {_several_targets(dataset, least)} among the validation rows "
                "of every fold"
            )
            name = f"fold {split.fold}"
            if spec.sections.cv.repeats > 1:
                name = f"repeat {split.repeat}, {name}"
            names = dataset.class_names
            only = ", ".join(names[value] if names else f"{value:g}" for value in found)
            at = location_name(spec.name, ("cv", "folds"))
            raise DataError(ErrorDetail(at, rule, f"only {only} in {name}", "Lower folds."))


def _several_targets(dataset: Dataset, least: int) -> str:
    if len(dataset.class_names) == least == 2:
        return "both classes"
    return f"{least} different {'classes' if dataset.class_names else 'targets'}"


def _warnings(dataset: Dataset, kind: Kind, folds: int, splits: list[Split]) -> tuple[str, ...]:
    lines = [
        f"class {show(name)} has {count} development rows, fewer than {folds} folds: "
        "some folds cannot score it"
        for name, count in dataset.class_counts.items()
        if count < folds
    ]
    if kind == "time_series":
        never = len(dataset) - sum(len(split.validation) for split in splits)
        lines.append(f"the first {never} rows are trained on and never validated (time_series)")
    return tuple(lines)
