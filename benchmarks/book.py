"""The book's figures beside ours: Dive into Deep Learning, chapter 4, run from studies/book.

Each study runs whole, once per seed, on a database of its own. Writes Markdown; says on stderr how
far it is. Run: make book
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.book_page import page
from benchmarks.book_runs import Run, run_study


@dataclass(frozen=True)
class Plan:
    """Say how often a study runs; its first trials, so many as looks, meet the held-out rows."""

    study: str
    seeds: int
    evaluations: int


# Fashion-MNIST takes most of the time, and has the fewest seeds.
PLANS = (
    Plan("mlp", 3, 1),
    Plan("activations", 3, 0),
    Plan("model_selection", 5, 3),
    Plan("weight_decay", 5, 2),
    Plan("dropout", 3, 1),
    Plan("initialisation", 3, 0),
    Plan("kfold", 5, 0),
    Plan("kfold_10", 5, 0),
)


def runs() -> Iterator[Run]:
    """Run every study at every seed."""
    for plan in PLANS:
        for seed in range(plan.seeds):
            run = run_study(plan.study, seed, plan.evaluations)
            print(f"{run.study} at seed {seed}: {run.seconds:.1f} s", file=sys.stderr)
            yield run


def main() -> None:
    """Print the page."""
    begun = time.perf_counter()
    measured = list(runs())
    print(page(measured, time.perf_counter() - begun))


if __name__ == "__main__":
    main()
