"""What is recorded of layers, beside autograd on one plain nn.Sequential."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from selection.data.prepare import FoldData
from selection.study.activations import ACTIVATIONS
from selection.study.setting import Setting
from selection.study.trial import LAYER_COLUMNS, LayerCurves, TrialResult, TrialState
from selection.train import layers, plan
from selection.train.fit import Trainer
from tests import reference
from tests.train.examples import make_folds, make_setting, task_of

SEED = 7
CPU = torch.device("cpu")


def train(settings: list[Setting], folds: list[FoldData], decide: Any = None) -> list[TrialResult]:
    metric = "accuracy" if folds[0].classes else "rmse"
    trainer = Trainer(
        folds, task_of(folds), metric, SEED, CPU, diagnostics=True, dtype=torch.float64
    )
    return trainer.train(settings, decide) if decide else trainer.train(settings)


def layers_of(result: TrialResult) -> list[LayerCurves]:
    found = [fold.layers for fold in result.folds if fold.layers is not None]
    assert len(found) == len(result.folds)
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("classes", [3, 0])
def test_layers_equal_autograd(
    classes: int, depth: int, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "EVALUATION_ROWS", {"cpu": 20})  # several blocks, the last partial
    folds = make_folds(classes=classes, is_shared=False)
    options: dict[str, Any] = {
        "depth": depth,
        "activation": activation,
        "weight_decay": 0.1,
        "dropout": 0.3,
    }
    settings = [
        make_setting(**options),
        make_setting(widths=[30 - index for index in range(depth)], **options),
        make_setting(features=2, **options),
    ]
    for setting, result in zip(settings, train(settings, folds), strict=True):
        for data, fold in zip(folds, result.folds, strict=True):
            truth = reference.train(setting, data, "accuracy" if classes else "rmse", SEED)
            assert fold.layers is not None
            assert truth.layers is not None
            assert fold.layers.points.shape == (3, depth + 1, len(LAYER_COLUMNS))
            np.testing.assert_allclose(fold.layers.points[-1], truth.layers, rtol=1e-9)


def test_dead_units_are_counted_at_the_true_width() -> None:
    # A learning rate that throws the biases far below zero kills units of both widths.
    settings = [make_setting(widths=[w], learning_rate=3.0, epochs=2) for w in (6, 24)]
    folds = make_folds()
    seen = set()
    for setting, result in zip(settings, train(settings, folds), strict=True):
        for data, fold in zip(folds, result.folds, strict=True):
            truth = reference.train(setting, data, "accuracy", SEED)
            assert fold.layers is not None
            assert truth.layers is not None
            np.testing.assert_allclose(fold.layers.column("dead_share")[-1], truth.layers[:, 2])
            seen.add(float(truth.layers[0, 2]))
    assert any(0 < share < 1 for share in seen), f"no unit died: {seen}"


def test_looking_at_layers_changes_no_training() -> None:
    settings = [make_setting(depth=2, dropout=0.2), make_setting(depth=1, momentum=0.9)]
    folds = make_folds()
    plain = Trainer(folds, "classification", "accuracy", SEED, CPU).train(settings)
    looked_at = Trainer(folds, "classification", "accuracy", SEED, CPU, diagnostics=True)
    for before, after in zip(plain, looked_at.train(settings), strict=True):
        for one, other in zip(before.folds, after.folds, strict=True):
            assert one.curve.points.tobytes() == other.curve.points.tobytes()
            assert one.layers is None
            assert other.layers is not None
            assert np.isfinite(other.layers.column("gradient_norm")).all()


def test_a_study_that_does_not_ask_never_takes_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("an evaluation of layers that nobody asked for")

    monkeypatch.setattr("selection.train.pack.layer_numbers", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    results = Trainer(make_folds(), "classification", "accuracy", SEED, CPU).train([make_setting()])
    assert results[0].state is TrialState.COMPLETE


def test_pruned_and_split_packs_keep_their_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CPU_MOST_WORK", 1.0)
    monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1.0)
    settings = [make_setting(), make_setting(depth=2)]
    pruned, whole = train(settings, make_folds(), lambda epoch, means: [0] if epoch == 2 else [])
    assert pruned.state is TrialState.PRUNED
    assert [layers.points.shape for layers in layers_of(pruned)] == [(2, 2, 3)] * 3
    assert [layers.points.shape for layers in layers_of(whole)] == [(3, 3, 3)] * 3
    alone = train([settings[1]], make_folds())[0]
    for one, other in zip(layers_of(whole), layers_of(alone), strict=True):
        np.testing.assert_allclose(one.points, other.points, rtol=1e-12)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("activation", ["relu", "mish"])
def test_layers_with_learned_factors_equal_autograd(activation: str, depth: int) -> None:
    """The scale of the inputs is in the first weights, as it is in what is exported."""
    folds = make_folds(is_shared=False)
    options: dict[str, Any] = {
        "depth": depth,
        "activation": activation,
        "input_scaling": True,
        "parametric_activation": True,
        "dropout": 0.3,
    }
    settings = [make_setting(**options), make_setting(features=2, **options)]
    for setting, result in zip(settings, train(settings, folds), strict=True):
        for data, own in zip(folds, layers_of(result), strict=True):
            truth = reference.train(setting, data, "accuracy", SEED).layers
            np.testing.assert_allclose(own.points[-1], truth, rtol=1e-9)
            assert np.isnan(truth[:, 2]).all(), "a parametric ReLU is never dead"
