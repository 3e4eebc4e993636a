"""A bound after selection, beside exact bounds and worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from selection.stats.lower_bound import mean_bound, share_bound, simultaneous_level


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (7, 10), (10, 10), (830, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_a_share_has_the_exact_bound(hits: int, rows: int, level: float) -> None:
    bound = share_bound(hits, rows, level)
    exact = stats.binomtest(hits, rows, alternative="greater").proportion_ci(level, "exact").low
    assert bound == pytest.approx(exact)
    if hits:  # at the bound, what was seen is just as surprising as asked
        assert stats.binom.sf(hits - 1, rows, bound) == pytest.approx(1 - level)


def test_tilting_hits_gives_nearly_the_exact_bound() -> None:
    values = (np.arange(200) < 160).astype(float)
    assert mean_bound(values, None, 0.95, 4000, 0) == pytest.approx(
        share_bound(160, 200, 0.95), abs=0.005
    )


def test_tilting_covers_skewed_values_as_often_as_it_says() -> None:
    covered = []
    for seed in range(300):
        losses = -np.random.default_rng(seed).exponential(size=60)
        covered.append(mean_bound(losses, None, 0.95, 400, seed) <= -1.0)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_groups_are_one_observation_each() -> None:
    generator = np.random.default_rng(0)
    group_values = generator.normal(size=40)
    values, groups = np.repeat(group_values, 5), np.repeat(np.arange(40), 5)
    grouped = mean_bound(values, groups, 0.95, 4000, 1)
    alone = mean_bound(group_values, None, 0.95, 4000, 1)
    assert grouped == pytest.approx(alone, abs=1e-9)
    assert grouped < mean_bound(values, None, 0.95, 4000, 1) - 0.05


def test_equal_rows_bound_themselves() -> None:
    assert mean_bound(np.full(20, -0.25), None, 0.95, 100, 0) == -0.25


def test_level_rises_with_the_number_of_independent_trials_only() -> None:
    generator = np.random.default_rng(3)
    draws = generator.normal(size=(4000, 40))
    whole = np.zeros(40)
    one = simultaneous_level(draws[:, :1], whole[:1], 0.95)
    many = simultaneous_level(draws, whole, 0.95)
    copies = simultaneous_level(np.repeat(draws[:, :1], 40, axis=1), whole, 0.95)
    assert one == pytest.approx(0.95, abs=0.01)
    assert many == pytest.approx(0.95 ** (1 / 40), abs=0.0007)  # Sidak's level
    assert copies == pytest.approx(one)


def test_the_bound_of_the_best_of_many_is_valid() -> None:
    # 30 trials at chance: the naive bound of the best is above the truth far too often.
    naive, adjusted = [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        hits = generator.random((30, 150)) < 0.5
        counts = generator.multinomial(150, np.full(150, 1 / 150), size=500)
        in_bag, whole = counts @ hits.T / 150, hits.mean(axis=1)
        best = int(whole.argmax())
        level = simultaneous_level(in_bag, whole, 0.95)
        adjusted.append(share_bound(int(hits[best].sum()), 150, level) <= 0.5)
        naive.append(share_bound(int(hits[best].sum()), 150, 0.95) <= 0.5)
    assert np.mean(naive) < 0.6
    assert np.mean(adjusted) >= 0.92


def test_trials_without_a_spread_do_not_matter() -> None:
    draws = np.random.default_rng(0).normal(size=(500, 2))
    draws[:, 1] = 1.0
    level = simultaneous_level(draws, np.array([0.0, 1.0]), 0.95)
    assert level == simultaneous_level(draws[:, :1], np.zeros(1), 0.95)


def test_scores_that_never_move_keep_the_level() -> None:
    assert simultaneous_level(np.ones((100, 3)), np.ones(3), 0.95) == 0.95
