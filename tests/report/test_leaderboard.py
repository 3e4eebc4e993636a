"""Pages of trials: every trial is on one page, in the order that was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from selection.report.leaderboard import Order, leaderboard, sortable
from selection.report.study_view import StudyView
from selection.study.trial import Trial, TrialState
from tests.sweep_bench import make_spec

SPEC = make_spec()


def trial(number: int) -> Trial:
    state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)[number % 3]
    score = (number * 37 % 100) / 100
    return Trial(
        number=number,
        state=state,
        params={"width": (8, 4) if number % 2 else number, "learning_rate": 0.1 + score},
        cohort=0,
        value=score if state is TrialState.COMPLETE else None,
        fold_scores=(score, score) if state is not TrialState.FAILED else (float("nan"),) * 2,
        train_scores=(score, score),
        epochs=number % 5,
    )


def view(count: int, **changes: Any) -> StudyView:
    trials = [trial(number) for number in range(count)]
    nothing = cast(Any, None)
    made = StudyView(nothing, SPEC, trials, [], [], (0, 0), 0, 0, 0.0, 0)
    return replace(made, **changes)


@pytest.mark.parametrize("sort", sortable(SPEC))
@pytest.mark.parametrize("is_descending", [False, True])
def test_every_trial_is_on_one_page(sort: str, is_descending: bool) -> None:
    seen: list[int] = []
    pages = leaderboard(view(123), Order(sort, is_descending)).pages
    assert pages == 3
    for page in range(1, pages + 1):
        board = leaderboard(view(123), Order(sort, is_descending, page=page))
        assert board.count == 123
        seen += [each.number for _, each in board.rows]
    assert sorted(seen) == list(range(123))


def test_trials_without_a_rank_come_last_in_either_order() -> None:
    ranks = {
        is_descending: [
            rank for rank, _ in leaderboard(view(12), Order("rank", is_descending)).rows
        ]
        for is_descending in (False, True)
    }
    assert ranks[False] == [1, 2, 3, 4] + [None] * 8
    assert ranks[True] == [4, 3, 2, 1] + [None] * 8


def test_ranks_are_places_by_the_observed_mean_on_every_page() -> None:
    complete = sorted(
        (each for each in map(trial, range(123)) if each.state is TrialState.COMPLETE),
        key=lambda each: (-cast(float, each.value), each.number),
    )
    indices = {each.number: index for index, each in enumerate(complete, start=1)}
    for page in (1, 2, 3):
        for index, each in leaderboard(view(123), Order("number", page=page)).rows:
            assert index == indices.get(each.number)


def test_what_has_no_score_comes_last_in_either_order() -> None:
    for is_descending in (False, True):
        rows = leaderboard(view(45), Order("score", is_descending)).rows
        states = [each.state is TrialState.FAILED for _, each in rows]
        assert states == sorted(states)


@pytest.mark.parametrize("page", [-5, 0, 4, 10**9])
def test_a_page_that_is_not_there_is_the_nearest_one(page: int) -> None:
    board = leaderboard(view(123), Order(page=page))
    assert board.order.page == (1 if page < 1 else 3)
    assert board.rows


def test_a_study_without_trials_has_one_empty_page() -> None:
    board = leaderboard(view(0), Order())
    assert (board.pages, board.count, list(board.rows)) == (1, 0, [])
