"""What all parts of the GPU benchmark share: workloads, sizes, goals, rows and a clock."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selection.data.dataset import Dataset
from selection.data.folds import fold_identity, fold_kind, make_splits
from selection.data.prepare import FoldData, prepare_folds
from selection.data.sources import data_folder
from selection.study.data_facts import DataFacts
from selection.study.setting import Precision, Setting
from selection.study.spec import StudySpec, parse_study
from selection.workflows.study_data import StudyData, load_study_data

FEATURES, CLASSES, FOLDS, WIDTH, BATCH, SEED = 784, 10, 5, 256, 256, 0
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
# A learning rate with which rounding does not grow.
CALM = 0.03
# Goals, on one H100 or H200.
MOST_DIFFERENCE = 1e-3
MOST_SECONDS: Mapping[Precision, float] = {"float32": 3.0, "tf32": 1.5}
LEAST_EAGER, LEAST_VMAP, MOST_FLOORS = 50.0, 5.0, 2.0


@dataclass(frozen=True)
class Workload:
    """Describe networks, their rows, and how much of their training to time.

    trials lists the cohort sizes to time on the device; other methods are compared with the first.
    The CPU trains cpu_trials for cpu_epochs, scaled up to epochs.
    """

    name: str
    dataset: str
    prepare: str
    width: int
    batch_size: int
    epochs: int
    trials: tuple[int, ...]
    cpu_trials: int
    cpu_epochs: int


IMAGES = Workload("784-256-10, images", "images", "scale", WIDTH, BATCH, 10, (64,), 4, 1)
DIGITS = Workload("64-64-10, digits", "digits", "scale", 64, 32, 30, (64, 512), 16, 30)
TABLE = Workload(
    "30-32-2, breast cancer", "breast_cancer", "standardize", 32, 32, 40, (64, 512), 16, 40
)


@dataclass(frozen=True)
class Size:
    """Say how much is measured.

    recipes are the tables to sweep, each with its trials and what [training] has of its own.
    """

    rows: int
    trials: tuple[int, ...]
    epochs: int
    rounds: int
    matrix: int
    copied_bytes: int
    workloads: tuple[Workload, ...]
    recipes: tuple[tuple[str, int, Mapping[str, int]], ...]


FULL = Size(
    60_000,
    (8, 16, 32, 64),
    10,
    3,
    8192,
    2**31,
    (IMAGES, DIGITS, TABLE),
    (("breast_cancer", 24, {}), ("digits", 24, {})),
)
TINY = Size(
    500,
    (2,),
    1,
    1,
    128,
    2**20,
    (
        Workload(IMAGES.name, "images", "scale", 16, 64, 1, (2,), 1, 1),
        Workload(TABLE.name, "breast_cancer", "standardize", 8, 64, 2, (1, 2), 1, 1),
    ),
    (("wine", 2, {"epochs": 1}),),
)


def make_images(rows: int, features: int, levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return images that can be distinguished, though not all of them, and their classes.

    Shape: (N, D) uint8 below levels, (N,) int64.
    """
    generator = np.random.default_rng(SEED)
    patterns = generator.standard_normal((CLASSES, features), np.float32)
    classes = generator.integers(CLASSES, size=rows)
    signal = 2.5 / math.sqrt(features)
    images = np.empty((rows, features), np.uint8)
    for start in range(0, rows, 4096):
        part = slice(start, start + 4096)
        noise = generator.standard_normal((len(classes[part]), features), np.float32)
        grey = levels * (0.5 + 0.2 * (signal * patterns[classes[part]] + noise))
        images[part] = np.clip(grey, 0, levels - 1)
    return images, classes


def make_data(spec: StudySpec, rows: int, features: int, levels: int = 256) -> StudyData:
    """Return a study's development rows and folds without any file."""
    images, classes = make_images(rows, features, levels)
    dataset = Dataset(
        name="images",
        task="classification",
        features=images,
        feature_names=tuple(f"pixel_{index}" for index in range(features)),
        categories={},
        target=classes,
        class_names=tuple(map(str, range(CLASSES))),
        groups=None,
        fingerprint=sha256(images.tobytes()).hexdigest(),
        held_out_fingerprint="",
        held_out_rows=0,
    )
    plan = make_splits(dataset, spec)
    facts = DataFacts(
        rows=rows,
        held_out_rows=0,
        features=features,
        inputs=features,
        outputs=CLASSES,
        class_counts=dataset.class_counts,
        fold_kind=fold_kind(dataset, spec),
        folds=tuple(fold_identity(split) for split in plan.splits),
        duplicate_rows=0,
        warnings=(),
    )
    return StudyData(spec, dataset, plan, facts)


def make_folds(data: StudyData, spec: StudySpec) -> tuple[FoldData, ...]:
    return prepare_folds(data.dataset, data.plan.splits, spec)


def load_folds(workload: Workload, size: Size) -> tuple[FoldData, ...]:
    """Return the folds of a workload: images are made, tables come with scikit-learn."""
    spec = workload_spec(workload, workload.epochs)
    if workload.dataset == "images":
        return make_folds(make_data(spec, size.rows, FEATURES), spec)
    return make_folds(load_study_data(spec, data_folder()), spec)


def make_spec(
    name: str,
    epochs: int,
    *,
    precision: Precision = "float32",
    batch_size: int = BATCH,
    **search: Any,
) -> StudySpec:
    """Return the study of 784-256-10 under plain SGD, of which only the learning rate is searched.

    It has the name of a data set whose rows are of this shape; they are never read.
    """
    data = {"dataset": "fashion_mnist", "prepare": "scale"}
    return _spec(name, data, WIDTH, batch_size, epochs, precision, search)


def workload_spec(workload: Workload, epochs: int, precision: Precision = "float32") -> StudySpec:
    """Return the study of a workload under plain SGD."""
    is_made = workload.dataset == "images"
    dataset = "fashion_mnist" if is_made else workload.dataset
    held_out = {} if is_made else {"held_out": 0.2}
    data = {"dataset": dataset, "prepare": workload.prepare, **held_out}
    return _spec(workload.dataset, data, workload.width, workload.batch_size, epochs, precision, {})


def _spec(
    name: str,
    data: Mapping[str, Any],
    width: int,
    batch_size: int,
    epochs: int,
    precision: Precision,
    search: Mapping[str, Any],
) -> StudySpec:
    return parse_study(
        {
            "name": name,
            "recipe": "book",
            "seed": SEED,
            "data": data,
            "cv": {"folds": FOLDS},
            "model": {"hidden_layers": 1},
            "training": {"batch_size": batch_size, "epochs": epochs, "precision": precision},
            "space": {"width": width, "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
            "search": {"metric": "accuracy", "pruner": "none", **search},
        },
        "gpu",
    )


def make_settings(spec: StudySpec, trials: int, fastest: float = 0.3) -> list[Setting]:
    """Return settings that differ in their learning rate, from 0.01 to the fastest.

    Above 0.07 training on the images is chaotic: rounding alone changes losses by a hundredth.
    """
    rates = np.geomspace(0.01, fastest, trials).tolist()
    return [spec.setting({"learning_rate": rate}) for rate in rates]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(act: Callable[[], object], device: torch.device) -> float:
    """Return how long something takes, the device's part of it included."""
    synchronize(device)
    begun = time.perf_counter()
    act()
    synchronize(device)
    return time.perf_counter() - begun


def allow_tf32(precision: Precision) -> None:
    """Let products of float32 be rounded to TF32, or not."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_text(text: str) -> None:
    """Print a paragraph of the page."""
    print(textwrap.fill(text, 120, break_on_hyphens=False) + "\n")
