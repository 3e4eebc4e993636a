"""Features and targets as the trainer wants them, with constants of the training rows only.

Order: numbers, imputed and scaled; indicators of those that were missing; one-hot columns.
Fitted in float64, cast at the end.
Source: scikit-learn's SimpleImputer, MissingIndicator and OneHotEncoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from selection.data.dataset import Dataset
from selection.data.folds import Split
from selection.data.scaling import (
    Linear,
    Scaling,
    fit_scaling,
    identity,
    mean_and_std,
    scaling_from_json,
    scaling_to_json,
)
from selection.errors import DataError, ErrorDetail, show
from selection.study.spec import StudySpec

PIXEL_RANGE = 255.0
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class AppendedColumns:
    """Count the prepared columns behind the numeric ones.

    First come the indicators, then a block of one-hot columns for each categorical column;
    categories has the width of each block.
    """

    indicators: int = 0
    categories: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return self.indicators + sum(self.categories)


@dataclass(frozen=True, eq=False)
class Preparation:
    """Hold the constants fitted on some rows.

    Shape: fill is (D,) over the numeric columns, NaN where nothing is filled; scaling is of as
    many; indicators are the indices (I,) of the numeric columns that have an indicator;
    categories has the known values of each categorical column.
    """

    fill: NDArray[np.float64]
    scaling: Scaling
    categories: Mapping[str, tuple[str, ...]]
    target_mean: float = 0.0
    target_std: float = 1.0
    indicators: tuple[int, ...] = ()

    @property
    def appended(self) -> AppendedColumns:
        """The columns that stand behind the numeric ones."""
        return AppendedColumns(len(self.indicators), tuple(map(len, self.categories.values())))

    def apply(
        self,
        features: NDArray[Any],
        categories: Mapping[str, NDArray[np.object_]],
        dtype: DTypeLike = np.float32,
    ) -> NDArray[np.floating[Any]]:
        """Return features prepared with these constants; an unknown category is all zeros.

        Shape: (N, D) to (N, D + I + number of known categories), C-contiguous.
        """
        count, width = features.shape
        column = width + len(self.indicators)
        prepared = np.empty((count, width + self.appended.width), dtype=dtype)
        for start in range(0, count, CHUNK_ROWS):  # in chunks: float64 images would fill memory
            block = features[start : start + CHUNK_ROWS].astype(np.float64)
            is_missing = np.isnan(block)
            prepared[start : start + CHUNK_ROWS, width:column] = is_missing[
                :, list(self.indicators)
            ]
            np.copyto(block, self.fill, where=is_missing)
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                prepared[start : start + CHUNK_ROWS, :width] = self.scaling.apply(block)
        for name, values in self.categories.items():
            for value in values:
                prepared[:, column] = categories[name] == value
                column += 1
        return prepared

    def apply_target(self, target: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return class indices as they are, a continuous target in units of target_std."""
        if np.issubdtype(target.dtype, np.integer):
            return target
        return ((target - self.target_mean) / self.target_std).astype(dtype)


def preparation_to_json(preparation: Preparation) -> dict[str, Any]:
    """Return the constants as JSON knows them: a column that is never filled has null."""
    fill = [None if np.isnan(value) else value for value in preparation.fill.tolist()]
    return {
        "fill": fill,
        "scaling": scaling_to_json(preparation.scaling),
        "categories": {name: list(values) for name, values in preparation.categories.items()},
        "target_mean": preparation.target_mean,
        "target_std": preparation.target_std,
        "indicators": list(preparation.indicators),
    }


def preparation_from_json(value: Mapping[str, Any]) -> Preparation:
    """Return the constants that preparation_to_json wrote, in this version or an earlier one.

    Raises: KeyError, TypeError or ValueError where the JSON is not such.
    """
    value = with_scaling(value)
    return Preparation(
        fill=np.array([np.nan if each is None else each for each in value["fill"]], dtype=float),
        scaling=scaling_from_json(value["scaling"]),
        categories={name: tuple(values) for name, values in value["categories"].items()},
        target_mean=float(value["target_mean"]),
        target_std=float(value["target_std"]),
        indicators=tuple(value.get("indicators", ())),
    )


