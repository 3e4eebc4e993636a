"""Baselines beside scikit-learn's dummies and plain torch, fold by fold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
import torch
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor

from selection.data.prepare import FoldData, prepare_folds
from selection.store.evidence import BaselineFold
from selection.study.setting import Kind, Setting
from selection.study.spec import StudySpec, parse_study
from selection.train.device import choose_device
from selection.train.refit import fit_members
from selection.workflows.baselines import LINEAR, MOST_RATES, STEP, constant_name, score_baselines
from selection.workflows.study_data import StudyData, load_study_data, make_trainer
from tests import reference

CLASSIFICATION = ["accuracy", "balanced_accuracy", "cross_entropy", "macro_f1", "roc_auc"]
REGRESSION = ["rmse", "mae", "r2"]


def make_spec(dataset: str, metric: str, **sections: Any) -> StudySpec:
    content: dict[str, Any] = {
        "name": "b",
        "seed": 3,
        "data": {"dataset": dataset},
        "cv": {"folds": 3, "kind": "kfold"},
        "training": {"epochs": 3, "batch_size": 32},
        "search": {"metric": metric, "trials": 1},
    }
    for name, section in sections.items():
        content[name] = content.get(name, {}) | section
    return parse_study(content, "b.toml")


def score(spec: StudySpec) -> tuple[StudyData, dict[str, list[BaselineFold]]]:
    """Return the data of a study and its baselines by name."""
    data = load_study_data(spec, Path("nowhere"))
    trainer = make_trainer(spec, data, choose_device("cpu"), 0)
    named: dict[str, list[BaselineFold]] = {}
    for fold in score_baselines(spec, data, trainer):
        named.setdefault(fold.name, []).append(fold)
    pairs = [(split.repeat, split.fold) for split in data.plan.splits]
    for folds in named.values():
        assert [(fold.repeat, fold.fold) for fold in folds] == pairs
    return data, named


# Without features.


def dummy_score(metric: str, dummy: Any, features: NDArray[Any], target: NDArray[Any]) -> float:
    predicted = dummy.predict(features)
    match metric:
        case "accuracy":
            return float(oracle.accuracy_score(target, predicted))
        case "balanced_accuracy":
            return float(oracle.balanced_accuracy_score(target, predicted))
        case "macro_f1":
            return float(oracle.f1_score(target, predicted, average="macro"))
        case "cross_entropy":
            chances = dummy.predict_proba(features)
            return float(oracle.log_loss(target, chances, labels=dummy.classes_))
        case "roc_auc":
            chances = dummy.predict_proba(features)
            if len(dummy.classes_) == 2:
                return float(oracle.roc_auc_score(target, chances[:, 1]))
            return float(oracle.roc_auc_score(target, chances, multi_class="ovr"))
        case "rmse":
            return float(oracle.root_mean_squared_error(target, predicted))
        case "mae":
            return float(oracle.mean_absolute_error(target, predicted))
        case "r2":
            return float(oracle.r2_score(target, predicted))
    raise AssertionError(metric)


@pytest.mark.parametrize(
    ("dataset", "metric"),
    [(name, metric) for name in ("wine", "breast_cancer") for metric in CLASSIFICATION]
    + [("diabetes", metric) for metric in REGRESSION],
)
def test_the_constant_baseline_equals_a_dummy(dataset: str, metric: str) -> None:
    spec = make_spec(dataset, metric, cv={"repeats": 2})
    data, named = score(spec)
    folds = named[constant_name(spec.task)]
    assert len(folds) == 6
    features, target = data.dataset.features, data.dataset.target
    for split, fold in zip(data.plan.splits, folds, strict=True):
        is_class = spec.task == "classification"
        dummy = DummyClassifier(strategy="prior") if is_class else DummyRegressor(strategy="mean")
        dummy.fit(features[split.training], target[split.training])
        inside, wanted = features[split.validation], target[split.validation]
        truth = dummy_score(metric, dummy, inside, wanted)
        assert fold.score == pytest.approx(truth, rel=1e-6, abs=1e-6)
        assert fold.outputs.dtype == np.float32
        if is_class:
            ours, theirs = np.exp(fold.outputs), dummy.predict_proba(inside)
        else:
            ours, theirs = fold.outputs[:, 0], dummy.predict(inside)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        if metric == "roc_auc":
            assert fold.score == 0.5
    if metric not in ("roc_auc", "balanced_accuracy"):
        assert len({fold.score for fold in folds}) > 1, "folds differ"


def test_the_constant_baseline_has_a_name_per_task() -> None:
    assert constant_name("classification") == "majority"
    assert constant_name("regression") == "mean"
    assert list(score(make_spec("iris", "accuracy"))[1]) == ["majority", "linear"]
    assert list(score(make_spec("diabetes", "mae"))[1]) == ["mean", "linear"]


# With features.


def linear_setting(spec: StudySpec, learning_rate: float, **fields: Any) -> Setting:
    """Write the linear model's setting out: no layer, no dropout, no penalty."""
    training = spec.sections.training
    kind = Kind(
        hidden_layers=0,
        activation="relu",
        init="default",
        optimizer=training.optimizer,
        nesterov=training.nesterov,
        batch_size=training.batch_size,
        epochs=training.epochs,
        precision="float32",
    )
    momentum = training.momentum if training.optimizer == "sgd" else 0.0
    return replace(Setting(kind, (), (), learning_rate, 0.0, 0.0, momentum, 0.0), **fields)


