"""How many workers can one driver feed, and what do they wait for?

The real driver, record and database with simulated workers on a virtual clock. Their cohorts take
times that were measured; what they return has the true form and size. Writes Markdown.
Run: make bench; with --quick it takes about a minute.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.machine import where_it_ran
from benchmarks.replayed_workers import (
    MadeUpTrainer,
    ReplayLauncher,
    Results,
    VirtualClock,
    idle_share,
)
from selection.search import Proposer
from selection.store.leases import new_worker
from selection.store.repository import open_repository
from selection.study.spec import StudySpec, parse_study
from selection.workers.driver import run_team
from selection.workers.team import Team
from selection.workflows.cohort import CohortTask
from tests.postgres_server import throw_away_server
from tests.store.store_examples import FACTS

FOLDS = 5
place = Path("data")


@dataclass(frozen=True)
class Shape:
    """Describe the cohorts of a study, and how long one trains if nothing is pruned.

    Units: seconds; source says what was measured.
    """

    name: str
    rows: int
    classes: int
    epochs: int
    cohort: int
    seconds: float
    source: str
    pruner: str = "successive_halving"
    asks_ahead: bool = True


def fold_trainings(cohort: int, per_thousand: float) -> float:
    """Return the seconds of a cohort from those of 1,000 fold-trainings."""
    return cohort * FOLDS * per_thousand / 1000


SMALL = Shape(
    "small",
    1_000,
    2,
    40,
    64,
    fold_trainings(64, 0.662) * 1_000 / 569,
    "30-32-2 on 569 rows, 64 trials; times 1,000 / 569",
)
TABLE = Shape(
    "table",
    10_000,
    10,
    30,
    64,
    fold_trainings(64, 0.928) * 10_000 / 1_797,
    "64-64-10 on 1,797 rows, 64 trials; times 10,000 / 1,797",
)
IMAGES = Shape(
    "images",
    60_000,
    10,
    10,
    16,
    6.03 / 4,
    "784-256-10, float32, 64 trials by TPE in 4 cohorts, whose training takes 6.03 s",
)
UNPRUNED = replace(IMAGES, name="images, unpruned", pruner="none", source="as images")
LONG = replace(
    IMAGES,
    name="images, long",
    epochs=100,
    cohort=64,
    seconds=fold_trainings(64, 14.9) * 10,
    source="784-256-10, float32, 64 trials, 10 epochs; times 10",
)
CORE = Shape(
    "one core",
    1_797,
    10,
    20,
    8,
    8 * FOLDS * 20 / 319,
    "64-64-64-10 at 319 member-epochs per second: *Two workers*, above",
    asks_ahead=False,
)
SHAPES = (SMALL, TABLE, IMAGES, UNPRUNED, LONG, CORE)


@dataclass
class Spent:
    """Add up where the driver's time goes. Units: seconds."""

    proposing: float = 0.0
    database: float = 0.0

    def timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method, timed as this part."""

        def call(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                taken = time.perf_counter() - begun
                setattr(self, part, getattr(self, part) + taken)

        return call


class Timed:
    """Call another object's methods, timed as the database's."""

    def __init__(self, whom: Any, spent: Spent) -> None:
        self._whom = whom
        self._spent = spent

    def __getattr__(self, name: str) -> Any:
        return self._spent.timed("database", getattr(self._whom, name))


class QuietView:
    """Be the view of a team that shows nothing."""

    def show(self, news: Any) -> None: ...

    def show_team(self, budget: int, finished: Any, running: Any) -> None: ...

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class Replay:
    """Hold what one replay took. Units: seconds and bytes per cohort; idle is a share."""

    workers: int
    cohort: float
    proposing: float
    database: float
    rest: float
    sent: float
    returned: float
    idle: float

    @property
    def driver(self) -> float:
        return self.proposing + self.database + self.rest

    @property
    def most(self) -> float:
        """The number of workers that keep the driver busy all the time."""
        return self.cohort / self.driver


@dataclass(frozen=True)
class Speed:
    """Say how the workers differ: slow is how much longer the first one takes."""

    sigma: float = 0.0
    slow: float = 1.0


def replay(
    url: str,
    shape: Shape,
    workers: int,
    cohorts: int,
    *,
    lag: int | None,
    sampler: str = "tpe",
    seed: int = 0,
    speed: Speed = Speed(),  # noqa: B008 - frozen
    is_charged: bool = True,
) -> Replay:
    """Train a study of so many cohorts by simulated workers."""
    spec = spec_of(shape, cohorts, sampler)
    generator = np.random.default_rng(seed)
    trainer: Any = MadeUpTrainer(
        FOLDS, shape.epochs, shape.rows // FOLDS, shape.classes, generator, shape.asks_ahead
    )

    def train(task: CohortTask) -> Results:
        return task.train(trainer, lambda news: None)

    def seconds(slot: int, task: CohortTask, results: Results) -> float:
        # What is pruned trains no more.
        epochs = statistics.mean(result.epochs for result in results.values())
        luck = np.random.default_rng([seed, task.cohort]).normal()
        factor = float(np.exp(speed.sigma * luck)) * (1.0 if slot else speed.slow)
        return shape.seconds * epochs / shape.epochs * factor

    clock = VirtualClock(is_charged=is_charged)
    launcher = ReplayLauncher(workers, train, seconds, clock, shape.asks_ahead)
    spent, view = Spent(), QuietView()
    team = Team(lambda: launcher, view.say)
    with open_repository(url, create=True, write=True) as repository:
        study = repository.records.create_study(spec, "d" * 64, None, FACTS, {})
        parts: dict[str, Any] = {
            name: Timed(getattr(repository, name), spent)
            for name in ("records", "cohorts")
        }
        me = new_worker(600.0, is_alone=repository.database.address.path is not None)
        timed = spent.timed("proposing", Proposer.propose)
        with patch.object(Proposer, "propose", lambda *args: timed(*args)):
            run_team(
                team, spec, study, replace(repository, **parts), me, view, lag=lag, max_retries=None
            )
    return _summary(launcher, spent, workers)


def _summary(launcher: ReplayLauncher, spent: Spent, workers: int) -> Replay:
    done, clock = launcher.done, launcher.clock
    count = len(done)
    rest = clock.spent - spent.proposing - spent.database
    return Replay(
        workers,
        statistics.mean(work.seconds for work in done),
        spent.proposing / count,
        spent.database / count,
        rest / count,
        launcher.bytes_sent / count,
        launcher.bytes_returned / count,
        idle_share(done),
    )


def spec_of(shape: Shape, cohorts: int, sampler: str) -> StudySpec:
    """Return a study of so many cohorts."""
    return parse_study(
        {
            "name": "scale_driver",
            "data": {"dataset": "digits"},
            "cv": {"folds": FOLDS},
            "training": {"epochs": shape.epochs},
            "space": {
                "width": {"low": 4, "high": 512, "log": True},
                "learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "batch_size": {"low": 16, "high": 256, "log": True},
                "activation": {"choices": ["relu", "tanh"]},
            },
            "search": {
                "trials": cohorts * shape.cohort,
                "cohort": shape.cohort,
                "sampler": sampler,
                "pruner": shape.pruner,
                "audit": 0,
            },
        },
        "scale_driver",
    )
