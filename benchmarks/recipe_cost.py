"""What does each part of a recipe cost, beside a plain member of the same size?

Packs of equal size train epochs alternately, on one thread; the time is that of the processor, so
that other work on the machine counts less. Writes Markdown. Run: make bench
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.machine import where_it_ran
from benchmarks.ratios import Ratio, ratio_of
from selection.data.prepare import Appended, FoldData
from selection.study.best_epoch import candidate_epochs
from selection.study.setting import EpochChoice, Setting
from selection.study.spec import parse_study
from selection.train.batches import Rows, load_rows
from selection.train.fit import RungPredictions, Trainer
from selection.train.pack import Pack
from selection.train.plan import PackPlan, plan_packs

FOLDS, CORES = 5, 2
GOAL = 2.0
# Every part is trained with all others as RealMLP has them: Holzmueller et al. (2024), table A.1.
EVERYTHING: Mapping[str, Any] = {
    "beta2": 0.95,
    "clip_norm": 1.0,
    "schedule": "coslog4",
    "warmup": 0.05,
    "dropout": 0.15,
    "dropout_schedule": "flat_cos",
    "weight_decay": 0.01,
    "weight_decay_schedule": "flat_cos",
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "activation": "mish",
    "parametric_activation": True,
    "input_scaling": True,
    "numeric_embedding": "pbld",
    "category_embedding": True,
}
EMBEDDINGS = ("numeric_embedding", "category_embedding")
NUMBER_OF_BETAS = 4


@dataclass(frozen=True)
class Size:
    """Say how large the members of a pack are, and on how many columns and rows they train.

    A table has one column of categories beside its numbers, as one-hot columns; images have none.
    """

    name: str
    widths: tuple[int, ...]
    batch_size: int
    trials: int
    numbers: int
    categories: int
    classes: int
    rows: int

    @property
    def is_table(self) -> bool:
        return self.categories > 0


SIZES = (
    Size("64-64, batch 32", (64, 64), 32, 16, 30, 12, 2, 1_000),
    Size("256-256, batch 128", (256, 256), 128, 8, 30, 12, 2, 2_000),
    Size("784-256-10, batch 256", (256,), 256, 8, 784, 0, 10, 2_560),
)


@dataclass(frozen=True)
class Part:
    """Say what one line trains, and beside what: hyperparameters, or the values of a recipe."""

    name: str
    values: Mapping[str, Any]
    beside: str = "adamw"
    recipe: str = "book"
    differs: bool = False

    def suits(self, size: Size) -> bool:
        """Return whether it makes sense at this size: images have no columns to embed."""
        return size.is_table or not any(name in self.values for name in EMBEDDINGS)


def _alone(name: str, *keys: str, **others: Any) -> Part:
    """Return a part with the values that it has where everything is used."""
    return Part(name, {**{key: EVERYTHING[key] for key in keys}, **others})


ACTIVATIONS = ("tanh", "leaky_relu", "elu", "selu", "silu", "gelu", "mish")
PARTS = (
    Part("plain AdamW", {}),
    Part("plain SGD", {"optimizer": "sgd"}),
    Part("SGD, momentum", {"optimizer": "sgd", "momentum": 0.9}, "sgd"),
    Part("SGD, clipping", {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 1.0}, "sgd"),
    Part("SGD, schedule", {"optimizer": "sgd", "schedule": "coslog4"}, "sgd"),
    _alone("weight decay", "weight_decay"),
    _alone("`beta2`, the same for all", "beta2"),
    Part("betas that differ by trial", {}, differs=True),
    _alone("clipping", "clip_norm"),
    _alone("schedule and warm-up", "schedule", "warmup"),
    _alone("dropout", "dropout"),
    _alone("dropout with a schedule", "dropout", "dropout_schedule"),
    _alone("label smoothing", "label_smoothing"),
    _alone("class weights", "class_weights"),
    *(_alone(name, activation=name) for name in ACTIVATIONS),
    _alone("parametric relu", "parametric_activation"),
    _alone("parametric mish", "activation", "parametric_activation"),
    _alone("input scaling", "input_scaling"),
    _alone("numeric embeddings `pl`", numeric_embedding="pl"),
    _alone("numeric embeddings `pbld`", "numeric_embedding"),
    _alone("categorical embeddings", "category_embedding"),
    Part('`recipe = "tabular"`', {}, recipe="tabular"),
    Part("everything at once", EVERYTHING),
)


def settings_of(part: Part, size: Size) -> list[Setting]:
    """Return the trials of one pack, which differ in their learning rates."""
    values = dict(part.values)
    if not size.is_table:
        values = {name: value for name, value in values.items() if name not in EMBEDDINGS}
    if part.recipe == "book":
        values = {"optimizer": "adamw", "dropout": 0.0, "weight_decay": 0.0, **values}
    own = {"batch_size": size.batch_size, "epochs": 1000, "width": list(size.widths)}
    if isinstance(values.get("dropout"), float):
        values["dropout"] = [values["dropout"]] * len(size.widths)
    spec = parse_study(
        {
            "name": "recipe_cost",
            "recipe": part.recipe,
            "data": {"dataset": "digits"},
            "space": {**own, **values},
            "search": {"trials": 1},
        },
        part.name,
    )
    setting = spec.setting(spec.default)
    trials = []
    for trial in range(size.trials):
        rate = setting.learning_rate * (1.0 + 0.01 * trial)
        trials.append(replace(setting, learning_rate=rate))
        if part.differs:
            beta1, beta2 = 0.9 - 0.01 * (trial % NUMBER_OF_BETAS), 0.99 - 0.01 * trial
            trials[-1] = replace(trials[-1], beta1=beta1, beta2=beta2)
    return trials


def rows_of(size: Size) -> Rows:
    """Return random rows on the device."""
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(size.rows, size.numbers)).astype(np.float32)]
    if size.categories:
        codes = rng.integers(0, size.categories, size.rows)
        blocks.append(np.eye(size.categories, dtype=np.float32)[codes])
    features = np.concatenate(blocks, axis=1)
    targets = rng.integers(0, size.classes, size.rows)
    folds = [
        FoldData(
            repeat=0,
            fold=fold,
            features=features,
            targets=targets,
            training=np.flatnonzero(np.arange(size.rows) % FOLDS != fold),
            validation=np.arange(fold, size.rows, FOLDS),
            target_mean=0.0,
            target_std=1.0,
            classes=size.classes,
            class_names=tuple(map(str, range(size.classes))),
            appended=Appended(categories=(size.categories,) if size.categories else ()),
        )
        for fold in range(FOLDS)
    ]
    device = torch.device("cpu")
    return load_rows(folds, "classification", device, torch.float32, torch.float32)


def pack_of(part: Part, plan: PackPlan, size: Size, rows: Rows) -> Pack:
    """Return a pack of a part, with as many members as the plan says."""
    return Pack(plan, settings_of(part, size), rows, "accuracy", seed=0)


def seconds(run: Callable[[], object], times: int) -> float:
    """Return what some calls take of the processor."""
    begun = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - begun


def costs(size: Size, parts: Sequence[Part], rounds: int, least: float) -> dict[str, Ratio]:
    """Return how many times a plain member's time each part takes, by name.

    Each turn trains whole epochs for at least so many seconds.
    """
    rows = rows_of(size)
    plain = {"adamw": PARTS[0], "sgd": PARTS[1]}
    plan = plan_packs(settings_of(plain["adamw"], size), rows, cores=CORES)[0]
    found = {}
    for part in parts:
        if not part.suits(size):
            continue
        packs = [pack_of(each, plan, size, rows) for each in (plain[part.beside], part)]
        for pack in packs:
            pack.train_epoch()
        times = math.ceil(least / seconds(packs[0].train_epoch, 1))
        taken: list[list[float]] = [[], []]
        for turn in range(rounds):
            for index in (0, 1) if turn % 2 else (1, 0):
                taken[index].append(seconds(packs[index].train_epoch, times))
        found[part.name] = ratio_of(taken[1], taken[0])
    return found
