"""Every loss and score beside scikit-learn, member by member."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
import torch

from selection.train import metrics
from tests import reference
from tests.train.examples import make_folds

CLASSIFICATION = ["accuracy", "balanced_accuracy", "cross_entropy", "macro_f1", "roc_auc"]


def outputs_and_targets(
    classes: int, rows: int = 200, *, ties: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    outputs = torch.randn(3, max(classes, 1), rows, generator=generator, dtype=torch.float64)
    if ties:
        outputs = outputs.round()
    if not classes:
        return outputs, torch.randn(rows, generator=generator, dtype=torch.float64)
    return outputs, torch.randint(0, classes, (rows,), generator=generator)


@pytest.mark.parametrize("metric", CLASSIFICATION)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("ties", [False, True])
def test_classification_scores(metric: str, classes: int, ties: bool) -> None:
    outputs, targets = outputs_and_targets(classes, ties=ties)
    data = make_folds(classes=3)[0]
    ours = metrics.score(metric, outputs, targets)
    truth = [reference.score(metric, member.T, targets, data) for member in outputs]
    np.testing.assert_allclose(ours.numpy(), truth, rtol=1e-10)


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
def test_regression_scores_are_in_units_of_the_target(metric: str) -> None:
    outputs, targets = outputs_and_targets(0)
    data = make_folds(classes=0)[0]
    ours = metrics.score(metric, outputs, targets, data.target_std)
    truth = [reference.score(metric, member.T, targets, data) for member in outputs]
    np.testing.assert_allclose(ours.numpy(), truth, rtol=1e-10)


def test_losses() -> None:
    outputs, targets = outputs_and_targets(4)
    expected = [torch.nn.functional.cross_entropy(member.T, targets) for member in outputs]
    torch.testing.assert_close(
        metrics.loss("classification", outputs, targets), torch.stack(expected)
    )
    outputs, targets = outputs_and_targets(0)
    expected = [torch.nn.functional.mse_loss(member[0], targets) for member in outputs]
    torch.testing.assert_close(metrics.loss("regression", outputs, targets), torch.stack(expected))


def test_a_class_that_is_absent_does_not_count_as_zero() -> None:
    outputs, targets = outputs_and_targets(4)
    targets = targets.clamp(max=2)
    outputs[:, 3] = -10.0
    predicted = outputs[0].argmax(dim=0)
    assert float(metrics.score("balanced_accuracy", outputs, targets)[0]) == pytest.approx(
        oracle.balanced_accuracy_score(targets, predicted)
    )
    assert float(metrics.score("macro_f1", outputs, targets)[0]) == pytest.approx(
        oracle.f1_score(targets, predicted, average="macro")
    )
    present = torch.softmax(outputs[0].T, dim=-1).numpy()
    areas = [oracle.roc_auc_score(targets == c, present[:, c]) for c in range(3)]
    area = metrics.score("roc_auc", outputs, targets)[0]
    assert float(area) == pytest.approx(float(np.mean(areas)))


def test_one_class_alone_has_no_area_and_a_constant_target_no_r2() -> None:
    outputs, targets = outputs_and_targets(2)
    assert torch.isnan(metrics.score("roc_auc", outputs, torch.zeros_like(targets))).all()
    outputs, targets = outputs_and_targets(0)
    assert (metrics.score("r2", outputs, torch.ones_like(targets)) == 0.0).all()
    assert (metrics.score("r2", torch.ones_like(outputs), torch.ones_like(targets)) == 1.0).all()


def test_float32_sums_of_many_rows_stay_exact() -> None:
    outputs = torch.zeros(1, 2, 200_000)
    outputs[:, 0] = 1.0
    targets = torch.zeros(200_000, dtype=torch.int64)
    targets[:66_667] = 1
    assert float(metrics.score("accuracy", outputs, targets)) == 133_333 / 200_000
    rows = torch.full((1, 200_000), 0.1)
    assert float(metrics.mean(rows)) == pytest.approx(float(torch.tensor(0.1)), rel=1e-9)
