"""Is the score that a study reports the score its winner has? Simulated truths, and whole studies.

Writes Markdown. Run: python -m benchmarks.honesty > docs/honesty.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from multiprocessing import Pool
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.honesty_studies import Table, study_verdicts
from benchmarks.honesty_worlds import Verdict, World, simulate

SIGNAL = (9.0, 6.0)
WEAK = (60.0, 40.0)
WORLDS = (
    World("no signal, 100 rows"),
    World("no signal, 100 rows, nothing pruned", pruner="none"),
    World("no signal, 100 rows, 81 trials", trials=81),
    World("no signal, 500 rows", rows=500),
    World("no signal, 5,000 rows", rows=5000),
    World("no signal, 100 rows, rungs alike", steady=0.95),
    World("no signal, 100 rows, rungs unlike", steady=0.5),
    World("no signal, 100 rows, trials independent", common=0.0),
    World("no signal, 100 rows, one standard error", rule="one_standard_error"),
    World("no signal, 100 rows, median pruner", pruner="median"),
    World("no signal, 100 rows, Hyperband", pruner="hyperband"),
    World("no signal, 100 rows, best of 15 epochs", epochs=15),
    World("no signal, 100 rows, best of 15 epochs, nothing pruned", epochs=15, pruner="none"),
    World("signal, 100 rows", quality=SIGNAL),
    World("signal, 100 rows, nothing pruned", quality=SIGNAL, pruner="none"),
    World("signal, 100 rows, best of 15 epochs", quality=SIGNAL, epochs=15),
    World("signal, 500 rows", quality=SIGNAL, rows=500),
    World("signal, 5,000 rows", quality=SIGNAL, rows=5000),
    World("weak signal, 100 rows", quality=WEAK),
    World("weak signal, 1,000 rows", quality=WEAK, rows=1000),
    World("weak signal, 1,000 rows, one s. e.", quality=WEAK, rows=1000, rule="one_standard_error"),
    World("no signal, 40 groups of 5", unit=5, rows=200),
    World("signal, 40 groups of 5", unit=5, rows=200, quality=SIGNAL),
    World("no signal, 240 rows in time", unit=4, rows=240, is_time=True),
    World("signal, 240 rows in time", unit=4, rows=240, is_time=True, quality=SIGNAL),
    World("no signal, regression, 100 rows", metric="rmse"),
    World("no signal, regression, 500 rows", metric="rmse", rows=500),
    World("signal, regression, 100 rows", metric="rmse", quality=SIGNAL),
    World("signal, regression, 500 rows", metric="rmse", quality=SIGNAL, rows=500),
)
TABLES = (
    Table("no signal, 100 rows, nothing pruned", pruner="none"),
    Table("no signal, 100 rows"),
    Table("no signal, 500 rows", rows=500),
    Table("no signal, 40 groups of 5", rows=200, group=5),
    Table("no signal, regression, 100 rows", metric="rmse"),
    Table("signal, 200 rows", rows=200, has_signal=True),
    Table("signal, regression, 200 rows", rows=200, has_signal=True, metric="rmse"),
)
GOAL, LEAST_COVER, MOST_COVER = 0.01, 0.94, 0.99
BOOTSTRAPS = 100


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=int, default=500, help="studies in each world, or 0")
    parser.add_argument("--seeds", type=int, default=20, help="whole studies of each table, or 0")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(_INTRODUCTION)
    if options.simulated:
        with Pool(options.workers) as pool:
            _print_worlds(pool, options.simulated)
    if options.seeds:
        _print_tables(options.seeds)


_INTRODUCTION = """# Is the reported score honest?

`make honesty` writes this page. "Bias" is the mean of (estimate - truth) over studies, with its
standard error; positive is optimistic for accuracy, negative is optimistic for the RMSE. The goals:
the corrected estimate is within 0.01 of the truth, its 95% interval contains the truth in 94% to
99% of the studies, and at most 5% of the studies without a signal claim to beat a baseline."""


_WORLD_HEAD = (
    "world",
    "complete",
    "observed",
    "complete only",
    "corrected",
    "interval contains",
    "bound holds",
    "pruned wins",
    "goals",
)


def _print_worlds(pool: Any, studies: int) -> None:
    print(
        f"""
## Simulated predictions

