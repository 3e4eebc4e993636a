"""The replay of the pruner beside the sweep's own decisions, epoch by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selection.search import CohortPruner, judged_epochs, replay_pruner
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Trial, TrialState

PRUNERS: list[tuple[str, dict[str, Any]]] = [
    ("successive_halving", {}),
    ("successive_halving", {"min_resource": 1, "reduction_factor": 2}),
    ("successive_halving", {"min_resource": 1, "reduction_factor": 2, "finalists": 0}),
    ("successive_halving", {"min_early_stopping_rate": 1, "reduction_factor": 3, "finalists": 2}),
    ("hyperband", {}),
    ("hyperband", {"min_resource": 2, "reduction_factor": 2}),
    ("median", {"n_startup_trials": 2}),
    ("percentile", {"percentile": 70.0, "n_startup_trials": 0, "interval_steps": 2}),
    ("threshold", {"lower": 0.1, "upper": 0.95, "n_warmup_steps": 2}),
    ("patient", {"patience": 1, "min_delta": 0.1}),
    ("none", {}),
]
HALVING = ("successive_halving", "hyperband")


def make_spec(
    pruner: str, options: dict[str, Any], metric: str = "accuracy", most: int = 9
) -> StudySpec:
    return parse_study(
        {
            "name": "s",
            "data": {"dataset": "iris"},
            "training": {"epochs": most},
            "space": {"epochs": {"low": 1, "high": most}},
            "search": {"metric": metric, "pruner": pruner, "pruner_options": options},
        },
        "s.toml",
    )


def sweep(
    spec: StudySpec,
    cohorts: list[int],
    lengths: list[int],
    means: NDArray[np.float64],
    lag: int = 1,
) -> list[bool]:
    """Return which trials end complete, decided epoch by epoch. Shape: means (T, E)."""
    done: list[Trial] = []
    for cohort in sorted(set(cohorts)):
        numbers = [number for number, of in enumerate(cohorts) if of == cohort]
        known = [trial for trial in done if trial.cohort <= cohort - lag]
        pruner = CohortPruner(spec, known, {n: {"epochs": lengths[n]} for n in numbers})
        ends = {number: lengths[number] for number in numbers}
        for epoch in range(1, max(ends.values())):
            training = {n: float(means[n, epoch - 1]) for n in numbers if ends[n] > epoch}
            for number in pruner.decide(epoch, training):
                ends[number] = epoch
        for number, end in ends.items():
            is_complete = end == lengths[number]
            state = TrialState.COMPLETE if is_complete else TrialState.PRUNED
            kept = tuple(means[number, :end].tolist())
            value = kept[-1] if is_complete else None
            params = {"epochs": lengths[number]}
            done.append(Trial(number, state, params, cohort, value=value, fold_means=kept))
    return [trial.state is TrialState.COMPLETE for trial in done]


def masked(means: NDArray[np.float64], lengths: list[int]) -> NDArray[np.float64]:
    """Return the means without those beyond the end of a trial's training."""
    return np.where(np.arange(1, means.shape[-1] + 1) <= np.array(lengths)[:, None], means, np.nan)


@st.composite
def studies(draw: st.DrawFn) -> tuple[StudySpec, list[int], list[int], NDArray[np.float64]]:
    name, options = draw(st.sampled_from(PRUNERS))
    spec = make_spec(name, options, draw(st.sampled_from(["accuracy", "cross_entropy"])))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    cohorts = [cohort for cohort, size in enumerate(sizes) for _ in range(size)]
    count = len(cohorts)
    lengths = draw(st.lists(st.sampled_from([9, 9, 9, 4, 1]), min_size=count, max_size=count))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Few distinct values, so that there are ties.
    means = rng.integers(0, draw(st.sampled_from([4, 1000])), (count, 9)) / 7
    return spec, cohorts, lengths, means


