"""Wilson's interval inverts the score test; a bootstrap draws what it says it draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from selection.stats.intervals import (
    BLOCK,
    bootstrap_counts,
    length_of_runs,
    percentiles,
    wilson,
)


def draw(
    rows: int, groups: np.ndarray | None = None, bootstraps: int = 20, seed: int = 0
) -> np.ndarray:
    return np.concatenate(list(bootstrap_counts(rows, groups, bootstraps, seed)))


def border(share: float, rows: int, z: float, end: float) -> float:
    """Find by bisection the chance at which the score test is just not rejected."""
    inside, outside = share, end
    for _ in range(200):
        middle = (inside + outside) / 2
        error = math.sqrt(middle * (1 - middle) / rows)
        if abs(share - middle) <= z * error:
            inside = middle
        else:
            outside = middle
    return inside


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("hits", "rows"), [(1, 2), (1, 10), (13, 20), (83, 100), (8531, 10_000)])
def test_wilson_inverts_the_score_test(hits: int, rows: int, level: float) -> None:
    z = stats.norm.ppf(0.5 + level / 2)
    low, high = wilson(hits, rows, level)
    assert low == pytest.approx(border(hits / rows, rows, z, 0.0), abs=1e-9)
    assert high == pytest.approx(border(hits / rows, rows, z, 1.0), abs=1e-9)


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_wilson_without_a_hit_or_a_miss(rows: int) -> None:
    square = stats.norm.ppf(0.975) ** 2
    low, high = wilson(0, rows, 0.95)
    assert 0.0 <= low < 1e-12
    assert high == pytest.approx(square / (rows + square))
    lowest, highest = wilson(rows, rows, 0.95)
    assert lowest == pytest.approx(rows / (rows + square))
    assert 1 - 1e-12 < highest <= 1.0


def test_wilson_covers_about_as_often_as_it_says() -> None:
    rows = 60
    intervals = [wilson(hits, rows, 0.95) for hits in range(rows + 1)]
    covers = []
    for chance in np.linspace(0.02, 0.98, 97):
        likely = stats.binom.pmf(np.arange(rows + 1), rows, chance)
        covers.append(sum(likely[h] for h, (a, b) in enumerate(intervals) if a <= chance <= b))
    assert np.mean(covers) == pytest.approx(0.95, abs=0.01)


def test_percentiles_are_central_and_leave_out_what_is_not_defined() -> None:
    draws = np.random.default_rng(0).normal(size=1000)
    with_gaps = np.insert(draws, [3, 500, 500], np.nan)
    assert percentiles(with_gaps, 0.9) == pytest.approx(tuple(np.percentile(draws, [5, 95])))
    assert percentiles(np.arange(101.0), 0.5) == (25.0, 75.0)


def test_every_bootstrap_draws_as_many_rows_as_there_are() -> None:
    counts = draw(37, bootstraps=50)
    assert counts.shape == (50, 37)
    assert counts.dtype == np.int16
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == 37).all()


@pytest.mark.parametrize(
    ("bootstraps", "sizes"),
    [(1, [1]), (BLOCK, [BLOCK]), (BLOCK + 1, [BLOCK, 1]), (300, [BLOCK, BLOCK, 300 - 2 * BLOCK])],
)
def test_blocks_end_where_they_should(bootstraps: int, sizes: list[int]) -> None:
    blocks = list(bootstrap_counts(11, None, bootstraps, 5))
    assert [len(block) for block in blocks] == sizes
    assert all((block.sum(axis=1) == 11).all() for block in blocks)


def test_a_seed_is_a_drawing_whatever_the_number_of_bootstraps() -> None:
    many = draw(50, bootstraps=300, seed=7)
    np.testing.assert_array_equal(many, draw(50, bootstraps=300, seed=7))
    np.testing.assert_array_equal(many[:140], draw(50, bootstraps=140, seed=7))
    assert not np.array_equal(many, draw(50, bootstraps=300, seed=8))
    assert len(np.unique(many, axis=0)) == 300, "no bootstrap is drawn twice"


def test_blocks_that_were_handed_out_stay_as_they_are() -> None:
    blocks = list(bootstrap_counts(20, None, 2 * BLOCK, 0))
    assert not np.array_equal(blocks[0], blocks[1])


def test_a_share_of_1_in_e_is_not_drawn() -> None:
    counts = draw(400, bootstraps=300, seed=1)
    assert np.mean(counts == 0) == pytest.approx(math.exp(-1), abs=0.005)
    for times in range(4):  # nearly Poisson with mean 1
        expected = stats.binom.pmf(times, 400, 1 / 400)
        assert np.mean(counts == times) == pytest.approx(expected, abs=0.005)
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=5 / math.sqrt(300)), "every row alike"


def test_rows_of_a_group_are_drawn_together() -> None:
    generator = np.random.default_rng(2)
    names = np.array([100, 7, -3, 52, 9, 1000])
    groups = generator.permutation(np.repeat(names, [1, 2, 3, 4, 5, 10]))
    counts = draw(25, groups, bootstraps=300, seed=3)
    of_group = []
    for name in names:
        columns = counts[:, groups == name]
        assert (columns == columns[:, :1]).all()
        of_group.append(columns[:, 0])
    assert (np.sum(of_group, axis=0) == len(names)).all(), "as many groups as there are"
    assert np.mean(of_group, axis=1) == pytest.approx(1.0, abs=0.3), "small and large alike"
    assert np.mean(np.array(of_group) == 0) == pytest.approx((5 / 6) ** 6, abs=0.04)


def test_groups_of_one_row_are_rows() -> None:
    np.testing.assert_array_equal(draw(30, np.arange(30)[::-1])[:, ::-1], draw(30))


def test_rows_in_time_are_drawn_in_runs() -> None:
    counts = np.concatenate(list(bootstrap_counts(60, None, 300, 4, run=5)))
    assert (counts.sum(axis=1) == 60).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(60), abs=0.25)  # the ends as often
    # A row that is drawn is drawn with a neighbour, and about e^-1 of the rows are left out.
    lonely = (counts > 0) & (np.roll(counts, 1, axis=1) == 0) & (np.roll(counts, -1, axis=1) == 0)
    assert not lonely.any()
    assert (counts == 0).mean() == pytest.approx(math.exp(-1), abs=0.02)


def test_runs_widen_the_interval_of_rows_that_move_together() -> None:
    generator = np.random.default_rng(1)
    values = np.repeat(generator.normal(size=40), 6)
    alone, together = (
        np.std(np.concatenate(list(bootstrap_counts(240, None, 500, 2, run))) @ values / 240)
        for run in (1, 7)
    )
    assert together > 1.6 * alone


def test_last_run_is_cut_short() -> None:
    counts = np.concatenate(list(bootstrap_counts(11, None, 50, 0, run=4)))
    assert (counts.sum(axis=1) == 11).all()


@pytest.mark.parametrize(("rows", "run"), [(1, 1), (8, 2), (9, 3), (27, 3), (1000, 10), (1001, 11)])
def test_length_of_runs_is_the_cube_root(rows: int, run: int) -> None:
    assert length_of_runs(rows) == run
