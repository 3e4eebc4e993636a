"""Curves: each point is plain training of one setting on the study's folds, and trained once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from selection.data.prepare import FoldData, prepare_folds
from selection.data.subsets import take_subset
from selection.errors import StudyFileError, StudyStateError
from selection.store.curve_points import CurvePoint
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Scalar, Trial, TrialResult, TrialState
from selection.train.device import choose_device
from selection.train.fit import Trainer
from selection.workflows import evaluate as final
from selection.workflows import validation_curve as curve
from selection.workflows.study_data import load_study_data, make_trainer
from selection.workflows.validation_curve import Subject, read_values, trace_curve
from tests import reference
from tests.sweep_bench import Bench, make_spec

CPU = choose_device("cpu")
# 100 rows in 4 folds of 25.
CUBIC: dict[str, Any] = {
    "name": "cubic",
    "data": {"dataset": "cubic_polynomial"},
    "cv": {"folds": 4},
    "model": {"hidden_layers": 0, "features": 3},
}


def cubic_spec(sections: dict[str, Any] | None = None) -> StudySpec:
    """Return a study of one linear trial."""
    space = {"learning_rate": {"low": 0.001, "high": 0.1}}
    options = {"metric": "rmse", "default": {"learning_rate": 0.02}, "pruner_options": {}}
    return make_spec({**CUBIC, **(sections or {})}, trials=1, space=space, **options)


def begin(bench: Bench, spec: StudySpec) -> Callable[[str], Subject]:
    """Run a study; return what makes its best trial the subject of a curve."""
    study = bench.run(spec)
    data = load_study_data(spec, bench.folder)
    trials = bench.records.trials(study, with_curves=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    sign = -1.0 if spec.is_minimised else 1.0
    best = max(complete, key=lambda trial: sign * (trial.value or 0.0))
    return lambda over: Subject(spec, study, data, best, over)


def trace(bench: Bench, subject: Subject, values: Sequence[Scalar]) -> list[CurvePoint]:
    return trace_curve(
        subject, values, bench.repository, CPU, lambda news: None, bench.lines.append
    )


def setting_of(subject: Subject, value: Scalar) -> Setting:
    return subject.spec.setting({**subject.trial.params, subject.over: value})


def bits(folds: Sequence[FoldResult]) -> list[tuple[int, int, bytes]]:
    return [(fold.repeat, fold.fold, fold.curve.points.tobytes()) for fold in folds]


def point_bits(points: Sequence[CurvePoint]) -> list[Any]:
    return [(repr(point.value), point.reason, bits(point.folds)) for point in points]


class Watched:
    """Note what curves train, by the trainers that they make."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings: list[Setting] = []
        self.folds: list[Sequence[FoldData]] = []
        watched = self

        class Watching(Trainer):
            def __init__(self, folds: Sequence[FoldData], *rest: Any, **options: Any) -> None:
                super().__init__(folds, *rest, **options)
                watched.folds.append(folds)

            def train(self, settings: Sequence[Setting], *rest: Any, **options: Any) -> Any:
                watched.settings += settings
                return super().train(settings, *rest, **options)

        monkeypatch.setattr(curve, "Trainer", Watching)
        monkeypatch.setattr("selection.workflows.study_data.Trainer", Watching)


# A curve over a hyperparameter.


@pytest.mark.parametrize(
    ("over", "values"),
    [
        ("width", [1, 5, 40]),
        ("learning_rate", [1e-05, 0.2]),
        ("activation", ["sigmoid", "tanh"]),
        ("hidden_layers", [0, 2, 3]),
        ("features", [1, 3]),
        ("epochs", [1, 6]),
        ("batch_size", [7, 300]),
        ("weight_decay", [0.0001, 0.1]),
        ("optimizer", ["adam", "adamw"]),
        ("init", ["normal", "xavier_normal"]),
    ],
)
def test_a_point_is_plain_training_of_that_setting(
    bench: Bench, over: str, values: list[Scalar]
) -> None:
    subject = begin(bench, make_spec(trials=2, cohort=2))(over)
    points = trace(bench, subject, values)
    spec, data = subject.spec, subject.data
    assert [(point.number, point.over, point.value) for point in points] == [
        (subject.trial.number, over, value) for value in values
    ]
    settings = [setting_of(subject, value) for value in values]
    folds = prepare_folds(data.dataset, data.plan.splits, spec)
    trained = make_trainer(spec, data, CPU, 0).train(settings)
    for point, setting, result in zip(points, settings, trained, strict=True):
        assert point.is_complete
        assert bits(point.folds) == bits(result.folds)
        for member, fold in zip(point.folds, folds, strict=True):
            truth = reference.train(setting, fold, spec.metric, spec.seed, torch.float32)
            assert member.outputs is None
            assert member.curve.points.shape == (setting.kind.epochs, 6), "none is pruned"
            np.testing.assert_allclose(member.curve.points, truth.points, rtol=1e-3, atol=1e-4)


