"""Tables by class and calibration beside scikit-learn and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
import sklearn.metrics as oracle

from selection.stats.classes import ECE_BINS, calibration, class_scores, confusion


def predictions(classes: int, rows: int = 300, seed: int = 0) -> tuple[Any, Any]:
    """Return chances (N, C) that are too sure of themselves, and targets (N,)."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, size=rows)
    logits = 2 * generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[targets]
    return scipy.special.softmax(logits, axis=1), targets


def slow_ece(chances: Any, targets: Any) -> float:
    """Return the calibration error bin by bin, row by row."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for line, target in zip(chances, targets, strict=True):
        confidence = max(line)
        index = next(b for b in range(15) if confidence < (b + 1) / 15 or b == 14)
        bins[index].append((confidence, list(line).index(confidence) == target))
    error = 0.0
    for rows in bins:
        if rows:
            confidence = sum(row[0] for row in rows) / len(rows)
            accuracy = sum(row[1] for row in rows) / len(rows)
            error += len(rows) / len(targets) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_confusion_is_that_of_scikit_learn(classes: int) -> None:
    chances, targets = predictions(classes)
    predicted = chances.argmax(axis=1)
    counts = confusion(targets, predicted, classes)
    np.testing.assert_array_equal(counts, oracle.confusion_matrix(targets, predicted))
    assert counts.sum() == 300


def test_lines_are_the_truth_and_columns_the_prediction() -> None:
    counts = confusion(np.array([0, 0, 0, 2]), np.array([1, 1, 0, 0]), 4)
    expected = np.zeros((4, 4))
    expected[0, 1], expected[0, 0], expected[2, 0] = 2, 1, 1
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_class_scores_are_those_of_scikit_learn(classes: int) -> None:
    chances, targets = predictions(classes, seed=1)
    predicted = chances.argmax(axis=1)
    names = tuple("abcdefghij"[:classes])
    lines = class_scores(confusion(targets, predicted, classes), names)
    precision, recall, f1, rows = oracle.precision_recall_fscore_support(targets, predicted)
    assert tuple(line.name for line in lines) == names
    assert [line.rows for line in lines] == rows.tolist()
    for index, line in enumerate(lines):
        assert (line.precision, line.recall, line.f1) == pytest.approx(
            (precision[index], recall[index], f1[index])
        )


def test_what_is_not_defined_is_none() -> None:
    targets, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 2, 2])
    first, missed, invented, absent = class_scores(
        confusion(targets, predicted, 4), ("first", "missed", "invented", "absent")
    )
    assert (first.rows, first.recall) == (2, 1.0)
    assert first.precision == pytest.approx(2 / 3)
    assert (missed.rows, missed.precision, missed.recall, missed.f1) == (3, None, 0.0, 0.0)
    assert (invented.rows, invented.precision, invented.recall, invented.f1) == (0, 0.0, None, 0.0)
    assert (absent.rows, absent.precision, absent.recall, absent.f1) == (0, None, None, None)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_calibration_is_that_of_scikit_learn_and_of_a_loop(classes: int) -> None:
    chances, targets = predictions(classes, seed=2)
    found = calibration(chances, targets)
    labels = np.arange(classes)
    assert found.nll == pytest.approx(oracle.log_loss(targets, chances, labels=labels))
    brier = oracle.brier_score_loss(targets, chances, scale_by_half=False, labels=labels)
    assert found.brier == pytest.approx(brier)
    assert found.ece == pytest.approx(slow_ece(chances, targets))
    assert found.ece > 0.05, "these chances are too sure"


def test_a_class_that_no_row_has_does_not_hurt() -> None:
    chances, targets = predictions(4, seed=3)
    targets = np.where(targets == 3, 0, targets)
    found = calibration(chances, targets)
    assert found.nll == pytest.approx(oracle.log_loss(targets, chances, labels=np.arange(4)))
    assert found.ece == pytest.approx(slow_ece(chances, targets))


def test_certain_and_right_has_no_error() -> None:
    targets = np.array([0, 1, 2, 1])
    found = calibration(np.eye(3)[targets], targets)
    assert (found.nll, found.brier, found.ece) == (0.0, 0.0, 0.0)


def test_certain_and_wrong_is_the_worst_and_still_a_number() -> None:
    found = calibration(np.eye(2)[[1, 1]], np.array([0, 0]))
    assert (found.brier, found.ece) == (2.0, 1.0)
    assert 100 < found.nll < np.inf


def test_chances_that_mean_what_they_say_have_little_error() -> None:
    generator = np.random.default_rng(4)
    chances = scipy.special.softmax(2 * generator.normal(size=(40_000, 3)), axis=1)
    targets = (generator.random((40_000, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=2)
    assert calibration(chances, targets).ece < 0.01
    sharpened = chances**3 / (chances**3).sum(axis=1, keepdims=True)
    assert calibration(sharpened, targets).ece > 0.05


def test_errors_of_opposite_sign_cancel_only_inside_a_bin() -> None:
    inside = np.array([[0.61, 0.39], [0.65, 0.35]])  # both in the bin from .6 to .667
    assert calibration(inside, np.array([0, 1])).ece == pytest.approx(abs(1 - 0.61 - 0.65) / 2)
    apart = np.array([[0.61, 0.39], [0.75, 0.25]])
    assert calibration(apart, np.array([0, 1])).ece == pytest.approx((0.39 + 0.75) / 2)
    assert ECE_BINS == 15
