"""The rules choose as a plain loop over trials does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from selection.stats.selection_rules import RULES, choose, choose_trial, rank, simplicity_ranks
from selection.study.fields import Rule
from selection.study.setting import Setting
from selection.study.trial import Trial, TrialState
from tests.train.examples import make_setting


def trial(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> Trial:
    return Trial(number, state, {}, 0, value=value)


def slow_choice(scores: Any, rule: Rule, simplicity: Any, *, is_minimised: bool) -> int:
    """Choose for one resampling, trial by trial. Shape: scores (T, J)."""
    defined = [[float(s) for s in line if not math.isnan(s)] for line in scores]
    losses = [
        (sum(line) / len(line)) * (1 if is_minimised else -1) if line else math.inf
        for line in defined
    ]
    best = min(range(len(losses)), key=lambda t: (losses[t], t))
    if rule == "best":
        return best
    line = defined[best]
    error = float(np.std(line, ddof=1)) / math.sqrt(len(line)) if len(line) > 1 else 0.0
    near = [t for t in range(len(losses)) if losses[t] <= losses[best] + error]
    return min(near, key=lambda t: (simplicity[t], losses[t], t))


def test_only_complete_trials_rank() -> None:
    trials = [
        trial(0, 0.5),
        trial(1, 0.99, TrialState.PRUNED),
        trial(2, 0.7),
        trial(3, None, TrialState.FAILED),
        trial(4, 0.98, TrialState.RUNNING),
        trial(5, None, TrialState.WAITING),
        trial(6, 0.6),
    ]
    assert [one.number for one in rank(trials, is_minimised=False)] == [2, 6, 0]
    assert [one.number for one in rank(trials, is_minimised=True)] == [0, 6, 2]
    assert rank([trials[1]], is_minimised=False) == []


@pytest.mark.parametrize("is_minimised", [False, True])
def test_of_equals_the_earlier_number_ranks_first(is_minimised: bool) -> None:
    trials = [trial(7, 0.5), trial(2, 0.5), trial(11, 0.5), trial(3, 0.4), trial(1, 0.4)]
    order = [one.number for one in rank(trials, is_minimised=is_minimised)]
    assert order == ([1, 3, 2, 7, 11] if is_minimised else [2, 7, 11, 1, 3])


@pytest.mark.parametrize("is_minimised", [False, True])
@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("missing", [0.0, 0.2, 0.7])
def test_choice_is_that_of_a_plain_loop(rule: Rule, is_minimised: bool, missing: float) -> None:
    for seed in range(8):
        generator = np.random.default_rng(seed)
        trials, folds = int(generator.integers(1, 9)), int(generator.integers(1, 7))
        scores = 0.8 + 0.05 * generator.normal(size=(60, trials, folds))
        scores += generator.normal(size=(1, trials, 1)) * 0.02
        scores[:, generator.integers(trials)] = scores[:, 0]  # equal scores
        scores[generator.random(scores.shape) < missing] = np.nan
        scores[:, :, 0] = np.where(np.isnan(scores).all(axis=2), 0.8, scores[:, :, 0])
        if trials > 1:
            scores[:5, -1] = np.nan  # a trial with no score at all
        simplicity = generator.integers(0, 3, size=trials)  # many equally simple
        chosen = choose(scores, rule, simplicity, is_minimised=is_minimised)
        expected = [
            slow_choice(line, rule, simplicity, is_minimised=is_minimised) for line in scores
        ]
        assert chosen.tolist() == expected, f"seed {seed}"


@pytest.mark.parametrize("is_minimised", [False, True])
@pytest.mark.parametrize("rule", list(RULES))
def test_the_record_is_one_resampling(rule: Rule, is_minimised: bool) -> None:
    scores = np.random.default_rng(1).random((9, 4, 5))
    simplicity = np.array([3, 1, 0, 2])
    together = choose(scores, rule, simplicity, is_minimised=is_minimised)
    alone = [choose(line[None], rule, simplicity, is_minimised=is_minimised)[0] for line in scores]
    assert together.tolist() == alone


@pytest.mark.parametrize("rule", list(RULES))
def test_both_rules_agree_with_rank_where_all_are_equally_simple(rule: Rule) -> None:
    scores = np.random.default_rng(2).random((6, 5))
    trials = [trial(number, float(line.mean())) for number, line in enumerate(scores)]
    for is_minimised in (False, True):
        first = rank(trials, is_minimised=is_minimised)[0].number
        equal = np.zeros(6, dtype=np.int64)
        assert choose(scores[None], rule, equal, is_minimised=is_minimised).tolist() == [first]


@pytest.mark.parametrize("is_minimised", [False, True])
def test_one_standard_error_is_neither_a_deviation_nor_of_ddof_0(is_minimised: bool) -> None:
    best = np.array([0.9, 0.8, 0.9, 0.8])  # mean .85, s = .0577, s / 2 = .0289, ddof 0: .025
    scores = np.stack([best, best - 0.04, best - 0.027, best - 0.03])[None]
    if is_minimised:
        scores = 1 - scores
    simplicity = np.array([9, 0, 5, 3])  # the simpler, the farther: a wrong error takes another
    one_error = choose(scores, "one_standard_error", simplicity, is_minimised=is_minimised)
    assert one_error.tolist() == [2]
    assert choose(scores, "best", simplicity, is_minimised=is_minimised).tolist() == [0]


def test_the_error_is_that_of_the_best_and_not_of_the_simple() -> None:
    best, simple = [0.90, 0.90, 0.91], [0.70, 1.00, 0.90]
    scores = np.array([[best, simple]])
    assert choose(scores, "one_standard_error", np.array([1, 0]), is_minimised=False).tolist() == [
        0
    ]


def test_without_spread_only_equals_are_near() -> None:
    scores = np.array([[[0.5] * 3, [0.75] * 3, [0.75] * 3, [0.625, 0.75, 0.75]]])
    simplicity = np.array([0, 2, 1, 0])
    assert choose(scores, "one_standard_error", simplicity, is_minimised=False).tolist() == [2]


def test_of_equally_simple_trials_the_better_then_the_first() -> None:
    scores = np.array([[[0.8, 0.9], [0.79, 0.9], [0.8, 0.89], [0.85, 0.85]]])
    simplicity = np.array([1, 0, 0, 1])
    assert choose(scores, "one_standard_error", simplicity, is_minimised=False).tolist() == [1]


def indices(*settings: Setting, inputs: int = 8, outputs: int = 3) -> list[int]:
    return [int(rank) for rank in simplicity_ranks(settings, inputs, outputs)]


def test_fewer_parameters_are_simpler_whatever_else_differs() -> None:
    small = make_setting(widths=[4])
    large = make_setting(widths=[5], weight_decay=1.0, dropout=0.9)
    largest = make_setting(widths=[64], l2=5.0)
    assert indices(large, small, largest) == [1, 0, 2]


def test_parameters_are_counted_with_inputs_and_outputs() -> None:
    flat, deep = make_setting(widths=[10]), make_setting(depth=2, widths=[4, 20])
    assert indices(flat, deep, inputs=2, outputs=1) == [0, 1]  # 41 and 133
    assert indices(flat, deep, inputs=100, outputs=1) == [1, 0]  # 1021 and 525
    assert indices(flat, deep, inputs=19, outputs=20) == [0, 1]  # 420 and 600


@pytest.mark.parametrize("name", ["weight_decay", "l2"])
def test_then_more_decay_whatever_the_dropout(name: str) -> None:
    decays = [0.0, 1e-2, 1e-4]
    settings = [
        make_setting(**options)
        for options in (
            dict[str, Any]({name: decay, "dropout": dropout})
            for decay, dropout in zip(decays, [0.9, 0.0, 0.5], strict=True)
        )
    ]
    assert indices(*settings) == [2, 0, 1]


def test_then_more_dropout() -> None:
    settings = [make_setting(dropout=dropout, weight_decay=1e-3) for dropout in (0.2, 0.5, 0.0)]
    assert indices(*settings) == [1, 0, 2]


def test_equally_simple_settings_share_a_place() -> None:
    settings = [
        make_setting(widths=[6]),
        make_setting(widths=[5], learning_rate=0.1),
        make_setting(widths=[5], learning_rate=0.2, activation="tanh", epochs=9),
        make_setting(widths=[7]),
        make_setting(widths=[6], momentum=0.9),
    ]
    assert indices(*settings) == [1, 0, 0, 2, 1]


def test_no_hidden_layer_is_the_simplest() -> None:
    assert indices(make_setting(widths=[4]), make_setting(depth=0)) == [1, 0]


def scored(number: int, scores: list[float], state: TrialState = TrialState.COMPLETE) -> Trial:
    return Trial(number, state, {}, 0, value=float(np.mean(scores)), fold_scores=tuple(scores))


@pytest.mark.parametrize("folds", [2, 5, 9, 30])
@pytest.mark.parametrize("is_minimised", [False, True])
def test_the_best_trial_ranks_first(is_minimised: bool, folds: int) -> None:
    """Folds in another order have the same mean up to rounding, and that decides alike."""
    generator = np.random.default_rng(folds)
    for _ in range(100):
        scores = generator.random(folds)
        trials = [scored(n, generator.permutation(scores).tolist()) for n in range(6)]
        same = [make_setting()] * 6
        best = choose_trial(trials, "best", same, 4, 2, is_minimised=is_minimised)
        assert best is rank(trials, is_minimised=is_minimised)[0]


@pytest.mark.parametrize("rule", list(RULES))
def test_only_a_complete_trial_is_chosen(rule: Rule) -> None:
    trials = [
        scored(0, [0.9, 0.8], TrialState.PRUNED),
        Trial(1, TrialState.RUNNING, {}, 0),
        scored(2, [0.6, 0.5]),
        Trial(3, TrialState.FAILED, {}, 0, fold_scores=(1.0,)),
        scored(4, [0.1, 0.2]),
    ]
    alike = [make_setting()] * 5
    assert choose_trial(trials, rule, alike, 4, 2, is_minimised=False) is trials[2]
    assert choose_trial(trials, rule, alike, 4, 2, is_minimised=True) is trials[4]
    assert choose_trial(trials[:2], rule, alike[:2], 4, 2, is_minimised=False) is None
    assert choose_trial([], rule, [], 4, 2, is_minimised=False) is None


def test_settings_stay_beside_their_trials() -> None:
    """The simple setting is that of trial 3 although trials before it are left out."""
    states = [TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
    scores = [[0.9, 0.7], [0.9, 0.7], [0.9, 0.7], [0.88, 0.7]]
    trials = [scored(n, s, state) for n, (s, state) in enumerate(zip(scores, states, strict=True))]
    settings = [make_setting(widths=[width]) for width in (3, 64, 2, 8)]
    chosen = choose_trial(trials, "one_standard_error", settings, 4, 2, is_minimised=False)
    assert chosen is trials[3]
    assert choose_trial(trials, "best", settings, 4, 2, is_minimised=False) is trials[1]


@pytest.mark.parametrize("rule", list(RULES))
def test_of_equals_the_earlier_trial_is_chosen(rule: Rule) -> None:
    trials = [scored(0, [0.25, 0.5]), *(scored(number, [0.5, 0.75]) for number in (2, 7, 11))]
    chosen = choose_trial(trials, rule, [make_setting()] * 4, 4, 2, is_minimised=False)
    assert chosen is trials[1] is rank(trials, is_minimised=False)[0]
