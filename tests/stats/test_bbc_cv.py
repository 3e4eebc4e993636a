"""The winner's score without optimism: a slow loop beside it, and worlds whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import sklearn.metrics as oracle

from selection.stats.bbc_cv import (
    Draws,
    Rows,
    Stage,
    draw_out_of_bag,
    fold_scores,
    pooled_scores,
)
from selection.stats.intervals import bootstrap_counts, percentiles, wilson
from selection.stats.scores import reduce_outputs
from selection.stats.selection_rules import choose

MINIMISED = ("rmse", "mae", "cross_entropy")


def best(trials: int, *, is_minimised: bool = False) -> Callable[[Any], Any]:
    equal = np.zeros(trials, dtype=np.int64)
    return lambda scores: choose(scores, "best", equal, is_minimised=is_minimised)


def draws_of(rows: Rows, predictions: Any, choose_at_end: Any, *options: Any, **more: Any) -> Draws:
    """Draw from trials that were never pruned. Shape: predictions (R, T, N) or (R, T, N, C)."""
    stages = [Stage(np.arange(predictions.shape[1]), predictions)]
    return draw_out_of_bag(rows, stages, lambda _, end: choose_at_end(end), *options, **more)


def kfold(rows: int, folds: int, repeats: int, generator: np.random.Generator) -> Any:
    """Assign every row to a fold, anew in each repeat. Shape: (R, N)."""
    return np.stack([generator.permutation(np.arange(rows) % folds) for _ in range(repeats)])


def slow_score(metric: str, outputs: Any, targets: Any) -> float:
    """Return scikit-learn's score of rows as they are; NaN where there is none."""
    if not len(targets):
        return math.nan
    match metric:
        case "accuracy":
            return float(oracle.accuracy_score(targets, outputs.argmax(axis=1)))
        case "macro_f1":
            return float(oracle.f1_score(targets, outputs.argmax(axis=1), average="macro"))
        case "rmse":
            return float(oracle.root_mean_squared_error(targets, outputs[:, 0]))
    if len(set(targets)) < 2:
        return math.nan
    return float(oracle.roc_auc_score(targets, scipy.special.softmax(outputs, axis=1)[:, 1]))


def slow_folds(metric: str, rows: Rows, outputs: Any, counts: Any) -> list[float]:
    """Return the score of one trial on each fold. Shape: outputs (R, N, C), counts (N,)."""
    scores = []
    for repeat, folds in enumerate(rows.folds):
        for fold in range(folds.max() + 1):
            numbers = np.repeat(np.arange(len(counts)), np.where(folds == fold, counts, 0))
            scores.append(slow_score(metric, outputs[repeat, numbers], rows.targets[numbers]))
    return scores


def slow_draws(rows: Rows, outputs: Any, bootstraps: int, seed: int) -> tuple[list[int], Any]:
    """Choose in-bag by the mean over folds, score out-of-bag. Shape: outputs (R, T, N, C)."""
    metric, chosen, scores = rows.metric, [], []
    drawn = bootstrap_counts(len(rows.targets), rows.groups, bootstraps, seed)
    for counts in np.concatenate(list(drawn)):
        means = [
            np.nanmean(slow_folds(metric, rows, one, counts)) for one in outputs.swapaxes(0, 1)
        ]
        winner = int(np.argmin(means) if metric in MINIMISED else np.argmax(means))
        chosen.append(winner)
        scores.append(slow_pooled(rows, outputs[:, winner], counts == 0))
    return chosen, np.array(scores)


def slow_pooled(rows: Rows, outputs: Any, is_scored: Any) -> float:
    """Return the score over chosen rows of one trial. Shape: outputs (R, N, C), is_scored (N,)."""
    if rows.metric == "roc_auc":
        return float(np.nanmean(slow_folds(rows.metric, rows, outputs, is_scored.astype(int))))
    of_repeats = []
    for repeat, folds in enumerate(rows.folds):
        numbers = np.flatnonzero(is_scored & (folds >= 0))
        of_repeats.append(slow_score(rows.metric, outputs[repeat, numbers], rows.targets[numbers]))
    return float(np.mean(of_repeats))


