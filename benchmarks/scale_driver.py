"""How many workers can one driver feed, and what do they wait for?

The real driver, record and database with simulated workers on a virtual clock. Their cohorts take
times that were measured; what they return has the true form and size. Writes Markdown.
Run: make bench; with --quick it takes about a minute.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
FOLDER = Path("data")


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


@dataclass(frozen=True)
class Speed:
    """Say how the workers differ: slow is how much longer the first one takes."""

    sigma: float = 0.0
    slow: float = 1.0


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
    seconds=10 * IMAGES.seconds,
    source="as images, times 10",
)
LONGER = replace(
    IMAGES,
    name="images, longer",
    epochs=1_000,
    seconds=100 * IMAGES.seconds,
    source="as images, times 100",
)
CORE = Shape(
    "one core",
    1_797,
    10,
    20,
    8,
    8 * FOLDS * 20 / 319,
    "64-64-64-10 at 319 member-epochs per second",
    asks_ahead=False,
)
SHAPES = (SMALL, TABLE, IMAGES, UNPRUNED, LONG, LONGER, CORE)
# What is said of lags does not depend on what is trained.
UNIT = Shape("unit", 50, 2, 4, 1, 1.0, "", pruner="none", asks_ahead=False)
EQUAL = Speed()
SPEEDS = {
    "equal": EQUAL,
    "sigma 0.1": Speed(sigma=0.1),
    "sigma 0.3": Speed(sigma=0.3),
    "one half as fast": Speed(slow=2.0),
}
HELP = """
What the driver spends grows with the trials, so larger cohorts gain little; what helps is to let
a trial train longer (epochs, folds, repeats), fewer workers, or several studies, each with its
driver. Writing takes most of the time, and more if all predictions are kept, as without a pruner.
TPE takes more with every trial that it knows, or that runs, above all where a range of integers is
logarithmic: with many workers, prefer `sampler = "random"`. Its first 2N cohorts here learn from
nothing and are cheap, so that its figures are at their best. `lag` 2N keeps workers of unequal
speed busy, as the next table shows, and a proposal then knows less."""
GOAL_WORKERS, GOAL_IDLE = 256, 0.05
# A driver that is so much too slow needs no replay.
SATURATED = 2


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


def replay(
    url: str,
    shape: Shape,
    workers: int,
    cohorts: int,
    *,
    lag: int | None,
    sampler: str = "tpe",
    seed: int = 0,
    speed: Speed = EQUAL,
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
            name: Timed(getattr(repository, name), spent) for name in ("records", "cohorts")
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
            "recipe": "book",
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


@dataclass(frozen=True)
class Plan:
    """Say how much is replayed; cohorts is how many each worker trains."""

    workers: Sequence[int]
    tpe_workers: Sequence[int]
    seeds: int
    cohorts: int
    lag_workers: int
    lag_cohorts: int


FULL = Plan((1, 4, 16, 64, 256), (1, 4, 16), 2, 3, 16, 8)
QUICK = Plan((1, 4), (1, 4), 1, 3, 4, 4)
# With more workers, one replay is long enough to say the same as several.
MOST_FOR_SEEDS = 16
SERVER_COUNTS = 4
# Of fewer, the first of a process weigh too much.
FEWEST_COHORTS = 8


@dataclass(frozen=True)
class Line:
    """Hold the replays of one shape and number of workers, one for each seed."""

    shape: Shape
    database: str
    sampler: str
    replays: Sequence[Replay]

    def __str__(self) -> str:
        found = self.replays

        def median(name: str) -> float:
            return float(statistics.median(getattr(each, name) for each in found))

        cells = [
            self.shape.name,
            self.database,
            self.sampler,
            f"{median('cohort'):.2f}",
            str(found[0].workers),
            *(f"{1000 * median(name):.0f}" for name in ("proposing", "database", "rest")),
            f"{median('sent') / 1000:.0f}",
            f"{median('returned') / 1e6:.2f}",
            _spread([each.idle for each in found]),
            f"{median('most'):.1f}",
        ]
        return f"| {' | '.join(cells)} |"


def _spread(shares: Sequence[float]) -> str:
    low, high = (f"{100 * share:.1f}" for share in (min(shares), max(shares)))
    return f"{low}%" if low == high else f"{low} to {high}%"


def lines(plan: Plan, folder: Path) -> Iterator[Line]:
    """Replay every shape with more and more workers, until the driver is much too slow."""
    files = (f"sqlite:///{folder}/{number}.db" for number in itertools.count())
    for shape in SHAPES:
        yield from _lines(plan, shape, "random", plan.workers, "SQLite", files.__next__)
    for shape in (LONG, CORE):
        yield from _lines(plan, shape, "tpe", plan.tpe_workers, "SQLite", files.__next__)
    with throw_away_server(FOLDER, settings={}) as server:
        on_server = "PostgreSQL", server.new_database
        yield from _lines(plan, LONG, "random", plan.workers[:SERVER_COUNTS], *on_server)


def _lines(
    plan: Plan,
    shape: Shape,
    sampler: str,
    workers: Sequence[int],
    database: str,
    new_url: Callable[[], str],
) -> Iterator[Line]:
    for count in workers:
        cohorts = max(count * plan.cohorts, FEWEST_COHORTS)
        seeds = range(plan.seeds if count <= MOST_FOR_SEEDS else 1)
        found = [
            replay(new_url(), shape, count, cohorts, lag=2 * count, sampler=sampler, seed=seed)
            for seed in seeds
        ]
        print(f"{shape.name}, {database}, {sampler}, {count}", file=sys.stderr)
        yield Line(shape, database, sampler, found)
        if count > SATURATED * found[0].most:
            return


def lag_shares(plan: Plan, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield for each kind of speeds what workers idle with a lag of N, of 2N, and a free one."""
    count = plan.lag_workers
    for name, speed in SPEEDS.items():
        cells = []
        for lag in (count, 2 * count, None):
            shares = []
            for seed in range(3):
                url = f"sqlite:///{folder}/lag-{name}-{lag}-{seed}.db"
                found = replay(
                    url,
                    UNIT,
                    count,
                    count * plan.lag_cohorts,
                    lag=lag,
                    sampler="random",
                    seed=seed,
                    speed=speed,
                    is_charged=False,
                )
                shares.append(found.idle)
            cells.append(_spread(shares))
        print(f"lag, {name}", file=sys.stderr)
        yield name, cells