def with_scaling(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON of a preparation with its scaling in one place.

    Earlier versions, whose scaling was always linear, wrote center and scale beside fill.
    """
    if "scaling" in value or "center" not in value:
        return value
    others = {name: each for name, each in value.items() if name not in ("center", "scale")}
    linear = {"kind": "linear", "center": value["center"], "scale": value.get("scale")}
    return {**others, "scaling": linear}


@dataclass(frozen=True, eq=False)
class FoldData:
    """Hold all development rows as one fold sees them.

    Shape: features is (N, D) and targets (N,), whose order is that of the development rows;
    training and validation are row numbers. D may differ between folds. weights (N,) are those of
    rows in a training loss, None if all weigh the same.
    Units: a continuous target is (value - target_mean) / target_std.
    """

    repeat: int
    fold: int
    features: NDArray[np.floating[Any]]
    targets: NDArray[Any]
    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    target_mean: float
    target_std: float
    classes: int
    class_names: tuple[str, ...] = ()
    weights: NDArray[np.float64] | None = None
    appended: AppendedColumns = AppendedColumns()

    @property
    def numeric(self) -> int:
        """The number of numeric columns: the first ones, and the only ones that are scaled."""
        return int(self.features.shape[1]) - self.appended.width

    @property
    def indicators(self) -> slice:
        """The columns that say which numbers were missing."""
        return slice(self.numeric, self.numeric + self.appended.indicators)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The one-hot columns of each categorical column."""
        ends = list(accumulate(self.appended.categories, initial=self.indicators.stop))
        return tuple(slice(start, stop) for start, stop in pairwise(ends))


def prepare_folds(
    dataset: Dataset, splits: Iterable[Split], spec: StudySpec, dtype: DTypeLike = np.float32
) -> tuple[FoldData, ...]:
    """Prepare all development rows once per fold; folds share arrays that are equal for all.

    Raises: DataError if a column to impute has no value among some fold's training rows.
    """
    folds: list[FoldData] = []
    is_shared = _is_same_for_all_folds(dataset, spec)
    for split in splits:
        preparation = fit_preparation(dataset, split.training, spec)
        if folds and is_shared:
            features, targets = folds[0].features, folds[0].targets
        else:
            features = preparation.apply(dataset.features, dataset.categories, dtype)
            targets = preparation.apply_target(dataset.target, dtype)
        folds.append(
            FoldData(
                repeat=split.repeat,
                fold=split.fold,
                features=features,
                targets=targets,
                training=split.training,
                validation=split.validation,
                target_mean=preparation.target_mean,
                target_std=preparation.target_std,
                classes=len(dataset.class_names),
                class_names=dataset.class_names,
                weights=dataset.weights,
                appended=preparation.appended,
            )
        )
    return tuple(folds)


def fit_preparation(dataset: Dataset, rows: NDArray[np.int64], spec: StudySpec) -> Preparation:
    """Fit the constants of a study's preparation on some development rows.

    A column has an indicator where one of these rows lacks its value, as a category is known where
    one of them has it: weights of an input that never varies in training would stay random.

    Raises: DataError if a column to impute has no value among these rows.
    """
    data = spec.sections.data
    assert data.prepare is not None, "its recipe has said it"
    width = dataset.features.shape[1]
    fill = np.full(width, np.nan)
    indicators: tuple[int, ...] = ()
    scaling: Scaling = identity(width)
    if _is_image(dataset) and data.prepare == "scale":
        scaling = Linear(np.zeros(width), np.full(width, PIXEL_RANGE))
    elif data.prepare != "none" or data.impute is not None:
        values = dataset.features[rows].astype(np.float64, order="C")  # (N_training, D)
        if data.impute == "median":
            fill = _medians(values, dataset)
            if data.missing_indicators:
                indicators = tuple(np.flatnonzero(np.isnan(values).any(axis=0)).tolist())
            np.copyto(values, fill, where=np.isnan(values))
        scaling = fit_scaling(values, data.prepare)
    target_mean, target_std = 0.0, 1.0
    if dataset.task == "regression" and data.is_target_standardized:
        target_mean, target_std = mean_and_std(dataset.target[rows])
    return Preparation(
        fill=fill,
        scaling=scaling,
        categories={
            name: tuple(sorted(set(column[rows]))) for name, column in dataset.categories.items()
        },
        target_mean=target_mean,
        target_std=target_std,
        indicators=indicators,
    )


def _is_image(dataset: Dataset) -> bool:
    return bool(dataset.features.dtype == np.uint8)


def _is_same_for_all_folds(dataset: Dataset, spec: StudySpec) -> bool:
    """Say whether nothing of the preparation depends on the training rows."""
    data = spec.sections.data
    if dataset.categories or (data.impute is not None and not _is_image(dataset)):
        return False
    return data.prepare == "none" or (data.prepare == "scale" and _is_image(dataset))


def _medians(values: NDArray[np.float64], dataset: Dataset) -> NDArray[np.float64]:
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if len(empty):
        names = [dataset.feature_names[index] for index in empty]
        rule = "impute needs a value among the training rows of every fold"
        got = f"none in {show(names)}"
        raise DataError(ErrorDetail(dataset.name, rule, got, "Drop these columns."))
    medians: NDArray[np.float64] = np.nanmedian(values, axis=0)
    return medians
