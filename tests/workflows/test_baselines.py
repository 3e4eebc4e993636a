"""Baselines beside scikit-learn's own models, fold by fold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as oracle
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selection.data.folds import Split
from selection.data.prepare import FoldData, prepare_folds
from selection.errors import StudyFileError
from selection.metrics import Task
from selection.seeds import seed32_for
from selection.store.database import open_database
from selection.store.evidence import BaselineFold
from selection.study.baselines import (
    GRADIENT_BOOSTING,
    LINEAR,
    baselines_of,
    constant_name,
    wanted_baselines,
)
from selection.study.data_facts import DataFacts
from selection.study.spec import StudySpec, parse_study
from selection.workflows.baselines import score_baseline
from selection.workflows.boosting_baseline import fit_boosting
from selection.workflows.linear_baseline import fit_linear
from selection.workflows.study_data import StudyData, load_study_data
from tests.sweep_bench import Bench
from tests.sweep_bench import make_spec as make_iris

pytestmark = pytest.mark.whole_baselines

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


def score(spec: StudySpec, name: str) -> tuple[StudyData, list[BaselineFold]]:
    """Return the data of a study and one of its baselines, fold by fold."""
    data = load_study_data(spec, Path("nowhere"))
    folds = score_baseline(name, spec, data)
    pairs = [(name, split.repeat, split.fold) for split in data.plan.splits]
    assert [(fold.name, fold.repeat, fold.fold) for fold in folds] == pairs
    kind = np.float32 if data.dataset.class_names else np.float64
    assert {fold.outputs.dtype for fold in folds} == {np.dtype(kind)}
    return data, folds


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
    data, folds = score(spec, constant_name(spec.task))
    assert len(folds) == 6
    features, target = data.dataset.features, data.dataset.target
    for split, fold in zip(data.plan.splits, folds, strict=True):
        is_class = spec.task == "classification"
        dummy = DummyClassifier(strategy="prior") if is_class else DummyRegressor(strategy="mean")
        dummy.fit(features[split.training], target[split.training])
        inside, wanted = features[split.validation], target[split.validation]
        truth = dummy_score(metric, dummy, inside, wanted)
        assert fold.score == pytest.approx(truth, rel=1e-6, abs=1e-6)
        assert fold.outputs.dtype == (np.float32 if data.dataset.class_names else np.float64)
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
    assert baselines_of("classification") == ("majority", "linear", "gradient_boosting")
    assert baselines_of("regression") == ("mean", "linear", "gradient_boosting")


# The linear model.


def write_table(folder: Path, features: NDArray[Any], target: NDArray[Any], **more: Any) -> str:
    frame = pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])
    frame.assign(y=target, **more).to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv")


def linear_table(folder: Path) -> str:
    """Write a table whose classes a plane separates but for noise."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(600, 10))
    margin = features @ generator.normal(size=10) + 0.3 * generator.normal(size=600)
    return write_table(folder, features, (margin > 0).astype(int))


@pytest.mark.parametrize(
    ("dataset", "prepare"),
    [
        ("iris", "scale"),
        ("breast_cancer", "none"),
        ("digits", "standardize"),
        ("diabetes", "standardize"),
        ("a linear table", "standardize"),
    ],
)
def test_the_linear_baseline_is_as_good_as_the_library_s(
    tmp_path: Path, dataset: str, prepare: str
) -> None:
    is_regression = dataset == "diabetes"
    metric = "r2" if is_regression else "accuracy"
    spec = make_spec(dataset, metric, cv={"folds": 5, "kind": None})
    content = spec.to_json()
    content["data"] = {"dataset": dataset, "prepare": prepare}
    if dataset == "a linear table":
        content["data"] = {"path": linear_table(tmp_path), "target": "y", "prepare": prepare}
    spec = parse_study(content, "b")
    data, folds = score(spec, LINEAR)
    features, target = data.dataset.features, data.dataset.target
    theirs = []
    for split in data.plan.splits:
        linear = Ridge() if is_regression else LogisticRegression(max_iter=2000)
        model = make_pipeline(StandardScaler(), linear)
        model.fit(features[split.training], target[split.training])
        theirs.append(model.score(features[split.validation], target[split.validation]))
    ours = [fold.score for fold in folds]
    assert np.mean(ours) > np.mean(theirs) - 0.01
    assert np.mean(ours) > (0.45 if is_regression else 0.94)