def test_points_of_a_regression_equal_plain_training(bench: Bench) -> None:
    data = {"dataset": "diabetes"}
    search = {"metric": "rmse", "trials": 2, "cohort": 2}
    subject = begin(bench, make_spec({"data": data}, **search))("width")
    points = trace(bench, subject, [2, 9])
    folds = prepare_folds(subject.data.dataset, subject.data.plan.splits, subject.spec)
    for point in points:
        for member, fold in zip(point.folds, folds, strict=True):
            setting = setting_of(subject, point.value)
            truth = reference.train(setting, fold, "rmse", subject.spec.seed, torch.float32)
            np.testing.assert_allclose(member.curve.points, truth.points, rtol=1e-3, atol=1e-4)


def test_what_a_trial_had_is_taken_from_the_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = begin(bench, make_spec())("width")
    own = subject.trial.params["width"]
    assert isinstance(own, int)
    watched = Watched(monkeypatch)
    points = {point.value: point for point in trace(bench, subject, sorted({own, 20, 30}))}
    assert [setting.widths for setting in watched.settings] == [(20,), (30,)]
    record = bench.records.curves(subject.study, subject.trial.number)
    assert bits(points[own].folds) == bits(record)


def test_what_is_on_record_is_not_trained_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_of = begin(bench, make_spec(trials=2, cohort=2))
    widths, rows = subject_of("width"), subject_of("rows")
    first = point_bits(trace(bench, widths, [3, 40]))
    first_rows = point_bits(trace(bench, rows, [5, 40]))
    watched = Watched(monkeypatch)
    assert point_bits(trace(bench, widths, [3, 40])) == first
    assert point_bits(trace(bench, widths, [40])) == first[1:]
    assert point_bits(trace(bench, rows, [5, 40])) == first_rows
    assert (watched.settings, watched.folds) == ([], [])
    more = point_bits(trace(bench, widths, [3, 20, 40]))
    assert [setting.widths for setting in watched.settings] == [(20,)]
    assert [more[0], more[2]] == first
    more_rows = point_bits(trace(bench, rows, [5, 10, 40]))
    assert {len(fold.training) for folds in watched.folds[1:] for fold in folds} == {10 * 8}
    assert [more_rows[0], more_rows[2]] == first_rows


def test_curves_of_other_trials_and_names_stay_apart(bench: Bench) -> None:
    subject = begin(bench, make_spec(trials=2, cohort=2, pruner="none", pruner_options={}))("width")
    (other,) = [
        trial
        for trial in bench.records.trials(subject.study)
        if trial.number != subject.trial.number
    ]
    mine = trace(bench, subject, [3, 40])
    others = Subject(subject.spec, subject.study, subject.data, other, "width")
    theirs = trace(bench, others, [3, 40])
    assert point_bits(mine) != point_bits(theirs)
    assert {point.number for point in theirs} == {other.number}
    assert point_bits(trace(bench, subject, [3, 40])) == point_bits(mine)


@pytest.mark.parametrize(("over", "values"), [("width", [3, 40]), ("rows", [5, 40])])
def test_points_of_a_study_with_diagnostics_have_no_layers(
    bench: Bench, over: str, values: list[Scalar]
) -> None:
    training = {"epochs": 2, "batch_size": 16, "diagnostics": True}
    subject = begin(bench, make_spec({"training": training}, trials=1, pruner_options={}))(over)
    assert bench.records.curves(subject.study, 0)[0].layers is not None
    for point in trace(bench, subject, values):
        assert point.is_complete
        assert {fold.layers for fold in point.folds} == {None}