def train_by_the_book(
    spec: StudySpec, folds: tuple[FoldData, ...], setting: Setting
) -> list[reference.Reference]:
    return [
        reference.train(setting, data, spec.metric, spec.seed, dtype=torch.float32)
        for data in folds
    ]


def mean_score(references: list[reference.Reference]) -> float:
    return float(np.mean([each.points[-1, 5] for each in references]))


def named_step(spec: StudySpec, folds: list[BaselineFold]) -> tuple[int, int]:
    """Return how many steps the best rate is from the default's, and how many rates were tried."""
    (note,) = {fold.note for fold in folds}
    found = re.fullmatch(r"learning rate (\S+), the best of (\d+)(, at their edge)?", note)
    assert found is not None
    ratio = float(found[1]) / spec.setting(spec.default).learning_rate
    step = round(math.log(ratio, STEP))
    assert ratio == pytest.approx(STEP**step, rel=1e-3)
    assert (found[3] is not None) <= (int(found[2]) == MOST_RATES), "a search ends at no edge"
    return step, int(found[2])


# The default has hidden layers, dropout and a penalty, as constants or as what is searched.
DEEP: Mapping[str, Any] = {"width": [8, 5], "dropout": 0.4}
SEARCHED: Mapping[str, Any] = {
    "hidden_layers": {"low": 1, "high": 3},
    "width": {"choices": [8, 16]},
    "dropout": {"choices": [0.0, 0.5]},
}
STUDIES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "minimised sgd": (
        "wine",
        "cross_entropy",
        {"momentum": 0.9},
        {**DEEP, "weight_decay": 0.5, "learning_rate": 0.02},
    ),
    "minimised adam": (
        "wine",
        "cross_entropy",
        {"optimizer": "adam"},
        {**SEARCHED, "l2": 0.5, "learning_rate": 5.0},
    ),
    "maximised adamw": (
        "breast_cancer",
        "roc_auc",
        {"optimizer": "adamw"},
        {**DEEP, "weight_decay": {"choices": [0.3, 0.5]}, "learning_rate": 0.004},
    ),
    "maximised adamw at a high rate": (
        "breast_cancer",
        "roc_auc",
        {"optimizer": "adamw"},
        {**DEEP, "weight_decay": 0.3, "learning_rate": 3.0},
    ),
    "minimised error": (
        "diabetes",
        "rmse",
        {"momentum": 0.5, "nesterov": True},
        {**SEARCHED, "weight_decay": 0.5, "learning_rate": 0.1},
    ),
    "maximised r2": (
        "diabetes",
        "r2",
        {},
        {**DEEP, "weight_decay": 0.5, "learning_rate": {"choices": [0.2, 0.4]}},
    ),
    "maximised accuracy": (
        "iris",
        "accuracy",
        {},
        {**DEEP, "learning_rate": 0.03},
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_linear_baseline_is_plain_torch_at_a_rate_without_a_better_neighbour(
    name: str,
) -> None:
    dataset, metric, training, space = STUDIES[name]
    spec = make_spec(dataset, metric, training=training, space=space)
    default = spec.setting(spec.default)
    assert default.kind.hidden_layers > 0
    data, named = score(spec)
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    linear = named[LINEAR]
    best, tried = named_step(spec, linear)

    def train(step: int) -> list[reference.Reference]:
        setting = linear_setting(spec, default.learning_rate * STEP**step)
        return train_by_the_book(spec, folds, setting)

    truths = train(best)
    for fold, truth in zip(linear, truths, strict=True):
        assert fold.score == pytest.approx(truth.points[-1, 5], rel=1e-3)
        assert fold.outputs.shape == truth.outputs.shape
        scale = np.abs(truth.outputs).max()
        np.testing.assert_allclose(fold.outputs, truth.outputs, rtol=1e-3, atol=1e-4 * scale)
    sign = -1 if spec.is_minimised else 1
    for neighbour in (best - 1, best + 1) if tried < MOST_RATES else ():
        advantage = sign * (mean_score(truths) - mean_score(train(neighbour)))
        assert not advantage < -1e-6, f"step {neighbour} is better"


def test_the_search_goes_on_until_the_best_rate_has_neighbours() -> None:
    """The first three rates of these studies do not hold the best one."""
    steps = {}
    for name in ("minimised adam", "maximised accuracy"):
        dataset, metric, training, space = STUDIES[name]
        spec = make_spec(dataset, metric, training=training, space=space)
        steps[name] = named_step(spec, score(spec)[1][LINEAR])
    assert steps["minimised adam"][0] < -1
    assert steps["maximised accuracy"][0] > 1
    assert all(3 < tried <= MOST_RATES for _, tried in steps.values())


@pytest.mark.parametrize("name", ["minimised sgd", "minimised adam", "maximised adamw"])
def test_a_penalty_would_make_another_linear_model(name: str) -> None:
    # What the test above excludes: the default's weight decay would be seen there.
    dataset, metric, training, space = STUDIES[name]
    spec = make_spec(dataset, metric, training=training, space=space)
    default = spec.setting(spec.default)
    assert default.weight_decay + default.l2 > 0
    data, named = score(spec)
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    penalty = {"weight_decay": default.weight_decay, "l2": default.l2}
    best, _ = named_step(spec, named[LINEAR])
    setting = linear_setting(spec, default.learning_rate * STEP**best, **penalty)
    truth = train_by_the_book(spec, folds, setting)[0]
    difference = np.abs(named[LINEAR][0].outputs - truth.outputs).max()
    assert difference > 1e-2 * np.abs(truth.outputs).max()


def test_a_linear_model_whose_every_rate_diverges_is_left_out() -> None:
    spec = make_spec("diabetes", "rmse", space={"learning_rate": 1e30})
    _, named = score(spec)
    assert list(named) == ["mean"]
    assert len(named["mean"]) == 3
    assert all(50 < fold.score < 100 for fold in named["mean"])


def test_where_all_rates_diverge_lower_ones_are_tried() -> None:
    training = {"epochs": 6, "batch_size": 16}
    spec = make_spec("diabetes", "mae", space={"learning_rate": 30.0}, training=training)
    data, named = score(spec)
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    cpu = torch.device("cpu")
    for step in (-1, 0, 1):
        setting = linear_setting(spec, 30.0 * STEP**step)
        fitted = fit_members(setting, folds, spec.task, spec.metric, spec.seed, cpu)
        assert not all(each.is_finite for each in fitted)
    step, tried = named_step(spec, named[LINEAR])
    assert step < -1
    assert tried > 3
    assert list(named) == ["mean", "linear"]


def test_the_linear_model_of_a_linear_study_is_that_study_without_penalty() -> None:
    space = {"learning_rate": 0.05, "weight_decay": 0.0}
    spec = make_spec("wine", "cross_entropy", space=space, model={"hidden_layers": 0})
    data, named = score(spec)
    trainer = make_trainer(spec, data, choose_device("cpu"), 0)
    step, _ = named_step(spec, named[LINEAR])
    setting = replace(spec.setting(spec.default), learning_rate=0.05 * STEP**step)
    (result,) = trainer.train([setting])
    for fold, own in zip(named[LINEAR], result.folds, strict=True):
        assert fold.score == pytest.approx(own.score, rel=1e-4)