@pytest.mark.parametrize(
    ("dataset", "metric"), [("breast_cancer", "cross_entropy"), ("diabetes", "mae")]
)
def test_the_linear_baseline_is_the_library_s_with_the_penalty_it_chose(
    dataset: str, metric: str
) -> None:
    spec = make_spec(dataset, metric)
    data, folds = score(spec, LINEAR)
    features, target = data.dataset.features, data.dataset.target
    penalties = set()
    prepared = prepare_folds(data.dataset, data.plan.splits, spec)
    for split, rows, fold in zip(data.plan.splits, prepared, folds, strict=True):
        seed = seed32_for(spec.seed, "baselines", split.repeat, split.fold)
        penalty = fit_linear(rows, None, seed, is_time_series=False).penalty
        penalties.add(penalty)
        linear = (
            Ridge(alpha=penalty)
            if dataset == "diabetes"
            else LogisticRegression(C=1 / penalty, max_iter=1000)
        )
        model = make_pipeline(StandardScaler(), linear)
        model.fit(features[split.training], target[split.training])
        unseen = features[split.validation]
        if dataset == "diabetes":
            np.testing.assert_allclose(fold.outputs[:, 0], model.predict(unseen), rtol=1e-4)
        else:
            np.testing.assert_allclose(np.exp(fold.outputs), model.predict_proba(unseen), atol=5e-3)
    low, high = f"{min(penalties):g}", f"{max(penalties):g}"
    what = "ridge" if dataset == "diabetes" else "logistic"
    span = low if low == high else f"{low} to {high}"
    assert re.fullmatch(rf"{what} regression, penalty {span}, trained in \d+\.\d s", folds[0].note)


def fold_of(features: NDArray[Any], targets: NDArray[Any], classes: int, training: int) -> FoldData:
    """Return a fold that trains on the first rows and validates the others."""
    rows = np.arange(len(features))
    return FoldData(
        repeat=0, fold=0, features=features.astype(np.float32), targets=targets,
        training=rows[:training], validation=rows[training:], target_mean=0.0, target_std=1.0,
        classes=classes,
    )  # fmt: skip


def test_noise_asks_for_a_strong_penalty_and_a_signal_for_a_weak_one() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(400, 20))
    noise = fold_of(features, generator.integers(0, 2, 400), 2, 300)
    assert fit_linear(noise, None, 0, is_time_series=False).penalty >= 100
    signal = fold_of(features, (features[:, 0] > 0).astype(np.int64), 2, 300)
    fit = fit_linear(signal, None, 0, is_time_series=False)
    assert fit.penalty < 1
    assert (fit.outputs.argmax(axis=1) == signal.targets[300:]).mean() > 0.95


def test_the_penalty_is_chosen_without_the_validation_rows() -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(size=(300, 5))
    targets = (features[:, 0] + generator.normal(size=300) > 0).astype(np.int64)
    fit = fit_linear(fold_of(features, targets, 2, 200), None, 0, is_time_series=False)
    targets[200:] = 1 - targets[200:]
    again = fit_linear(fold_of(features, targets, 2, 200), None, 0, is_time_series=False)
    assert again.penalty == fit.penalty
    np.testing.assert_array_equal(again.outputs, fit.outputs)


def test_rows_of_one_group_do_not_choose_the_penalty_of_each_other() -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), 10)
    features = generator.normal(size=(60, 40))[groups] + 0.01 * generator.normal(size=(600, 40))
    targets = generator.integers(0, 2, 60)[groups]
    fold = fold_of(features, targets, 2, 500)
    assert fit_linear(fold, None, 0, is_time_series=False).penalty < 1, "copies leak"
    assert fit_linear(fold, groups, 0, is_time_series=False).penalty >= 10


def test_a_time_series_chooses_its_penalty_on_later_rows() -> None:
    # The rule turns round after two thirds: only later rows show that the past does not help.
    generator = np.random.default_rng(4)
    features = generator.normal(size=(400, 4))
    sign = np.where(np.arange(400) < 200, 1.0, -1.0)
    fold = fold_of(features, sign * features[:, 0], 0, 300)
    drawn = fit_linear(fold, None, 0, is_time_series=False).penalty
    assert fit_linear(fold, None, 0, is_time_series=True).penalty > drawn