def test_a_point_that_diverges_is_kept_with_its_reason(bench: Bench) -> None:
    subject = begin(bench, cubic_spec())("learning_rate")
    values = [0.01, 0.03, 1e30]
    points = trace(bench, subject, values)
    assert [point.is_complete for point in points] == [True, True, False]
    assert points[2].reason.startswith("diverged: non-finite loss in repeat 0, fold ")
    assert len(points[2].folds) == 4
    assert not np.isfinite(points[2].folds[0].curve.points).all()
    kept = bench.repository.curves.points(subject.study)
    assert point_bits(kept) == point_bits(points)


def test_a_value_without_any_training_takes_no_other_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = begin(bench, make_spec(trials=2, cohort=2))("width")
    honest = Trainer.train

    def short(self: Trainer, settings: Sequence[Setting], **rest: Any) -> list[TrialResult]:
        results = honest(self, settings, **rest)
        return [*results[:-1], TrialResult(TrialState.FAILED, "out of memory: one", (), 0, 0.0)]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", short)
        with pytest.raises(StudyStateError) as caught:
            trace(bench, subject, [3, 40, 50])
    assert str(caught.value) == (
        "study iris: curve over width: width = 50 must train, but got out of memory: one. "
        "Leave this value out."
    )
    assert [point.value for point in bench.repository.curves.points(subject.study)] == [3, 40]


def test_widths_per_layer_keep_their_number_of_layers(bench: Bench) -> None:
    space = {"width": {"choices": [[6, 4], [5, 3]]}, "dropout": {"choices": [[0.1, 0.2]]}}
    spec = make_spec(space=space, trials=2, cohort=2)
    subject_of = begin(bench, spec)
    subject = subject_of("width")
    data = subject.data
    points = trace(bench, subject, [2, 8])
    (fold, *_) = prepare_folds(data.dataset, data.plan.splits, spec)
    for point in points:
        assert isinstance(point.value, int)
        setting = spec.setting({**subject.trial.params, "width": (point.value, point.value)})
        assert setting.widths == (point.value,) * 2
        truth = reference.train(setting, fold, "accuracy", spec.seed, torch.float32)
        np.testing.assert_allclose(point.folds[0].curve.points, truth.points, rtol=1e-3, atol=1e-4)
    assert len(trace(bench, subject_of("learning_rate"), [0.1, 0.2])) == 2
    for name, values in (("hidden_layers", [1, 2]), ("hidden_layers", [2, 3])):
        with pytest.raises(StudyStateError, match="but got a list per layer"):
            trace(bench, subject_of(name), values)


@pytest.mark.parametrize(
    ("training", "over", "values"),
    [
        ({"optimizer": "adam"}, "momentum", [0.0, 0.5, 0.9]),
        ({"optimizer": "adam"}, "weight_decay", [0.0, 0.1]),
        ({}, "l2", [0.0, 0.1]),
        ({}, "beta2", [0.9, 0.99]),
        ({}, "dropout_schedule", ["constant", "cosine"]),
        ({}, "std", [0.1, 0.2]),
        ({}, "nesterov", [False, True]),
    ],
)
def test_values_without_effect_are_refused(
    bench: Bench, training: dict[str, Any], over: str, values: list[Scalar]
) -> None:
    options = {"epochs": 1, "batch_size": 64, **training}
    spec = make_spec({"training": options}, trials=1, pruner_options={})
    with pytest.raises(StudyStateError, match="but got values without effect on it"):
        trace(bench, begin(bench, spec)(over), values)


@pytest.mark.parametrize("over", ["dropout", "width", "activation"])
def test_layers_that_are_not_there_have_nothing_to_change(bench: Bench, over: str) -> None:
    of: dict[str, list[Scalar]] = {
        "dropout": [0.1, 0.5],
        "width": [8, 16],
        "activation": ["relu", "tanh"],
    }
    values = of[over]
    with pytest.raises(StudyStateError, match=f"{over} must change the setting of trial 0"):
        trace(bench, begin(bench, cubic_spec())(over), values)


