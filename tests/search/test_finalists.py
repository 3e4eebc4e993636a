"""Successive halving leaves enough complete trials to choose among, at every length of a study."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.search import CohortPruner, judged_epochs
from selection.search.finalists import FINALISTS, ONE_IN
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial, TrialState
from tests.search.test_replay import make_spec, sweep


def halving(**options: Any) -> StudySpec:
    return make_spec("successive_halving", options)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(0, 2**32),
    st.sampled_from([{}, {"min_resource": 3, "reduction_factor": 4}, {"finalists": 2}]),
)
def test_after_every_cohort_enough_trials_are_complete(
    sizes: list[int], seed: int, options: dict[str, Any]
) -> None:
    spec = halving(**options)
    cohorts = [cohort for cohort, size in enumerate(sizes) for _ in range(size)]
    means = np.random.default_rng(seed).integers(0, 50, (len(cohorts), 9)) / 50
    complete = sweep(spec, cohorts, [9] * len(cohorts), means)
    least = options.get("finalists", FINALISTS)
    for trials in np.cumsum(sizes):
        wanted = max(min(least, trials), math.ceil(trials / ONE_IN))
        assert sum(complete[:trials]) >= wanted


def test_a_study_of_24_has_five_finalists_and_is_mostly_pruned_early() -> None:
    spec = halving()
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(50):
        cohorts = [number // 8 for number in range(24)]
        complete = sweep(spec, cohorts, [9] * 24, rng.random((24, 9)))
        shares.append(sum(complete))
    assert min(shares) == FINALISTS
    assert np.mean(shares) < 10


def test_the_best_of_a_cohort_go_on_in_the_place_of_those_missing() -> None:
    spec = halving(min_resource=2, reduction_factor=4)
    cohort = {number: dict(spec.default) for number in range(8)}
    means = dict(enumerate([0.0, 0.9, 0.3, 0.7, 0.5, 0.5, 0.2, 0.8]))
    pruner = CohortPruner(spec, [], cohort)
    assert pruner.decide(1, means) == set()
    # Halving alone keeps 1 and 7; trial 0 always goes on; of equals the first.
    assert pruner.decide(2, means) == {2, 5, 6}


def test_a_diverged_trial_is_not_counted_and_a_short_one_is_complete() -> None:
    spec = halving(min_resource=2)
    lengths = [9, 1, 9, 9, 9, 9, 9]
    pruner = CohortPruner(spec, [], {n: {"epochs": lengths[n - 3]} for n in range(3, 10)})
    alive = {number: number / 10 for number in range(3, 10) if number != 4}
    pruner.decide(1, alive)
    # 3 diverges, and 4 was complete after its one epoch: of 6 trials, 5 must end complete.
    assert pruner.decide(2, {n: mean for n, mean in alive.items() if n != 3}) == {5}


def test_a_trial_out_of_patience_is_complete_and_no_diverged_one() -> None:
    content = {
        "name": "s",
        "data": {"dataset": "iris"},
        "training": {"epochs": 9, "epoch": "best_mean", "patience": 2},
        "space": {"width": {"low": 2, "high": 16}},
        "search": {"pruner_options": {"min_resource": 4}},
    }
    spec = parse_study(content, "patient.toml")
    pruner = CohortPruner(spec, [], {number: dict(spec.default) for number in range(3, 10)})
    means = {number: number / 10 for number in range(3, 10)}
    for epoch in range(1, 4):
        # Trial 3 becomes no better than it was after its first epoch, and is complete after three.
        at = {n: mean if n == 3 else mean + epoch / 100 for n, mean in means.items()}
        assert pruner.decide(epoch, at) == set()
    left = {number: mean + 0.04 for number, mean in means.items() if number != 3}
    # Of 7 trials five must end complete, and one has: the best four of six go on.
    assert pruner.decide(4, left) == {4, 5}


def test_what_is_complete_already_needs_no_place() -> None:
    spec = halving(min_resource=2)
    done = [_complete(number) for number in range(10)]
    pruner = CohortPruner(spec, done, {n: dict(spec.default) for n in range(10, 14)})
    means = dict.fromkeys(range(10, 14), 0.1)
    pruner.decide(1, means)
    assert pruner.decide(2, means) == set(means), "all of them are behind"


def test_the_first_rung_is_an_eighth_of_the_epochs() -> None:
    assert judged_epochs(make_spec("successive_halving", {}, most=40)) == (5, 10, 20)
    assert judged_epochs(make_spec("successive_halving", {}, most=5)) == (1, 2, 4)


def _complete(number: int) -> Trial:
    means = (0.5,) * 9
    return Trial(number, TrialState.COMPLETE, {"epochs": 9}, 0, value=0.5, fold_means=means)
