"""The packed engine beside plain torch: one nn.Sequential, autograd and torch.optim per member."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from selection.data.prepare import FoldData
from selection.study.activations import ACTIVATIONS
from selection.study.setting import Setting
from selection.study.trial import TrialState
from selection.train import fit, plan
from selection.train.fit import Trainer
from tests import reference
from tests.train.examples import make_folds, make_setting, make_table_folds, task_of

SEED = 7
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    "adam": {"optimizer": "adam", "l2": 0.1, "learning_rate": 0.01},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.2, "learning_rate": 0.01},
}
METRICS = {3: "macro_f1", 2: "roc_auc", 0: "rmse"}


def assert_equal_to_reference(
    settings: list[Setting],
    folds: list[FoldData],
    metric: str,
    *,
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-9,
    max_members: int = 0,
) -> None:
    cpu = torch.device("cpu")
    trainer = Trainer(
        folds, task_of(folds), metric, SEED, cpu, dtype=dtype, max_members=max_members
    )
    results = trainer.train(settings)
    assert len(results) == len(settings)
    for setting, result in zip(settings, results, strict=True):
        assert result.state is TrialState.COMPLETE, result.reason
        assert len(result.folds) == len(folds)
        for data, fold in zip(folds, result.folds, strict=True):
            truth = reference.train(setting, data, metric, SEED, dtype=dtype, folds=folds)
            np.testing.assert_allclose(
                fold.curve.points, truth.points, rtol=tolerance, atol=tolerance
            )
            assert fold.outputs is not None
            assert truth.outputs is not None
            np.testing.assert_allclose(fold.outputs, truth.outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("classes", [3, pytest.param(2, marks=pytest.mark.slow), 0])
def test_every_kind_equals_plain_torch(
    classes: int, depth: int, activation: str, optimizer: str
) -> None:
    # Ragged widths, one member with dropout, a partial last batch, unequal folds.
    options: dict[str, Any] = {"depth": depth, "activation": activation, **OPTIMIZERS[optimizer]}
    settings = [
        make_setting(**options),
        make_setting(widths=[9 - index for index in range(depth)], dropout=0.3, **options),
    ]
    folds = make_folds(classes=classes, is_shared=depth % 2 == 0)
    assert_equal_to_reference(settings, folds, METRICS[classes])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_equals_plain_torch(activation: str, optimizer: str) -> None:
    options: dict[str, Any] = {"depth": 2, "activation": activation, **OPTIMIZERS[optimizer]}
    settings = [make_setting(**options), make_setting(widths=[9, 8], dropout=0.3, **options)]
    assert_equal_to_reference(settings, make_folds(), "macro_f1")


def test_a_probability_and_a_width_per_layer_equal_plain_torch() -> None:
    setting = make_setting(depth=3, widths=[9, 4, 6])
    setting = dataclasses.replace(setting, dropout=(0.2, 0.0, 0.5))
    assert_equal_to_reference([setting, make_setting(depth=3)], make_folds(), "accuracy")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("classes", [3, 0])
def test_a_member_that_sees_the_first_features_equals_plain_torch(
    classes: int, depth: int, optimizer: str
) -> None:
    # In one bucket: none of them may learn from what only the others see.
    options: dict[str, Any] = {"depth": depth, "init": "xavier_normal", **OPTIMIZERS[optimizer]}
    settings = [make_setting(features=seen, **options) for seen in (1, 0, 3, 7)]
    folds = make_folds(classes=classes, is_shared=False)  # one fold has but 6 features
    assert_equal_to_reference(settings, folds, METRICS[classes])


def test_many_workers_and_packs_equal_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "count_workers", lambda device: 4)
    monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1.0)
    settings = [make_setting(widths=[w], dropout=0.1 * index) for index, w in enumerate((4, 9, 30))]
    assert_equal_to_reference(settings, make_folds(folds=5), "accuracy", max_members=1)


@pytest.mark.parametrize("init", ["default", "normal", "xavier_uniform", "xavier_normal"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_every_init_equals_plain_torch(init: str, depth: int) -> None:
    settings = [
        make_setting(depth=depth, init=init),
        make_setting(depth=depth, init=init, widths=[12] * depth),
    ]
    assert_equal_to_reference(settings, make_folds(is_shared=False), "accuracy")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_hundred_steps_stay_within_1e_9(optimizer: str) -> None:
    options: dict[str, Any] = {"depth": 2, "batch_size": 8, "epochs": 23, **OPTIMIZERS[optimizer]}
    settings = [
        make_setting(widths=[9, 4], dropout=0.2, **options),
        make_setting(widths=[6, 7], **options),
    ]
    folds = make_folds(rows=107)
    steps = -(-len(folds[0].training) // 8) * 23
    assert steps >= 200
    assert_equal_to_reference(settings, folds, "cross_entropy")


@pytest.mark.parametrize(("epochs", "tolerance"), [(12, 1e-5), (1, 1e-4)])
def test_float32_stays_close(epochs: int, tolerance: float) -> None:
    # 100 steps on small rows; one epoch of a network as wide as real ones.
    wide = epochs == 1
    folds = make_folds(rows=2000 if wide else 128, features=100 if wide else 10, classes=5)
    setting = make_setting(
        depth=1,
        widths=[128 if wide else 16],
        batch_size=64 if wide else 10,
        epochs=epochs,
        dropout=0.2,
        weight_decay=1e-3,
    )
    assert_equal_to_reference(
        [setting], folds, "cross_entropy", dtype=torch.float32, tolerance=tolerance
    )


def test_a_fold_without_rows_left_takes_no_step() -> None:
    # 48 training rows in one fold and 49 in the others: one batch of a single row in two of three.
    folds = make_folds(rows=73, folds=3)
    sizes = [len(fold.training) for fold in folds]
    assert sorted(sizes) == [48, 49, 49]
    for name in OPTIMIZERS:
        settings = [make_setting(batch_size=16, **OPTIMIZERS[name])]
        assert_equal_to_reference(settings, folds, "accuracy")


def test_batches_larger_than_the_data_are_one_batch() -> None:
    assert_equal_to_reference([make_setting(batch_size=5000)], make_folds(), "accuracy")


def test_settings_of_different_kinds_train_in_one_cohort() -> None:
    settings = [
        make_setting(activation="relu"),
        make_setting(activation="tanh", depth=2),
        make_setting(optimizer="adam", learning_rate=0.01),
        make_setting(batch_size=32),
        make_setting(epochs=2),
        make_setting(depth=0),
    ]
    assert_equal_to_reference(settings, make_folds(), "accuracy")


# What is trained: label smoothing and weights.

TABLE = (("a", 2.0), ("b", 0.5), ("c", 3.0))


def make_losses(**options: Any) -> list[Setting]:
    """Return members of one bucket whose losses differ."""
    return [
        make_setting(depth=2, widths=widths, dropout=dropout, **loss, **options)
        for widths, dropout, loss in (
            ([5, 6], 0.0, {}),
            ([9, 4], 0.3, {"label_smoothing": 0.2}),
            ([6, 6], 0.1, {"class_weights": "balanced"}),
            ([7, 3], 0.0, {"class_weights": "balanced", "label_smoothing": 0.4}),
            ([5, 8], 0.0, {"class_weights": TABLE, "label_smoothing": 0.1}),
        )
    ]


def make_skewed_folds(classes: int, *, has_weights: bool) -> list[FoldData]:
    """Return unequal folds; most rows are of the first class, and some rows weigh nothing."""
    weights = np.array([0.0, 0.5, 1.0, 7.0])[np.random.default_rng(4).integers(0, 4, 103)]
    made = make_folds(classes=classes, is_shared=False)
    if classes:
        skewed = np.where(np.arange(103) % 3 == 0, made[0].targets, 0)
        made = [dataclasses.replace(fold, targets=skewed) for fold in made]
    return [
        dataclasses.replace(
            fold, class_names=tuple("abc"[:classes]), weights=weights if has_weights else None
        )
        for fold in made
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("has_weights", [False, True])
def test_losses_that_differ_in_one_bucket_equal_plain_torch(
    has_weights: bool, optimizer: str
) -> None:
    settings = make_losses(**OPTIMIZERS[optimizer])
    assert_equal_to_reference(settings, make_skewed_folds(3, has_weights=has_weights), "accuracy")


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_alone_equals_plain_torch(smoothing: float) -> None:
    settings = [make_setting(label_smoothing=each) for each in (0.1, smoothing)]
    assert_equal_to_reference(settings, make_folds(classes=2), "roc_auc")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_of_rows_in_a_regression_equal_plain_torch(optimizer: str) -> None:
    settings = [make_setting(depth=depth, **OPTIMIZERS[optimizer]) for depth in (0, 1)]
    assert_equal_to_reference(settings, make_skewed_folds(0, has_weights=True), "rmse")


@pytest.mark.parametrize("own", range(5))
def test_a_member_trains_alike_beside_any_losses(own: int) -> None:
    """Bit by bit, at one shape of the pack."""
    folds = make_skewed_folds(3, has_weights=True)
    alike = [dataclasses.replace(each, widths=(6, 6)) for each in make_losses()]
    beside = Trainer(folds, "classification", "accuracy", SEED, torch.device("cpu")).train(alike)
    alone = Trainer(folds, "classification", "accuracy", SEED, torch.device("cpu")).train(
        [alike[own]] * 5
    )
    for one, other in zip(beside[own].folds, alone[own].folds, strict=True):
        assert one.curve.points.tobytes() == other.curve.points.tobytes()


def test_a_minibatch_that_weighs_nothing_leaves_no_nan() -> None:
    (fold, *_) = make_folds(folds=2)
    weights = np.zeros(103)
    weights[fold.training[0]] = 1.0
    weighed = dataclasses.replace(fold, weights=weights)
    for loss in ({}, {"label_smoothing": 0.2}, {"class_weights": "balanced"}):
        setting = make_setting(batch_size=8, epochs=1, **loss)
        (result,) = Trainer(
            [weighed], "classification", "accuracy", SEED, torch.device("cpu")
        ).train([setting])
        assert result.state is TrialState.COMPLETE, result.reason


def test_weights_alone_decide_what_a_row_counts() -> None:
    """Rows of weight 2 are trained as if they were there twice, however large the unit is."""
    folds = make_folds(folds=2)
    doubled = [
        dataclasses.replace(fold, training=np.repeat(fold.training, 1 + fold.training % 2))
        for fold in folds
    ]
    weights = np.where(np.arange(103) % 2 == 1, 2e6, 1e6)
    weighed = [dataclasses.replace(fold, weights=weights) for fold in folds]
    setting = make_setting(batch_size=1000)
    points = [
        Trainer(each, "classification", "accuracy", SEED, torch.device("cpu"), dtype=torch.float64)
        .train([setting])[0]
        .folds[0]
        .curve.column("validation_loss")
        for each in (doubled, weighed)
    ]
    np.testing.assert_allclose(points[1], points[0], rtol=1e-9)


# Learned factors of inputs, and learned shares of activations.

LEARNED: dict[str, dict[str, Any]] = {
    "input scaling": {"input_scaling": True},
    "parametric activation": {"parametric_activation": True},
    "both": {"input_scaling": True, "parametric_activation": True},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("part", LEARNED)
@pytest.mark.parametrize("classes", [3, 0])
def test_what_is_learned_beside_weights_equals_plain_torch(
    classes: int, part: str, depth: int, optimizer: str
) -> None:
    # Ragged widths, dropout and unused inputs in one bucket, unequal folds.
    options: dict[str, Any] = {"depth": depth, **LEARNED[part], **OPTIMIZERS[optimizer]}
    settings = [
        make_setting(**options),
        make_setting(widths=[9 - index for index in range(depth)], dropout=0.3, **options),
        make_setting(features=3, **options),
    ]
    assert_equal_to_reference(
        settings, make_folds(classes=classes, is_shared=False), METRICS[classes]
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_parametric_activation_equals_plain_torch(activation: str, optimizer: str) -> None:
    options: dict[str, Any] = {
        "depth": 2,
        "activation": activation,
        "parametric_activation": True,
        **OPTIMIZERS[optimizer],
    }
    settings = [make_setting(**options), make_setting(widths=[9, 4], dropout=0.3, **options)]
    assert_equal_to_reference(settings, make_folds(), "accuracy")


def test_settings_with_and_without_learned_factors_train_in_one_cohort() -> None:
    settings = [make_setting(**part) for part in ({}, *LEARNED.values())]
    assert_equal_to_reference(settings, make_folds(), "accuracy")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_at_once_equals_plain_torch(optimizer: str) -> None:
    options: dict[str, Any] = {
        "depth": 2,
        "activation": "selu",
        "input_scaling": True,
        "parametric_activation": True,
        "schedule": "coslog4",
        "warmup": 0.1,
        "dropout_schedule": "flat_cos",
        "weight_decay_schedule": "flat_cos",
        **OPTIMIZERS[optimizer],
    }
    settings = [
        make_setting(widths=[9, 4], dropout=0.3, clip_norm=0.5, label_smoothing=0.1, **options),
        make_setting(clip_norm=2.0, class_weights="balanced", **options),
    ]
    assert_equal_to_reference(settings, make_folds(is_shared=False), "cross_entropy")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("has_categories", [False, True])
@pytest.mark.parametrize("numbers", ["none", "pl", "pbld"])
@pytest.mark.parametrize(("classes", "depth"), [(3, 2), (0, 0)])
def test_embeddings_equal_plain_torch(
    classes: int, depth: int, numbers: str, has_categories: bool, optimizer: str
) -> None:
    options: dict[str, Any] = {
        "depth": depth,
        "numeric_embedding": numbers,
        "category_embedding": has_categories,
        **OPTIMIZERS[optimizer],
    }
    settings = [
        make_setting(widths=[9, 4][:depth], dropout=0.3, embedding_scale=0.1, **options),
        make_setting(embedding_scale=1.0, **options),
    ]
    assert_equal_to_reference(settings, make_table_folds(classes), METRICS[classes])


@pytest.mark.parametrize("numbers", ["none", "pbld"])
@pytest.mark.parametrize("alike", [2, 3])
def test_folds_with_the_same_categories_equal_plain_torch(alike: int, numbers: Any) -> None:
    settings = [
        make_setting(category_embedding=True, numeric_embedding=numbers, embedding_scale=scale)
        for scale in (0.1, 0.5)
    ]
    assert_equal_to_reference(settings, make_table_folds(3, alike), "cross_entropy")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_embeddings_beside_everything_else_equal_plain_torch(optimizer: str) -> None:
    options: dict[str, Any] = {
        "depth": 2,
        "activation": "mish",
        "numeric_embedding": "pbld",
        "category_embedding": True,
        "input_scaling": True,
        "parametric_activation": True,
        "clip_norm": 0.5,
        "schedule": "cosine",
        **OPTIMIZERS[optimizer],
    }
    settings = [make_setting(embedding_scale=scale, **options) for scale in (0.1, 0.5)]
    assert_equal_to_reference(settings, make_table_folds(3), "cross_entropy")
    assert_equal_to_reference(settings, make_table_folds(3), "cross_entropy", max_members=1)


@pytest.mark.parametrize("numbers", ["pl", "pbld"])
def test_embeddings_stay_those_of_their_member_when_others_leave(numbers: Any) -> None:
    settings = [
        make_setting(
            numeric_embedding=numbers,
            category_embedding=True,
            embedding_scale=scale,
            optimizer="adamw",
            learning_rate=0.01,
        )
        for scale in (0.1, 0.5, 2.0)
    ]
    folds = make_table_folds(3)
    trainer = Trainer(
        folds, "classification", "accuracy", SEED, torch.device("cpu"), dtype=torch.float64
    )
    results = trainer.train(settings, lambda epoch, means: [0] if epoch == 1 else [])
    assert results[0].state is TrialState.PRUNED
    for setting, result in zip(settings[1:], results[1:], strict=True):
        for data, fold in zip(folds, result.folds, strict=True):
            truth = reference.train(setting, data, "accuracy", SEED, folds=folds)
            np.testing.assert_allclose(fold.curve.points, truth.points, rtol=1e-9, atol=1e-9)
