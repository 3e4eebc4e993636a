"""How busy is the GPU while packs train?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, schedule

from benchmarks.gpu_pace import make_packs
from benchmarks.gpu_setup import (
    FOLDS,
    PRECISIONS,
    SEED,
    Size,
    make_settings,
    make_spec,
    note,
    print_text,
    seconds_of,
)
from selection.data.prepare import FoldData
from selection.study.setting import Precision
from selection.train.device import torch_settings
from selection.train.fit import Trainer


def busy_shares(
    folds: Sequence[FoldData], device: torch.device, size: Size
) -> dict[Precision, float]:
    """Return the share of an epoch in every precision."""
    return {name: _busy_share(folds, device, name, size.trials[-1]) for name in PRECISIONS}


def _busy_share(
    folds: Sequence[FoldData], device: torch.device, precision: Precision, trials: int
) -> float:
    """Return the share of an epoch's wall time in which the GPU runs anything.

    The epoch before it, in which graphs are captured, warms the profiler up.
    """
    trainer = Trainer(folds, "classification", "accuracy", SEED, device, precision=precision)
    settings = make_settings(make_spec("busy", 2, precision=precision), trials)
    packs = make_packs(trainer, settings)

    def epoch() -> None:
        for pack in packs:
            pack.train_epoch()
            pack.evaluate().cpu()

    once = schedule(wait=0, warmup=1, active=1)
    with (
        torch_settings(precision, device),
        profile(activities=[ProfilerActivity.CUDA], schedule=once) as seen,
    ):
        epoch()
        seen.step()
        wall = seconds_of(epoch, device)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in seen.events() or ()
        if event.device_type == DeviceType.CUDA and not event.name.startswith("ProfilerStep")
    ]
    share = covered(spans) / (1e6 * wall)
    note(f"{precision}: busy {share:.1%}")
    return share


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return how much of a line is under at least one of the spans."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def print_busy(found: Mapping[Precision, float], size: Size) -> None:
    print_text(
        "Share of one epoch, trained and scored, in which the GPU runs a kernel or a copy, by "
        f"torch.profiler, which slows the host down: {size.trials[-1]} trials x {FOLDS} folds."
    )
    print("| precision | busy |")
    print("| --- | ---: |")
    for precision, share in found.items():
        print(f"| {precision} | {share:.0%} |")
