"""What happens where the GPU's memory runs out?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

import torch

from benchmarks.gpu_right import curves, farthest
from benchmarks.gpu_setup import CALM, FOLDS, SEED, Size, make_settings, make_spec, note, print_text
from selection.data.prepare import FoldData
from selection.study.trial import TrialState
from selection.train.fit import Trainer
from selection.train.plan import PackPlan


@dataclass(frozen=True)
class Squeeze:
    """Hold a training that had too little memory. Units: bytes beside the rows."""

    name: str
    wanted: int
    given: int
    halvings: int
    complete: int
    trials: int
    difference: float


# With too few steps in all epochs there is no graph, and working memory is free between steps.
SQUEEZES = (("without a graph", 16_384, 0.5), ("by graphs", 2_048, 0.6))


def squeezes(folds: Sequence[FoldData], device: torch.device, size: Size) -> list[Squeeze]:
    """Run out of memory each way."""
    return [_squeeze(folds, device, size.trials[-1], *each) for each in SQUEEZES]


def _squeeze(
    folds: Sequence[FoldData],
    device: torch.device,
    trials: int,
    name: str,
    batch_size: int,
    share: float,
) -> Squeeze:
    """Train with all the memory that is wanted, and then with a share of it."""
    # Not accuracy: one row whose class rounding tips would be the largest difference.
    trainer = Trainer(folds, "classification", "cross_entropy", SEED, device)
    spec = make_spec("squeeze", 2, batch_size=batch_size, metric="cross_entropy")
    settings = make_settings(spec, trials, CALM)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_reserved(device)
    calm = curves(trainer.train(settings))
    wanted = torch.cuda.max_memory_reserved(device) - held
    torch.cuda.empty_cache()
    given = int(share * wanted)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((held + given) / total)
    try:
        halve = PackPlan.halves
        with mock.patch.object(PackPlan, "halves", autospec=True, side_effect=halve) as halves:
            results = trainer.train(settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    complete = sum(result.state is TrialState.COMPLETE for result in results)
    is_whole = complete == len(results)
    difference = farthest(curves(results), calm) if is_whole else math.inf
    note(f"{name}: {complete} of {len(results)} complete")
    return Squeeze(name, wanted, given, halves.call_count, complete, len(results), difference)


def print_squeezes(found: Sequence[Squeeze], size: Size) -> None:
    print_text(
        f"{size.trials[-1]} trials x {FOLDS} folds, 2 epochs, first with all the memory they want, "
        "then with a share of it."
    )
    print("| steps | wanted, GB | given, GB | halvings | complete trials | largest difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for each in found:
        print(
            f"| {each.name} | {each.wanted / 1e9:.2f} | {each.given / 1e9:.2f} | {each.halvings} "
            f"| {each.complete} of {each.trials} | {each.difference:.1e} |"
        )
