"""Which epochs may score a trial, which one does, and when waiting for a better one ends."""

from __future__ import annotations

import math

import pytest

from selection.errors import StudyFileError
from selection.study.best_epoch import best_epoch, candidate_epochs, has_run_out
from selection.study.spec import parse_study


@pytest.mark.parametrize("epochs", [1, 7, 16])
def test_every_epoch_of_a_short_training_competes(epochs: int) -> None:
    assert candidate_epochs(epochs) == tuple(range(1, epochs + 1))


@pytest.mark.parametrize("epochs", [17, 39, 64, 256, 1001])
def test_of_a_long_training_an_even_grid_with_the_last_epoch_competes(epochs: int) -> None:
    candidates = candidate_epochs(epochs)
    assert len(candidates) == 16
    assert candidates[-1] == epochs
    steps = {later - sooner for sooner, later in zip((0, *candidates), candidates, strict=False)}
    assert max(steps) - min(steps) <= 1
    assert min(steps) >= 1


def test_the_best_mean_wins_and_the_first_of_ties() -> None:
    means = [0.5, 0.9, 0.7, 0.9]
    assert best_epoch(means, 4, is_minimised=False) == 2
    assert best_epoch(means, 4, is_minimised=True) == 1
    assert best_epoch(means[:1], 4, is_minimised=False) == 1, "ended early"


def test_an_epoch_between_candidates_never_wins() -> None:
    means = [0.0] * 40
    means[6], means[7] = 0.9, 0.8
    assert candidate_epochs(40)[:4] == (2, 5, 8, 10)
    assert best_epoch(means, 40, is_minimised=False) == 8


def test_patience_counts_the_epochs_since_the_best() -> None:
    means = [0.5, 0.6, 0.6, 0.6, 0.7]
    ends = [has_run_out(means[:count], 9, 2, is_minimised=False) for count in range(1, 6)]
    assert ends == [False, False, False, True, False], "an equal mean is no better one"
    assert has_run_out([-mean for mean in means[:4]], 9, 2, is_minimised=True)
    assert not any(has_run_out(means[:count], 9, 0, is_minimised=False) for count in range(1, 6))


def test_no_trial_ends_before_an_epoch_that_may_score_it() -> None:
    falling = [1.0 / epoch for epoch in range(1, 7)]
    first = candidate_epochs(100)[0]
    assert first == 6
    ends = [has_run_out(falling[:count], 100, 1, is_minimised=False) for count in range(1, 7)]
    assert ends == [False, False, False, False, False, True]
    assert math.isclose(falling[first - 1], 1 / 6)


@pytest.mark.parametrize(
    ("training", "space", "words"),
    [
        ({"patience": 3}, {}, 'patience needs epoch = "best_mean"'),
        ({"epoch": "best"}, {}, "epoch"),
        ({"epoch": "best_mean", "patience": -1}, {}, "patience"),
        ({}, {"patience": {"low": 1, "high": 5}}, "patience"),
        ({}, {"epoch": {"choices": ["last", "best_mean"]}}, "one epoch"),
    ],
)
def test_errors_of_a_study_file(training: object, space: object, words: str) -> None:
    content = {
        "name": "s",
        "data": {"dataset": "iris"},
        "training": training,
        "space": {"width": {"low": 2, "high": 16}, **space},  # type: ignore[dict-item]
    }
    with pytest.raises(StudyFileError, match=words):
        parse_study(content, "s.toml")
