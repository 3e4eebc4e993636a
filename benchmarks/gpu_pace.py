"""How fast do packs train, and how far from the floors that the GPU sets?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from gpu_setup import (
    BATCH,
    CLASSES,
    FEATURES,
    FOLDS,
    PRECISIONS,
    SEED,
    WIDTH,
    Size,
    make_settings,
    make_spec,
    note,
    seconds_of,
)

from selection.data.prepare import FoldData
from selection.study.setting import Precision, Setting
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
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        one, other = (
            torch.randn(size.matrix, size.matrix, device=device, dtype=dtype) for _ in range(2)
        )
        out = torch.empty_like(one)
        seconds = _best_seconds(partial(torch.mm, one, other, out=out), device)
        products[precision] = 2.0 * size.matrix**3 / seconds
    torch.set_float32_matmul_precision("highest")
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
    """Hold how fast packs train. Units: seconds; a step is that of all members."""

    trials: int
    precision: Precision
    whole: float
    step: float
    compute_floor: float
    memory_floor: float

    @property
    def floors(self) -> float:
        """How many times the larger floor a step takes."""
        return self.step / max(self.compute_floor, self.memory_floor)


def measure_pace(
    folds: Sequence[FoldData], trials: int, trainer: Trainer, precision: Precision, size: Size
) -> tuple[float, float]:
    """Return the seconds of a whole training, and of one step of it."""
    device = trainer.rows.like.device
    settings = make_settings(make_spec("pace", size.epochs, precision=precision), trials)
    trainer.train(make_settings(make_spec("first", 1, precision=precision), trials))
    whole = statistics.median(
        seconds_of(lambda: trainer.train(settings), device) for _ in range(size.rounds)
    )
    packs = make_packs(trainer, settings)
    train_epoch(packs)
    steps = math.ceil(max(len(fold.training) for fold in folds) / BATCH)
    rounds = range(size.rounds)
    epoch = statistics.median(seconds_of(lambda: train_epoch(packs), device) for _ in rounds)
    return whole, epoch / steps


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
            whole, step = measure_pace(folds, trials, trainer, precision, size)
            members = trials * FOLDS
            operations = 2.0 * BATCH * (2 * FEATURES * WIDTH + 3 * WIDTH * CLASSES)
            unit_bytes = 2 if precision == "bfloat16" else 4
            moved = 4.0 * WEIGHT_PASSES * WEIGHTS + unit_bytes * UNIT_PASSES * BATCH * WIDTH
            compute = members * operations / rates.products[precision]
            memory = members * moved / rates.bandwidth
            found.append(Pace(trials, precision, whole, step, compute, memory))
            note(f"{trials} trials, {precision}: {whole:.3f} s")
    return found


def print_paces(found: Sequence[Pace], rates: Rates, size: Size) -> None:
    products = ", ".join(f"{name} {rate / 1e12:.1f}" for name, rate in rates.products.items())
    print(
        f"Products of {size.matrix} x {size.matrix} matrices, in TFLOP/s: {products}. "
        f"A copy of {size.copied_bytes / 2**30:.3g} GiB: {rates.bandwidth / 1e12:.2f} TB/s,\n"
        "bytes read and written. The floors of a step follow from these, from its operations, and "
        f"from {WEIGHT_PASSES} passes over\nall weights and {UNIT_PASSES} over all hidden units. "
        f"*Training* is a whole `Trainer.train` of {size.epochs} epochs, its packs built, every\n"
        "epoch scored, and the predictions brought to the host; a *step* is its share of an "
        f"epoch's training alone. Medians of {size.rounds} rounds.\n"
    )
    print(
        "| trials x folds | precision | training, s | step, us | compute floor, us "
        "| memory floor, us | step / larger floor |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for pace in found:
        print(
            f"| {pace.trials} x {FOLDS} | {pace.precision} | {pace.whole:.3f} "
            f"| {1e6 * pace.step:.0f} | {1e6 * pace.compute_floor:.0f} "
            f"| {1e6 * pace.memory_floor:.0f} | {pace.floors:.2f} |"
        )
