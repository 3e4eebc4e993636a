"""Refuses columns that float32 would flatten: a network sees their values as one and the same.

One cell of 1e30 among others near 1, or an offset of 1e12 that is not taken away, leaves nothing
of a column. Development rows alone are looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.data.dataset import Dataset
from selection.data.prepare import Preparation, fit_preparation
from selection.data.table_errors import raise_all
from selection.errors import ErrorDetail, shown_name
from selection.study.spec import StudySpec

# Columns whose middle half is this much narrower than their farthest value are looked at in full.
SUSPECT = 1e-3
# How much farther an extreme value lies than the next, and how far an offset lies.
GAP, OFFSET = 1e6, 1e4
# The range of float32.
SMALLEST = float(np.finfo(np.float32).smallest_normal)
LARGEST = float(np.finfo(np.float32).max)
# Differences below it vanish when they are squared.
SMALLEST_SPREAD = 1e-100


def check_scale(dataset: Dataset, spec: StudySpec) -> None:
    """Refuse a feature or target of which the study's preparation leaves too little in float32.

    Raises: DataError naming every such column.
    """
    if dataset.features.dtype != np.uint8:
        everything = np.arange(len(dataset), dtype=np.int64)
        preparation = fit_preparation(dataset, everything, spec)
        errors = _feature_errors(dataset, preparation)
        if dataset.task == "regression":
            errors += _target_errors(dataset, preparation)
        raise_all(errors)


def _feature_errors(dataset: Dataset, preparation: Preparation) -> list[ErrorDetail]:
    errors = []
    for index, name in enumerate(dataset.feature_names):
        values = dataset.features[:, index]
        values = values[~np.isnan(values)]
        scaled = preparation.scaling.column(index).apply(values[:, None])[:, 0]
        if _is_flattened(values, scaled):
            errors.append(_error(f"{dataset.name}: column {shown_name(name)}", values))
    return errors


def _target_errors(dataset: Dataset, preparation: Preparation) -> list[ErrorDetail]:
    target = dataset.target
    scaled = (target - preparation.target_mean) / preparation.target_std
    where = f"{dataset.name}: the target"
    if _is_flattened(target, scaled):
        return [_error(where, target)]
    spread = float(target.max() - target.min())
    if spread < SMALLEST_SPREAD:
        rule = f"values must differ by more than {SMALLEST_SPREAD:g}"
        return [ErrorDetail(where, rule, f"{spread:g}", "Write it in smaller units.")]
    return []


def _is_flattened(values: NDArray[Any], scaled: NDArray[np.float64]) -> bool:
    """Say whether float32 loses what makes most of the values differ.

    Values that come near to zero bit by bit, as powers do, are no such loss.
    """
    if len(values) < 2 or not _is_suspect(scaled):
        return False
    different = len(np.unique(values))
    with np.errstate(over="ignore"):
        seen = np.unique(scaled.astype(np.float32))
    if different == 1 or (np.isfinite(seen).all() and 2 * (len(seen) - 1) >= different):
        return False
    return len(seen) == 1 or not np.isfinite(seen).all() or _has_gap(values) or _is_far(values)


def _is_suspect(scaled: NDArray[np.float64]) -> bool:
    """Say whether the middle half of the values lies close together beside the farthest."""
    largest = float(np.abs(scaled).max())
    if not SMALLEST < largest < LARGEST:
        return largest > 0
    quarter = len(scaled) // 4
    parts = np.partition(scaled, [quarter, 3 * quarter])
    return bool(parts[3 * quarter] - parts[quarter] < SUSPECT * largest)


def _has_gap(values: NDArray[Any]) -> bool:
    """Say whether the farther half of the values is cut off from the others."""
    distances = np.sort(np.abs(values - np.median(values)))
    near, far = distances[len(distances) // 2 : -1], distances[len(distances) // 2 + 1 :]
    return bool((far[near > 0] > GAP * near[near > 0]).any())


def _is_far(values: NDArray[Any]) -> bool:
    """Say whether all values lie far from zero beside what they differ by."""
    return bool(np.abs(values).min() > OFFSET * (values.max() - values.min()))


def _error(where: str, values: NDArray[Any]) -> ErrorDetail:
    rule = "float32 must tell most of its values apart once they are scaled"
    if _is_far(values):
        spread = float(values.max() - values.min())
        got = f"values around {float(values[0]):g} that differ by at most {spread:g}"
        return ErrorDetail(
            where, rule, got, 'Take an offset away, or write prepare = "standardize".'
        )
    usual = float(np.median(values))
    farthest = float(values[np.argmax(np.abs(values - usual))])
    got = f"values near {usual:g} and one of {farthest:g}"
    hint = "Correct extreme values, or drop the column."
    return ErrorDetail(where, rule, got, hint)
