"""What does a trial cost beside its training, in a study of ten trials and of ten thousand?

Whole sweeps by a trainer that makes its curves up at once, on SQLite, on disk; then some more
cohorts of studies that hold so many trials already, sampler by sampler and pruner by pruner. Only
the time outside of the trainer counts. Writes Markdown.
Run: make bench; with --quick it takes about twenty seconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import processor
from selection.store.leases import new_worker
from selection.store.repository import open_repository
from selection.study.setting import Setting
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import (
    CURVE_COLUMNS,
    FoldResult,
    LearningCurve,
    TrialResult,
    TrialState,
    mean_over_folds,
)
from selection.train.fit import EpochNews
from selection.workflows.sweep import SweepNews, run_sweep
from tests.store.store_examples import FACTS

FOLDS, EPOCHS, ROWS, CLASSES = 5, 10, 8, 3
COHORT = 16
place = Path("data")
CASES = (
    ("random", "successive_halving"),
    ("tpe", "successive_halving"),
    ("gp", "none"),
    ("random", "hyperband"),
    ("random", "median"),
)
# What it takes to look at more of them is known from less.
MOST_HELD = {"gp": 100}
GP_COHORT, GP_COHORTS = 2, 1


@dataclass
class Watch:
    """Add up where time goes, and note the sums after each cohort. Units: seconds."""

    training: float = 0.0
    storing: float = 0.0
    pruning: float = 0.0
    notes: list[Watch] = field(default_factory=list)
    at: float = 0.0

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Add the time of this block to a part."""
        begun = time.perf_counter()
        yield
        setattr(self, part, getattr(self, part) + time.perf_counter() - begun)

    def show(self, news: SweepNews) -> None:
        if not news.training and news.epoch is None:
            self.notes.append(replace(self, at=time.perf_counter(), notes=[]))

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)


class Timed:
    """Call another object's methods and time them as storing."""

    def __init__(self, whom: Any, watch: Watch) -> None:
        self._whom = whom
        self._watch = watch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._whom, name)

        def call(*args: Any, **options: Any) -> Any:
            with self._watch.on("storing"):
                return method(*args, **options)

        return call


class MadeUpTrainer:
    """Be a Trainer that draws its curves, and prunes as the pruner decides."""

    asks_ahead = False

    def __init__(self, watch: Watch, seed: int) -> None:
        self._watch = watch
        self._generator = np.random.default_rng(seed)

    def train(
        self,
        settings: Sequence[Setting],
        decide: Callable[[int, Mapping[int, float]], Collection[int]],
        tell: Callable[[EpochNews], None],
    ) -> list[TrialResult]:
        with self._watch.on("training"):
            shape = (len(settings), FOLDS, EPOCHS, len(CURVE_COLUMNS))
            points = self._generator.random(shape)
            scores = points[..., CURVE_COLUMNS.index("validation_score")]
        living = list(range(len(settings)))
        ends = dict.fromkeys(living, EPOCHS)
        for epoch in range(1, EPOCHS + 1):
            with self._watch.on("training"):
                means = {index: mean_over_folds(scores[index, :, epoch - 1]) for index in living}
            if epoch < EPOCHS:
                with self._watch.on("pruning"):
                    out = set(decide(epoch, means))
                ends |= dict.fromkeys(out, epoch)
                living = [index for index in living if index not in out]
            tell(EpochNews(epoch, EPOCHS, len(living), FOLDS * len(living), 0))
        with self._watch.on("training"):
            return [_result(points[index], ends[index]) for index in ends]


def _result(points: np.ndarray[Any, Any], epochs: int) -> TrialResult:
    is_whole = epochs == EPOCHS
    folds = tuple(
        FoldResult(
            repeat=0,
            fold=fold,
            curve=LearningCurve(points[fold, :epochs]),
            outputs=np.zeros((ROWS, CLASSES), np.float32) if is_whole else None,
        )
        for fold in range(FOLDS)
    )
    state = TrialState.COMPLETE if is_whole else TrialState.PRUNED
    return TrialResult(state, "", folds, epochs, seconds=1.0)


@dataclass(frozen=True)
class Cost:
    """Hold what one more trial costs. Units: milliseconds per trial; first in seconds."""

    held: int
    sampler: str
    pruner: str
    proposing: float
    pruning: float
    storing: float
    first: float


def sweep(file: Path, spec: StudySpec) -> tuple[float, list[Watch]]:
    """Run a study until its budget is spent; return the seconds beside training, and the notes."""
    watch = Watch()
    with open_repository(f"sqlite:///{file}", create=not file.exists(), write=True) as repository:
        study = repository.records.find_study(spec.name)
        if study is None:
            study = repository.records.create_study(spec, "d" * 64, None, FACTS, {})
        timed: dict[str, Any] = {
            "records": Timed(repository.records, watch),
            "cohorts": Timed(repository.cohorts, watch),
        }
        trainer: Any = MadeUpTrainer(watch, spec.budget)
        begun = time.perf_counter()
        watch.notes.append(Watch(at=begun))
        worker = new_worker(600.0, is_alone=True)
        run_sweep(spec, study, replace(repository, **timed), trainer, worker, watch)
        return time.perf_counter() - begun - watch.training, watch.notes