@pytest.mark.parametrize(
    ("over", "values", "said"),
    [
        ("label_smoothing", [0.0, 0.1], "label_smoothing needs a metric of classification"),
        ("class_weights", ["none", "balanced"], "class_weights needs a metric of classification"),
        ("numeric_embedding", ["none", "pl"], "numeric_embedding embeds whole columns"),
    ],
)
def test_what_a_study_file_could_not_ask_for_is_refused(
    bench: Bench, over: str, values: list[Scalar], said: str
) -> None:
    subject = begin(bench, cubic_spec())(over)  # a regression that sees 3 features
    with pytest.raises(StudyStateError, match=said):
        trace(bench, subject, values)


def test_more_features_or_rows_than_there_are_are_refused(bench: Bench) -> None:
    subject_of = begin(bench, cubic_spec())
    with pytest.raises(StudyStateError) as caught:
        trace(bench, subject_of("features"), [2, 21])
    assert str(caught.value) == (
        "study cubic: curve over features: features = 21 must fit trial 0 and its rows, "
        "but got 20 inputs. Choose other values."
    )
    with pytest.raises(StudyStateError) as caught:
        trace(bench, subject_of("rows"), [5, 76])
    assert str(caught.value) == (
        "study cubic: curve over rows: rows must be at most 75, the training rows of the smallest "
        "fold, but got 76. Lower this value."
    )
    assert bench.repository.curves.points(subject_of("rows").study) == []


# Values as they are typed.


@pytest.mark.parametrize(
    ("over", "text", "values"),
    [
        ("width", "128, 8,32", [8, 32, 128]),
        ("learning_rate", "1,1e-05,0.1", [1e-05, 0.1, 1.0]),
        ("activation", "tanh,relu", ["relu", "tanh"]),
        ("nesterov", "true,false", [False, True]),
        ("rows", "100,20,", [20, 100]),
        ("hidden_layers", "0,4", [0, 4]),
    ],
)
def test_values_are_read_in_order(over: str, text: str, values: list[Scalar]) -> None:
    read = read_values(over, text)
    assert repr(read) == repr(values), "8 is not 8.0, and 1 is not true"


@pytest.mark.parametrize(
    ("over", "text", "words"),
    [
        ("widht", "1,2", ['"widht"', "Did you mean width?"]),
        ("row", "1,2", ["Did you mean rows?"]),
        ("precision", "float32,tf32", ["--over", '"precision"']),
        ("diagnostics", "true,false", ["--over", '"diagnostics"']),
        ("width", "8", ["two values that differ", "got 8."]),
        ("width", "8,8", ["two values that differ"]),
        ("learning_rate", "0.1,0.10,0.2", ["two values that differ"]),
        ("width", "", ["two values that differ"]),
        ("width", "8,wide", ["--values wide", "width must be a whole number"]),
        ("width", "8,9.5", ["--values 9.5", "whole number"]),
        ("width", "0,8", ["--values 0", "greater than or equal to 1"]),
        ("width", "-3,8", ["--values -3", "greater than or equal to 1"]),
        ("width", "true,8", ["--values true", "whole number"]),
        ("learning_rate", "0,1", ["--values 0", "greater than 0"]),
        ("learning_rate", "-1,1", ["greater than 0"]),
        ("learning_rate", "nan,1", ["--values nan", "finite"]),
        ("learning_rate", "inf,1", ["--values inf", "finite"]),
        ("learning_rate", "x,1", ["learning_rate must be a number"]),
        ("dropout", "0.5,nan", ["--values nan"]),
        ("dropout", "0.5,1", ["--values 1", "less than 1"]),
        ("features", "0,2", ["--values 0", "greater than or equal to 1"]),
        ("hidden_layers", "1,5", ["--values 5", "less than or equal to 4"]),
        ("activation", "relu,swish", ['"swish"', "'relu'"]),
        ("nesterov", "true,1", ["--values 1", "boolean"]),
        ("rows", "0,5", ["--values 0", "rows must be at least 1"]),
        ("rows", "-5,5", ["rows must be at least 1"]),
        ("rows", "5,1e2", ["rows must be a whole number"]),
        ("rows", "5,many", ["rows must be a whole number"]),
    ],
)
def test_what_is_no_curve_is_refused_in_one_line(over: str, text: str, words: list[str]) -> None:
    with pytest.raises(StudyFileError) as caught:
        read_values(over, text)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


# A curve over the number of rows.