def _print_section(found: Sequence[Line], shares: dict[str, list[str]], plan: Plan) -> None:
    print(f"""
## One driver and many workers

`make bench`: the real driver, record and database with simulated workers on a virtual clock, which
counts what the driver spends and jumps over what it waits. Cohorts take measured times; what is
pruned shortens them. Results have their true form and size and are pickled both ways. The lag is 2N
for N workers, so that it costs nothing; {plan.cohorts} cohorts each; {FOLDS} folds; 6
hyperparameters; {plan.seeds} seeds with up to {MOST_FOR_SEEDS} workers, else one. *Idle* is the
share of their time that workers wait for their next task, after their first. *Full at* is the
number of workers that keep the driver busy all the time: cohort seconds / driver seconds. A shape
is not replayed with more workers once they are {SATURATED} times that. No worker reports progress
while it trains.

{where_it_ran("optuna", "sqlalchemy")}

The measured times are of one H200 ([On a GPU](gpu.md)), those of *one core* of a CPU.

| shape | rows | classes | epochs | trials per cohort | seconds, unpruned | measured |
| --- | ---: | ---: | ---: | ---: | ---: | --- |""")
    for shape in SHAPES:
        print(
            f"| {shape.name} | {shape.rows:,} | {shape.classes} | {shape.epochs} "
            f"| {shape.cohort} | {shape.seconds:.2f} | {shape.source} |"
        )
    columns = ["shape", "database", "sampler", "cohort, s", "workers"]
    columns += ["proposing", "database", "rest", "kB sent", "MB back", "idle", "full at"]
    print("\nMilliseconds of the driver per cohort, bytes per cohort:\n")
    print(f"| {' | '.join(columns)} |")
    print("|" + " --- |" * 3 + " ---: |" * (len(columns) - 3))
    for line in found:
        print(line)
    print(f"""
### The goal

{GOAL_WORKERS} workers with less than {GOAL_IDLE:.0%} idle need cohorts that train for longer than
the driver needs for {GOAL_WORKERS} of them, at the rate of the most workers replayed. That is the
least: workers that end together, as in the first cohorts, wait until those before them are
recorded.

| shape | database | sampler | cohort, s | needed, s | goal |
| --- | --- | --- | ---: | ---: | --- |""")
    for line in _last_of_each(found):
        last = line.replays[0]
        needed = GOAL_WORKERS * last.driver
        print(
            f"| {line.shape.name} | {line.database} | {line.sampler} | {last.cohort:.2f} "
            f"| {needed:.1f} | {_verdict(last)} |"
        )
    print(HELP)
    print(f"""
### What a fixed lag costs

Idle share of {plan.lag_workers} workers, {plan.lag_cohorts} cohorts each, while the driver takes no
time; cohorts of equal size, or of lognormal times. Range over 3 seeds.

| times | lag N | lag 2N | free |
| --- | ---: | ---: | ---: |""")
    for name, cells in shares.items():
        print(f"| {name} | {' | '.join(cells)} |")


def _verdict(last: Replay) -> str:
    """Say whether the goal is met: by the idle share where so many workers were replayed."""
    if last.workers == GOAL_WORKERS and last.idle < GOAL_IDLE:
        return "met"
    needed = GOAL_WORKERS * last.driver
    if last.cohort < needed:
        return f"missed by {needed / last.cohort:.1f}x"
    return f"fed, but {last.idle:.1%} idle, as most wait in line for their second cohort"


def _last_of_each(found: Sequence[Line]) -> list[Line]:
    """Return the line with the most workers of each shape, database and sampler."""
    last = {(line.shape, line.database, line.sampler): line for line in found}
    return list(last.values())


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four workers at most")
    plan = QUICK if parser.parse_args().quick else FULL
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scale-driver-", dir=FOLDER) as name:
        folder = Path(name)
        found = list(lines(plan, folder))
        shares = dict(lag_shares(plan, folder))
    _print_section(found, shares, plan)


if __name__ == "__main__":
    main()
