"""The start of a study, and settings that are never asked for twice."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from selection.search import propose
from selection.search.asked import NEAR
from selection.search.unit_cube import to_unit
from selection.study.space import Choices
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import Params, Trial, TrialState

SAMPLERS = ["tpe", "gp", "random"]


def make_spec(space: dict[str, Any], **search: Any) -> StudySpec:
    training = {"optimizer": search.pop("optimizer", "sgd")}
    content = {"name": "s", "seed": search.pop("seed", 0), "data": {"dataset": "iris"}}
    return parse_study(
        {**content, "training": training, "space": space, "search": search}, "s.toml"
    )


RATES = {
    "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
}
MIXED = {
    **RATES,
    "width": {"choices": [[16, 8], [32], [64]]},
    "activation": {"choices": ["relu", "tanh"]},
}


def trial(number: int, params: Params, value: float, cohort: int = 0) -> Trial:
    return Trial(number, TrialState.COMPLETE, params, cohort, value=value, fold_means=(value,))


def running(proposed: list[Any], number: int, cohort: int) -> list[Trial]:
    return [
        Trial(number + index, TrialState.RUNNING, params, cohort)
        for index, params in enumerate(proposed)
    ]


def score(params: Params) -> float:
    """Peak sharply, so that a sampler comes back to one place."""
    return -abs(math.log(float(params["learning_rate"]) / 0.01))  # type: ignore[arg-type]


def searched(spec: StudySpec, cohorts: int, size: int) -> list[Trial]:
    done: list[Trial] = []
    for cohort in range(cohorts):
        for params in propose(spec, done, size, cohort):
            done.append(trial(len(done), params, score(params), cohort))
    return done


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_study_starts_with_a_sobol_sequence(sampler: str, seed: int) -> None:
    spec = make_spec(MIXED, sampler=sampler, seed=seed)
    first = propose(spec, [], 8, 0)
    assert first[0] == dict(spec.default)
    for name in RATES:
        eighths = [int(8 * to_unit(spec.space[name], params[name])) for params in first[1:]]
        assert len(set(eighths)) == 7, "each is in an eighth of its own"
    halves = {params["activation"] for params in first[1:]}
    assert halves == {"relu", "tanh"}
    assert {params["width"] for params in first[1:]} == {(16, 8), (32,), (64,)}
    assert propose(spec, [], 3, 0) == first[:3], "whatever the size of the cohort"
    assert propose(make_spec(MIXED, sampler=sampler, seed=9), [], 8, 0) != first


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_while_nothing_is_known_the_next_cohorts_go_on_with_the_sequence(sampler: str) -> None:
    spec = make_spec(MIXED, sampler=sampler)
    sixteen = propose(spec, [], 16, 0)
    pending = running(sixteen[:8], 0, 0)
    assert propose(spec, [], 8, 1, pending) == sixteen[8:]
    failed = [Trial(one.number, TrialState.FAILED, one.params, 0) for one in pending]
    assert propose(spec, failed, 8, 1) == sixteen[8:]
    known = [*failed[:7], trial(7, sixteen[7], 0.5)]
    assert propose(spec, known, 8, 1) != sixteen[8:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_proposal_depends_on_the_budget(sampler: str) -> None:
    short, long = (make_spec(MIXED, sampler=sampler, trials=trials) for trials in (24, 48))
    assert searched(short, 3, 4) == searched(long, 3, 4)


def positions(spec: StudySpec, params: Params) -> list[float]:
    return [to_unit(dimension, params[name]) for name, dimension in spec.space.items()]


def is_near(spec: StudySpec, one: Params, other: Params) -> bool:
    pairs = zip(positions(spec, one), positions(spec, other), spec.space.values(), strict=True)
    return all(
        a == b if isinstance(dimension, Choices) else abs(a - b) < NEAR for a, b, dimension in pairs
    )


@pytest.mark.parametrize("space", [{"learning_rate": RATES["learning_rate"]}, RATES, MIXED])
def test_two_workers_never_propose_near_copies(space: dict[str, Any]) -> None:
    for seed in range(3):
        spec = make_spec(space, seed=seed)
        done = searched(spec, 5, 8)
        one = propose(spec, done, 8, 5)
        other = propose(spec, done, 8, 6, running(one, 40, 5))
        for first, second in itertools.combinations([*one, *other], 2):
            assert not is_near(spec, first, second), (seed, first, second)


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_near_copies_are_refused_from_every_sampler(sampler: str) -> None:
    spec = make_spec({"learning_rate": RATES["learning_rate"]}, sampler=sampler)
    done = searched(spec, 1, 4)
    one = propose(spec, done, 8 if sampler == "random" else 2, 2)
    other = propose(spec, done, 8 if sampler == "random" else 2, 3, running(one, 8, 2))
    for first, second in itertools.combinations([*one, *other], 2):
        assert not is_near(spec, first, second)


def test_a_large_cohort_fits_into_a_line() -> None:
    spec = make_spec({"learning_rate": RATES["learning_rate"]})
    rates = [params["learning_rate"] for params in propose(spec, searched(spec, 1, 8), 100, 1)]
    assert len(set(rates)) == 100


SMALL = {"width": {"choices": [4, 8, 16]}, "activation": {"choices": ["relu", "tanh"]}}


@pytest.mark.parametrize(
    ("sampler", "size"), [("tpe", 1), ("tpe", 2), ("tpe", 4), ("random", 2), ("gp", 4)]
)
def test_no_setting_is_asked_for_twice_while_others_are_untried(sampler: str, size: int) -> None:
    spec = make_spec(SMALL, sampler=sampler, default={"width": 8})
    done: list[Trial] = []
    for cohort in range(6 // size + 1):
        pending = done[-1:] if cohort else []
        for params in propose(spec, done[:-1] if pending else done, size, cohort, pending):
            done.append(trial(len(done), params, 1.0 / len(str(params)), cohort))
    assert len({spec.setting(one.params) for one in done[:6]}) == 6
    # Then the space is exhausted, and settings are repeated.
    assert len({spec.setting(one.params) for one in done}) == 6
    assert len(propose(spec, done, 5, 9)) == 5


def test_the_last_untried_setting_of_a_large_space_is_found() -> None:
    spec = make_spec({"width": {"low": 1, "high": 2000, "log": True}}, sampler="random")
    done = [trial(number, {"width": number + 1}, 0.5) for number in range(2000) if number != 1233]
    assert propose(spec, done, 1, 9) == [{"width": 1234}]


def test_params_without_effect_make_no_new_setting() -> None:
    space = {"width": {"choices": [4, 8]}, "momentum": {"choices": [0.0, 0.5, 0.9]}}
    spec = make_spec(space, optimizer="adam", default={"width": 4})
    first = propose(spec, [], 2, 0)
    assert [params["width"] for params in first] == [4, 8]


def test_a_failed_setting_is_not_asked_for_again() -> None:
    spec = make_spec(SMALL, sampler="tpe")
    asked = propose(spec, [], 5, 0)
    failed = [Trial(n, TrialState.FAILED, params, 0) for n, params in enumerate(asked)]
    (last,) = propose(spec, failed, 1, 1)
    assert last not in asked


def test_numbers_among_the_options_keep_their_order() -> None:
    widths = [4, 512, 8, 256, 16, 128, 32, 64]
    spec = make_spec({"width": {"choices": widths}, "dropout": RATES["dropout"]})
    done = [
        trial(number, {"width": width, "dropout": 0.01 * number}, float(width >= 128))
        for number, width in enumerate([4, 8, 16, 32, 64, 256] * 4)
    ]
    proposed = [params["width"] for params in propose(spec, done, 30, 3)]
    assert set(proposed) <= set(widths)
    # 128 and 512 were never tried: as categories they would be as likely as 4.
    near, far = (sum(proposed.count(width) for width in pair) for pair in [(128, 512), (4, 8)])
    assert near > 3 * far
