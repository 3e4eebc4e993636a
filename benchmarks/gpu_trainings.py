"""How many seconds do 1,000 fold-trainings take, of large and small networks, by which method?

A fold-training trains one network for all its epochs on the training rows of one fold and scores it
after each; K-fold cross-validation of one trial is K fold-trainings.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.gpu_loops import make_rows, peers
from benchmarks.gpu_setup import (
    FOLDS,
    PRECISIONS,
    SEED,
    Size,
    Workload,
    allow_tf32,
    load_folds,
    make_settings,
    note,
    print_text,
    seconds_of,
    workload_spec,
)
from selection.data.prepare import FoldData
from selection.study.setting import Precision
from selection.train.fit import Trainer

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Timing:
    """Hold the seconds that 1,000 fold-trainings take with one method; NaN where it failed."""

    method: str
    precision: Precision
    seconds: float


def seconds_per_training(
    folds: Sequence[FoldData],
    workload: Workload,
    trials: int,
    device: torch.device,
    rounds: int,
    precision: Precision = "float32",
) -> float:
    """Return the seconds per fold-training of a whole Trainer.train, its packs built included."""
    trainer = Trainer(folds, "classification", "accuracy", SEED, device, precision=precision)
    settings = make_settings(workload_spec(workload, workload.epochs, precision), trials)
    short = [replace(each, kind=replace(each.kind, epochs=1)) for each in settings]
    trainer.train(short)
    timed = [seconds_of(lambda: trainer.train(settings), device) for _ in range(rounds)]
    return statistics.median(timed) / (trials * len(folds))


def timings(workload: Workload, device: torch.device, size: Size) -> list[Timing]:
    """Time our trainer on the device, the loops on the device, and our trainer on the CPU."""
    folds = load_folds(workload, size)
    # Small networks are limited by kernel launches, so precision hardly matters for them.
    precisions = PRECISIONS if workload.dataset == "images" else PRECISIONS[:1]
    found = [
        _ours(folds, workload, trials, device, size.rounds, precision)
        for precision in precisions
        for trials in workload.trials
    ]
    rows = make_rows(folds, device)
    for precision in precisions[:2]:
        allow_tf32(precision)
        for peer in peers(rows, workload):
            seconds = 1000 * workload.epochs * peer.epoch_seconds
            found.append(Timing(peer.name, precision, seconds))
    allow_tf32("float32")
    return [*found, _ours_on_a_cpu(folds, workload)]


def _ours(
    folds: Sequence[FoldData],
    workload: Workload,
    trials: int,
    device: torch.device,
    rounds: int,
    precision: Precision,
) -> Timing:
    seconds = 1000 * seconds_per_training(folds, workload, trials, device, rounds, precision)
    note(f"{workload.name}, ours, {trials} trials, {precision}: {seconds:.3f} s for 1,000")
    return Timing(f"ours, {trials} trials", precision, seconds)


def _ours_on_a_cpu(folds: Sequence[FoldData], workload: Workload) -> Timing:
    """Time a smaller cohort, and fewer epochs where these take long."""
    part = replace(workload, epochs=workload.cpu_epochs)
    seconds = seconds_per_training(folds, part, workload.cpu_trials, CPU, 1)
    scale = 1000 * workload.epochs / workload.cpu_epochs
    return Timing("ours, on this machine's CPU", "float32", scale * seconds)


def times_ours(found: Sequence[Timing], method: str, precision: Precision) -> float:
    """Return how many times longer a method takes than our first cohort in the same precision."""
    in_precision = [each for each in found if each.precision == precision]
    ours = next(each.seconds for each in in_precision if each.method.startswith("ours, "))
    return next(each.seconds for each in in_precision if each.method == method) / ours


def print_timings(all_found: Mapping[str, Sequence[Timing]], workloads: Sequence[Workload]) -> None:
    print_text(
        "A fold-training trains one network for all its epochs on one fold and scores it after "
        "each. *Ours* times a whole `Trainer.train` of the given number of trials x "
        f"{FOLDS} folds, including building the packs and copying predictions to the host; on the "
        "CPU it is a cohort of fewer trials, and of the images one epoch is timed and multiplied. "
        "Of the other methods one epoch is timed and multiplied by the number of epochs; vmap "
        "trains as many networks as our first cohort. All rows are on the device. *Times ours* is "
        "relative to our first cohort at the same precision."
    )
    print("| networks | method | precision | seconds per 1,000 fold-trainings | times ours |")
    print("| --- | --- | --- | ---: | ---: |")
    for each in workloads:
        found = all_found[each.name]
        name = f"{each.name}, {each.epochs} epochs, batch {each.batch_size}"
        for timing in found:
            ratio = times_ours(found, timing.method, timing.precision)
            print(
                f"| {name} | {timing.method} | {timing.precision} | {_number(timing.seconds)} "
                f"| {_number(ratio)} |"
            )
            name = ""


def _number(value: float) -> str:
    return "failed" if math.isnan(value) else f"{value:.3g}"