def world(metric: str, kind: str, seed: int) -> tuple[Rows, Any]:
    """Return 60 rows and the outputs (R, 4, 60, C) of four trials that are close to each other."""
    generator = np.random.default_rng(seed)
    repeats = 2 if kind == "repeats" else 1
    folds = kfold(60, 3, repeats, generator)
    groups = None
    if kind == "groups":
        groups = generator.integers(0, 17, size=60)
        folds = (groups % 3)[None]
    if kind == "time_series":
        folds = np.repeat([-1, 0, 1, 2], 15)[None]
    if metric == "rmse":
        targets: Any = 5 + generator.normal(size=60)
        outputs = targets[:, None] + generator.normal(size=(repeats, 4, 60, 1))
    else:
        classes = 2 if metric == "roc_auc" else 3
        targets = generator.integers(0, classes, size=60)
        outputs = generator.normal(size=(repeats, 4, 60, classes)) + np.eye(classes)[targets]
    return Rows(metric, targets, folds, groups), outputs


def reduced(rows: Rows, outputs: Any) -> Any:
    return np.stack(
        [
            np.stack([reduce_outputs(rows.metric, one, rows.targets) for one in of_repeat])
            for of_repeat in outputs
        ]
    )


@pytest.mark.parametrize("kind", ["repeats", "groups", "time_series"])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "rmse", "roc_auc"])
def test_draws_are_those_of_a_plain_loop(metric: str, kind: str) -> None:
    rows, outputs = world(metric, kind, seed=11)
    kept = reduced(rows, outputs)
    if metric == "rmse":  # what was never predicted is never read
        kept[np.broadcast_to(rows.folds[:, None] < 0, kept.shape)] = np.nan
    seen = []

    def spy(scores: Any) -> Any:
        seen.append(best(4, is_minimised=metric in MINIMISED)(scores))
        return seen[-1]

    draws = draws_of(rows, kept, spy, 15, seed=3)
    chosen, expected = slow_draws(rows, outputs, 15, seed=3)
    assert len(set(chosen)) > 1, "the trials are close"
    assert np.concatenate(seen).tolist() == chosen
    np.testing.assert_allclose(draws.scores, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["repeats", "groups", "time_series"])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "rmse", "roc_auc"])
def test_scores_of_the_record_are_those_of_scikit_learn(metric: str, kind: str) -> None:
    rows, outputs = world(metric, kind, seed=12)
    once = np.ones((1, 60), dtype=np.int16)
    by_trial = outputs.swapaxes(0, 1)
    by_fold = [slow_folds(metric, rows, one, once[0]) for one in by_trial]
    np.testing.assert_allclose(fold_scores(rows, reduced(rows, outputs), once)[0], by_fold)
    pooled = [slow_pooled(rows, one, once[0] > 0) for one in by_trial]
    np.testing.assert_allclose(pooled_scores(rows, reduced(rows, outputs), once)[0], pooled)


def test_many_blocks_of_bootstraps_come_back_in_order() -> None:
    generator = np.random.default_rng(13)
    hits, folds = generator.random((1, 6, 90)) < 0.7, kfold(90, 5, 1, generator)
    rows = Rows("accuracy", np.zeros(90), folds, None)
    draws = draws_of(rows, hits, best(6), 300, 5, {"competitor": hits[:, 3]})
    assert draws.scores.shape == draws.competitors["competitor"].shape == (300,)
    for index, counts in enumerate(np.concatenate(list(bootstrap_counts(90, None, 300, 5)))):
        means = []
        for trial in hits[0]:
            shares = [
                (trial * counts)[folds[0] == fold].sum() / counts[folds[0] == fold].sum()
                for fold in range(5)
            ]
            means.append(np.mean(shares))
        winners = np.flatnonzero(np.isclose(means, max(means), rtol=0, atol=1e-12))
        possible = [hits[0, winner, counts == 0].mean() for winner in winners]
        assert np.isclose(possible, draws.scores[index], rtol=1e-12).any()
        assert draws.competitors["competitor"][index] == pytest.approx(
            hits[0, 3, counts == 0].mean()
        )


def flips(chances: Any, rows: int, seed: int, folds: int = 5) -> tuple[Rows, Any]:
    """Return the hits (1, T, N) of trials that are right by chance alone."""
    generator = np.random.default_rng(seed)
    hits = generator.random((1, len(chances), rows)) < np.asarray(chances)[:, None]
    return Rows("accuracy", np.zeros(rows), kfold(rows, folds, 1, generator), None), hits


def corrected(rows: Rows, hits: Any, seed: int, bootstraps: int = 200) -> tuple[float, Draws]:
    """Return the raw score of the winner of the record, and the draws."""
    chooses = best(hits.shape[1])
    once = np.ones((1, hits.shape[2]), dtype=np.int16)
    scores = fold_scores(rows, hits, once)
    winner = chooses(scores)[0]
    return float(scores[0, winner].mean()), draws_of(rows, hits, chooses, bootstraps, seed)


