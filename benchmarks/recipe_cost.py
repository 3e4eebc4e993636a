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
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import where_it_ran
from benchmarks.ratios import Ratio, ratio_of
from selection.data.prepare import AppendedColumns, FoldData
from selection.stats.scores import compact, reduce_outputs
from selection.study.setting import EpochChoice, Setting
from selection.study.spec import parse_study
from selection.study.trial import Outputs
from selection.train.batches import Rows, load_rows
from selection.train.device import torch_settings
from selection.train.fit import RungPredictions, Trainer
from selection.train.host_memory import keep_memory
from selection.train.pack import Pack
from selection.train.plan import PackPlan, plan_packs

FOLDS, CORES = 5, 2
# As many epochs as can compete to be the best.
CANDIDATES = 16
# Trials that train where they do.
FOLLOWED = 4
# All parts together, mostly as RealMLP has them. Source: Holzmueller et al. (2024), table A.1.
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
INTRODUCTION = """
## What the parts of a recipe cost

`make bench`: the time of the processor that an epoch of training takes, as a multiple of that of a
plain member with the same hidden layers: ReLU, a constant rate, no dropout or decay, and AdamW, or
SGD where the line begins with it. Packs of as many members train alternately on one thread; medians
of {rounds} rounds, and their range. Tables have 30 numbers and a column of 12 categories (one-hot,
or embedded), images 784 inputs, of which none is embedded. *Everything* is every part above at
once, with `pbld` and parametric mish. The last line is of whole trainings of 4 trials, with
their scores, on the tables.

{where}
"""
BEFORE = """
### The plain path before and after these parts

Measured once, by hand: processes of the engine at commit d202472 and of one with all these parts
took turns at training the same packs on one thread; the processor's time of the former as a
multiple of the latter. The goal is 0.98.

| pack, 5 folds | SGD | momentum | AdamW |
| --- | ---: | ---: | ---: |
| 32, batch 32, 4 trials | 0.95 (0.91 to 0.98) | 0.96 (0.93 to 0.99) | 0.96 (0.96 to 0.97) |
| 64-64, batch 32, 16 trials | 0.98 (0.96 to 1.02) | 0.99 (0.96 to 1.02) | 1.02 (1.00 to 1.04) |
| 256-256, batch 128, 8 trials | 1.01 | | 1.00 |
| 784-256-10, batch 256, 8 trials | 1.00 | | 1.00 |

The first two lines are medians and ranges over 8 sets of fresh processes, 6 turns each, that keep
what they free (AdamW at one layer of 32: 3 sets of 8 turns, after its step was changed again). Two
processes of the old engine differ there by 0.93 to 1.09. The last two lines are one pair at commit
0e3528f, 20 turns, before this page's changes to Adam's step and without keeping what is freed.

The smallest pack, whose step takes an eighth of a millisecond with SGD, misses the goal. With SGD
torch is called as often in a step as before, so what is left is Python. How much glibc gives back
to the kernel matters more: in processes that do not keep what they free, AdamW at 64-64 took from
130 to 370 ms for the same epochs, and one pair of 60 turns had a ratio of 0.71.
"""
EMBEDDINGS = ("numeric_embedding", "category_embedding")


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
    """Say what one line trains: hyperparameters, or the values of a recipe.

    beside is the optimizer of the plain member that it is compared with.
    """

    name: str
    values: Mapping[str, Any]
    beside: Literal["adamw", "sgd"] = "adamw"
    recipe: str = "book"
    has_own_betas: bool = False
    inputs_per_number: int = 1

    def suits(self, size: Size) -> bool:
        """Return whether it makes sense at this size: images have no columns to embed."""
        if size.is_table or self.values == EVERYTHING:
            return True
        return self.inputs_per_number == 1 and not set(self.values) & set(EMBEDDINGS)


def _alone(name: str, *keys: str, **others: Any) -> Part:
    """Return a part with the values that it has where everything is used."""
    return Part(name, {**{key: EVERYTHING[key] for key in keys}, **others})


