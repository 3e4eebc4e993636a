"""Small settings and folds for the tests of the packed engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from selection.data.prepare import FoldData
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
