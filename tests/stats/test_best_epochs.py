"""BBC-CV where the best mean chooses the epoch of each trial: a slow loop, and a known truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.honesty_worlds import Verdict, World, simulate
from selection.stats.bbc_cv import Rows, Stage, draw_out_of_bag
from selection.stats.intervals import bootstrap_counts
from selection.stats.selection_rules import choose
from selection.study.spec import parse_study
from selection.workflows.correct import lower_bound

ROWS, FOLDS, BOOTSTRAPS, SEED = 60, 3, 40, 5
# How many epochs of each trial compete.
EPOCHS = (3, 1, 4, 2)


def make_rows(metric: str = "accuracy") -> Rows:
    folds = np.random.default_rng(2).permutation(np.arange(ROWS) % FOLDS)
    return Rows(metric, np.zeros(ROWS), folds[None], None)


def best(_: Any, end: Any) -> Any:
    return choose(end, "best", np.zeros(end.shape[1], np.int64), is_minimised=False)


def worst(_: Any, end: Any) -> Any:
    return choose(end, "best", np.zeros(end.shape[1], np.int64), is_minimised=True)


def hits_of(seed: int) -> list[Any]:
    """Return hits by trial. Shape: (E, N) each."""
    generator = np.random.default_rng(seed)
    return [generator.random((epochs, ROWS)) < 0.5 for epochs in EPOCHS]


def end_of(hits: list[Any]) -> Stage:
    trials = np.repeat(np.arange(len(hits)), [len(table) for table in hits])
    return Stage(trials, np.concatenate(hits)[None])


def mean_over_folds(row: Any, counts: Any) -> float:
    folds = make_rows().folds[0]
    parts = [np.average(row[folds == f], weights=counts[folds == f]) for f in range(FOLDS)]
    return float(np.mean(parts))


@pytest.mark.parametrize("seed", range(3))
def test_the_drawn_rows_choose_the_epoch_and_then_the_trial(seed: int) -> None:
    hits = hits_of(seed)
    draws = draw_out_of_bag(make_rows(), [end_of(hits)], best, BOOTSTRAPS, SEED)
    drawn = np.concatenate(list(bootstrap_counts(ROWS, None, BOOTSTRAPS, SEED)))
    pairs = []
    for line, counts in enumerate(drawn):
        means = [[mean_over_folds(row, counts) for row in table] for table in hits]
        winner = int(np.argmax([max(of_trial) for of_trial in means]))
        epoch = int(np.argmax(means[winner]))
        assert draws.chosen[line] == winner
        assert draws.scores[line] == pytest.approx(hits[winner][epoch][counts == 0].mean())
        pairs.append((winner, epoch))
    assert len(set(pairs)) > len({winner for winner, _ in pairs}), "one trial, several epochs"
    assert draws.trials.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]
    whole = [mean_over_folds(row, np.ones(ROWS)) for table in hits for row in table]
    np.testing.assert_allclose(draws.whole, whole)
    assert draws.in_bag.shape == (BOOTSTRAPS, 10)
    first = draws.best_column(2, is_minimised=False)
    assert first == 4 + int(np.argmax(whole[4:8]))


def test_small_is_good_where_the_metric_says_so() -> None:
    errors = [1.0 - table for table in hits_of(1)]
    losses = draw_out_of_bag(make_rows("mae"), [end_of(errors)], worst, BOOTSTRAPS, SEED)
    scores = draw_out_of_bag(make_rows(), [end_of(hits_of(1))], best, BOOTSTRAPS, SEED)
    np.testing.assert_array_equal(losses.chosen, scores.chosen)
    np.testing.assert_allclose(1.0 - losses.scores, scores.scores)


def test_epochs_that_are_all_alike_change_nothing() -> None:
    hits = [table[:1] for table in hits_of(2)]
    alike = [np.repeat(table, epochs, axis=0) for table, epochs in zip(hits, EPOCHS, strict=True)]
    early = np.random.default_rng(0).random((1, 6, ROWS)) < 0.5
    early[0, :4], early[0, 4, :20] = np.concatenate(hits), True
    rung = Stage(np.arange(6), early)
    # Trials 4 and 5 were pruned, and compete with what is carried over.
    one = draw_out_of_bag(make_rows(), [rung, end_of(hits)], best, 200, SEED)
    many = draw_out_of_bag(make_rows(), [rung, end_of(alike)], best, 200, SEED)
    assert (one.chosen > 3).any()
    # The optimism of a choice among equals is what the draws alone make of it.
    np.testing.assert_array_equal(one.chosen < 4, many.chosen < 4)
    complete = one.chosen < 4
    np.testing.assert_allclose(one.scores[complete], many.scores[complete])
    assert np.abs(one.scores - many.scores).max() < 0.02


def test_the_level_of_the_lower_bound_is_over_all_trials_and_epochs() -> None:
    spec = parse_study(
        {"name": "s", "data": {"dataset": "iris"}, "space": {"width": {"low": 2, "high": 9}}}, "s"
    )
    hits = [np.random.default_rng(seed).random((20, ROWS)) < 0.5 for seed in range(4)]
    rows = make_rows()
    draws = draw_out_of_bag(rows, [end_of(hits)], best, 500, SEED)
    column = draws.best_column(0, is_minimised=False)
    winner = hits[0][column]
    alone = [np.stack([table[column]]) for table in hits]
    few = draw_out_of_bag(rows, [end_of(alone)], best, 500, SEED)
    bound = lower_bound(spec, rows, draws, 0, winner[None], SEED)
    assert bound < lower_bound(spec, rows, few, 0, winner[None], SEED)


def bias(verdicts: list[Verdict], name: str) -> float:
    return float(np.mean([getattr(each, name) - each.truth for each in verdicts]))


@pytest.mark.parametrize(
    ("world", "studies"),
    [
        (World("nothing pruned, 12 trials", trials=12, pruner="none", epochs=15), 200),
        pytest.param(World("halving", epochs=15), 400, marks=pytest.mark.slow),
        pytest.param(
            World("patience", pruner="none", epochs=15, patience=3), 400, marks=pytest.mark.slow
        ),
    ],
    ids=lambda each: each.name if isinstance(each, World) else "",
)
def test_on_pure_noise_the_corrected_mean_is_at_chance(world: World, studies: int) -> None:
    verdicts = [simulate(world, world.spec(), seed, 50) for seed in range(studies)]
    assert bias(verdicts, "observed") > 0.09
    # The standard error of the simulation is 0.0025.
    assert abs(bias(verdicts, "corrected")) < 0.01
    assert bias(verdicts, "given_epochs") > 0.02, "the epoch is chosen too, not given"


def test_a_fixed_epoch_is_the_world_of_before() -> None:
    make: Callable[..., World] = World
    verdict = simulate(make("one epoch"), make("one epoch").spec(), 3, 50)
    assert verdict.given_epochs == verdict.corrected