ACTIVATIONS = ("tanh", "leaky_relu", "elu", "selu", "silu", "gelu", "mish")
PARTS = (
    Part("plain AdamW", {}),
    Part("plain SGD, beside AdamW", {"optimizer": "sgd"}),
    Part("SGD, momentum", {"optimizer": "sgd", "momentum": 0.9}, "sgd"),
    Part("SGD, clipping", {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 1.0}, "sgd"),
    Part("SGD, schedule", {"optimizer": "sgd", "schedule": "coslog4"}, "sgd"),
    _alone("weight decay", "weight_decay"),
    _alone("`beta2`, the same for all", "beta2"),
    Part("betas that differ by trial", {}, has_own_betas=True),
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
    Part("plain AdamW, as many inputs as `pbld` gives", {}, inputs_per_number=4),
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
        if part.has_own_betas:
            beta1, beta2 = 0.9 - 0.01 * trial, 0.99 - 0.01 * trial
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
            appended=AppendedColumns(categories=(size.categories,) if size.categories else ()),
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


def alternately(runs: Sequence[Callable[[], object]], rounds: int, least: float) -> Ratio:
    """Return how many times the second of two runs takes what the first takes.

    Each turn repeats them as often as the first needs to take that many seconds.
    """
    for run in runs:
        run()
    times = max(1, math.ceil(least / seconds(runs[0], 1)))
    taken: list[list[float]] = [[], []]
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 else (1, 0):
            taken[index].append(seconds(runs[index], times))
    return ratio_of(taken[1], taken[0])


def cost(size: Size, part: Part, rounds: int, least: float) -> Ratio:
    """Return how many times the processor's time of a plain member a part takes."""
    plain = PARTS[0] if part.beside == "adamw" else PARTS[1]
    rows = rows_of(size)
    own = rows
    if part.inputs_per_number > 1:
        own = rows_of(replace(size, numbers=size.numbers * part.inputs_per_number))
    # Packs as the trainer cuts them for plain members, so that both sides have as many.
    plan = plan_packs(settings_of(PARTS[0], size), rows, cores=CORES)[0]
    packs = [pack_of(plain, plan, size, rows), pack_of(part, plan, size, own)]
    with torch_settings("float32", torch.device("cpu")):
        return alternately([pack.train_epoch for pack in packs], rounds, least)


def best_mean_cost(size: Size, rounds: int, least: float) -> Ratio:
    """Return how many times a training takes whose every epoch may be the best mean."""
    settings = [
        replace(setting, kind=replace(setting.kind, epochs=CANDIDATES))
        for setting in settings_of(PARTS[0], size)[:FOLLOWED]
    ]
    folds = rows_of(size).folds
    trainers = [_trainer(folds, epoch) for epoch in ("last", "best_mean")]
    return alternately([partial(each.train, settings) for each in trainers], rounds, least)


def _trainer(folds: Sequence[FoldData], epoch: EpochChoice) -> Trainer:
    def reduce(outputs: Outputs, targets: NDArray[Any]) -> NDArray[Any]:
        return compact("accuracy", reduce_outputs("accuracy", outputs, targets))

    device = torch.device("cpu")
    rungs = RungPredictions(frozenset(), reduce)
    return Trainer(folds, "classification", "accuracy", 0, device, rungs=rungs, epoch=epoch)


def main() -> None:
    """Print one line for each part, and one for the best mean epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of one epoch each")
    is_quick = parser.parse_args().quick
    keep_memory()  # as every process that trains
    rounds, least = (2, 0.0) if is_quick else (5, 0.1)
    print(INTRODUCTION.format(rounds=rounds, where=where_it_ran("torch", "numpy")))
    print("| part | " + " | ".join(size.name for size in SIZES) + " |")
    print("| --- |" + " ---: |" * len(SIZES))
    for part in PARTS:
        cells = [
            _cell(cost(size, part, rounds, least)) if part.suits(size) else "" for size in SIZES
        ]
        print(f"| {part.name} | " + " | ".join(cells) + " |", flush=True)
    cells = [_cell(best_mean_cost(size, rounds, least)) if size.is_table else "" for size in SIZES]
    print('| `epoch = "best_mean"`, each epoch a candidate | ' + " | ".join(cells) + " |")
    print(BEFORE, end="")


def _cell(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


if __name__ == "__main__":
    main()
