"""How long does a study of five lines take? A sweep of the usual recipe on the device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import selection
from benchmarks.gpu_setup import FOLDS, Size, note, print_text
from selection.train.device import DeviceName


@dataclass(frozen=True)
class RecipeSweep:
    """Hold how long one study of `recipe = "tabular"` takes. Units: seconds."""

    dataset: str
    trials: int
    seconds: float


def recipe_sweeps(device: torch.device, size: Size) -> list[RecipeSweep]:
    """Sweep the bundled tables, each with its number of trials."""
    found = []
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        # The first sweep of a process pays for what is imported late.
        _sweep(Path(folder) / "first.db", "wine", 2, device, {"epochs": 2})
        for dataset, trials, training in size.recipes:
            seconds = _sweep(Path(folder) / f"{dataset}.db", dataset, trials, device, training)
            found.append(RecipeSweep(dataset, trials, seconds))
            note(f"{dataset}, {trials} trials of the usual recipe: {seconds:.1f} s")
    return found


def _sweep(
    path: Path, dataset: str, trials: int, device: torch.device, training: Mapping[str, int]
) -> float:
    content = {
        "name": "recipe",
        "recipe": "tabular",
        "training": training,
        "data": {"dataset": dataset, "held_out": 0.2},
        "cv": {"folds": FOLDS},
        "search": {"metric": "accuracy", "trials": trials},
        "assessment": {"baselines": []},
    }
    begun = time.perf_counter()
    name: DeviceName = "cuda" if device.type == "cuda" else "cpu"
    selection.run(content, storage=f"sqlite:///{path}", device=name, progress=False)
    return time.perf_counter() - begun


def print_recipe_sweeps(found: Sequence[RecipeSweep]) -> None:
    print_text(
        "A whole study of a table that leaves everything to the usual recipe: rows read, "
        f"{FOLDS} folds, TPE, every part of the recipe that its space draws, the corrected score, "
        "SQLite on disk; no baselines."
    )
    print("| table | trials | seconds |")
    print("| --- | ---: | ---: |")
    for each in found:
        print(f"| {each.dataset} | {each.trials} | {each.seconds:.1f} |")