def further_cost(file: Path, held: int, sampler: str, pruner: str, cohorts: int) -> Cost:
    """Train so many more cohorts of a copy of a study, after a first that reads its record."""
    cohort = GP_COHORT if sampler == "gp" else COHORT
    copy = file.with_suffix(".copy")
    shutil.copy(file, copy)
    _, notes = sweep(copy, _spec(held + (1 + cohorts) * cohort, sampler, pruner, cohort))
    copy.unlink()
    pairs = list(pairwise(notes[1:]))

    def milliseconds(part: str) -> float:
        taken: list[float] = [getattr(b, part) - getattr(a, part) for a, b in pairs]
        return 1000 * statistics.median(taken) / cohort

    pruning, storing = milliseconds("pruning"), milliseconds("storing")
    proposing = milliseconds("at") - milliseconds("training") - pruning - storing
    first = notes[1].at - notes[0].at - notes[1].training
    print(f"{held} trials held, {sampler}, {pruner}", file=sys.stderr)
    return Cost(held, sampler, pruner, proposing, pruning, storing, first)


def measure(
    sizes: list[int], most_by_tpe: int, cohorts: int
) -> tuple[dict[tuple[int, str], float], list[Cost]]:
    """Return the milliseconds per trial of whole sweeps, by size and sampler, and further costs."""
    whole: dict[tuple[int, str], float] = {}
    costs: list[Cost] = []
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sweep-cost-", dir=place) as name:
        folder = Path(name)
        # The first sweep of a process pays for what is imported late.
        sweep(folder / "first.db", _spec(COHORT, "tpe", "successive_halving"))
        for size in sizes:
            for sampler in ("random", "tpe"):
                if sampler == "random" or size <= most_by_tpe:
                    file = folder / f"{size}-{sampler}.db"
                    seconds, _ = sweep(file, _spec(size, sampler, "successive_halving"))
                    whole[size, sampler] = 1000 * seconds / size
                    print(f"{size} trials, {sampler}", file=sys.stderr)
            for sampler, pruner in CASES if size >= COHORT else ():
                if size <= MOST_HELD.get(sampler, size):
                    file = folder / f"{size}-random.db"
                    if sampler == "gp":
                        # It learns from complete trials only.
                        file = folder / f"{size}-whole.db"
                        sweep(file, _spec(size, "random", "none"))
                    count = GP_COHORTS if sampler == "gp" else cohorts
                    costs.append(further_cost(file, size, sampler, pruner, count))
    return whole, costs


def _spec(trials: int, sampler: str, pruner: str, cohort: int = COHORT) -> StudySpec:
    return parse_study(
        {
            "name": "sweep_cost",
            "recipe": "book",
            "data": {"dataset": "digits"},
            "cv": {"folds": FOLDS},
            "training": {"epochs": EPOCHS},
            "space": {
                "width": {"low": 4, "high": 512, "log": True},
                "learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "batch_size": {"low": 16, "high": 256, "log": True},
                "activation": {"choices": ["relu", "tanh"]},
            },
            "search": {"trials": trials, "cohort": cohort, "sampler": sampler, "pruner": pruner},
        },
        "sweep_cost",
    )


def _print_section(whole: dict[tuple[int, str], float], costs: list[Cost], cohorts: int) -> None:
    print("\n## Sweeps\n")
    print(
        "`make bench`: milliseconds per trial that a sweep takes beside its training, by a trainer "
        "that makes its curves up.\n"
        f"Cohorts of {COHORT}, 6 params, {FOLDS} folds, at most {EPOCHS} epochs, "
        "successive halving, SQLite on disk.\n"
    )
    names = ("optuna", "sqlalchemy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(
        f"On {processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions};"
        f"\nload average {os.getloadavg()[1]:.1f} over the last five minutes.\n"
    )
    samplers = sorted({sampler for _, sampler in whole})
    print("| trials of the sweep | " + " | ".join(samplers) + " |")
    print("| ---: |" + " ---: |" * len(samplers))
    for size in sorted({size for size, _ in whole}):
        found = [whole.get((size, sampler)) for sampler in samplers]
        cells = ["" if each is None else f"{each:.2f}" for each in found]
        print(f"| {size:,} | " + " | ".join(cells) + " |")
    print(
        f"\nOne more trial of a study that holds so many: medians over {cohorts} cohorts. "
        "*Proposing* is the sampler and the loop,\n"
        "*pruning* the decisions of all epochs, *storing* what speaks to the database; *first*, in "
        "seconds, is the first cohort\n"
        "of a study that is taken up again and read. The Gaussian process proposes "
        f"{GP_COHORT} trials at once, and knows complete ones.\n"
    )
    print("| trials held | sampler | pruner | proposing | pruning | storing | together | first |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for cost in costs:
        together = cost.proposing + cost.pruning + cost.storing
        print(
            f"| {cost.held:,} | {cost.sampler} | {cost.pruner} | {cost.proposing:.2f} "
            f"| {cost.pruning:.2f} | {cost.storing:.2f} | {together:.2f} | {cost.first:.2f} |"
        )


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no study of 10,000 trials")
    is_quick = parser.parse_args().quick
    # A sweep by TPE takes the square of its trials: a longer one says nothing new.
    sizes, most_by_tpe, cohorts = ([10, 100, 1_000], 100, 2)
    if not is_quick:
        sizes, most_by_tpe, cohorts = ([10, 100, 1_000, 10_000], 1_000, 4)
    torch.set_num_threads(1)
    _print_section(*measure(sizes, most_by_tpe, cohorts), cohorts)


if __name__ == "__main__":
    main()
