"""How often the held-out score lies where the development rows said it would, with known truths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from selection.metrics import METRICS
from selection.stats.bbc_cv import Rows, Stage, draw_out_of_bag
from selection.stats.intervals import percentiles, prediction_interval
from selection.stats.scores import Floats
from selection.stats.selection_rules import choose

TRIALS, ROWS, STUDIES = 16, 200, 150
World = Callable[[np.random.Generator, int], tuple[NDArray[Any], Floats]]


def hits(generator: np.random.Generator, rows: int) -> tuple[NDArray[Any], Floats]:
    """Trials that are right in about 8 of 10 rows, mostly the same ones."""
    chances = 0.8 + 0.02 * generator.normal(size=(TRIALS, 1))
    is_shared = generator.uniform(size=(TRIALS, rows)) < 0.8
    draws = np.where(
        is_shared, generator.uniform(size=rows), generator.uniform(size=(TRIALS, rows))
    )
    return np.zeros(rows, dtype=np.int64), (draws < chances).astype(np.float64)


def errors(generator: np.random.Generator, rows: int) -> tuple[NDArray[Any], Floats]:
    """Errors with heavy tails, of which most is common to all trials."""
    sizes = 1.0 + 0.02 * generator.normal(size=(TRIALS, 1))
    shared, own = generator.standard_t(6, rows), generator.standard_t(6, (TRIALS, rows))
    return np.zeros(rows), sizes * (0.9 * shared + 0.4 * own)


def ranks(generator: np.random.Generator, rows: int) -> tuple[NDArray[Any], Floats]:
    """Scores that rank three rows in ten above the others, with noise."""
    targets = (generator.uniform(size=rows) < 0.3).astype(np.int64)
    signal = (1.0 + 0.06 * generator.normal(size=(TRIALS, 1))) * targets
    noise = 0.8 * generator.normal(size=rows) + 0.6 * generator.normal(size=(TRIALS, rows))
    return targets, signal + noise


def score(metric: str, targets: NDArray[Any], outputs: Floats) -> float:
    if metric == "accuracy":
        return float(outputs.mean())
    if metric == "rmse":
        return float(np.sqrt(np.mean((outputs - targets) ** 2)))
    return float(roc_auc_score(targets, outputs))


@pytest.mark.parametrize("held_out", [50, 1_000])
@pytest.mark.parametrize(
    ("metric", "world"), [("accuracy", hits), ("rmse", errors), ("roc_auc", ranks)]
)
def test_it_holds_the_score_of_the_chosen_trial_on_new_rows(
    metric: str, world: World, held_out: int
) -> None:
    is_minimised = METRICS[metric].is_minimised
    holds, held_before, widths = [], [], []
    for seed in range(STUDIES):
        targets, outputs = world(np.random.default_rng(seed), ROWS + held_out)
        rows = Rows(metric, targets[:ROWS], np.arange(ROWS)[None] % 5, None)
        stage = Stage(np.arange(TRIALS), outputs[None, :, :ROWS])
        draws = draw_out_of_bag(
            rows,
            [stage],
            lambda _, end: choose(end, "best", np.arange(TRIALS), is_minimised=is_minimised),
            100,
            seed,
        )
        winner = draws.whole.argmin() if is_minimised else draws.whole.argmax()
        found = score(metric, targets[ROWS:], outputs[winner, ROWS:])
        low, high = prediction_interval(draws.scores, 0.95, ROWS, held_out, METRICS[metric].bounds)
        holds.append(low <= found <= high)
        before = percentiles(draws.scores, 0.95)
        held_before.append(before[0] <= found <= before[1])
        widths.append((high - low) / (before[1] - before[0]))
    # The standard error of the simulation is 0.018.
    assert 0.90 <= np.mean(holds) <= 0.995
    if held_out == 50:
        assert np.mean(held_before) < 0.88, "the interval of the corrected score is no such claim"
    else:
        assert np.max(widths) < 1.0, "on many rows the score is known better than from a third"


def test_it_stays_within_the_bounds_of_the_metric() -> None:
    draws = np.array([0.9, 0.95, 1.0, 0.99])
    low, high = prediction_interval(draws, 0.95, 100, 10, (0.0, 1.0))
    assert high == 1.0
    assert low < 0.9
    assert prediction_interval(draws - 0.9, 0.95, 100, 2, (0.0, 1.0))[0] == 0.0


def test_few_new_rows_spread_more() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.1, 1_000)
    widths = [
        np.ptp(prediction_interval(draws, 0.95, 400, rows, (-np.inf, np.inf)))
        for rows in (10, 100, 1_000, 10**9)
    ]
    assert widths == sorted(widths, reverse=True)
    # Of endlessly many rows the score is that of the world: 400 rows say it within sd / sqrt(400).
    low, high = percentiles(draws, 0.95)
    assert widths[-1] == pytest.approx((high - low) / np.sqrt(np.e - 1))
