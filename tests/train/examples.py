"""Small settings and folds for the tests of the packed engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from selection.data.prepare import AppendedColumns, FoldData
from selection.metrics import Task
from selection.study.setting import Kind, Setting


def make_setting(
    *,
    depth: int = 1,
    widths: Sequence[int] | None = None,
    dropout: float = 0.0,
    init: Any = "default",
    **options: Any,
) -> Setting:
    """Return one setting; widths default to 5, 6, ... units.

    options are fields of Kind or of Setting.
    """
    of_kind = {field.name for field in dataclasses.fields(Kind)}
    kind: dict[str, Any] = {
        "hidden_layers": depth,
        "activation": "relu",
        "init": init,
        "optimizer": "sgd",
        "nesterov": False,
        "batch_size": 16,
        "epochs": 3,
        "precision": "float32",
    }
    setting: dict[str, Any] = {
        "learning_rate": 0.05,
        "weight_decay": 0.0,
        "l2": 0.0,
        "momentum": 0.0,
        "init_std": 0.3 if init == "normal" else 0.0,
    }
    for name, value in options.items():
        (kind if name in of_kind else setting)[name] = value
    return Setting(
        kind=Kind(**kind),
        widths=tuple(range(5, 5 + depth)) if widths is None else tuple(widths),
        dropout=(dropout,) * depth,
        **setting,
    )


def task_of(folds: Sequence[FoldData]) -> Task:
    """Return what these folds are of."""
    return "classification" if folds[0].classes else "regression"


def make_folds(
    rows: int = 103,
    features: int = 7,
    classes: int = 3,
    folds: int = 3,
    *,
    seed: int = 0,
    is_shared: bool = True,
) -> list[FoldData]:
    """Return unequal folds of noise with a signal; classes = 0 is regression.

    With is_shared = False each fold is scaled by its own training rows, and fold 1 has a feature
    less.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    signal = x[:, 0] - 0.5 * x[:, 1] ** 2 + 0.3 * rng.normal(size=rows)
    cuts: Any = np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]) if classes else []
    y: Any = np.digitize(signal, cuts).astype(np.int64) if classes else signal
    made = []
    for number, part in enumerate(np.array_split(rng.permutation(rows), folds)):
        validation = np.sort(part)
        training = np.setdiff1d(np.arange(rows), validation)
        own = x
        if not is_shared:
            scaled = (x - x[training].mean(axis=0)) / x[training].std(axis=0)
            own = np.ascontiguousarray(scaled[:, : features - (number == 1)])
        made.append(
            FoldData(
                repeat=0,
                fold=number,
                features=own,
                targets=y if classes else (y - 0.5) / 2.0,
                training=training,
                validation=validation,
                target_mean=0.0 if classes else 0.5,
                target_std=1.0 if classes else 2.0,
                classes=classes,
            )
        )
    return made


def make_table_folds(classes: int, alike: int = 1) -> list[FoldData]:
    """Return folds of 2 numbers, an indicator, and columns of up to 3, 9 and 12 categories.

    Folds know unequal numbers of categories, but as many as `alike` begin with the same.
    """
    rng = np.random.default_rng(0)
    folds = []
    for index, fold in enumerate(make_folds(classes=classes, features=3, is_shared=False, seed=1)):
        numbers = fold.features[:, :2] if index == 1 else fold.features[:, 1:]
        number = max(0, index + 1 - alike)
        sizes = (3, 9 - number, 12 - number % 2)
        codes = [rng.integers(0, size + 1, len(numbers)) for size in sizes]
        blocks = [np.eye(size + 1)[own][:, :size] for size, own in zip(sizes, codes, strict=True)]
        indicator = rng.integers(0, 2, (len(numbers), 1))
        features = np.ascontiguousarray(np.hstack([numbers, indicator, *blocks]))
        appended = AppendedColumns(indicators=1, categories=sizes)
        folds.append(dataclasses.replace(fold, features=features, appended=appended))
    return folds
