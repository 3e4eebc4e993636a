"""Each rule finds what it is for, and is silent beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from selection.stats.paired_tests import Comparison, Posterior
from selection.study.data_facts import DataFacts
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialState
from selection.workflows.assess import Assessment, Baseline, Competitor
from selection.workflows.cautions import (
    FEW_UPDATES,
    AllFailed,
    DefaultAsGood,
    Edge,
    EdgeOfSpace,
    ExactTies,
    FewUpdates,
    ImbalancedAccuracy,
    LinearWins,
    NothingCorrected,
    cautions,
)
from selection.workflows.correct import Correction
from tests.sweep_bench import make_spec

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED
LONG = {"training": {"epochs": 20, "batch_size": 16}}


@dataclass(frozen=True)
class Record:
    """Stand for the record of a study."""

    facts: DataFacts


def facts(**changes: Any) -> DataFacts:
    made = DataFacts(
        rows=120, held_out_rows=30, features=4, inputs=4, outputs=3,
        class_counts={"a": 40, "b": 40, "c": 40}, fold_kind="stratified", folds=("x", "y", "z"),
        duplicate_rows=0, warnings=(),
    )  # fmt: skip
    return replace(made, **changes)


def trial(
    number: int, params: Params, mean: float | None = 0.8, state: TrialState = COMPLETE
) -> Trial:
    scores = () if mean is None else (mean - 0.01, mean + 0.01)
    value = mean if state is COMPLETE else None
    return Trial(number, state, params, 0, value=value, fold_scores=scores)


def middle(number: int, mean: float = 0.8, **params: Any) -> Trial:
    """Return a complete trial away from the bounds of make_spec's space, each another setting."""
    return trial(number, {"width": 6 + number % 4, "learning_rate": 0.1, **params}, mean)


def linear(mean: float, *, is_beaten: bool) -> dict[str, Baseline]:
    low = 0.01 if is_beaten else -0.01
    advantage = Comparison(0.8 - mean, low, 0.2, 0.01, "")
    return {"linear": Baseline(mean, "", advantage, (low, 0.2), was_chosen=True)}


def competitor(number: int, p: float) -> Competitor:
    return Competitor(number, 0.7, Comparison(0.1, 0.0, 0.2, p, ""), Posterior(0.0, 0.1, 0.9))


def assessment(spec: StudySpec | None = None, **changes: Any) -> Assessment:
    """Return an assessment to which nobody objects, but for the changes."""
    trials = changes.pop("trials", [middle(0, 0.7), middle(1), middle(2, 0.75)])
    complete = [each for each in trials if each.state is COMPLETE]
    made = Assessment(
        study=cast(Any, Record(changes.pop("facts", facts()))),
        spec=spec or make_spec(LONG),
        is_finished=True,
        rule="best",
        trials=trials,
        winner=max(complete, key=lambda each: (each.value, -each.number), default=None),
        correction=Correction(0.79, 0.7, 0.85, 0.95, len(complete), 0, 0, 0.0, 0.68, None),
        why_uncorrected="",
        rope=0.01,
        baselines=linear(0.6, is_beaten=True),
        competitors=[competitor(0, 0.01)],
        nested=[],
        evaluations=[],
        openings_by_others=[],
    )
    return replace(made, **changes)


def test_a_good_answer_meets_no_objection() -> None:
    assert cautions(assessment()) == []


def test_all_failed() -> None:
    failed = [
        replace(trial(number, {"width": 8, "learning_rate": 0.1}, None, FAILED), reason=reason)
        for number, reason in enumerate(
            ["out of memory", "diverged: in fold 0", "diverged: in fold 1"]
        )
    ]
    running = trial(3, {"width": 8, "learning_rate": 0.1}, None, TrialState.RUNNING)
    made = assessment(trials=[*failed, running], winner=None, correction=None)
    assert cautions(made) == [AllFailed(3, "diverged")]


