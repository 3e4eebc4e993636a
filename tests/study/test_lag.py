"""Which cohorts another knows: by its lag alone, never by what has happened to finish."""

from __future__ import annotations

import pytest

from selection.study.lag import FREE, Lag


@pytest.mark.parametrize(
    ("lag", "known"),
    [
        (Lag(1), [0, 1, 2, 3, 4]),
        (Lag(2), [0, 0, 1, 2, 3]),
        (Lag(4), [0, 0, 0, 0, 1]),
        (Lag(9), [0, 0, 0, 0, 0]),
    ],
)
def test_with_a_lag_of_n_a_cohort_knows_those_at_least_n_before_it(
    lag: Lag, known: list[int]
) -> None:
    assert [lag.known(cohort) for cohort in range(5)] == known
    assert [lag.proposed_from(cohort) for cohort in range(5)] == known


@pytest.mark.parametrize(
    ("lag", "known", "proposed_from"),
    [
        # The first that learns anything is proposed from all that it knows.
        (Lag(1, is_ahead=True), [0, 1, 2, 3, 4], [0, 1, 1, 2, 3]),
        (Lag(2, is_ahead=True), [0, 0, 1, 2, 3], [0, 0, 1, 1, 2]),
        (Lag(4, is_ahead=True), [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]),
    ],
)
def test_ahead_the_sampler_alone_lags_by_one_more(
    lag: Lag, known: list[int], proposed_from: list[int]
) -> None:
    assert [lag.known(cohort) for cohort in range(5)] == known
    assert [lag.proposed_from(cohort) for cohort in range(5)] == proposed_from


def test_without_a_lag_a_cohort_knows_whatever_has_finished() -> None:
    for cohort in range(5):
        assert FREE.known(cohort) is None
        assert FREE.proposed_from(cohort) is None


def test_without_a_lag_and_ahead_the_sampler_lags_by_one() -> None:
    ahead = Lag(is_ahead=True)
    assert [ahead.known(cohort) for cohort in range(5)] == [None] * 5
    assert [ahead.proposed_from(cohort) for cohort in range(5)] == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("lag", [1, 2, 5])
@pytest.mark.parametrize("is_ahead", [False, True])
def test_no_cohort_is_proposed_from_one_that_it_does_not_know(lag: int, is_ahead: bool) -> None:
    each = Lag(lag, is_ahead)
    for cohort in range(30):
        known, proposed_from = each.known(cohort), each.proposed_from(cohort)
        assert known is not None
        assert proposed_from is not None
        assert 0 <= proposed_from <= known <= cohort
