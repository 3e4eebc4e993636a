"""Diagnoses on the record: baselines by scikit-learn, and verdicts that are known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, root_mean_squared_error

from selection.stats.fit_diagnosis import Verdict
from selection.stats.selection_rules import rank
from selection.store.study_record import StudyRecord
from selection.study.spec import StudySpec
from selection.study.trial import Scalar, TrialState
from selection.train.device import choose_device
from selection.workflows.diagnose import baseline_lines, diagnose_points, diagnose_trial
from selection.workflows.study_data import StudyData, row_facts
from selection.workflows.validation_curve import Subject, trace_curve
from tests.sweep_bench import Bench, make_spec

CPU = choose_device("cpu")


def table_spec(bench: Bench, metric: str, cv: dict[str, Any], prepare: str) -> StudySpec:
    """Write a table with groups and return a study of it."""
    generator = np.random.default_rng(3)
    frame = pd.DataFrame({"a": generator.normal(size=90), "b": generator.normal(size=90)})
    values = 40.0 + 7.0 * frame["a"] - 3.0 * frame["b"] + 6.0 * generator.normal(size=90)
    frame["y"] = values if metric == "rmse" else np.where(values > 38, "u", "v")
    frame["g"] = np.arange(90) % 13
    frame.to_csv(bench.folder / "t.csv", index=False)
    data: dict[str, Any] = {"path": str(bench.folder / "t.csv"), "target": "y", "prepare": prepare}
    data |= {"groups": "g"} if "group" in str(cv.get("kind")) else {"drop": ["g"]}
    sections = {"data": data, "cv": cv, "training": {"epochs": 2, "batch_size": 16}}
    return make_spec(sections, metric=metric, trials=1, pruner="none", pruner_options={})


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def regression_truth(
    data: StudyData, outputs: dict[tuple[int, int], NDArray[Any]], prepare: str
) -> tuple[list[float], list[float]]:
    """Return loss and score of each fold by scikit-learn; the target is standardised by hand."""
    target = data.dataset.target
    losses, scores = [], []
    for split in data.plan.splits:
        unit = target[split.training].std() if prepare != "none" else 1.0
        wanted, found = target[split.validation], outputs[split.repeat, split.fold][:, 0]
        losses.append(mean_squared_error(wanted / unit, found / unit))
        scores.append(root_mean_squared_error(wanted, found))
    return losses, scores


def classification_truth(
    data: StudyData, outputs: dict[tuple[int, int], NDArray[Any]]
) -> tuple[list[float], list[float]]:
    losses, scores = [], []
    for split in data.plan.splits:
        logits = outputs[split.repeat, split.fold].astype(np.float64)
        wanted, chances = data.dataset.target[split.validation], softmax(logits, axis=1)
        losses.append(log_loss(wanted, chances, labels=np.arange(logits.shape[1])))
        scores.append(accuracy_score(wanted, chances.argmax(axis=1)))
    return losses, scores


KINDS: list[dict[str, Any]] = [
    {"folds": 3, "kind": "kfold"},
    {"folds": 3, "kind": "kfold", "repeats": 2},
    {"folds": 4, "kind": "group"},
    {"folds": 3, "kind": "group", "repeats": 2},
    {"folds": 3, "kind": "time_series"},
]


@pytest.mark.parametrize("prepare", ["standardize", "robust", "none"])
@pytest.mark.parametrize("cv", KINDS, ids=str)
def test_baselines_of_a_regression_are_those_of_scikit_learn(
    bench: Bench, cv: dict[str, Any], prepare: str
) -> None:
    spec = table_spec(bench, "rmse", cv, prepare)
    study, data = bench.procedure(spec)
    lines = baseline_lines(study, spec, bench.repository)
    folds = bench.evidence.baselines(study)
    assert set(lines) == {"mean", "linear", "gradient_boosting"}
    features, target = data.dataset.features, data.dataset.target
    dummies = {
        (split.repeat, split.fold): DummyRegressor()
        .fit(features[split.training], target[split.training])
        .predict(features[split.validation])[:, None]
        for split in data.plan.splits
    }
    linear = {(fold.repeat, fold.fold): fold.outputs for fold in folds if fold.name == "linear"}
    for name, outputs in (("mean", dummies), ("linear", linear)):
        losses, scores = regression_truth(data, outputs, prepare)
        check_line(lines[name], losses, scores)


@pytest.mark.parametrize("cv", [*KINDS, {"folds": 3, "kind": "stratified", "repeats": 2}], ids=str)
def test_baselines_of_classes_are_those_of_scikit_learn(bench: Bench, cv: dict[str, Any]) -> None:
    spec = table_spec(bench, "accuracy", cv, "standardize")
    study, data = bench.procedure(spec)
    lines = baseline_lines(study, spec, bench.repository)
    folds = bench.evidence.baselines(study)
    assert set(lines) == {"majority", "linear", "gradient_boosting"}
    features, target = data.dataset.features, data.dataset.target
    dummies = {
        (split.repeat, split.fold): np.log(
            DummyClassifier(strategy="prior")
            .fit(features[split.training], target[split.training])
            .predict_proba(features[split.validation])
        )
        for split in data.plan.splits
    }
    linear = {(fold.repeat, fold.fold): fold.outputs for fold in folds if fold.name == "linear"}
    for name, outputs in (("majority", dummies), ("linear", linear)):
        check_line(lines[name], *classification_truth(data, outputs))


def test_a_target_that_is_constant_in_training_is_in_its_own_units(bench: Bench) -> None:
    frame = pd.DataFrame({"a": np.arange(100.0), "y": np.sin(np.arange(100.0))})
    frame.loc[:29, "y"] = 0.1
    assert 0 < np.std(frame["y"].to_numpy()[:20]) < 1e-15, "a rounding error, not 0"
    frame.to_csv(bench.folder / "t.csv", index=False)
    data = {"path": str(bench.folder / "t.csv"), "target": "y"}
    sections = {"data": data, "cv": {"folds": 3, "kind": "time_series"}}
    spec = make_spec(sections, metric="rmse", trials=1, pruner="none", pruner_options={})
    study, loaded = bench.procedure(spec)
    first = loaded.plan.splits[0]
    assert len(first.training) == 20
    target = loaded.dataset.target
    losses = [mean_squared_error(target[first.validation], np.full(len(first.validation), 0.1))]
    for split in loaded.plan.splits[1:]:
        training = target[split.training]
        errors = (target[split.validation] - training.mean()) / training.std()
        losses.append(float(np.mean(errors**2)))
    line = baseline_lines(study, spec, bench.repository)["mean"]
    assert (line.loss.mean, line.loss.standard_error) == pytest.approx(mean_and_error(losses))


def check_line(line: Any, losses: list[float], scores: list[float]) -> None:
    for found, truth in ((line.loss, losses), (line.score, scores)):
        assert (found.mean, found.standard_error) == pytest.approx(mean_and_error(truth), rel=1e-5)


def test_loss_of_the_linear_baseline_is_in_the_units_of_its_learning_curve(bench: Bench) -> None:
    """A linear trial that is trained to its end has nearly the loss of the baseline."""
    sections = {
        "data": {"dataset": "diabetes"},
        "model": {"hidden_layers": 0},
        "training": {"epochs": 20, "batch_size": 32},
    }
    space = {"learning_rate": {"choices": [0.02]}}
    spec = make_spec(sections, space=space, metric="rmse", trials=1, pruner_options={})
    study, _ = bench.procedure(spec)
    lines = baseline_lines(study, spec, bench.repository)
    losses = [fold.curve.column("validation_loss")[-1] for fold in bench.records.curves(study, 0)]
    assert lines["linear"].loss.mean == pytest.approx(np.mean(losses), rel=0.05)


def test_a_study_whose_rows_were_not_kept_has_no_diagnosis(bench: Bench) -> None:
    spec = make_spec(trials=2, cohort=2, pruner="none", pruner_options={})
    study = bench.run(spec)
    trials = bench.records.trials(study)
    assert bench.evidence.rows(study) is None
    assert diagnose_trial(study, spec, bench.repository, trials[0], trials) is None
    assert baseline_lines(study, spec, bench.repository) == {}


def ranked(bench: Bench, study: StudyRecord, spec: StudySpec) -> list[Any]:
    return rank(bench.records.trials(study), is_minimised=spec.is_minimised)


def test_only_complete_trials_are_diagnosed(bench: Bench) -> None:
    spec = make_spec()
    study, _ = bench.procedure(spec)
    trials, best = bench.records.trials(study), ranked(bench, study, spec)
    states = {trial.state for trial in trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        found = diagnose_trial(study, spec, bench.repository, trial, best)
        assert (found is None) == (trial.state is TrialState.PRUNED)
        if found is None:
            continue
        folds = bench.records.curves(study, trial.number)
        for name in ("training_loss", "validation_loss", "training_score", "validation_score"):
            last = [float(fold.curve.column(name)[-1]) for fold in folds]
            mean = getattr(found, name)
            assert (mean.mean, mean.standard_error) == pytest.approx(mean_and_error(last))
        assert found.validation_score.mean == trial.value
        assert found.gap.mean == pytest.approx(
            found.validation_loss.mean - found.training_loss.mean
        )


def test_the_linear_baseline_shows_that_a_lone_bad_trial_underfits(
    bench: Bench, other_bench: Bench
) -> None:
    training = {"training": {"epochs": 20, "batch_size": 16}}
    search = {"metric": "cross_entropy", "trials": 1, "default": {"learning_rate": 0.0001}}
    spec = make_spec(training, **search, pruner_options={})
    study, data = bench.procedure(spec)
    (trial,) = bench.records.trials(study)
    found = diagnose_trial(study, spec, bench.repository, trial, [trial])
    assert found is not None
    assert found.verdict is Verdict.UNDERFIT
    assert "of the linear baseline" in found.rule

    alone = other_bench.run(spec)
    other_bench.evidence.keep_rows(alone, row_facts(data))
    (trial,) = other_bench.records.trials(alone)
    found = diagnose_trial(alone, spec, other_bench.repository, trial, [trial])
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "nothing shows how far the loss could fall" in found.rule


@pytest.fixture
def digits(bench: Bench) -> tuple[StudySpec, StudyRecord, StudyData]:
    """A study of one wide trial of handwritten digits."""
    sections = {
        "name": "digits",
        "data": {"dataset": "digits"},
        "cv": {"folds": 5},
        "training": {"epochs": 12, "batch_size": 32},
    }
    space = {"width": {"choices": [64]}, "learning_rate": 0.2}
    spec = make_spec(sections, space=space, trials=1, pruner="none", pruner_options={})
    return spec, *bench.procedure(spec)


def verdicts_of(
    bench: Bench, digits: tuple[StudySpec, StudyRecord, StudyData], over: str, values: list[Scalar]
) -> dict[Scalar, Any]:
    spec, study, data = digits
    (trial,) = bench.records.trials(study)
    subject = Subject(spec, study, data, trial, over)
    points = trace_curve(
        subject, values, bench.repository, CPU, lambda news: None, bench.lines.append
    )
    found = diagnose_points(study, spec, bench.repository, points)
    return dict(zip(values, found, strict=True))


def test_narrow_networks_underfit_beside_a_wide_one(
    bench: Bench, digits: tuple[StudySpec, StudyRecord, StudyData]
) -> None:
    found = verdicts_of(bench, digits, "width", [1, 2, 64])
    assert [found[width].verdict for width in (1, 2)] == [Verdict.UNDERFIT] * 2
    assert "of width = 64" in found[1].rule
    assert found[64].verdict is not Verdict.UNDERFIT
    found = verdicts_of(bench, digits, "width", [1, 2])
    assert "of width = 1;" in found[2].rule, "nothing is held against itself"


def test_few_rows_overfit(bench: Bench, digits: tuple[StudySpec, StudyRecord, StudyData]) -> None:
    found = verdicts_of(bench, digits, "rows", [20, 40, 1000])
    assert [found[rows].verdict for rows in (20, 40)] == [Verdict.OVERFIT] * 2
    assert found[20].gap.mean > found[1000].gap.mean > 0


def test_the_advice_to_a_trial_follows_its_own_curves(
    bench: Bench, digits: tuple[StudySpec, StudyRecord, StudyData]
) -> None:
    """A wide network of few rows overfits, and narrower ones score less all the same."""
    spec, study, _ = digits
    (trial,) = bench.records.trials(study)
    free = diagnose_trial(study, spec, bench.repository, trial, [trial])
    assert free is not None
    assert free.verdict is Verdict.OVERFIT
    assert free.advice == "Try more weight decay, more dropout, a smaller network or more rows."
    verdicts_of(bench, digits, "width", [1, 4, 64])
    verdicts_of(bench, digits, "rows", [20, 1000])
    found = diagnose_trial(study, spec, bench.repository, trial, [trial])
    assert found is not None
    assert (found.verdict, found.rule) == (free.verdict, free.rule)
    assert "a smaller network" not in found.advice.partition("Not ")[0]
    assert "Not a smaller network: width below 64 has at best" in found.advice
    assert "Add rows: the score still rises with them" in found.advice
    assert f"{trial.value:.4g} here (observed)" in found.advice


def test_the_advice_to_a_trial_follows_trials_beside_it(bench: Bench) -> None:
    """On a grid, trials that differ in one number are the points of a curve."""
    space = {"width": {"choices": [1, 64]}, "learning_rate": {"choices": [0.1, 0.2]}}
    training = {"training": {"epochs": 12, "batch_size": 32}}
    spec = make_spec(
        {"data": {"dataset": "digits"}, **training}, space=space, sampler="grid", trials=4,
        default={"width": 64, "learning_rate": 0.2}, pruner="none", pruner_options={},
    )  # fmt: skip
    study, _ = bench.procedure(spec)
    best = ranked(bench, study, spec)
    by_params = {(t.params["width"], t.params["learning_rate"]): t for t in best}
    wide, narrow = by_params[64, 0.2], by_params[1, 0.2]
    found = diagnose_trial(study, spec, bench.repository, narrow, best)
    assert found is not None
    assert found.verdict is Verdict.UNDERFIT
    shown = f"the record has {wide.value:.4g} there against {narrow.value:.4g} here"
    assert f"Set width to 64: {shown}" in found.advice


def test_a_point_that_did_not_train_has_no_diagnosis_and_is_no_reference(
    bench: Bench, digits: tuple[StudySpec, StudyRecord, StudyData]
) -> None:
    found = verdicts_of(bench, digits, "learning_rate", [0.2, 1e30])
    assert found[1e30] is None
    assert found[0.2].verdict in (Verdict.OVERFIT, Verdict.INCONCLUSIVE)
    assert "1e+30" not in found[0.2].rule