@pytest.mark.parametrize("rows", [2, 4, 7])
def test_a_few_rows_are_enough_for_a_linear_model(rows: int) -> None:
    features = np.arange(2.0 * (rows + 2)).reshape(-1, 2)
    classes = fold_of(features, np.arange(rows + 2) % 2, 2, rows)
    assert fit_linear(classes, None, 0, is_time_series=False).outputs.shape == (2, 2)
    numbers = fold_of(features, features[:, 0], 0, rows)
    assert fit_linear(numbers, None, 0, is_time_series=False).outputs.shape == (2, 1)


def test_log_probabilities_of_separable_classes_are_finite() -> None:
    features = np.concatenate([np.full(50, -1e6), np.full(50, 1e6)])[:, None]
    order = np.random.default_rng(0).permutation(100)
    targets = (features[order, 0] > 0).astype(np.int64)
    fold = fold_of(features[order], targets, 2, 80)
    outputs = fit_linear(fold, None, 0, is_time_series=False).outputs
    assert np.isfinite(outputs).all()
    assert (outputs.argmax(axis=1) == targets[80:]).all()


# Boosted trees.


@pytest.mark.parametrize("metric", [*CLASSIFICATION, *REGRESSION])
def test_gradient_boosting_is_the_library_s(metric: str) -> None:
    is_class = metric in CLASSIFICATION
    spec = make_spec("wine" if is_class else "diabetes", metric, cv={"repeats": 2})
    data, folds = score(spec, GRADIENT_BOOSTING)
    assert len(folds) == 6
    prepared = prepare_folds(data.dataset, data.plan.splits, spec)
    for fold, rows in zip(folds, prepared, strict=True):
        seed = seed32_for(spec.seed, "baselines", fold.repeat, fold.fold)
        kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
        model = kind(random_state=seed).fit(
            rows.features[rows.training], rows.targets[rows.training]
        )
        unseen = rows.features[rows.validation]
        wanted = data.dataset.target[rows.validation]
        if is_class:
            chances = model.predict_proba(unseen)
            np.testing.assert_allclose(np.exp(fold.outputs), chances, rtol=1e-4, atol=1e-6)
            truth = class_score(metric, wanted, chances)
        else:
            predicted = model.predict(unseen) * rows.target_std + rows.target_mean
            np.testing.assert_allclose(fold.outputs[:, 0], predicted, rtol=1e-5)
            named = {
                "rmse": oracle.root_mean_squared_error,
                "mae": oracle.mean_absolute_error,
                "r2": oracle.r2_score,
            }
            truth = named[metric](wanted, predicted)
        assert fold.score == pytest.approx(truth, rel=1e-4)
    assert re.fullmatch(r"100 iterations, trained in \d+\.\d s", folds[0].note)


def class_score(metric: str, wanted: NDArray[Any], chances: NDArray[Any]) -> float:
    predicted = chances.argmax(axis=1)
    match metric:
        case "accuracy":
            return float(oracle.accuracy_score(wanted, predicted))
        case "balanced_accuracy":
            return float(oracle.balanced_accuracy_score(wanted, predicted))
        case "macro_f1":
            return float(oracle.f1_score(wanted, predicted, average="macro"))
        case "cross_entropy":
            return float(oracle.log_loss(wanted, chances, labels=np.arange(chances.shape[1])))
    return float(oracle.roc_auc_score(wanted, chances, multi_class="ovr"))


@pytest.mark.parametrize("name", [LINEAR, GRADIENT_BOOSTING])
def test_a_class_of_two_rows_is_no_obstacle(tmp_path: Path, name: str) -> None:
    generator = np.random.default_rng(5)
    target = np.array([0, 1, 2, 3, 4] * 2 + [0, 1, 2, 3] * 15)
    features = generator.normal(size=(70, 3)) + target[:, None]
    part = ((np.arange(70) < 10) & (target < 4)).astype(int)
    content = make_spec("iris", "cross_entropy").to_json()
    content["data"] = {
        "path": write_table(tmp_path, features, target, part=part), "target": "y",
        "held_out": {"column": "part", "value": 1},
    }  # fmt: skip
    content["cv"] = {"folds": 2, "kind": "stratified"}
    data, folds = score(parse_study(content, "b"), name)
    assert data.dataset.class_counts["4"] == 2
    for fold in folds:
        assert fold.outputs.shape[1] == 5
        np.testing.assert_allclose(np.exp(fold.outputs).sum(axis=1), 1, atol=1e-5)
        assert fold.score < np.log(5)


