"""A trial that is scored after its best epoch is the same training, cut off there, on all folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from selection.data.prepare import FoldData
from selection.study.best_epoch import best_epoch, candidate_epochs
from selection.study.setting import Setting
from selection.study.trial import TrialResult, TrialState
from selection.train import plan
from selection.train.fit import RungPredictions, Trainer
from selection.train.refit import fit_members
from tests.train.examples import make_folds, make_setting, task_of

SEED = 7
CPU = torch.device("cpu")
# Rates at which the mean goes up and down.
SETTINGS = [
    make_setting(widths=[width], epochs=epochs, learning_rate=rate)
    for width, epochs, rate in ((6, 12, 0.3), (9, 30, 0.2), (5, 7, 1.0))
]


def reduce(outputs: Any, targets: Any) -> Any:
    return np.column_stack([outputs, targets])


def trainer_of(folds: Sequence[FoldData], metric: str, **options: Any) -> Trainer:
    return Trainer(folds, task_of(folds), metric, SEED, CPU, dtype=torch.float64, **options)


def train(
    folds: Sequence[FoldData], metric: str, settings: Sequence[Setting], **options: Any
) -> list[TrialResult]:
    return trainer_of(folds, metric, epoch="best_mean", **options).train(settings)


@pytest.mark.parametrize(("classes", "metric"), [(3, "accuracy"), (3, "cross_entropy"), (0, "r2")])
@pytest.mark.parametrize("is_split", [False, True])
def test_scores_and_outputs_are_those_of_a_training_that_ends_at_the_best_epoch(
    classes: int, metric: str, is_split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_split:  # every member in a pack of its own
        monkeypatch.setattr(plan, "CPU_MOST_WORK", 1.0)
        monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1.0)
    folds = make_folds(classes=classes)
    slower = 1.0 if classes else 0.3
    settings = [replace(each, learning_rate=slower * each.learning_rate) for each in SETTINGS]
    found = train(folds, metric, settings)
    plain = trainer_of(folds, metric)
    for setting, result in zip(settings, found, strict=True):
        assert result.state is TrialState.COMPLETE
        assert result.epochs == setting.kind.epochs
        best = best_epoch(
            result.fold_means, setting.kind.epochs, is_minimised=metric == "cross_entropy"
        )
        assert {fold.best_epoch for fold in result.folds} == {best}, "the same for all folds"
        (short,) = plain.train([setting], stop_after=best)
        assert result.value == short.value
        assert result.value == pytest.approx(np.mean([fold.score for fold in result.folds]))
        for fold, other in zip(result.folds, short.folds, strict=True):
            assert (fold.score, fold.train_score) == (other.score, other.train_score)
            np.testing.assert_array_equal(fold.scored.points, other.curve.points)
            assert fold.outputs is not None
            assert other.outputs is not None
            np.testing.assert_allclose(fold.outputs, other.outputs, rtol=1e-6)
    lasts = [result.best_epoch == result.epochs for result in found]
    assert not all(lasts), "no epoch but the last is ever best: the test shows nothing"


def test_without_it_the_last_epoch_scores_and_nothing_is_followed() -> None:
    folds = make_folds()
    plain = trainer_of(folds, "accuracy").train(SETTINGS)
    for best, last in zip(train(folds, "accuracy", SETTINGS), plain, strict=True):
        assert last.best_epoch is None
        assert last.value == last.fold_means[-1]
        assert best.fold_means == last.fold_means, "the training is the same"
        assert best.value is not None
        assert last.value is not None
        assert best.value >= last.value


def test_predictions_are_kept_at_every_epoch_that_competes() -> None:
    folds = make_folds()
    kept = RungPredictions(frozenset({1, 2, 7, 13}), reduce)
    trainer = trainer_of(folds, "accuracy", epoch="best_mean", rungs=kept)
    results = trainer.train(SETTINGS, lambda epoch, _: [0] if epoch == 7 else [])
    assert [each.state for each in results] == [
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    pruned, long, _ = results
    assert pruned.best_epoch is None
    assert pruned.folds[0].score == pruned.folds[0].curve.column("validation_score")[-1]
    for fold in pruned.folds:
        assert sorted(fold.rungs) == [1, 2, 7], "of a pruned trial the rungs are enough"
    competing = candidate_epochs(30)
    for fold in long.folds:
        assert set(fold.rungs) == {*competing, 1, 2, 7, 13}
        assert long.best_epoch in competing
        at_best = fold.rungs[long.best_epoch or 0]
        assert fold.outputs is not None
        np.testing.assert_allclose(at_best[:, :-1], fold.outputs, rtol=1e-6)
        for epoch in competing:
            hits = np.mean(fold.rungs[epoch][:, :-1].argmax(axis=1) == fold.rungs[epoch][:, -1])
            assert hits == pytest.approx(fold.curve.column("validation_score")[epoch - 1])


def test_out_of_patience_a_trial_is_complete_and_the_others_train_on() -> None:
    folds = make_folds()
    patient = train(folds, "accuracy", SETTINGS, patience=3)
    whole = train(folds, "accuracy", SETTINGS)
    assert any(result.epochs < setting.kind.epochs
               for result, setting in zip(patient, SETTINGS, strict=True))  # fmt: skip
    for result, full, setting in zip(patient, whole, SETTINGS, strict=True):
        assert (result.state, result.reason) == (TrialState.COMPLETE, "")
        means = full.fold_means
        assert result.fold_means == means[: result.epochs]
        best = int(np.argmax(result.fold_means)) + 1
        if result.epochs < setting.kind.epochs:
            assert result.epochs == best + 3
        assert result.best_epoch is not None
        assert result.value == means[result.best_epoch - 1]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_final_model_may_end_before_the_epochs_of_its_setting(optimizer: str) -> None:
    folds = make_folds()
    setting = make_setting(epochs=9, optimizer=optimizer)
    short = make_setting(epochs=4, optimizer=optimizer)
    own = fit_members(setting, folds, "classification", "accuracy", SEED, CPU, stop_after=4)
    other = fit_members(short, folds, "classification", "accuracy", SEED, CPU)
    for one, two in zip(own, other, strict=True):
        assert one.updates == two.updates == 4 * one.batches
        for layer, same in zip(one.layers, two.layers, strict=True):
            np.testing.assert_array_equal(layer.weight, same.weight)
            np.testing.assert_array_equal(layer.bias, same.bias)