@pytest.mark.parametrize("state", [COMPLETE, PRUNED])
def test_one_trial_that_did_not_fail_is_enough(state: TrialState) -> None:
    params = {"width": 8, "learning_rate": 0.1}
    trials = [trial(0, params, None, FAILED), trial(1, params, 0.8, state)]
    assert not any(isinstance(each, AllFailed) for each in cautions(assessment(trials=trials)))
    assert cautions(assessment(trials=[], winner=None, correction=None)) == []


def test_linear_wins() -> None:
    better = assessment(baselines=linear(0.85, is_beaten=False))
    assert cautions(better) == [LinearWins(0.85, 0.8, is_better=True)]
    close = assessment(baselines=linear(0.79, is_beaten=False))
    assert cautions(close) == [LinearWins(0.79, 0.8, is_better=False)]


def test_a_beaten_linear_baseline_is_no_objection() -> None:
    assert cautions(assessment(baselines=linear(0.79, is_beaten=True))) == []
    assert cautions(assessment(baselines={})) == []


@pytest.mark.parametrize(
    ("counts", "accuracy", "is_near"),
    [
        ({"no": 90, "yes": 10}, 0.91, True),
        ({"no": 90, "yes": 10}, 0.85, True),
        ({"no": 90, "yes": 10}, 0.93, False),  # three of ten errors are gone
        ({"no": 52, "yes": 48}, 0.53, False),  # poor, but not for want of balance
        ({"no": 60, "yes": 20, "maybe": 20}, 0.62, True),
        ({"no": 40, "yes": 30, "maybe": 30}, 0.42, False),
        ({}, 0.9, False),
    ],
)
def test_imbalanced_accuracy(counts: dict[str, int], accuracy: float, is_near: bool) -> None:
    trials = [middle(0, 0.3), middle(1, accuracy)]
    found = cautions(assessment(trials=trials, facts=facts(class_counts=counts)))
    share = counts.get("no", 0) / max(1, sum(counts.values()))
    assert found == ([ImbalancedAccuracy("no", share, accuracy)] if is_near else [])


def test_another_metric_does_not_reward_the_majority() -> None:
    skewed = facts(class_counts={"no": 90, "yes": 10})
    trials = [middle(0, 0.5), middle(1, 0.9)]
    spec = make_spec(LONG, metric="balanced_accuracy")
    assert cautions(assessment(spec, trials=trials, facts=skewed)) == []


@pytest.mark.parametrize(
    ("epochs", "batch", "cv", "minibatches"),
    [
        (10, 256, {"folds": 3}, 1),
        (19, 16, {"folds": 3}, 5),
        (20, 16, {"folds": 3}, None),
        (12, 8, {"folds": 2}, 8),
        (12, 8, {"folds": 3, "kind": "time_series"}, 8),
        (13, 8, {"folds": 2}, None),
    ],
)
def test_few_updates(epochs: int, batch: int, cv: dict[str, Any], minibatches: int | None) -> None:
    """120 rows: 80 are trained on with 3 folds, 60 with 2 folds or, on average, in time."""
    training = {"epochs": epochs, "batch_size": batch}
    spec = make_spec({"training": training, "cv": cv})
    found = cautions(assessment(spec))
    if minibatches is None:
        assert found == []
        return
    assert found == [FewUpdates(epochs, minibatches)]
    assert isinstance(found[0], FewUpdates)
    assert found[0].updates == epochs * minibatches < FEW_UPDATES


