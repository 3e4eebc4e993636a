"""The corrected score of an ensemble in worlds whose truth is known, with and without pruning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selection.stats import ensemble_draws
from selection.stats.bbc_cv import Draws, Rows, Stage, draw_out_of_bag
from selection.stats.ensemble_draws import draw_ensembles
from selection.stats.ensemble_selection import Library, select
from selection.stats.intervals import bootstrap_counts

ROWS, FOLDS = 150, 5
ONCE = np.ones((1, ROWS), dtype=np.int16)


def coins(trials: int, signal: float, seed: int) -> tuple[Library, Any]:
    """Return trials of two classes, and the mean margin of each trial on fresh rows.

    A trial's margin on a row is noise of its own around what all trials see of it. Without a
    signal every ensemble of them is right half of the time.
    """
    generator = np.random.default_rng(seed)

    def margins(rows: int) -> Any:
        common = generator.normal(size=rows)
        own = generator.normal(size=(trials, rows))
        return np.tanh(signal + 0.6 * common + 0.8 * own).astype(np.float32)

    folds = generator.permutation(np.arange(ROWS) % FOLDS)[None]
    rows = Rows("accuracy", np.zeros(ROWS), folds, None)
    return Library(rows, margins(ROWS)[None, None]), margins(4000)


def all_left(rungs: Any) -> Any:
    return np.ones(rungs.shape[:2], dtype=np.bool_)


def corrected(library: Library, seed: int, bootstraps: int = 40) -> Draws:
    hits = library.parts[0] > 0
    stages = [Stage(np.arange(library.trials), hits)]
    return draw_ensembles(library.rows, stages, library, all_left, bootstraps, seed)


def naive(library: Library, seed: int, bootstraps: int = 40) -> Any:
    """Return out-of-bag scores of the one ensemble that was selected on all rows."""
    counts, _ = select(library, ONCE)
    drawn = np.concatenate(list(bootstrap_counts(ROWS, None, bootstraps, seed)))
    return library.pooled_scores(np.repeat(counts, bootstraps, axis=0), drawn == 0)


def errors(signal: float, studies: int) -> dict[str, Any]:
    """Return how far each of three scores lies from the truth, study by study."""
    found: dict[str, list[float]] = {"observed": [], "naive": [], "corrected": []}
    covered = []
    for seed in range(studies):
        library, fresh = coins(20, signal, seed)
        (counts,), (observed,) = select(library, ONCE)
        truth = float((counts @ fresh > 0).mean()) if signal else 0.5
        scores = corrected(library, seed).scores
        low, high = np.quantile(scores, [0.025, 0.975])
        covered.append(low <= truth <= high)
        found["observed"].append(observed - truth)
        found["naive"].append(naive(library, seed).mean() - truth)
        found["corrected"].append(scores.mean() - truth)
    return {name: np.array(values) for name, values in found.items()} | {"covered": covered}


def test_an_ensemble_of_pure_chance_is_corrected_to_chance() -> None:
    found = errors(0.0, 30)
    assert found["observed"].mean() > 0.08
    assert abs(found["corrected"].mean()) < 0.015
    assert found["naive"].mean() > 0.05, "selecting on all rows would not pass this test"
    assert np.mean(found["covered"]) >= 0.95


def test_an_ensemble_with_a_signal_keeps_its_score() -> None:
    found = errors(0.8, 20)
    assert found["observed"].mean() > 0.02
    assert abs(found["corrected"].mean()) < 0.012
    assert abs(found["corrected"].mean()) < 0.5 * found["observed"].mean()
    assert np.mean(found["covered"]) >= 0.9


def test_at_most_so_many_bootstraps_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble_draws, "BOOTSTRAPS", 7)
    library, _ = coins(4, 0.5, 1)
    assert corrected(library, 1, bootstraps=30).scores.shape == (7,)
    assert corrected(library, 1, bootstraps=5).in_bag.shape == (5, 4)


def pruned_world() -> tuple[Rows, list[Stage], Library]:
    """Return six trials of which 1 and 4 ended at a rung; the fifth looked very good there."""
    library, _ = coins(6, 0.3, 3)
    early = np.random.default_rng(0).random((1, 6, ROWS)) < 0.6
    early[0, 4] = np.random.default_rng(1).random(ROWS) < 0.97
    ended = np.array([0, 2, 3, 5])
    parts = library.parts[:, :, ended]
    stages = [Stage(np.arange(6), early), Stage(ended, parts[0] > 0)]
    return library.rows, stages, Library(library.rows, parts)


def test_trials_that_the_pruner_drops_do_not_join() -> None:
    rows, stages, library = pruned_world()

    def two_left(rungs: Any) -> Any:
        left = np.zeros(rungs.shape[:2], dtype=np.bool_)
        left[:, [2, 5]] = True
        return left

    draws = draw_ensembles(rows, stages, library, two_left, 30, 1)
    drawn = np.concatenate(list(bootstrap_counts(ROWS, None, 30, 1)))
    counts, _ = select(library, drawn, np.tile([False, True, False, True], (30, 1)))
    np.testing.assert_allclose(draws.scores, library.pooled_scores(counts, drawn == 0))
    assert set(draws.chosen.tolist()) <= {2, 5}


def test_a_pruned_trial_wins_alone_where_it_is_better_than_the_ensemble() -> None:
    rows, stages, library = pruned_world()
    seen: list[Any] = []

    def best_pruned(_: Any, end: Any) -> Any:
        seen.append(end.mean(axis=2))
        return np.full(len(end), 4)

    alone = draw_out_of_bag(rows, stages, best_pruned, 60, 1)
    draws = draw_ensembles(rows, stages, library, all_left, 60, 1)
    drawn = np.concatenate(list(bootstrap_counts(ROWS, None, 60, 1)))
    counts, in_bag = select(library, drawn)
    wins = np.concatenate(seen)[:, 4] > in_bag
    assert 0 < wins.sum() < 60
    ensembles = library.pooled_scores(counts, drawn == 0)
    np.testing.assert_allclose(draws.scores, np.where(wins, alone.scores, ensembles))
    np.testing.assert_array_equal(draws.chosen == 4, wins)


def epochs_world(seed: int) -> tuple[Rows, list[Stage], Library]:
    """Return trials without a signal whose epoch, one of ten, was chosen on all rows."""
    generator, trials, epochs = np.random.default_rng(seed), 12, 10
    common = generator.normal(size=ROWS)
    own = generator.normal(size=(trials, ROWS))
    course = []
    for _ in range(epochs):
        own = 0.9 * own + np.sqrt(1 - 0.81) * generator.normal(size=own.shape)
        course.append(0.6 * common + 0.8 * own)
    margins = np.stack(course, axis=1)  # (T, E, N)
    folds = generator.permutation(np.arange(ROWS) % FOLDS)[None]
    rows = Rows("accuracy", np.zeros(ROWS), folds, None)
    best = (margins > 0).mean(axis=2).argmax(axis=1)
    parts = np.tanh(margins[np.arange(trials), best]).astype(np.float32)[None, None]
    columns = (margins > 0).reshape(1, trials * epochs, ROWS)
    return rows, [Stage(np.repeat(np.arange(trials), epochs), columns)], Library(rows, parts)


def test_an_epoch_that_was_chosen_on_all_rows_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean_estimate() -> float:
        worlds = [epochs_world(seed) for seed in range(25)]
        draws = [
            draw_ensembles(rows, stages, library, all_left, 30, seed)
            for seed, (rows, stages, library) in enumerate(worlds)
        ]
        return float(np.mean([each.scores.mean() for each in draws]))

    assert mean_estimate() == pytest.approx(0.5, abs=0.012)
    monkeypatch.setattr(ensemble_draws._EpochLosses, "of", lambda self, counts, weights: 0.0)
    assert mean_estimate() > 0.512
