"""BBC-CV with pruned trials: a slow loop beside it, limits that are exact, and known truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.honesty_worlds import World, simulate
from selection.stats.bbc_cv import Draws, Rows, Stage, draw_out_of_bag
from selection.stats.intervals import bootstrap_counts
from selection.stats.selection_rules import choose

ROWS, FOLDS, TRIALS, BOOTSTRAPS, SEED = 60, 3, 7, 40, 5


def make_rows(metric: str = "accuracy") -> Rows:
    folds = np.random.default_rng(2).permutation(np.arange(ROWS) % FOLDS)
    return Rows(metric, np.zeros(ROWS), folds[None], None)


def halve(rungs: Any, end: Any, *, is_minimised: bool = False) -> Any:
    """Keep the better half at each rung, then take the best at the end."""
    sign = 1.0 if is_minimised else -1.0
    scores = end.copy()
    for line in range(len(end)):
        alive = np.arange(end.shape[1])
        for rung in range(rungs.shape[2]):
            order = np.argsort(sign * rungs[line, alive, rung], kind="stable")
            alive = np.sort(alive[order[: -(-len(alive) // 2)]])
        scores[line, np.setdiff1d(np.arange(end.shape[1]), alive)] = np.nan
    return choose(scores, "best", np.zeros(end.shape[1], np.int64), is_minimised=is_minimised)


def slow_draws(rows: Rows, values: list[Any], reached: Any, bootstraps: int) -> list[float]:
    """Do it bootstrap by bootstrap and trial by trial for the mean of row values.

    Shape: values (T, N) at each stage; reached (T,), the last stage of each trial.
    """
    folds, end = rows.folds[0], len(values) - 1

    def mean(row: Any, counts: Any) -> float:
        return float(
            np.mean([np.average(row[folds == f], weights=counts[folds == f]) for f in range(FOLDS)])
        )

    once = np.ones(ROWS)
    drawn = np.concatenate(list(bootstrap_counts(ROWS, None, bootstraps, SEED)))
    whole = [[mean(values[s][t], once) for s in range(end + 1)] for t in range(TRIALS)]
    moves = {
        (t, s): [mean(values[s][t], counts) - whole[t][s] for counts in drawn]
        for t in range(TRIALS)
        for s in range(reached[t] + 1)
    }
    share: dict[tuple[int, int], float] = {}
    later: dict[tuple[int, int], float] = {}
    for last in range(end):
        there = [t for t in range(TRIALS) if reached[t] >= last]
        for stage in range(last + 1, end + 1):
            both = [t for t in there if reached[t] >= stage]
            x = np.concatenate([moves[t, last] for t in both])
            y = np.concatenate([moves[t, stage] for t in both])
            share[last, stage] = float(np.clip(x @ y / (x @ x), 0, 1))
            old, new = ([whole[t][s] for t in both] for s in (last, stage))
            slope = float(np.clip(np.polyfit(old, new, 1)[0], 0, 1)) if len(both) > 2 else 1.0
            best = max(whole[t][stage] for t in range(TRIALS) if reached[t] >= stage)
            for t in range(TRIALS):
                if reached[t] == last:
                    grown = float(np.mean(new) + slope * (whole[t][last] - np.mean(old)))
                    later[t, stage] = min(grown, best)
    scores = []
    for b, counts in enumerate(drawn):
        table = np.empty((TRIALS, end + 1))
        for t in range(TRIALS):
            last = reached[t]
            for s in range(end + 1):
                if s <= last:
                    table[t, s] = whole[t][s] + moves[t, s][b]
                else:
                    table[t, s] = later[t, s] + share[last, s] * moves[t, last][b]
        (winner,) = halve(table[None, :, :-1], table[None, :, -1:])
        last = reached[winner]
        row = values[last][winner]
        score = row[counts == 0].mean()
        if last < end:
            score = later[winner, end] + share[last, end] * (score - row.mean())
        scores.append(float(score))
    return scores


def example(seed: int) -> tuple[list[Any], Any]:
    """Return hits at two rungs and the end, and the stage that each trial reached."""
    generator = np.random.default_rng(seed)
    latent = generator.normal(size=(TRIALS, ROWS))
    values = []
    for stage in range(3):
        latent = 0.8 * latent + 0.6 * generator.normal(size=latent.shape)
        values.append(latent < 0.1 * stage)
    return values, np.array([2, 0, 1, 0, 2, 1, 0])


def stages_of(values: list[Any], reached: Any) -> list[Stage]:
    return [
        Stage(np.flatnonzero(reached >= stage), table[None, reached >= stage])
        for stage, table in enumerate(values)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_replay_is_that_of_a_plain_loop(seed: int) -> None:
    values, reached = example(seed)
    rows = make_rows()
    draws = draw_out_of_bag(rows, stages_of(values, reached), halve, BOOTSTRAPS, SEED)
    slow = slow_draws(rows, [table.astype(float) for table in values], reached, BOOTSTRAPS)
    np.testing.assert_allclose(draws.scores, slow, atol=1e-9)
    assert len(set(draws.chosen.tolist())) > 1
    assert (reached[draws.chosen] < 2).any(), "no pruned trial ever wins: the test shows nothing"


def test_where_nothing_changes_after_the_rung_it_is_as_if_nothing_was_pruned() -> None:
    values, reached = example(1)
    rows = make_rows()
    same = [values[0]] * 3
    pruned = draw_out_of_bag(rows, stages_of(same, reached), halve, BOOTSTRAPS, SEED)
    full = draw_out_of_bag(rows, stages_of(same, np.full(TRIALS, 2)), halve, BOOTSTRAPS, SEED)
    np.testing.assert_array_equal(pruned.chosen, full.chosen)
    np.testing.assert_allclose(pruned.scores, full.scores, atol=1e-12)


def test_losses_are_replayed_as_gains_are() -> None:
    values, reached = example(2)
    gains = [table.astype(float) for table in values]
    rows = make_rows("mae")

    def fewest(rungs: Any, end: Any) -> Any:
        return halve(rungs, end, is_minimised=True)

    losses = draw_out_of_bag(
        rows, stages_of([1.0 - table for table in gains], reached), fewest, BOOTSTRAPS, SEED
    )
    scores = draw_out_of_bag(make_rows(), stages_of(values, reached), halve, BOOTSTRAPS, SEED)
    np.testing.assert_array_equal(losses.chosen, scores.chosen)
    np.testing.assert_allclose(1.0 - losses.scores, scores.scores, atol=1e-9)


def test_no_pruned_trial_becomes_better_than_the_best_that_is_on_record() -> None:
    # Slow starters gain much; a quick one that was pruned has no room for as much.
    rows, generator = make_rows(), np.random.default_rng(0)
    early = (
        generator.random((TRIALS, ROWS)) < np.array([0.2, 0.3, 0.3, 0.85, 0.8, 0.8, 0.3])[:, None]
    )
    late = generator.random((TRIALS, ROWS)) < np.array([0.8, 0.9, 0.85, 0.95, 0, 0, 0])[:, None]
    reached = np.array([1, 1, 1, 1, 0, 0, 0])
    seen: list[Any] = []

    def spy(rungs: Any, end: Any) -> Any:
        seen.append(end.mean(axis=2))  # (b, T)
        return halve(rungs, end)

    draw_out_of_bag(rows, stages_of([early, late], reached), spy, 2000, SEED)
    means = np.concatenate(seen).mean(axis=0)
    best = means[:4].max()
    assert (means[4:] <= best + 0.01).all()
    assert (means[4:] > early[4:].mean(axis=1) - 0.01).all(), "they would have gained something"


def test_in_bag_scores_are_those_of_the_last_predictions() -> None:
    values, reached = example(3)
    rows = make_rows()
    draws: Draws = draw_out_of_bag(rows, stages_of(values, reached), halve, BOOTSTRAPS, SEED)
    for trial in range(TRIALS):
        row = values[reached[trial]][trial]
        means = [row[rows.folds[0] == fold].mean() for fold in range(FOLDS)]
        assert draws.whole[trial] == pytest.approx(np.mean(means))
    assert draws.in_bag.shape == (BOOTSTRAPS, TRIALS)
    assert np.mean(draws.in_bag - draws.whole) == pytest.approx(0.0, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        World("no signal"),
        World("no signal, steady", steady=0.95),
        World("no signal, 500 rows", rows=500),
        World("signal", quality=(9, 6), rows=500),
    ],
    ids=lambda world: world.name,
)
def test_the_corrected_estimate_is_close_to_a_known_truth(world: World) -> None:
    verdicts = [simulate(world, world.spec(), seed, 200) for seed in range(120)]
    truths = np.array([verdict.truth for verdict in verdicts])

    def bias(name: str) -> float:
        return float(np.mean([getattr(verdict, name) for verdict in verdicts] - truths))

    # Three standard errors of the simulation beside the goal of 0.01.
    error = np.std([verdict.corrected for verdict in verdicts] - truths) / np.sqrt(120)
    assert abs(bias("corrected")) <= 0.01 + 3 * error
    assert abs(bias("corrected")) < bias("observed")
    assert bias("corrected") < bias("survivors")
    covered = [v.low <= truth <= v.high for v, truth in zip(verdicts, truths, strict=True)]
    assert np.mean(covered) >= 0.92
    assert np.mean([v.bound <= truth for v, truth in zip(verdicts, truths, strict=True)]) >= 0.9
