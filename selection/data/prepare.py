"""Features and targets as the trainer wants them, with constants of the training rows only.

Order: imputed, scaled, then one-hot columns appended. Fitted in float64, cast at the end.
Source: scikit-learn's SimpleImputer, MinMaxScaler, StandardScaler and OneHotEncoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from selection.data.dataset import Dataset
from selection.data.folds import Split
from selection.errors import DataError, ErrorDetail, show
from selection.study.spec import StudySpec

PIXEL_RANGE = 255.0
CHUNK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Preparation:
    """Hold the constants fitted on some rows.

    Shape: fill, center and scale are (D,) over the numeric columns; categories has the known
    values of each categorical column.
    Units: prepared = (value, or fill where missing, - center) / scale.
    """

    fill: NDArray[np.float64]
    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    categories: Mapping[str, tuple[str, ...]]
    target_mean: float = 0.0
    target_std: float = 1.0

    def apply(
        self,
        features: NDArray[Any],
        categories: Mapping[str, NDArray[np.object_]],
        dtype: DTypeLike = np.float32,
    ) -> NDArray[np.floating[Any]]:
        """Return features prepared with these constants; an unknown category is all zeros.

        Shape: (N, D) to (N, D + number of known categories), C-contiguous.
        """
        count, width = features.shape
        known = sum(len(values) for values in self.categories.values())
        prepared = np.empty((count, width + known), dtype=dtype)
        for start in range(0, count, CHUNK_ROWS):  # in chunks: float64 images would fill memory
            block = features[start : start + CHUNK_ROWS].astype(np.float64)
            np.copyto(block, self.fill, where=np.isnan(block))
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                prepared[start : start + CHUNK_ROWS, :width] = (block - self.center) / self.scale
        column = width
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
        "center": preparation.center.tolist(),
        "scale": preparation.scale.tolist(),
        "categories": {name: list(values) for name, values in preparation.categories.items()},
        "target_mean": preparation.target_mean,
        "target_std": preparation.target_std,
    }


def preparation_from_json(value: Mapping[str, Any]) -> Preparation:
    """Return the constants that preparation_to_json wrote.

    Raises: KeyError, TypeError or ValueError where the JSON is not such.
    """
    return Preparation(
        fill=np.array([np.nan if each is None else each for each in value["fill"]], dtype=float),
        center=np.array(value["center"], dtype=np.float64),
        scale=np.array(value["scale"], dtype=np.float64),
        categories={name: tuple(values) for name, values in value["categories"].items()},
        target_mean=float(value["target_mean"]),
        target_std=float(value["target_std"]),
    )


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
            )
        )
    return tuple(folds)


def fit_preparation(dataset: Dataset, rows: NDArray[np.int64], spec: StudySpec) -> Preparation:
    """Fit the constants of a study's preparation on some development rows.

    Raises: DataError if a column to impute has no value among these rows.
    """
    data = spec.sections.data
    width = dataset.features.shape[1]
    fill, center, scale = np.full(width, np.nan), np.zeros(width), np.ones(width)
    if _is_image(dataset) and data.prepare == "scale":
        scale[:] = PIXEL_RANGE
    elif data.prepare != "none" or data.impute is not None:
        values = dataset.features[rows].astype(np.float64, order="C")  # (N_training, D)
        if data.impute == "median":
            fill = _medians(values, dataset)
            np.copyto(values, fill, where=np.isnan(values))
        center, scale = _center_and_scale(values, str(data.prepare))
    target_mean, target_std = 0.0, 1.0
    if dataset.task == "regression" and data.prepare == "standardize":
        mean, std = _center_and_scale(dataset.target[rows].reshape(-1, 1), data.prepare)
        target_mean, target_std = float(mean[0]), float(std[0])
    return Preparation(
        fill=fill,
        center=center,
        scale=scale,
        categories={
            name: tuple(sorted(set(column[rows]))) for name, column in dataset.categories.items()
        },
        target_mean=target_mean,
        target_std=target_std,
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


def _center_and_scale(
    values: NDArray[np.float64], prepare: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what to subtract and what to divide by; a constant column is divided by 1."""
    width = values.shape[1]
    if prepare == "none":
        return np.zeros(width), np.ones(width)
    low, high = values.min(axis=0), values.max(axis=0)
    # Powers of two are exact, and squares of what is left neither overflow nor vanish.
    _, exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))
    unit = np.ldexp(1.0, exponent)
    if prepare == "scale":
        center, scale = low, (high / unit - low / unit) * unit
    else:
        center, scale = (values / unit).mean(axis=0) * unit, (values / unit).std(axis=0) * unit
    # The std of a constant column is a rounding error, not always 0.
    return center, np.where(high == low, 1.0, scale)
