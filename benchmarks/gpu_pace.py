"""How long does one step of a pack take, and how far is that from the floors of the GPU?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.gpu_setup import (
    BATCH,
    CLASSES,
    FEATURES,
    FOLDS,
    PRECISIONS,
    SEED,
    WIDTH,
    Size,
    allow_tf32,
    make_settings,
    make_spec,
    note,
    print_text,
    seconds_of,
)
from selection.data.prepare import FoldData
from selection.study.setting import Precision, Setting
from selection.train.device import torch_settings
from selection.train.fit import Trainer
from selection.train.pack import Pack
from selection.train.plan import plan_packs

WEIGHTS = FEATURES * WIDTH + WIDTH * CLASSES
# What a step must move at least, in passes over all weights (read forward; read and written by the
# update) and over all hidden units (written, read by two products; their gradient the same).
WEIGHT_PASSES, UNIT_PASSES = 3, 6


@dataclass(frozen=True)
class Rates:
    """Hold what the device can do at best. Units: operations and bytes per second."""

    products: Mapping[Precision, float]
    bandwidth: float


def measure_rates(device: torch.device, size: Size) -> Rates:
    """Measure large products in every precision, and a large copy: bytes read and written."""
    products = {}
    for precision in PRECISIONS:
        allow_tf32(precision)
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        one, other = (
            torch.randn(size.matrix, size.matrix, device=device, dtype=dtype) for _ in range(2)
        )
        out = torch.empty_like(one)
        seconds = _best_seconds(partial(torch.mm, one, other, out=out), device)
        products[precision] = 2.0 * size.matrix**3 / seconds
    allow_tf32("float32")
    source = torch.randint(0, 256, (size.copied_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2.0 * size.copied_bytes / _best_seconds(lambda: target.copy_(source), device)
    return Rates(products, bandwidth)


def _best_seconds(act: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one act, in the median of several runs of ten."""

    def ten() -> None:
        for _ in range(10):
            act()

    ten()
    return statistics.median(seconds_of(ten, device) for _ in range(5)) / 10


@dataclass(frozen=True)
class Pace:
    """Hold how long a step of all members takes. Units: seconds."""

    trials: int
    precision: Precision
    step: float
    compute_floor: float
    memory_floor: float

    @property
    def floors(self) -> float:
        """How many times the larger floor a step takes."""
        return self.step / max(self.compute_floor, self.memory_floor)


def measure_step(
    folds: Sequence[FoldData], trials: int, trainer: Trainer, precision: Precision, size: Size
) -> float:
    """Return the seconds of one step: the share of an epoch's training, without its scores."""
    device = trainer.rows.like.device
    settings = make_settings(make_spec("pace", size.epochs, precision=precision), trials)
    steps = math.ceil(max(len(fold.training) for fold in folds) / BATCH)
    with torch_settings(precision, device):
        packs = make_packs(trainer, settings)
        train_epoch(packs)
        rounds = [seconds_of(lambda: train_epoch(packs), device) for _ in range(size.rounds)]
    return statistics.median(rounds) / steps


def make_packs(trainer: Trainer, settings: Sequence[Setting]) -> list[Pack]:
    """Return the packs that a trainer would train."""
    plans = plan_packs(settings, trainer.rows, trainer.max_members, trainer.cores)
    return [Pack(plan, settings, trainer.rows, trainer.metric, trainer.seed) for plan in plans]


def train_epoch(packs: Sequence[Pack]) -> None:
    for pack in packs:
        pack.train_epoch()


def paces(folds: Sequence[FoldData], device: torch.device, rates: Rates, size: Size) -> list[Pace]:
    """Measure every number of trials in every precision."""
    found = []
    for precision in PRECISIONS:
        trainer = Trainer(folds, "classification", "accuracy", SEED, device, precision=precision)
        for trials in size.trials:
            step = measure_step(folds, trials, trainer, precision, size)
            members = trials * FOLDS
            operations = 2.0 * BATCH * (2 * FEATURES * WIDTH + 3 * WIDTH * CLASSES)
            unit_bytes = 2 if precision == "bfloat16" else 4
            moved = 4.0 * WEIGHT_PASSES * WEIGHTS + unit_bytes * UNIT_PASSES * BATCH * WIDTH
            compute = members * operations / rates.products[precision]
            memory = members * moved / rates.bandwidth
            found.append(Pace(trials, precision, step, compute, memory))
            note(f"{trials} trials, {precision}: a step takes {1e6 * step:.0f} us")
    return found


def print_paces(found: Sequence[Pace], rates: Rates, size: Size) -> None:
    products = ", ".join(f"{name} {rate / 1e12:.1f}" for name, rate in rates.products.items())
    print_text(
        "One step of 784-256-10, batch 256: every member of a cohort takes it at once. Products of "
        f"{size.matrix} x {size.matrix} matrices run at {products} TFLOP/s, a copy of "
        f"{size.copied_bytes / 2**30:.3g} GiB at {rates.bandwidth / 1e12:.2f} TB/s, bytes read and "
        "written. The floors of a step follow from these, from its operations, and from "
        f"{WEIGHT_PASSES} passes over all weights and {UNIT_PASSES} over all hidden units. Median "
        "over epochs of training alone."
    )
    print(
        "| trials x folds | precision | step, us | compute floor, us "
        "| memory floor, us | step / larger floor |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for pace in found:
        print(
            f"| {pace.trials} x {FOLDS} | {pace.precision} | {1e6 * pace.step:.0f} "
            f"| {1e6 * pace.compute_floor:.0f} | {1e6 * pace.memory_floor:.0f} "
            f"| {pace.floors:.2f} |"
        )
