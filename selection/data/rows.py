"""Rows as a source gives them, and the hash of their content.

Sources and tables make Rows; split.py decides which of them the sweep may see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selection.data.labels import LabelKind
from selection.data.row_hashes import (
    RowHashes,
    hash_columns,
    hash_number_column,
    hash_text_column,
)
from selection.metrics import Task

Part = Literal["development", "held_out"]
CHUNK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Rows:
    """Hold rows in the order of their source, with the columns the study uses.

    Shape: features is (N, D), uint8 for images and float64 for tables, NaN where a value is
    missing; categories has (N,) text per categorical column; target is (N,) int64 class indices
    or float64; groups is (N,) int64; weights is (N,) float64.
    """

    name: str
    task: Task
    features: NDArray[Any]
    feature_names: tuple[str, ...]
    categories: Mapping[str, NDArray[np.object_]]
    target: NDArray[Any]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None
    class_kind: LabelKind = "text"
    category_kinds: Mapping[str, LabelKind] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)

    def keys(self, *, is_stratified: bool) -> RowKeys:
        """Return what decides which rows are held out."""
        codes = self.target if is_stratified else None
        return RowKeys(len(self), codes, self.class_names, self.groups, None)

    def take(self, numbers: NDArray[np.int64]) -> Rows:
        """Return the rows with these numbers, in that order."""
        return Rows(
            name=self.name,
            task=self.task,
            features=self.features[numbers],
            feature_names=self.feature_names,
            categories={name: column[numbers] for name, column in self.categories.items()},
            target=self.target[numbers],
            class_names=self.class_names,
            groups=None if self.groups is None else self.groups[numbers],
            weights=None if self.weights is None else self.weights[numbers],
            class_kind=self.class_kind,
            category_kinds=self.category_kinds,
        )

    @property
    def hashes(self) -> RowHashes:
        """The hashes of these rows, all of whose columns a model sees."""
        columns = {name: hash_text_column(column) for name, column in self.categories.items()}
        for index, name in enumerate(self.feature_names):
            columns[name] = hash_number_column(self.features[:, index])
        if self.task == "classification":
            names = np.array(self.class_names, dtype=object)[self.target]
            columns["target"] = hash_text_column(names)
        else:
            columns["target"] = hash_number_column(self.target)
        return hash_columns(columns)


@dataclass(frozen=True, eq=False)
class RowKeys:
    """Hold what decides which rows of a source are held out.

    Shape: codes, groups and marks are (N,): class indices where the split is stratified, groups
    that stay whole, and True where the source itself says "held out".
    """

    count: int
    codes: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None
    marks: NDArray[np.bool_] | None


def hash_rows(rows: Rows) -> str:
    """Return the SHA-256 of all that a study uses of these rows, in their order."""
    columns = {name: column.tolist() for name, column in rows.categories.items()}
    header = [rows.task, rows.feature_names, rows.class_names, list(columns)]
    digest = hashlib.sha256(json.dumps(header).encode())
    for array in (rows.features, rows.target, rows.groups, rows.weights):
        if array is not None:
            kind = array.dtype.newbyteorder("<")
            digest.update(f"{kind.str}{array.shape}".encode())
            for start in range(0, len(array), CHUNK_ROWS):  # row by row, whatever the layout
                part = array[start : start + CHUNK_ROWS]
                digest.update(part.astype(kind, copy=False).tobytes())
    digest.update(json.dumps(columns).encode())
    return digest.hexdigest()
