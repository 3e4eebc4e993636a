"""What is kept at a rung, beside the outputs of a training that ends there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from selection.study.trial import TrialState
from selection.train import plan
from selection.train.fit import RungPredictions, Trainer
from tests.train.examples import make_folds, make_setting, task_of

SEED = 7
CPU = torch.device("cpu")


@pytest.mark.parametrize("classes", [3, 0])
@pytest.mark.parametrize("is_split", [False, True])
def test_predictions_at_a_rung_are_those_of_a_training_that_ends_there(
    classes: int, is_split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_split:  # every member in a pack of its own
        monkeypatch.setattr(plan, "CPU_MOST_WORK", 1.0)
        monkeypatch.setattr(plan, "CPU_LEAST_WORK", 1.0)
    folds = make_folds(classes=classes)
    metric = "accuracy" if classes else "rmse"

    def reduce(outputs: Any, targets: Any) -> Any:
        return np.column_stack([outputs, targets])

    def trainer(rungs: RungPredictions | None) -> Trainer:
        return Trainer(folds, task_of(folds), metric, SEED, CPU, dtype=torch.float64, rungs=rungs)

    settings = [make_setting(widths=[6], epochs=4), make_setting(widths=[9], epochs=4)]
    keeping = trainer(RungPredictions(frozenset({1, 3, 4}), reduce))
    pruned, whole = keeping.train(settings, lambda epoch, _: [0] if epoch == 3 else [])
    assert pruned.state is TrialState.PRUNED
    for fold in (*pruned.folds, *whole.folds):
        assert list(fold.rungs) == [1, 3]  # the end is not a rung
    for epoch in (1, 3):
        short = trainer(None).train([make_setting(widths=[w], epochs=epoch) for w in (6, 9)])
        for result, ended in zip((pruned, whole), short, strict=True):
            for fold, other in zip(result.folds, ended.folds, strict=True):
                assert other.outputs is not None
                kept = fold.rungs[epoch]
                np.testing.assert_allclose(kept[:, :-1], other.outputs, rtol=1e-6)
    for result in (pruned, whole):
        for fold, data in zip(result.folds, folds, strict=True):
            np.testing.assert_array_equal(fold.rungs[1][:, -1], data.targets[data.validation])


def test_nothing_is_kept_unless_asked_for() -> None:
    (result,) = Trainer(make_folds(), "classification", "accuracy", SEED, CPU).train(
        [make_setting()]
    )
    assert all(fold.rungs == {} for fold in result.folds)
