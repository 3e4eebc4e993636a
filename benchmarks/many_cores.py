"""How much faster is a cohort with more cores? It must never be slower.

Packs are threads of one process: what they compute runs side by side, what Python does between
takes turns. Epochs are planned for one core, two, four and so on. Prints Markdown.
Run: python -m benchmarks.many_cores
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_setup import DIGITS, FULL, TABLE, load_folds, make_settings, workload_spec
from benchmarks.machine import where_it_ran
from selection.data.prepare import FoldData, prepare_folds
from selection.data.sources import data_folder
from selection.study.setting import Setting
from selection.study.spec import StudySpec, parse_study
from selection.train.batches import load_rows
from selection.train.device import torch_settings
from selection.train.pack import Pack
from selection.train.plan import count_side_by_side, plan_packs
from selection.workflows.study_data import load_study_data

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Hold what is trained."""

    name: str
    folds: Sequence[FoldData]
    settings: Sequence[Setting]


def cohorts() -> list[Cohort]:
    """Return two cohorts of plain SGD, and two of the usual recipe's own draws."""
    found = []
    for workload in (DIGITS, TABLE):
        spec = workload_spec(workload, workload.epochs)
        found.append(
            Cohort(f"{workload.name}, SGD", load_folds(workload, FULL), make_settings(spec, 16))
        )
    for dataset in ("breast_cancer", "digits"):
        content = {
            "name": "cores",
            "data": {"dataset": dataset, "held_out": 0.2},
            "search": {"metric": "accuracy", "trials": 8},
        }
        parsed = parse_study(content, "cores")
        data = load_study_data(parsed, data_folder())
        folds = prepare_folds(data.dataset, data.plan.splits, data.spec)
        found.append(Cohort(f"{dataset}, the usual recipe", folds, drawn(data.spec, 8)))
    return found


def drawn(spec: StudySpec, count: int) -> list[Setting]:
    """Return settings drawn from a study's space at random."""
    rng = np.random.default_rng(0)
    settings = []
    for _ in range(count):
        layers = int(rng.integers(1, 4))
        values: dict[str, Any] = {
            **spec.default,
            "hidden_layers": layers,
            "width": (int(np.exp(rng.uniform(np.log(64), np.log(512)))),) * layers,
            "dropout": float(rng.uniform(0.0, 0.5)),
            "numeric_embedding": ("none", "pbld")[int(rng.integers(2))],
            "label_smoothing": (0.0, 0.1)[int(rng.integers(2))],
        }
        settings.append(spec.setting(values))
    return settings


@dataclass(frozen=True)
class Pace:
    """Hold how long an epoch takes, and by how many packs, of which so many train at once."""

    seconds: float
    packs: int
    at_once: int


def measure(cohort: Cohort, cores: int, least: float) -> Pace:
    """Time epochs that are planned for so many cores, one or as many as take least seconds."""
    with torch_settings("float32", CPU):
        rows = load_rows(cohort.folds, "classification", CPU, torch.float32, torch.float32)
        plans = plan_packs(cohort.settings, rows, 0, cores)
        packs = [Pack(plan, cohort.settings, rows, "accuracy", 0) for plan in plans]
        at_once = count_side_by_side(plans, cohort.settings, rows, cores)
        timed: list[float] = []
        with ThreadPoolExecutor(at_once) as workers:
            list(workers.map(Pack.train_epoch, packs))
            while not timed or sum(timed) < least:
                begun = time.perf_counter()
                list(workers.map(Pack.train_epoch, packs))
                timed.append(time.perf_counter() - begun)
    return Pace(statistics.median(timed), len(plans), at_once)


INTRO = """
## Cores

`make bench`: an epoch of a cohort, trained without its scores, as it is planned for one core and
for more: 16 trials of plain SGD, and 8 that are drawn from the usual recipe's space; 5 folds. Only
as many packs train at once as have enough work between two lines of Python
([decision 37](decisions/0037-packs-wait-for-python.md)).
"""


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one epoch of each")
    least = 0.0 if parser.parse_args().quick else 1.0
    most = os.cpu_count() or 1
    print(f"{INTRO}\n{where_it_ran('torch')}\n")
    print("| cohort | cores | packs | at once | epoch, ms | times faster |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for cohort in cohorts():
        first = 0.0
        for cores in sorted({1, *(count for count in (2, 4, 8, 16, 32) if count <= most), most}):
            pace = measure(cohort, cores, least)
            first = first or pace.seconds
            print(
                f"| {cohort.name} | {cores} | {pace.packs} | {pace.at_once} "
                f"| {1000 * pace.seconds:.1f} | {first / pace.seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