def plain_points(subject: Subject, size: int, fold: int) -> np.ndarray:
    """Train one fold on its subset by the book, its rows repeated as often as they fit in."""
    spec, data = subject.spec, subject.data
    most = min(len(split.training) for split in data.plan.splits)
    repeats = most // size
    split = take_subset(data.plan.splits[fold], data.dataset, spec, size)
    (rows,) = prepare_folds(data.dataset, [split], spec)
    rows = FoldData(**{**vars(rows), "training": np.repeat(rows.training, repeats)})
    setting = spec.setting(subject.trial.params)
    updates = setting.kind.epochs * math.ceil(most / setting.kind.batch_size)
    epochs = round(updates / math.ceil(repeats * size / setting.kind.batch_size))
    return reference.train(setting, rows, spec.metric, spec.seed, torch.float32, epochs).points


def test_a_sample_size_is_plain_training_on_a_subset(bench: Bench) -> None:
    subject = begin(bench, make_spec(trials=2, cohort=2))("rows")
    sizes = [4, 20, 30, 60]
    for point in trace(bench, subject, sizes):
        assert point.is_complete
        assert isinstance(point.value, int)
        for index in (0, 2):
            truth = plain_points(subject, point.value, index)
            np.testing.assert_allclose(point.folds[index].curve.points, truth, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("prepare", ["standardize", "none"])
def test_losses_of_all_sizes_are_in_the_units_of_whole_folds(bench: Bench, prepare: str) -> None:
    data = {"dataset": "cubic_polynomial", "prepare": prepare}
    training = {"epochs": 3, "optimizer": "adam"}
    subject = begin(bench, cubic_spec({"data": data, "training": training}))("rows")
    folds = prepare_folds(subject.data.dataset, subject.data.plan.splits, subject.spec)
    for point in trace(bench, subject, [5, 30, 75]):
        for member, fold in zip(point.folds, folds, strict=True):
            for name in ("training", "validation"):
                rmse = member.curve.column(f"{name}_score")
                loss = member.curve.column(f"{name}_loss")
                np.testing.assert_allclose(rmse**2, loss * fold.target_std**2, rtol=1e-5)


def test_all_rows_are_the_trial_itself(bench: Bench) -> None:
    subject = begin(bench, cubic_spec())("rows")
    points = trace(bench, subject, [20, 75])
    record = bench.records.curves(subject.study, subject.trial.number)
    assert bits(points[1].folds) == bits(record)


@pytest.mark.parametrize("batch_size", [5, 32, 256])
def test_validation_rows_and_updates_are_alike_at_every_size(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    spec = cubic_spec({"training": {"epochs": 12, "batch_size": batch_size}})
    subject = begin(bench, spec)("rows")
    watched = Watched(monkeypatch)
    sizes = [1, 2, 7, 15, 25, 26, 37, 38, 50, 75]
    points = trace(bench, subject, sizes)
    of_size = {
        len(np.unique(group[0].training)): group
        for folds in watched.folds
        for group in np.array(folds, dtype=object).reshape(-1, 4).tolist()
    }
    assert sorted(of_size) == sizes
    wanted = 12 * math.ceil(75 / batch_size)
    for point in points:
        assert isinstance(point.value, int)
        group = of_size[point.value]
        for member, fold, split in zip(point.folds, group, subject.data.plan.splits, strict=True):
            np.testing.assert_array_equal(fold.validation, split.validation)
            assert set(fold.training) <= set(split.training)
            counts = np.unique(fold.training, return_counts=True)[1]
            assert set(counts) == {75 // point.value}, "rows count alike"
            batches = math.ceil(len(fold.training) / batch_size)
            updates = len(member.curve.points) * batches
            assert abs(updates - wanted) <= batches / 2, "half an epoch"


def write_series(bench: Bench) -> StudySpec:
    """Write a series whose very first row is far too large, and return a study of it."""
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"a": generator.normal(size=60), "b": generator.normal(size=60)})
    table["y"] = table["a"] - table["b"]
    table.loc[0, "a"] = 1e25
    table.to_csv(bench.folder / "t.csv", index=False)
    data = {"path": str(bench.folder / "t.csv"), "target": "y", "prepare": "none"}
    sections = {
        "data": data,
        "cv": {"folds": 2, "kind": "time_series"},
        "training": {"epochs": 4, "batch_size": 4},
    }
    return make_spec(sections, metric="rmse", trials=1, pruner="none", pruner_options={})


def test_a_size_that_diverges_takes_no_other_with_it(bench: Bench) -> None:
    spec = write_series(bench)
    data = load_study_data(spec, bench.folder)
    assert [len(split.training) for split in data.plan.splits] == [16, 32]
    study = bench.run(spec)
    # Its own trial diverged too: it stands for one that did not.
    trial = Trial(0, TrialState.COMPLETE, spec.default, 0)
    points = trace(bench, Subject(spec, study, data, trial, "rows"), [4, 8, 16])
    assert [point.is_complete for point in points] == [True, True, False]
    assert points[2].reason.startswith("diverged: non-finite loss in repeat 0, fold 0")
    for point in points:
        assert [(fold.repeat, fold.fold) for fold in point.folds] == [(0, 0), (0, 1)]
    assert [len(fold.curve.points) for fold in points[0].folds] == [4, 4]
    assert point_bits(bench.repository.curves.points(study)) == point_bits(points)


def test_rows_of_groups_stay_out_of_the_folds_of_their_group(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"a": generator.normal(size=60), "g": np.arange(60) % 12})
    table["y"] = np.where(table["a"] + 0.3 * generator.normal(size=60) > 0, "yes", "no")
    table.to_csv(bench.folder / "t.csv", index=False)
    data = {"path": str(bench.folder / "t.csv"), "target": "y", "groups": "g"}
    spec = make_spec({"data": data, "cv": {"folds": 3, "repeats": 2}}, trials=2, cohort=2)
    subject = begin(bench, spec)("rows")
    watched = Watched(monkeypatch)
    points = trace(bench, subject, [3, 10, 30])
    assert [len(point.folds) for point in points] == [6, 6, 6]
    groups = subject.data.dataset.groups
    assert groups is not None
    for folds in watched.folds:
        for fold in folds:
            assert not set(groups[fold.training]) & set(groups[fold.validation])