@settings(max_examples=150, deadline=None)
@given(studies())
def test_the_record_replayed_gives_the_decisions_of_the_sweep(
    study: tuple[StudySpec, list[int], list[int], NDArray[np.float64]],
) -> None:
    spec, cohorts, lengths, means = study
    numbers = range(len(cohorts))
    search = spec.sections.search
    judged = judged_epochs(spec) if search.pruner in HALVING else tuple(range(1, 10))
    values = masked(means, lengths)[None][:, :, [epoch - 1 for epoch in judged]]
    complete = replay_pruner(spec, numbers, cohorts, lengths, judged, values)
    assert complete[0].tolist() == sweep(spec, cohorts, lengths, means)
    for lag in (2, 3):
        known = [max(cohort - lag + 1, 0) for cohort in cohorts]
        complete = replay_pruner(spec, numbers, cohorts, lengths, judged, values, known)
        assert complete[0].tolist() == sweep(spec, cohorts, lengths, means, lag)


@pytest.mark.parametrize(("name", "options"), PRUNERS)
def test_each_resampling_is_replayed_for_itself(name: str, options: dict[str, Any]) -> None:
    spec = make_spec(name, options)
    rng = np.random.default_rng(1)
    cohorts = [cohort for cohort in range(4) for _ in range(6)]
    lengths = rng.choice([9, 9, 4], 24).tolist()
    judged = judged_epochs(spec)
    values = rng.random((30, 24, len(judged)))
    values[:, np.array(lengths)[:, None] < np.array(judged)] = np.nan
    before = values.copy()
    complete = replay_pruner(spec, range(24), cohorts, lengths, judged, values)
    np.testing.assert_array_equal(values, before)
    alone = [
        replay_pruner(spec, range(24), cohorts, lengths, judged, values[b : b + 1])
        for b in range(30)
    ]
    np.testing.assert_array_equal(complete, np.concatenate(alone))
    assert complete[:, 0].all(), "trial 0 is never pruned"
    assert complete.all() == (name == "none")
    # The order in which the trials are given does not matter.
    order = rng.permutation(24)
    mixed = replay_pruner(
        spec,
        order.tolist(),
        [cohorts[index] for index in order],
        [lengths[index] for index in order],
        judged,
        values[:, order],
    )
    np.testing.assert_array_equal(mixed, complete[:, order])


@pytest.mark.parametrize(
    ("name", "options", "most", "expected"),
    [
        ("none", {}, 9, ()),
        ("successive_halving", {}, 10, (1, 2, 4, 8)),
        ("successive_halving", {"min_resource": 2, "reduction_factor": 3}, 10, (2, 6)),
        ("successive_halving", {"min_resource": 3, "reduction_factor": 3}, 9, (3,)),
        (
            "successive_halving",
            {"min_resource": 1, "reduction_factor": 2},
            1025,
            (1, 4, 16, 64, 256, 1024),
        ),
        ("hyperband", {}, 10, (1, 3, 9)),
        ("median", {}, 20, (1, 2, 4, 8, 16)),
        ("median", {"n_warmup_steps": 3}, 20, (3, 6, 12)),
        ("percentile", {"percentile": 25.0, "interval_steps": 5}, 30, (1, 5, 10, 20)),
        ("patient", {"patience": 2}, 20, (4, 8, 16)),
        ("threshold", {"lower": 0.5}, 2, (1,)),
    ],
)
def test_judged_epochs(
    name: str, options: dict[str, Any], most: int, expected: tuple[int, ...]
) -> None:
    assert judged_epochs(make_spec(name, options, most=most)) == expected


def test_no_trials_and_no_judged_epochs_are_no_special_case() -> None:
    spec = make_spec("none", {})
    assert replay_pruner(spec, [], [], [], (), np.empty((3, 0, 0))).shape == (3, 0)
    assert replay_pruner(spec, [0, 1], [0, 0], [9, 9], (), np.empty((3, 2, 0))).all()
