"""What the corrected estimate costs beside a plain loop over bootstraps, and its memory.

500 trials x 48,000 rows of accuracy. Both draw the same rows, choose by the mean over folds and
score out-of-bag; the loop takes the rows of each bootstrap by their numbers. Rounds alternate.
Run: python -m benchmarks.correction
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from selection.stats.bbc_cv import Draws, Rows, Stage, draw_out_of_bag
from selection.stats.intervals import bootstrap_counts
from selection.stats.selection_rules import choose

TRIALS, ROWS, FOLDS, CLASSES = 500, 48_000, 5, 10
SEED = 0


def main() -> None:
    """Print the ratio of a few bootstraps and the memory of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstraps", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=20, help="bootstraps per timed round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    generator = np.random.default_rng(SEED)
    targets = generator.integers(0, CLASSES, ROWS)
    hits = generator.random((TRIALS, ROWS)) < np.linspace(0.80, 0.86, TRIALS)[:, None]
    folds = generator.permutation(np.arange(ROWS) % FOLDS)
    rows = Rows("accuracy", targets, folds[None], None)
    simplicity = np.zeros(TRIALS, dtype=np.int64)

    def fast(bootstraps: int) -> Draws:
        return draw_out_of_bag(
            rows,
            [Stage(np.arange(TRIALS), hits[None])],
            lambda _, scores: choose(scores, "best", simplicity, is_minimised=False),
            bootstraps,
            SEED,
        )

    fast_seconds, slow_seconds = [], []
    for _ in range(options.rounds):
        fast_seconds.append(_seconds(lambda: fast(options.compared)))
        slow_seconds.append(_seconds(lambda: _loop(hits, folds, options.compared)))
    np.testing.assert_allclose(
        fast(options.compared).scores, _loop(hits, folds, options.compared), rtol=1e-12
    )
    ratio = statistics.median(slow_seconds) / statistics.median(fast_seconds)
    share = _seconds(lambda: fast(options.bootstraps)) / statistics.median(slow_seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{TRIALS} trials x {ROWS} rows, accuracy, NumPy {np.__version__}")
    print(f"a plain loop takes {ratio:.1f} times as long for {options.compared} bootstraps")
    print(
        f"{options.bootstraps} bootstraps take {share:.2f} times as long as the loop takes for "
        f"{options.compared}; peak memory {peak:.2f} GiB"
    )


def _loop(
    hits: NDArray[np.bool_], folds: NDArray[np.int64], bootstraps: int
) -> NDArray[np.float64]:
    """Choose in-bag and score out-of-bag, one bootstrap at a time."""
    scores = []
    for block in bootstrap_counts(ROWS, None, bootstraps, SEED):
        for counts in block:
            drawn = np.repeat(np.arange(ROWS), counts)
            means = np.stack(
                [hits[:, drawn[folds[drawn] == fold]].mean(axis=1) for fold in range(FOLDS)]
            ).mean(axis=0)
            scores.append(hits[means.argmax()][counts == 0].mean())
    return np.array(scores)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
