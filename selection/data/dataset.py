"""The development rows of a study, and nothing else.

Held-out rows are split off before anything is looked at; only their number and identity remain.
Source: statistics.md's rule that nobody sees them before the final evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.column_warnings import column_warnings
from selection.data.labels import LabelKind
from selection.data.row_hashes import HeldOutRows
from selection.data.rows import hash_rows
from selection.data.sources import data_set_info
from selection.data.split import border_warnings, split_source
from selection.metrics import Task
from selection.study.spec import StudySpec


@dataclass(frozen=True, eq=False)
class Dataset:
    """Hold the development rows of a study in the order of their source, or of their time.

    Shape: features is (N, D), uint8 for images and float64 otherwise, NaN where a value is missing
    and imputed later; categories has (N,) text per categorical column; target is (N,) int64 class
    indices or float64; groups is (N,) int64; weights is (N,) float64. has_indicators means that the
    study adds an input for each column with missing values.
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
    class_kind: LabelKind = "text"
    category_kinds: Mapping[str, LabelKind] = field(default_factory=dict)
    held_out_identities: HeldOutRows | None = None
    weights: NDArray[np.float64] | None = None
    has_indicators: bool = False

    def __len__(self) -> int:
        return len(self.target)

    @property
    def inputs(self) -> int:
        """The number of columns that an MLP sees of these rows, one per category included."""
        count = int(self.features.shape[1])
        if self.has_indicators:
            count += int(np.isnan(self.features).any(axis=0).sum())
        return count + sum(len(set(column)) for column in self.categories.values())

    @property
    def class_counts(self) -> dict[str, int]:
        """The number of development rows of each class; empty for regression."""
        if self.task == "regression":
            return {}
        counts = np.bincount(self.target, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def take(self, numbers: NDArray[np.int64]) -> Dataset:
        """Return the rows with these numbers, in that order, as a development set of their own."""
        return replace(
            self,
            features=self.features[numbers],
            categories={name: column[numbers] for name, column in self.categories.items()},
            target=self.target[numbers],
            groups=None if self.groups is None else self.groups[numbers],
            weights=None if self.weights is None else self.weights[numbers],
        )


def earlier_identity(spec: StudySpec, folder: Path) -> str:
    """Return the identity that earlier versions gave the held-out rows of a table: of their text.

    Raises: DataError if the rows cannot be had.
    """
    parts = split_source(spec, folder)
    path = str(spec.sections.data.path)
    if path.endswith(".parquet"):
        frame = pd.read_parquet(path)
    else:
        as_text: Any = {"dtype": str, "na_filter": False, "encoding": "utf-8-sig"}
        frame = pd.read_csv(path, index_col=False, **as_text)
    cells = frame.reset_index(drop=True).loc[parts.held_out].astype(str)
    content = [list(map(str, cells.columns)), cells.to_numpy(dtype=object).tolist()]
    return sha256(json.dumps(content).encode()).hexdigest()


def load_development(spec: StudySpec, folder: Path, frame: pd.DataFrame | None = None) -> Dataset:
    """Return the development rows of a study; the data folder holds fetched files.

    frame is the table of a study of arrays.

    Raises: DataError if the rows cannot be had or break a rule of the study.
    """
    parts = split_source(spec, folder, frame)
    warnings = (
        *border_warnings(parts),
        *column_warnings(parts.source.take(parts.development), spec),
    )
    kept = parts.rows(parts.development, release=True)
    return Dataset(
        name=kept.name,
        task=kept.task,
        features=kept.features,
        feature_names=kept.feature_names,
        categories=kept.categories,
        target=kept.target,
        class_names=kept.class_names,
        groups=kept.groups,
        weights=kept.weights,
        class_kind=kept.class_kind,
        category_kinds=kept.category_kinds,
        fingerprint=hash_rows(kept),
        held_out_fingerprint=parts.held_out_identity,
        held_out_rows=len(parts.held_out) or data_set_info(kept.name).held_out_rows,
        held_out_identities=parts.held_out_rows,
        warnings=warnings,
        has_indicators=spec.sections.data.missing_indicators,
    )