@pytest.mark.parametrize("name", [LINEAR, GRADIENT_BOOSTING])
def test_inputs_that_float32_cannot_hold_have_no_baseline(tmp_path: Path, name: str) -> None:
    features = np.random.default_rng(6).normal(size=(60, 2))
    features[:, 1] = 0.0
    features[3:5, 1] = 1e60  # constant among the training rows of a fold that validates both
    content = make_spec("iris", "accuracy").to_json()
    path = write_table(tmp_path, features, np.arange(60) % 2)
    content["data"] = {"path": path, "target": "y", "held_out": 0.2}
    spec = parse_study(content, "b")
    data = load_study_data(spec, tmp_path)
    rows = np.flatnonzero(data.dataset.features[:, 1])
    everything = np.arange(len(data.dataset))
    split = Split(0, 0, np.setdiff1d(everything, rows), rows)
    data = replace(data, plan=replace(data.plan, splits=(split,)))
    assert score_baseline(name, spec, data) == []


# Which of them a study has.


def facts(rows: int, inputs: int, outputs: int) -> DataFacts:
    return DataFacts(rows, 0, inputs, inputs, outputs, {}, "kfold", (), 0, ())


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "why"),
    [
        (150, 4, 3, ""),
        (100_000, 100, 2, ""),
        (100_000, 100, 1, ""),
        (100_001, 1, 1, "100,001 rows are more than 100,000"),
        (100_000, 101, 2, "100,000 rows x 101 inputs would take too long"),
        (60_000, 784, 10, "60,000 rows x 784 inputs x 10 classes would take too long"),
        (1_000, 1_000, 10, "1,000 rows x 1,000 inputs x 10 classes would take too long"),
    ],
)
def test_gradient_boosting_is_left_out_where_it_would_take_minutes(
    rows: int, inputs: int, outputs: int, why: str
) -> None:
    task: Task = "classification" if outputs > 1 else "regression"
    constant = constant_name(task)
    wanted, left_out = wanted_baselines(None, task, facts(rows, inputs, outputs))
    reason = f"{why}; name it in [assessment] baselines to train it"
    assert left_out == ({GRADIENT_BOOSTING: reason} if why else {})
    assert wanted == [constant, LINEAR, *([] if why else [GRADIENT_BOOSTING])]
    every = [GRADIENT_BOOSTING, LINEAR, constant]
    assert wanted_baselines(every, task, facts(rows, inputs, outputs)) == (every[::-1], {})
    assert wanted_baselines([LINEAR], task, facts(rows, inputs, outputs)) == ([LINEAR], {})
    assert wanted_baselines([], task, facts(rows, inputs, outputs)) == ([], {})


def test_a_study_file_names_the_baselines_of_its_task() -> None:
    spec = make_spec("iris", "accuracy", assessment={"baselines": ["linear"]})
    assert spec.sections.assessment.baselines == ("linear",)
    with pytest.raises(StudyFileError) as caught:
        make_spec("diabetes", "rmse", assessment={"baselines": ["majority", "linear"]})
    assert str(caught.value) == (
        'b.toml: [assessment] baselines: a regression has the baselines ["mean", "linear", '
        '"gradient_boosting"], but got "majority". Write "mean".'
    )
    with pytest.raises(StudyFileError, match="baselines"):
        make_spec("iris", "accuracy", assessment={"baselines": ["forest"]})


