"""How many seconds do 1,000 fold-trainings take, ours and others', of large and small networks?

A fold-training is one network trained all its epochs on the training rows of one fold and scored
after each: what K-fold cross-validation of one trial takes K of.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from gpu_loops import make_resident, peers
from gpu_setup import (
    FOLDS,
    SEED,
    Nets,
    Size,
    allow_tf32,
    load_folds,
    make_settings,
    nets_spec,
    note,
    print_text,
    seconds_of,
)

from selection.data.prepare import FoldData
from selection.study.setting import Precision
from selection.train.fit import Trainer

# A whole training of large networks is worth its precision; of small ones launches decide.
LARGE: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
SMALL: tuple[Precision, ...] = ("float32",)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Taken:
    """Hold how long a fold-training takes one way. Units: seconds for 1,000."""

    who: str
    precision: Precision
    seconds: float


def whole_seconds(
    folds: Sequence[FoldData],
    nets: Nets,
    trials: int,
    device: torch.device,
    rounds: int,
    precision: Precision = "float32",
) -> float:
    """Return the seconds of one fold-training as our trainer makes them: packs built included."""
    trainer = Trainer(folds, "classification", "accuracy", SEED, device, precision=precision)
    settings = make_settings(nets_spec(nets, nets.epochs, precision), trials)
    short = [replace(each, kind=replace(each.kind, epochs=1)) for each in settings]
    trainer.train(short)
    timed = [seconds_of(lambda: trainer.train(settings), device) for _ in range(rounds)]
    return statistics.median(timed) / (trials * len(folds))


def trainings(nets: Nets, device: torch.device, size: Size) -> list[Taken]:
    """Time ours on the device, the loops on the device, and ours on the CPU."""
    folds = load_folds(nets, size)
    found = []
    precisions = LARGE if nets.dataset == "images" else SMALL
    for precision in precisions:
        for trials in nets.trials:
            seconds = whole_seconds(folds, nets, trials, device, size.rounds, precision)
            found.append(Taken(f"ours, {trials} trials", precision, 1000 * seconds))
            note(f"{nets.name}, {found[-1].who}, {precision}: {found[-1].seconds:.3f} s for 1,000")
    rows = make_resident(folds, device)
    for precision in precisions[:2]:
        allow_tf32(precision)
        for peer in peers(rows, nets):
            found.append(Taken(peer.name, precision, 1000 * nets.epochs * peer.model_epoch))
    allow_tf32("float32")
    del rows
    # A loop over single models on a CPU is in docs/benchmarks.md.
    part = replace(nets, epochs=nets.cpu_epochs)
    seconds = whole_seconds(folds, part, nets.cpu_trials, CPU, 1) * nets.epochs / nets.cpu_epochs
    found.append(Taken("ours, on this machine's CPU", "float32", 1000 * seconds))
    return found


def ours(found: Sequence[Taken], precision: Precision) -> float:
    """Return our seconds of the first cohort in one precision."""
    return next(each.seconds for each in found if each.precision == precision)


def times_ours(found: Sequence[Taken], who: str, precision: Precision) -> float:
    """Return how many times longer somebody takes in one precision."""
    theirs = [each.seconds for each in found if (each.who, each.precision) == (who, precision)]
    return theirs[0] / ours(found, precision)


def print_trainings(all_found: Mapping[str, Sequence[Taken]], nets: Sequence[Nets]) -> None:
    print_text(
        "A fold-training is one network trained all its epochs on one fold and scored after each. "
        "Ours is a whole `Trainer.train`, packs built and predictions brought to the host, of so "
        f"many trials x {FOLDS} folds; a loop's figure is one of its epochs times the epochs. vmap "
        "trains as many networks as our first cohort. All rows are on the device. *Times ours* is "
        "against our first cohort in the same precision."
    )
    print("| networks | who | precision | seconds per 1,000 fold-trainings | times ours |")
    print("| --- | --- | --- | ---: | ---: |")
    for each in nets:
        found = all_found[each.name]
        for place, taken in enumerate(found):
            name = (
                f"{each.name}, {each.epochs} epochs, batch {each.batch_size}" if not place else ""
            )
            print(
                f"| {name} | {taken.who} | {taken.precision} | {_number(taken.seconds)} "
                f"| {_number(taken.seconds / ours(found, taken.precision))} |"
            )


def _number(value: float) -> str:
    return "failed" if math.isnan(value) else f"{value:.3g}"
