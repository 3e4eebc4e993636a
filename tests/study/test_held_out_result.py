"""A held-out result: stored as it always was, and read from any version."""

from __future__ import annotations

import json

import pytest

from selection.study.class_scores import ClassScore
from selection.study.held_out_result import HeldOutResult, RowComparison

HEAD = (
    '{"study": "s", "number": 3, "metric": "accuracy", "score": 0.30000000000000004, '
    '"low": 0.2, "high": 0.9, "level": 0.95, "rows": 30, "seeds": [0.30000000000000004, 1.0], '
    '"evaluations": 2, "corrected_estimate": 0.5, "gap": -0.2, '
    '"corrected_interval": [0.4, 0.6], "rule": "best", "model": "refit", '
)
TRAINING = (
    '"training": {"rows": [120], "epochs": 3, "batch_size": 32, "batches_per_epoch": [4], '
    '"updates": [12], "updates_in_cross_validation": 9.0'
)
CLASSES = (
    '"per_class": [{"name": "a", "rows": 30, "precision": null, "recall": 0.5, "f1": 1.0}], '
    '"confusion": [[30, 0], [0, 0]], '
    '"calibration": {"nll": 0.7, "brier": 0.1, "ece": 0.3}, '
)
CLASSIFICATION = (
    f'{HEAD}{TRAINING}, "running_loss": [null], "running_score": [0.9]}}, {CLASSES}'
    '"against": {"evaluation": 1, "number": 0, "gained": 3, "lost": 1, "p": 0.625}}'
)
REGRESSION = (
    f'{HEAD}{TRAINING}, "running_loss": [0.5], "running_score": [0.9]}}, '
    '"scores": {"r2": 0.5, "rmse": 1.5, "mae": 1.0}, "against": null}'
)
OLD_MODEL = f'{HEAD}{TRAINING}}}, {CLASSES}"against": null}}'


WITH_PREDICTION = CLASSIFICATION.replace('"rule"', '"prediction_interval": [0.1, 0.8], "rule"')


@pytest.mark.parametrize("stored", [CLASSIFICATION, REGRESSION, OLD_MODEL, WITH_PREDICTION])
def test_a_result_is_stored_as_it_always_was(stored: str) -> None:
    assert json.dumps(HeldOutResult.from_json(json.loads(stored)).to_json()) == stored


def test_a_result_has_typed_parts() -> None:
    result = HeldOutResult.from_json(json.loads(CLASSIFICATION))
    assert result.corrected_interval == (0.4, 0.6)
    assert result.prediction_interval is None
    with_it = HeldOutResult.from_json(json.loads(WITH_PREDICTION))
    assert with_it.prediction_interval == (0.1, 0.8)
    assert result.seeds == (0.1 + 0.2, 1.0)
    assert result.training.running_loss == (None,)
    assert result.classes is not None
    assert result.classes.per_class == (ClassScore("a", 30, None, 0.5, 1.0),)
    assert result.classes.confusion == ((30, 0), (0, 0))
    assert result.classes.calibration.brier == 0.1
    assert (result.scores, result.against) == (None, RowComparison(1, 0, 3, 1, 0.625))


def test_a_result_without_an_interval_of_the_corrected_score_is_read() -> None:
    value = json.loads(REGRESSION)
    del value["corrected_interval"]
    result = HeldOutResult.from_json(value)
    assert (result.corrected_interval, result.classes) == (None, None)
    assert result.scores == {"r2": 0.5, "rmse": 1.5, "mae": 1.0}
