"""The data sets known by name: what they are, where they come from, and how their rows are read.

Tables of the user's are read in tables.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn import datasets

from selection.data import fashion_mnist
from selection.data.rows import Part, Rows
from selection.data.synthetic import HELD_OUT_ROWS, make_rows
from selection.errors import DataError, ErrorDetail, nearest_name, show
from selection.metrics import Task


@dataclass(frozen=True)
class DataSetInfo:
    """Say what a named data set holds.

    rows counts all rows; held_out_rows those of its official held-out set, 0 where it has none.
    """

    name: str
    task: Task
    rows: int
    held_out_rows: int
    features: int
    classes: int
    source: str


_KNOWN: Mapping[str, DataSetInfo] = {
    info.name: info
    for info in (
        DataSetInfo(
            "fashion_mnist",
            "classification",
            70_000,
            10_000,
            784,
            10,
            "data folder, torchvision or Debian's dataset-fashion-mnist",
        ),
        DataSetInfo("digits", "classification", 1797, 0, 64, 10, "scikit-learn"),
        DataSetInfo("iris", "classification", 150, 0, 4, 3, "scikit-learn"),
        DataSetInfo("wine", "classification", 178, 0, 13, 3, "scikit-learn"),
        DataSetInfo("breast_cancer", "classification", 569, 0, 30, 2, "scikit-learn"),
        DataSetInfo("diabetes", "regression", 442, 0, 10, 0, "scikit-learn"),
        DataSetInfo("moons", "classification", 1000, 0, 2, 2, "made from the seed"),
        DataSetInfo(
            "high_dimensional_linear",
            "regression",
            120,
            HELD_OUT_ROWS,
            200,
            0,
            "made from the seed",
        ),
        DataSetInfo(
            "cubic_polynomial", "regression", 200, HELD_OUT_ROWS, 20, 0, "made from the seed"
        ),
    )
}
_SYNTHETIC = ("moons", "high_dimensional_linear", "cubic_polynomial")


def data_folder() -> Path:
    """Return the folder that fetched files are kept in."""
    return Path(os.environ.get("SELECTION_DATA_DIR") or "data")


def list_data_sets() -> tuple[DataSetInfo, ...]:
    """Return every data set that a study file can name."""
    return tuple(_KNOWN.values())


def data_set_info(name: str) -> DataSetInfo:
    """Return what is known of one data set.

    Raises: DataError with the nearest name.
    """
    if name not in _KNOWN:
        rule = "the data set must be known"
        raise DataError(ErrorDetail("[data] dataset", rule, show(name), nearest_name(name, _KNOWN)))
    return _KNOWN[name]


def is_at_hand(name: str | None, folder: Path) -> bool:
    """Say whether rows can be read without fetching anything; None is a table of the user's."""
    return name != fashion_mnist.NAME or fashion_mnist.is_fetched(folder)


def read_named(name: str, seed: int, folder: Path, part: Part = "development") -> Rows:
    """Return one part of a named data set; without an official held-out set all is development.

    Raises: DataError if the name is unknown or the files cannot be had.
    """
    info = data_set_info(name)
    assert part == "development" or info.held_out_rows, "only an official held-out set is a part"
    if name == fashion_mnist.NAME:
        return _fashion_mnist(folder, part)
    if name in _SYNTHETIC:
        return make_rows(name, seed, part)
    return _embedded(info)


def official_identity(name: str, seed: int) -> str:
    """Return the identity of an official held-out set without opening or making it."""
    if name == fashion_mnist.NAME:
        return fashion_mnist.held_out_identity()
    return hashlib.sha256(f"{name}/{seed}/held_out".encode()).hexdigest()


def _fashion_mnist(folder: Path, part: Part) -> Rows:
    images, labels = fashion_mnist.read_fashion_mnist(folder, part)
    pixels = tuple(f"pixel_{row}_{column}" for row in range(28) for column in range(28))
    return Rows(
        fashion_mnist.NAME,
        "classification",
        images,
        pixels,
        {},
        labels,
        fashion_mnist.CLASS_NAMES,
    )


def _embedded(info: DataSetInfo) -> Rows:
    # diabetes is scaled by constants of all rows, the held-out ones included, unless asked not to.
    options = {"scaled": False} if info.name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{info.name}")(**options)
    is_classes = info.task == "classification"
    return Rows(
        name=info.name,
        task=info.task,
        features=bunch.data.astype(np.float64),
        feature_names=tuple(map(str, bunch.feature_names)),
        categories={},
        target=bunch.target.astype(np.int64 if is_classes else np.float64),
        class_names=tuple(map(str, bunch.target_names)) if is_classes else (),
    )
