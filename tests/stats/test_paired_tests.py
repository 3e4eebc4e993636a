"""Paired tests: known numbers, brute force, and how often true nulls are rejected."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import KFold, TimeSeriesSplit

from selection.stats.paired_tests import (
    corrected_resampled_t,
    correlated_bayes,
    exact_mcnemar,
    paired_differences,
    validation_ratio,
)

KNOWN = [0.02, 0.01, 0.03, -0.01, 0.02]
DIFFERENCES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=2, max_size=12)


def is_rejected(differences: Sequence[float], ratio: float) -> bool:
    p = corrected_resampled_t(differences, ratio, 0.95).p
    return p is not None and p < 0.05


def test_the_known_numbers_of_the_corrected_t() -> None:
    found = corrected_resampled_t(KNOWN, 1 / 4, 0.95)
    assert found.mean == pytest.approx(0.014)
    assert found.p == pytest.approx(0.2408, abs=5e-5)
    assert found.word == ""
    assert found.low is not None
    assert found.high is not None
    error = (found.high - found.mean) / stats.t.ppf(0.975, 4)
    assert found.mean / error == pytest.approx(1.3761, abs=5e-5)
    assert (found.low + found.high) / 2 == pytest.approx(found.mean)


def test_without_correction_it_is_the_plain_t_of_scipy() -> None:
    naive = stats.ttest_1samp(KNOWN, 0.0)
    assert naive.statistic == pytest.approx(2.0642, abs=5e-5)
    assert naive.pvalue == pytest.approx(0.1079, abs=5e-5)
    ours = corrected_resampled_t(KNOWN, 0.0, 0.9)
    assert ours.p == pytest.approx(naive.pvalue, rel=1e-12)
    bounds = naive.confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((bounds.low, bounds.high), rel=1e-12)


def test_the_sign_turns_with_the_pair() -> None:
    there = corrected_resampled_t(KNOWN, 1 / 4, 0.95)
    back = corrected_resampled_t([-one for one in KNOWN], 1 / 4, 0.95)
    assert there.low is not None
    assert there.high is not None
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p == pytest.approx(there.p, rel=1e-12)


@given(DIFFERENCES, st.floats(0.0, 1.0), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_interval_holds_0_exactly_where_p_is_large(
    differences: list[float], ratio: float, level: float
) -> None:
    found = corrected_resampled_t(differences, ratio, level)
    assume(found.p is not None)
    assert found.p is not None
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.p <= 1.0
    assume(abs(found.p - (1 - level)) > 1e-9)
    assert (found.low <= 0 <= found.high) == (found.p > 1 - level)


@given(DIFFERENCES, st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_correction_only_widens(differences: list[float], ratio: float) -> None:
    naive = corrected_resampled_t(differences, 0.0, 0.95)
    found = corrected_resampled_t(differences, ratio, 0.95)
    assume(found.p is not None)
    assert found.p is not None
    assert naive.p is not None
    assert found.p >= naive.p - 1e-12
    assert found.low is not None
    assert naive.low is not None
    assert found.low <= naive.low
    assert found.high is not None
    assert naive.high is not None
    assert found.high >= naive.high


@pytest.mark.parametrize("folds", [2, 5, 30])
def test_identical_models_have_a_word(folds: int) -> None:
    found = corrected_resampled_t([0.0] * folds, 0.25, 0.95)
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert found.word == "identical"


@pytest.mark.parametrize("difference", [0.1, -0.3, 1e-6])
def test_a_constant_difference_has_a_word(difference: float) -> None:
    scores = np.array([0.7, 0.81, 0.63, 0.55])
    differences = paired_differences(list(scores + difference), list(scores))
    found = corrected_resampled_t(differences, 0.25, 0.95)
    assert found.word == "constant"
    assert found.mean == pytest.approx(difference)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_what_only_rounding_tells_apart_is_identical() -> None:
    """(.1 + .2) - .3 is 5.6e-17: no evidence against equal models."""
    differences = paired_differences([0.1 + 0.2, 0.5, 0.6], [0.3, 0.5, 0.6])
    found = corrected_resampled_t(differences, 0.5, 0.95)
    assert found.word == "identical"
    assert found.p == 1.0
    posterior = correlated_bayes(differences, 0.5, 0.0)
    assert posterior.better < 1.0


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e6])
def test_p_does_not_depend_on_the_unit_of_the_score(unit: float) -> None:
    """An RMSE may be in picofarads."""
    found = corrected_resampled_t([one * unit for one in KNOWN], 1 / 4, 0.95)
    assert found.word == ""
    assert found.p == pytest.approx(0.2408, abs=5e-5)


def test_folds_that_are_not_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        paired_differences([0.1, 0.2, 0.3], [0.1, 0.2])
    assert paired_differences([0.5, 0.25], [0.25, 0.5]) == [0.25, -0.25]


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_the_ratio_is_that_of_scikit_learn_s_splits(folds: int) -> None:
    rows = np.zeros((folds * (folds + 1), 1))
    shuffled = [len(test) / len(train) for train, test in KFold(folds).split(rows)]
    ordered = [len(test) / len(train) for train, test in TimeSeriesSplit(folds).split(rows)]
    assert validation_ratio(folds, is_time_series=False) == pytest.approx(np.mean(shuffled))
    assert validation_ratio(folds, is_time_series=True) == pytest.approx(np.mean(ordered))


@pytest.mark.parametrize("rope", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("differences", [KNOWN, [-0.04, -0.01, -0.02], [0.01, -0.01, 0.02, -0.02]])
def test_the_posterior_is_that_of_draws_from_a_scaled_t(
    differences: Sequence[float], rope: float
) -> None:
    found = correlated_bayes(differences, 0.25, rope)
    assert found.worse + found.equal + found.better == pytest.approx(1.0, abs=1e-12)
    count = len(differences)
    mean = sum(differences) / count
    variance = sum((one - mean) ** 2 for one in differences) / (count - 1)
    generator = np.random.default_rng(3)
    draws = mean + math.sqrt(variance * (1 / count + 0.25)) * generator.standard_t(
        count - 1, size=200_000
    )
    assert found.worse == pytest.approx(np.mean(draws < -rope), abs=1e-2)
    assert found.equal == pytest.approx(np.mean(np.abs(draws) <= rope), abs=1e-2)
    assert found.better == pytest.approx(np.mean(draws > rope), abs=1e-2)


@given(DIFFERENCES, st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_without_a_rope_the_posterior_is_the_one_sided_p(
    differences: list[float], ratio: float
) -> None:
    test = corrected_resampled_t(differences, ratio, 0.95)
    assume(test.word == "")
    assert test.p is not None
    found = correlated_bayes(differences, ratio, 0.0)
    assert found.equal == pytest.approx(0.0, abs=1e-12)
    assert min(found.worse, found.better) == pytest.approx(test.p / 2, abs=1e-12)
    assert (found.better > found.worse) == (test.mean > 0) or test.p > 1 - 1e-9


@pytest.mark.parametrize(
    ("difference", "rope", "expected"),
    [
        (0.0, 0.0, (0.0, 1.0, 0.0)),
        (0.0, 0.01, (0.0, 1.0, 0.0)),
        (0.25, 0.125, (0.0, 0.0, 1.0)),
        (-0.25, 0.125, (1.0, 0.0, 0.0)),
        (-0.25, 0.25, (0.0, 1.0, 0.0)),
    ],
)
def test_a_posterior_without_spread_is_certain(
    difference: float, rope: float, expected: tuple[float, float, float]
) -> None:
    found = correlated_bayes([difference] * 4, 0.25, rope)
    assert (found.worse, found.equal, found.better) == expected


def test_the_known_number_of_mcnemar() -> None:
    assert exact_mcnemar(25, 11) == pytest.approx(0.02882, abs=5e-6)
    assert exact_mcnemar(0, 0) == 1.0
    assert exact_mcnemar(0, 5) == pytest.approx(2 / 32)


@pytest.mark.parametrize("rows", [1, 2, 7, 20, 61])
def test_mcnemar_is_a_sum_over_the_binomial(rows: int) -> None:
    for first in range(rows + 1):
        least = min(first, rows - first)
        tail = sum(math.comb(rows, hits) for hits in range(least + 1)) / 2**rows
        assert exact_mcnemar(first, rows - first) == pytest.approx(min(1.0, 2 * tail), rel=1e-10)


def test_the_naive_t_finds_far_too_much_over_repeated_folds() -> None:
    """10 x 10 folds of two equally good models: differences are correlated by 1 / K."""
    generator = np.random.default_rng(4)
    studies, folds, count = 3000, 10, 100
    shared = generator.normal(size=(studies, 1)) * math.sqrt(1 / folds)
    own = generator.normal(size=(studies, count)) * math.sqrt(1 - 1 / folds)
    differences = 0.01 * (shared + own)
    naive = stats.ttest_1samp(differences, 0.0, axis=1).pvalue < 0.05
    ratio = validation_ratio(folds, is_time_series=False)
    corrected = [is_rejected(line, ratio) for line in differences]
    assert np.mean(naive) > 0.4
    assert 0.03 < np.mean(corrected) < 0.06
    found = [is_rejected(line + 0.015, ratio) for line in differences[:99]]
    assert np.mean(found) > 0.9, "a true difference of 4.5 standard errors is still found"