SPACE: dict[str, Any] = {
    "width": {"low": 2, "high": 100},
    "learning_rate": {"low": 0.001, "high": 1.0, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "weight_decay": {"low": 0.0, "high": 0.01},
    "batch_size": {"choices": [8, 12, 16, 80]},
    "hidden_layers": {"low": 1, "high": 4},
}
INSIDE: dict[str, Any] = {
    "width": 50, "learning_rate": 0.03, "dropout": 0.2, "weight_decay": 0.005, "batch_size": 12,
    "hidden_layers": 2,
}  # fmt: skip


def edges(space: dict[str, Any], inside: dict[str, Any], **winner: Any) -> list[Edge]:
    """Return the edges at which a winner with these params lies."""
    spec = make_spec({"training": {"epochs": 100}}, space=space)
    trials = [trial(0, inside, 0.7), trial(1, {**inside, **winner}, 0.8)]
    if not winner:
        trials.append(trial(2, {**inside, "width": 51}, 0.6))
    found = cautions(assessment(spec, trials=trials))
    assert len(found) <= 1
    return [edge for each in found if isinstance(each, EdgeOfSpace) for edge in each.edges]


@pytest.mark.parametrize(
    ("name", "value", "bound", "is_upper"),
    [
        ("width", 2, 2, False),
        ("width", 6, 2, False),
        ("width", 96, 100, True),
        ("learning_rate", 0.0013, 0.001, False),
        ("learning_rate", 0.8, 1.0, True),
        ("dropout", 0.49, 0.5, True),
        ("weight_decay", 0.0099, 0.01, True),
        ("batch_size", 8, 8, False),
    ],
)
def test_edge_of_space(name: str, value: float, bound: float, is_upper: bool) -> None:
    edge = Edge(name, value, bound, is_upper, is_choice=name == "batch_size")
    assert edges(SPACE, INSIDE, **{name: value}) == [edge]


@pytest.mark.parametrize(
    "winner",
    [
        {},
        {"width": 7},  # 5% of the range is 4.9
        {"width": 95},
        {"learning_rate": 0.0015},  # far from 0.001 on a log scale
        {"learning_rate": 0.6},
        {"dropout": 0.0},  # no bound that can move
        {"weight_decay": 0.0},
        {"hidden_layers": 4},
        {"batch_size": 16},
        {"batch_size": 80},  # all rows of a fold
    ],
)
def test_a_winner_inside_or_at_a_bound_that_cannot_move(winner: dict[str, Any]) -> None:
    assert edges(SPACE, INSIDE, **winner) == []


def test_several_edges_are_one_objection() -> None:
    found = edges(SPACE, INSIDE, width=100, dropout=0.5)
    assert [edge.name for edge in found] == ["width", "dropout"]


def test_the_ends_of_few_values_prove_nothing() -> None:
    space = {**SPACE, "width": {"choices": [8, 16, 100]}, "hidden_layers": {"low": 1, "high": 3}}
    inside = {**INSIDE, "width": 16}
    assert edges(space, inside, width=100) == []
    assert edges(space, inside, hidden_layers=3) == []
    steps = {**SPACE, "width": {"low": 8, "high": 40, "step": 10}}
    found = edges(steps, {**INSIDE, "width": 18}, width=38)
    assert found == [Edge("width", 38, 38, is_upper=True, is_choice=False)]


def test_words_have_no_edge() -> None:
    space = {**SPACE, "activation": {"choices": ["relu", "tanh", "sigmoid", "gelu"]}}
    assert edges(space, {**INSIDE, "activation": "tanh"}, activation="gelu") == []
    layers = {**SPACE, "width": {"choices": [4, 8, 16, [32, 32]]}}
    assert edges({**layers, "hidden_layers": 2}, {**INSIDE, "width": 8}, width=4) == []


def test_a_hyperparameter_without_effect_has_no_edge() -> None:
    space = {**SPACE, "momentum": {"low": 0.0, "high": 0.9}, "optimizer": {"choices": ["adam"]}}
    del space["weight_decay"]
    inside = {**INSIDE, "momentum": 0.5, "optimizer": "adam"}
    del inside["weight_decay"]
    assert edges(space, inside, momentum=0.9, dropout=0.3) == []
    inside["optimizer"] = "sgd"
    space["optimizer"] = {"choices": ["sgd"]}
    assert [edge.name for edge in edges(space, inside, momentum=0.9)] == ["momentum"]


def test_features_end_with_the_table() -> None:
    space = {**SPACE, "features": {"low": 1, "high": 4}}
    assert edges(space, {**INSIDE, "features": 2}, features=4) == []
    space = {**SPACE, "features": {"low": 1, "high": 4}, "width": {"low": 2, "high": 100}}
    spec = make_spec({"training": {"epochs": 100}}, space=space)
    inside = {**INSIDE, "features": 2}
    trials = [trial(0, inside, 0.7), trial(1, {**inside, "features": 4}, 0.8)]
    made = assessment(spec, trials=trials, facts=facts(features=30, inputs=30))
    (found,) = cautions(made)
    assert isinstance(found, EdgeOfSpace)
    assert found.edges == (Edge("features", 4, 4, is_upper=True, is_choice=False),)


def test_a_default_outside_the_space_has_no_edge() -> None:
    space = {**SPACE, "weight_decay": {"low": 1e-6, "high": 0.01, "log": True}}
    inside = {**INSIDE, "weight_decay": 1e-4}
    assert edges(space, inside, weight_decay=0.0) == []
    assert [edge.name for edge in edges(space, inside, weight_decay=1e-6)] == ["weight_decay"]


def test_one_setting_alone_was_not_chosen_at_an_edge() -> None:
    spec = make_spec(LONG)
    lone = trial(0, {"width": 16, "learning_rate": 1.0})
    found = cautions(assessment(spec, trials=[lone]))
    assert not any(isinstance(each, EdgeOfSpace | DefaultAsGood) for each in found)


def test_default_as_good() -> None:
    made = assessment(competitors=[competitor(0, 0.2), competitor(2, 0.2)])
    assert cautions(made) == [DefaultAsGood(0.7, 0.8, is_winner=False)]
    first = assessment(trials=[middle(0), middle(1, 0.7)], competitors=[competitor(1, 0.01)])
    assert cautions(first) == [DefaultAsGood(0.8, 0.8, is_winner=True)]


def test_a_worse_or_missing_default_is_no_objection() -> None:
    assert cautions(assessment(competitors=[competitor(0, 0.01), competitor(2, 0.2)])) == []
    none = assessment(trials=[middle(1), middle(2, 0.75)], competitors=[competitor(2, 0.2)])
    assert cautions(none) == []


def test_ties() -> None:
    trials = [middle(0, 0.7), middle(1), middle(2), middle(3, 0.75)]
    assert cautions(assessment(trials=trials)) == [ExactTies((1, 2), 0.8)]
    losses = [middle(0, 0.9), middle(1, 0.5), middle(2, 0.5)]
    minimised = assessment(make_spec(LONG, metric="cross_entropy"), trials=losses, winner=losses[1])
    assert cautions(minimised) == [ExactTies((1, 2), 0.5)]


def test_copies_of_a_setting_and_a_simpler_winner_are_no_ties() -> None:
    copies = [middle(0, 0.7), middle(1), replace(middle(1), number=2)]
    assert cautions(assessment(trials=copies)) == []
    trials = [middle(0, 0.7), middle(1), middle(2), middle(3, 0.79)]
    assert cautions(assessment(trials=trials, winner=trials[3])) == []


def test_nothing_corrected() -> None:
    why = "one trial is complete and 2 are not: no choice to resample"
    params = {"width": 8, "learning_rate": 0.1}
    pruned = trial(2, {**params, "width": 9}, 0.5, PRUNED)
    made = assessment(
        trials=[middle(1), pruned], correction=None, why_uncorrected=why, competitors=[]
    )
    assert cautions(made) == [NothingCorrected(why, was_chosen=True)]


@pytest.mark.parametrize("trials", [[middle(1)], [middle(1), replace(middle(1), number=2)]])
def test_a_choice_among_one_setting_corrects_nothing(trials: list[Trial]) -> None:
    made = assessment(trials=trials, correction=None, why_uncorrected="one", competitors=[])
    assert cautions(made) == [NothingCorrected("one", was_chosen=False)]