def test_the_best_of_pure_chance_is_corrected_to_chance() -> None:
    raw, estimates, covers = [], [], []
    for seed in range(40):
        of_winner, draws = corrected(*flips([0.5] * 50, 200, seed), seed)
        raw.append(of_winner)
        estimates.append(draws.scores.mean())
        low, high = percentiles(draws.scores, 0.95)
        covers.append(low <= 0.5 <= high)
    assert np.mean(raw) > 0.56
    assert min(raw) > 0.53
    assert np.mean(estimates) == pytest.approx(0.5, abs=0.012)
    assert np.mean(covers) >= 0.95


def test_a_trial_that_is_truly_better_keeps_its_score() -> None:
    raw, estimates, covers, lows = [], [], [], []
    for seed in range(25):
        of_winner, draws = corrected(*flips([0.6] * 19 + [0.8], 200, 100 + seed), seed)
        raw.append(of_winner)
        estimates.append(draws.scores.mean())
        low, high = percentiles(draws.scores, 0.95)
        covers.append(low <= 0.8 <= high)
        lows.append(low)
    assert np.mean(estimates) == pytest.approx(0.8, abs=0.015)
    assert np.mean(estimates) == pytest.approx(np.mean(raw), abs=0.01)
    assert np.mean(covers) >= 0.9
    assert np.mean(np.array(lows) > 0.6) >= 0.9, "and is told from the rest"


def test_intervals_cover_the_truth_of_the_winner_and_are_not_idle() -> None:
    """Among close trials the truth is the chance of whichever trial the record chooses."""
    chances = np.linspace(0.6, 0.7, 12)
    covers, widths, raw_errors, errors = [], [], [], []
    for seed in range(60):
        rows, hits = flips(chances, 250, 200 + seed)
        scores = fold_scores(rows, hits, np.ones((1, 250), dtype=np.int16))
        winner = int(best(12)(scores)[0])
        draws = draws_of(rows, hits, best(12), 200, seed)
        low, high = percentiles(draws.scores, 0.95)
        covers.append(low <= chances[winner] <= high)
        naive = wilson(int(hits[0, winner].sum()), 250, 0.95)
        widths.append((high - low) / (naive[1] - naive[0]))
        raw_errors.append(scores[0, winner].mean() - chances[winner])
        errors.append(draws.scores.mean() - chances[winner])
    assert np.mean(covers) >= 0.93
    assert np.mean(raw_errors) > 0.015, "the raw score is optimistic"
    assert -0.02 < np.mean(errors) < 0.007, "the estimate is not, and hardly pessimistic"
    assert 0.9 < np.mean(widths) < 1.7, "against Wilson's interval for one model"


def test_correlated_trials_are_corrected_too() -> None:
    """Fifty copies of nearly the same coin: less to choose from, and no optimism left."""
    raw, estimates = [], []
    for seed in range(40):
        rows, hits = flips([0.5] * 50, 200, 300 + seed)
        is_own = np.random.default_rng(400 + seed).random((50, 200)) < 0.2
        hits = np.where(is_own, hits, hits[:, :1])
        of_winner, draws = corrected(rows, hits, seed)
        raw.append(of_winner - hits[0].mean())
        estimates.append(draws.scores.mean() - hits[0].mean())
    assert 0.01 < np.mean(raw) < 0.06
    assert np.mean(estimates) == pytest.approx(0.0, abs=0.012)


def test_groups_are_left_out_whole() -> None:
    """Each trial knows some groups by heart: rows drawn one by one would reward that."""
    by_group: list[float] = []
    by_row: list[float] = []
    for seed in range(25):
        generator = np.random.default_rng(500 + seed)
        groups = np.repeat(np.arange(20), 10)
        hits = (generator.random((40, 20)) < 0.5)[:, groups][None]
        folds = (groups % 5)[None]
        for estimates, units in ((by_group, groups), (by_row, None)):
            rows = Rows("accuracy", np.zeros(200), folds, units)
            estimates.append(corrected(rows, hits, seed)[1].scores.mean())
    assert np.mean(by_group) == pytest.approx(0.5, abs=0.035)
    assert np.mean(by_row) > 0.6, "what grouping must prevent"