def test_classes_that_a_tiny_subset_lacks_are_no_hindrance(bench: Bench) -> None:
    subject = begin(bench, make_spec(trials=2, cohort=2))("rows")
    dataset = subject.data.dataset
    split = take_subset(subject.data.plan.splits[0], dataset, subject.spec, 2)
    assert len(set(dataset.target[split.training])) < 3
    points = trace(bench, subject, [1, 2])
    assert [point.reason for point in points] == ["", ""]
    for point in points:
        for fold in point.folds:
            assert np.isfinite(fold.curve.points).all()
            assert fold.score < 0.9


def test_a_curve_opens_no_door_and_asks_no_pruner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"data": {"dataset": "iris", "held_out": 0.2}}
    subject_of = begin(bench, make_spec(sections, trials=4))
    monkeypatch.setattr(final, "open_held_out", None)
    monkeypatch.setattr("selection.data.held_out.open_held_out", None)
    monkeypatch.setattr("selection.workflows.cohort.CohortPruner", None)
    for over, values in (("learning_rate", [1e-5, 1e-4, 1e-3, 0.1]), ("rows", [4, 8, 16, 32])):
        points = trace(bench, subject_of(over), values)
        assert all(point.is_complete for point in points)
        assert min(len(fold.curve.points) for point in points for fold in point.folds) >= 4
    assert bench.ledger.evaluations(subject_of("rows").study) == []


def test_garbage_in_held_out_rows_changes_no_bit_of_a_curve(
    bench: Bench, other_bench: Bench
) -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"a": generator.normal(size=60), "part": ["in"] * 45 + ["out"] * 15})
    table["y"] = table["a"] ** 2

    def points_of(where: Bench, frame: pd.DataFrame) -> list[Any]:
        frame.to_csv(where.folder / "t.csv", index=False)
        held_out = {"column": "part", "value": "out"}
        data = {"path": str(where.folder / "t.csv"), "target": "y", "held_out": held_out}
        subject_of = begin(where, make_spec({"data": data}, metric="rmse", trials=2, cohort=2))
        return [point_bits(trace(where, subject_of(over), [3, 20])) for over in ("width", "rows")]

    garbage = table.copy()
    garbage.loc[garbage["part"] == "out", ["a", "y"]] = 1e30
    assert points_of(bench, table) == points_of(other_bench, garbage)