{studies} studies in each world, {BOOTSTRAPS} bootstraps each: the predictions of 27 trials are
drawn with a known truth (benchmarks/honesty_worlds.py); pruner, rule and correction are the
product's. The default pruner has rungs at epochs 3 and 9 of 27. "Complete only" corrects for the
choice among complete trials and forgets the pruned ones. The lower bound (upper for the RMSE)
should hold in 95%.

| {" | ".join(_WORLD_HEAD)} |
| --- |{" ---: |" * 7} --- |"""
    )
    for world in WORLDS:
        spec = world.spec()
        draw = partial(simulate, world, spec, bootstraps=BOOTSTRAPS)
        verdicts = pool.map(draw, range(studies), chunksize=5)
        print(_world_line(world, verdicts, is_minimised=spec.is_minimised), flush=True)


def _world_line(world: World, verdicts: Sequence[Verdict], *, is_minimised: bool) -> str:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(verdict, name) for verdict in verdicts], dtype=np.float64)

    truth = column("truth")
    errors = {name: column(name) - truth for name in ("observed", "survivors", "corrected")}
    covers = float(np.mean((column("low") <= truth) & (truth <= column("high"))))
    holds = column("bound") >= truth if is_minimised else column("bound") <= truth
    cells = [
        world.name,
        f"{column('complete').mean():.1f} of {world.trials}",
        f"{errors['observed'].mean():+.3f}",
        f"{errors['survivors'].mean():+.3f}",
        _bias(errors["corrected"]),
        f"{covers:.1%}",
        f"{holds.mean():.1%}",
        f"{column('pruned_wins').mean():.0%}",
        _goals(float(errors["corrected"].mean()), covers),
    ]
    return f"| {' | '.join(cells)} |"


def _bias(errors: NDArray[np.float64]) -> str:
    return f"{errors.mean():+.4f} ({errors.std(ddof=1) / np.sqrt(len(errors)):.4f})"


def _goals(bias: float, covers: float) -> str:
    """Name the goals that are missed."""
    missed = ["bias"] if round(abs(bias), 4) > GOAL else []
    if covers < LEAST_COVER:
        missed.append("interval too narrow")
    if covers > MOST_COVER:
        missed.append("interval too wide")
    return "missed: " + ", ".join(missed) if missed else "met"


_TABLE_HEAD = (
    "table",
    "complete",
    "truth",
    "of the folds",
    "observed",
    "corrected",
    "bias",
    "bias to the folds",
    "interval contains",
    "claims: constant",
    "any",
)


def _print_tables(seeds: int) -> None:
    print(
        f"""
## Whole studies

{seeds} studies of each table through the product, 30 trials, 20 epochs, 5 folds, baselines and all
(benchmarks/honesty_studies.py). Without a signal the truth is known; with one it is the score of
the winner, trained again on all development rows, on 5,000 held-out rows. "Claims" counts studies
that claim to beat the constant baseline (the majority or the mean), which is false without a
signal, and any baseline: linear models and trees fit noise, so that it may be true of them even
then. "Of the folds" is the mean score of the winner's five fold models on the same held-out rows:
cross-validation estimates these, and they are trained on a fifth fewer rows.

| {" | ".join(_TABLE_HEAD)} |
| --- |{" ---: |" * 10}"""
    )
    for table in TABLES:
        verdicts = list(study_verdicts(table, seeds))
        known = [verdict for verdict in verdicts if verdict.correction is not None]
        estimates = np.array([v.correction.estimate for v in known if v.correction is not None])
        truths = np.array([verdict.truth for verdict in known])
        of_folds = np.array([verdict.fold_truth for verdict in known])
        cells = [
            table.name,
            f"{np.mean([verdict.complete for verdict in verdicts]):.1f} of 30",
            f"{truths.mean():.3f}",
            f"{of_folds.mean():.3f}",
            f"{np.mean([verdict.observed for verdict in verdicts]):.3f}",
            f"{estimates.mean():.3f}",
            _bias(estimates - truths),
            _bias(estimates - of_folds),
            f"{sum(verdict.contains_truth for verdict in verdicts)} of {seeds}",
            f"{sum(verdict.beats_constant for verdict in verdicts)} of {seeds}",
            f"{sum(verdict.beats_any for verdict in verdicts)} of {seeds}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
