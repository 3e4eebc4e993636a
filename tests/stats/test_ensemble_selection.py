"""Greedy ensembles: a slow loop beside them, ties, limits, and what unlucky rows do to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

from selection.stats import ensemble_selection
from selection.stats.bbc_cv import Rows
from selection.stats.ensemble_selection import Library, averaged_parts, select
from selection.stats.intervals import bootstrap_counts
from selection.stats.rank_areas import rank_areas
from selection.stats.scores import weighted_scores
from tests.stats.test_bbc_cv import MINIMISED, slow_folds, slow_pooled, world


def library_of(rows: Rows, outputs: Any) -> Library:
    """Return the library of trials with these outputs. Shape: outputs (R, T, N, C)."""
    parts = [
        [averaged_parts(rows.metric, one, rows.targets) for one in of_repeat]
        for of_repeat in outputs
    ]
    return Library(rows, np.moveaxis(np.array(parts), 2, 0))


def mean_outputs(metric: str, outputs: Any, counts: Any) -> Any:
    """Return the mean values, or the logarithms of the mean chances. Shape: (R, N, C)."""
    if metric in ("rmse", "mae", "r2"):
        return np.average(outputs, axis=1, weights=counts)
    chances = scipy.special.softmax(outputs, axis=3)
    return np.log(np.average(chances, axis=1, weights=counts))


def slow_selection(rows: Rows, outputs: Any, weights: Any) -> tuple[list[int], float]:
    """Select one ensemble, trial by trial and round by round."""
    sign = -1.0 if rows.metric in MINIMISED else 1.0

    def gain(counts: list[int]) -> float:
        mean = mean_outputs(rows.metric, outputs, counts)
        return round(float(sign * np.nanmean(slow_folds(rows.metric, rows, mean, weights))), 12)

    trials = range(outputs.shape[1])
    counts = [0] * len(trials)
    best, best_gain, stale = counts, -np.inf, 0
    for _ in range(ensemble_selection.ROUNDS):
        added = [
            [count + (trial == other) for other, count in enumerate(counts)] for trial in trials
        ]
        gains = [gain(each) for each in added]
        counts = added[int(np.argmax(gains))]
        if max(gains) > best_gain:
            best, best_gain, stale = counts, max(gains), 0
        else:
            stale += 1
        if stale == ensemble_selection.PATIENCE:
            break
    return best, sign * best_gain


@pytest.mark.parametrize("kind", ["repeats", "groups", "time_series"])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "rmse", "roc_auc"])
def test_an_ensemble_is_that_of_a_plain_loop(metric: str, kind: str) -> None:
    rows, outputs = world(metric, kind, seed=11)
    (drawn,) = bootstrap_counts(60, rows.groups, 4, seed=3)
    weights = np.concatenate([np.ones((1, 60), dtype=np.int16), drawn])
    library = library_of(rows, outputs)
    counts, scores = select(library, weights)
    for line, own in enumerate(weights):
        slow, score = slow_selection(rows, outputs, own)
        assert counts[line].tolist() == slow
        assert scores[line] == pytest.approx(score, rel=1e-6)
        found = library.pooled_scores(counts[line : line + 1], (own == 0)[None] | (line == 0))
        mean = mean_outputs(metric, outputs, slow)
        truth = slow_pooled(rows, mean, (own == 0) | (line == 0))
        assert found[0] == pytest.approx(truth, rel=1e-6)
    assert (counts > 0).sum(axis=1).max() > 1, "no ensemble has two trials: this shows nothing"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "cross_entropy", "rmse", "roc_auc"])
def test_the_score_on_the_record_is_the_mean_over_folds(metric: str) -> None:
    rows, outputs = world(metric, "repeats", seed=2)
    library = library_of(rows, outputs)
    (counts,), (score,) = select(library, np.ones((1, 60), dtype=np.int16))
    folds = library.fold_scores(counts)
    assert folds.shape == (6,)
    assert folds.mean() == pytest.approx(score, rel=1e-6)
    alone = [library.fold_scores(line).mean() for line in np.eye(4, dtype=np.int64)]
    best = min(alone) if metric in MINIMISED else max(alone)
    assert score < best if metric in MINIMISED else score > best


def test_ties_go_to_the_earlier_trial_and_the_smaller_ensemble() -> None:
    targets = np.arange(12) % 2
    outputs = np.zeros((1, 3, 12, 2))
    outputs[0, :, np.arange(12), targets] = 1.0
    outputs[0, 0, 0] = [0.0, 1.0]  # the first trial is wrong once, the two others never
    rows = Rows("accuracy", targets, (np.arange(12) // 2 % 3)[None], None)
    counts, scores = select(library_of(rows, outputs), np.ones((1, 12), dtype=np.int16))
    assert counts.tolist() == [[0, 1, 0]]
    assert scores.tolist() == [1.0]


def test_only_eligible_trials_are_chosen_and_all_where_none_is() -> None:
    rows, outputs = world("accuracy", "groups", seed=4)
    library, once = library_of(rows, outputs), np.ones((3, 60), dtype=np.int16)
    may = np.array([[True, False, True, False], [False] * 4, [True] * 4])
    counts, _ = select(library, once, may)
    assert not counts[0, [1, 3]].any()
    assert counts[0].any()
    assert counts[1].tolist() == counts[2].tolist()


def test_the_best_trials_alone_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, outputs = world("rmse", "groups", seed=4)
    once = np.ones((1, 60), dtype=np.int16)
    library = library_of(rows, outputs)
    alone = [library.fold_scores(line).mean() for line in np.eye(4, dtype=np.int64)]
    assert (select(library, once)[0] > 0).sum() > 2
    monkeypatch.setattr(ensemble_selection, "CANDIDATES", 2)
    (counts,), _ = select(library, once)
    assert set(np.flatnonzero(counts)) <= set(np.argsort(alone)[:2].tolist())


def test_rows_where_no_score_is_defined_choose_the_first_trial() -> None:
    rows, outputs = world("roc_auc", "groups", seed=4)
    only = (rows.targets == 1).astype(np.int16)[None]
    counts, scores = select(library_of(rows, outputs), only)
    assert counts.tolist() == [[1, 0, 0, 0]]
    assert np.isnan(scores).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_areas_of_many_models_are_those_of_one_after_the_other(classes: int) -> None:
    generator = np.random.default_rng(1)
    targets = generator.integers(0, classes, 70)
    chances = generator.integers(0, 9, size=(5, 70, classes)) / 9  # many are equal
    table = chances[:, :, 1] if classes == 2 else chances
    weights = generator.integers(0, 3, size=(6, 70))
    weights[4] = targets == 1
    weights[5] = 0
    truth = weighted_scores("roc_auc", table, targets, weights)
    np.testing.assert_allclose(rank_areas(table, targets, weights), truth, rtol=1e-12)
    assert np.isnan(truth[4:]).all()