@pytest.mark.parametrize(
    ("metric", "is_minimised", "winner"), [("rmse", True, 1), ("mae", True, 1), ("r2", False, 1)]
)
def test_a_minimised_metric_chooses_the_lowest(
    metric: str, is_minimised: bool, winner: int
) -> None:
    generator = np.random.default_rng(14)
    targets = generator.normal(size=80)
    noise = generator.normal(size=(1, 3, 80)) * np.array([3.0, 0.5, 9.0])[:, None]
    rows = Rows(metric, targets, kfold(80, 4, 1, generator), None)
    predictions = targets + noise
    draws = draws_of(rows, predictions, best(3, is_minimised=is_minimised), 60, 1)
    counts = np.concatenate(list(bootstrap_counts(80, None, 60, 1)))
    score = {
        "rmse": oracle.root_mean_squared_error,
        "mae": oracle.mean_absolute_error,
        "r2": oracle.r2_score,
    }[metric]
    expected = [score(targets[c == 0], predictions[0, winner, c == 0]) for c in counts]
    np.testing.assert_allclose(draws.scores, expected, rtol=1e-9)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "rmse", "roc_auc"])
def test_competitors_are_scored_on_the_same_rows(metric: str) -> None:
    rows, outputs = world(metric, "repeats", seed=15)
    kept = reduced(rows, outputs)
    competitors = {"itself": kept[:, 0], "another": kept[:, 1]}
    draws = draws_of(rows, kept[:, :1], best(1), 150, 2, competitors)
    assert list(draws.competitors) == ["itself", "another"]
    np.testing.assert_array_equal(draws.scores, draws.competitors["itself"])
    alone = draws_of(rows, kept[:, 1:2], best(1), 150, 2)
    np.testing.assert_array_equal(draws.competitors["another"], alone.scores)
    assert not np.array_equal(draws.scores, alone.scores)


def test_a_competitor_with_chances_of_several_classes() -> None:
    generator = np.random.default_rng(16)
    targets = generator.integers(0, 3, size=90)
    chances = generator.dirichlet(np.ones(3), size=(1, 2, 90))
    rows = Rows("roc_auc", targets, kfold(90, 3, 1, generator), None)
    draws = draws_of(rows, chances, lambda scores: np.ones(len(scores), np.int64), 20, 0)
    other = draws_of(rows, chances[:, :1], best(1), 20, 0, {"one": chances[:, 1]})
    np.testing.assert_allclose(other.competitors["one"], draws.scores, rtol=1e-12)


def test_without_competitors_there_are_none_and_a_seed_repeats() -> None:
    rows, hits = flips([0.5, 0.6, 0.7], 50, 17)
    first, again, other = (draws_of(rows, hits, best(3), 40, seed) for seed in (1, 1, 2))
    assert first.competitors == {}
    np.testing.assert_array_equal(first.scores, again.scores)
    assert not np.array_equal(first.scores, other.scores)


@pytest.mark.parametrize("metric", ["accuracy", "rmse", "mae", "r2"])
def test_bootstraps_that_leave_nothing_out_have_no_score(metric: str) -> None:
    """Of three groups all are drawn in 2 of 9 bootstraps."""
    generator = np.random.default_rng(18)
    groups = np.repeat([0, 1, 2], 10)
    targets = generator.normal(size=30)
    predictions: Any = targets + 3 * generator.normal(size=(1, 2, 30))
    if metric == "accuracy":
        predictions = predictions > 0
    rows = Rows(metric, targets, groups[None], groups)
    chooses = best(2, is_minimised=metric in MINIMISED)
    draws = draws_of(rows, predictions, chooses, 200, 0, {"competitor": predictions[:, 0]})
    is_all_drawn = (np.concatenate(list(bootstrap_counts(30, groups, 200, 0))) > 0).all(axis=1)
    assert 20 < is_all_drawn.sum() < 70
    np.testing.assert_array_equal(np.isnan(draws.scores), is_all_drawn)
    np.testing.assert_array_equal(np.isnan(draws.competitors["competitor"]), is_all_drawn)


def test_a_simple_rule_is_followed_in_the_bag() -> None:
    """One standard error takes the simple trial, and its score is the one estimated."""
    generator = np.random.default_rng(19)
    hits = generator.random((1, 2, 300)) < 0.7
    hits[0, 1] = hits[0, 0] & (generator.random(300) < 0.99)
    rows = Rows("accuracy", np.zeros(300), kfold(300, 5, 1, generator), None)
    simplicity = np.array([1, 0])
    chosen = []

    def simple(scores: Any) -> Any:
        chosen.append(choose(scores, "one_standard_error", simplicity, is_minimised=False))
        return chosen[-1]

    draws = draws_of(rows, hits, simple, 60, 3)
    winners = np.concatenate(chosen)
    assert np.mean(winners == 1) > 0.8
    counts = np.concatenate(list(bootstrap_counts(300, None, 60, 3)))
    expected = [
        hits[0, winner, line == 0].mean() for winner, line in zip(winners, counts, strict=True)
    ]
    np.testing.assert_allclose(draws.scores, expected, rtol=1e-12)