def test_a_study_gets_the_baselines_that_its_record_lacks(bench: Bench, storage_url: str) -> None:
    """Studies of earlier versions have no gradient boosting."""
    bench.use(open_database(storage_url, create=True, write=True))
    old = make_iris({"assessment": {"baselines": ["majority", "linear"]}}, trials=2)
    study, _ = bench.procedure(old)
    before = bench.evidence.baselines(study)
    assert {fold.name for fold in before} == {"majority", "linear"}
    assert bench.assess(study).baselines_left_out == {}

    bench.lines.clear()
    study, _ = bench.procedure(make_iris(trials=2))
    after = bench.evidence.baselines(study)
    assert [fold.name for fold in after] == [GRADIENT_BOOSTING] * 3 + [LINEAR] * 3 + [
        "majority"
    ] * 3
    for fold, kept in zip(after[3:], before, strict=True):
        assert (fold.score, fold.note) == (kept.score, kept.note)
    first, last = bench.lines
    assert first == "baselines: training gradient_boosting on the same folds"
    assert re.fullmatch(
        r"baselines: gradient_boosting accuracy 0\.\d{4} \(100 iterations, trained in .* s\)", last
    )
    bench.lines.clear()
    bench.procedure(make_iris(trials=2))
    assert bench.lines == [], "nothing is trained twice"


def test_a_baseline_that_is_not_on_record_is_named_with_the_reason(bench: Bench) -> None:
    study, _ = bench.procedure(make_iris({"assessment": {"baselines": ["linear"]}}, trials=2))
    spec = make_iris(trials=2)
    study = bench.records.keep_file(study, spec)
    assert bench.assess(study).baselines_left_out == {
        "majority": "selection run FILE trains it",
        GRADIENT_BOOSTING: "selection run FILE trains it",
    }


def test_a_study_without_a_complete_trial_is_compared_with_nothing(bench: Bench) -> None:
    space = {"learning_rate": {"low": 1e25, "high": 1e30, "log": True}}
    spec = make_iris({"data": {"dataset": "diabetes"}}, space=space, metric="rmse", trials=2)
    for _ in range(2):
        study, _ = bench.procedure(spec)
        assert {fold.name for fold in bench.evidence.baselines(study)} == set(
            baselines_of("regression")
        )
        assert bench.assess(study).baselines == {}


# Weights of rows.


@pytest.mark.parametrize("classes", [2, 0])
@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_baselines_fit_the_weights_and_not_their_unit(classes: int, unit: float) -> None:
    generator = np.random.default_rng(5)
    features = generator.normal(size=(300, 4))
    signal = features[:, 0] + generator.normal(size=300)
    targets: Any = (signal > 0).astype(np.int64) if classes else signal
    weights = generator.integers(0, 3, 300).astype(np.float64)
    plain = fold_of(features, targets, classes, 200)
    weighed = replace(plain, weights=unit * weights)
    linear = fit_linear(weighed, None, 0, is_time_series=False)
    scaler = StandardScaler().fit(plain.features[:200])
    inside, outside = (
        scaler.transform(plain.features[part]) for part in (plain.training, plain.validation)
    )
    shares = weights[:200] / weights[:200].mean()
    model = LogisticRegression(C=1 / linear.penalty) if classes else Ridge(alpha=linear.penalty)
    model.fit(inside, targets[:200], sample_weight=shares)
    if classes:
        np.testing.assert_allclose(np.exp(linear.outputs), model.predict_proba(outside), atol=5e-3)
    else:
        np.testing.assert_allclose(linear.outputs[:, 0], model.predict(outside), rtol=1e-4)
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    boosted = kind(max_iter=100, early_stopping=False, random_state=0)
    boosted.fit(plain.features[:200], targets[:200], sample_weight=shares)
    found = fit_boosting(weighed, 0)
    if classes:
        chances = boosted.predict_proba(plain.features[200:])
        np.testing.assert_allclose(np.exp(found), chances, rtol=1e-6)
    else:
        np.testing.assert_allclose(found[:, 0], boosted.predict(plain.features[200:]))
    assert not np.allclose(found, fit_boosting(plain, 0))


@pytest.mark.parametrize("classes", [2, 0])
def test_baselines_bear_rows_of_which_few_weigh_anything(classes: int) -> None:
    features = np.arange(60.0).reshape(-1, 2)
    targets: Any = np.arange(30) % 2 if classes else features[:, 0]
    weights = np.zeros(30)
    weights[3] = 1.0
    fold = replace(fold_of(features, targets, classes, 20), weights=weights)
    assert np.isfinite(fit_linear(fold, None, 0, is_time_series=False).outputs).all()
    assert np.isfinite(fit_boosting(fold, 0)).all()
