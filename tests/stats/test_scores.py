"""Every score under row weights beside scikit-learn, on rows repeated as often as they weigh."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.special
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selection.stats.scores import compact, log_softmax, reduce_outputs, row_values, weighted_scores

CLASSIFICATION = ["accuracy", "balanced_accuracy", "macro_f1", "cross_entropy", "roc_auc"]
REGRESSION = ["rmse", "mae", "r2"]


def truth(
    metric: str, outputs: Any, targets: Any, weights: Any = None, *, classes: int | None = None
) -> float:
    """Return scikit-learn's score of one model; outputs are logits (N, C) or predictions (N, 1)."""
    if metric in REGRESSION:
        score = {
            "rmse": oracle.root_mean_squared_error,
            "mae": oracle.mean_absolute_error,
            "r2": oracle.r2_score,
        }[metric]
        return float(score(targets, outputs[:, 0], sample_weight=weights))
    # Chances of our own, so that both sides see the same ties; log_softmax is tested below.
    predicted, chances = outputs.argmax(axis=1), np.exp(log_softmax(outputs))
    match metric:
        case "accuracy":
            return float(oracle.accuracy_score(targets, predicted, sample_weight=weights))
        case "balanced_accuracy":
            with warnings.catch_warnings():  # a predicted class that is not there
                warnings.simplefilter("ignore", UserWarning)
                return float(
                    oracle.balanced_accuracy_score(targets, predicted, sample_weight=weights)
                )
        case "macro_f1":
            return float(
                oracle.f1_score(targets, predicted, average="macro", sample_weight=weights)
            )
        case "cross_entropy":
            labels = np.arange(classes or outputs.shape[1])
            return float(oracle.log_loss(targets, chances, sample_weight=weights, labels=labels))
    if outputs.shape[1] == 2:
        return area(targets == 1, chances[:, 1], weights)
    present = np.unique(targets)
    if len(present) == outputs.shape[1]:
        return float(
            oracle.roc_auc_score(
                targets, chances, average="macro", multi_class="ovr", sample_weight=weights
            )
        )
    return float(np.mean([area(targets == c, chances[:, c], weights) for c in present]))


def area(is_positive: Any, chances: Any, weights: Any) -> float:
    if is_positive.all() or not is_positive.any():
        return math.nan
    return float(oracle.roc_auc_score(is_positive, chances, sample_weight=weights))


def repeated(metric: str, outputs: Any, targets: Any, weights: Any) -> float:
    rows = np.repeat(np.arange(len(targets)), weights)
    return truth(metric, outputs[rows], targets[rows])


def sample_weighted(metric: str, outputs: Any, targets: Any, weights: Any) -> float:
    rows = np.flatnonzero(weights)
    return truth(metric, outputs[rows], targets[rows], weights[rows])


def ours(metric: str, outputs: Any, targets: Any, weights: Any) -> Any:
    """Reduce the outputs of each model and score all models under all weightings."""
    reduced = np.stack([reduce_outputs(metric, one, targets) for one in outputs])
    return weighted_scores(metric, reduced, targets, weights)


def example(metric: str, classes: int, *, seed: int, is_tied: bool = False) -> tuple[Any, Any, Any]:
    """Return outputs (4, 90, C) and targets (90,) with a signal, and weightings (6, 90)."""
    generator = np.random.default_rng(seed)
    weights = generator.integers(0, 4, size=(6, 90))
    weights[0], weights[1] = 1, 1 + weights[1]
    targets: Any
    if metric in REGRESSION:
        targets = 50 + 3 * generator.normal(size=90)
        return targets[:, None] + generator.normal(size=(4, 90, 1)) * 2, targets, weights
    targets = generator.integers(0, classes, size=90)
    outputs = generator.normal(size=(4, 90, classes)) + np.eye(classes)[targets]
    return outputs.round() if is_tied else outputs, targets, weights


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_classification_under_weights(metric: str, classes: int, is_tied: bool) -> None:
    outputs, targets, weights = example(metric, classes, seed=classes, is_tied=is_tied)
    scores = ours(metric, outputs, targets, weights)
    assert scores.shape == (6, 4)
    assert scores.dtype == np.float64
    for oracle_way in (repeated, sample_weighted):
        expected = [[oracle_way(metric, one, targets, line) for one in outputs] for line in weights]
        np.testing.assert_allclose(scores, expected, rtol=1e-10)
    np.testing.assert_allclose(
        scores[0], [truth(metric, one, targets) for one in outputs], rtol=1e-10
    )


@pytest.mark.parametrize("metric", REGRESSION)
def test_regression_under_weights(metric: str) -> None:
    outputs, targets, weights = example(metric, 0, seed=5)
    scores = ours(metric, outputs, targets, weights)
    assert scores.shape == (6, 4)
    for oracle_way in (repeated, sample_weighted):
        expected = [[oracle_way(metric, one, targets, line) for one in outputs] for line in weights]
        np.testing.assert_allclose(scores, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", [np.bool_, np.int16, np.float64])
@pytest.mark.parametrize("metric", [*CLASSIFICATION, *REGRESSION])
def test_weights_of_every_kind(metric: str, kind: Any) -> None:
    outputs, targets, weights = example(metric, 3, seed=6)
    weights = (weights[2:] > 1).astype(kind)
    expected = [
        [repeated(metric, one, targets, line.astype(int)) for one in outputs] for line in weights
    ]
    np.testing.assert_allclose(ours(metric, outputs, targets, weights), expected, rtol=1e-10)


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_a_class_without_weight_is_left_out(metric: str) -> None:
    outputs, targets, weights = example(metric, 4, seed=7)
    weights = weights + 1
    weights[1, targets == 2] = 0
    weights[2, (targets == 0) | (targets == 3)] = 0
    assert (outputs.argmax(axis=2)[:, weights[1] > 0] == 2).any(), "predicted where it is not"
    expected = [[repeated(metric, one, targets, line) for one in outputs] for line in weights]
    np.testing.assert_allclose(ours(metric, outputs, targets, weights), expected, rtol=1e-10)


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_a_class_that_no_row_has_is_left_out(metric: str) -> None:
    outputs, targets, weights = example(metric, 4, seed=8)
    targets = np.where(targets == 1, 0, targets)
    outputs[0, :, 1] = -9.0  # the first model never names it, the others do
    expected = [[repeated(metric, one, targets, line) for one in outputs] for line in weights]
    np.testing.assert_allclose(ours(metric, outputs, targets, weights), expected, rtol=1e-10)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_class_alone_has_no_area(classes: int) -> None:
    outputs, targets, weights = example("roc_auc", classes, seed=9)
    weights = weights + 1
    for line in range(classes):
        weights[line, targets != line] = 0
    scores = ours("roc_auc", outputs, targets, weights)
    assert np.isnan(scores[:classes]).all()
    assert np.isfinite(scores[classes:]).all()
    other = np.zeros_like(targets)
    assert np.isnan(ours("roc_auc", outputs, other, weights)).all()


def test_an_area_without_numbers_is_that_model_s_alone() -> None:
    _, targets, weights = example("roc_auc", 2, seed=10)
    chances = np.random.default_rng(10).random((3, 90))
    chances[1, 4] = np.nan
    scores = weighted_scores("roc_auc", chances, targets, weights)
    assert np.isnan(scores[:, 1]).all()
    assert np.isfinite(scores[:, [0, 2]]).all()


def test_equal_chances_are_worth_half() -> None:
    targets = np.array([0, 1, 0, 1, 1])
    scores = weighted_scores("roc_auc", np.full((1, 5), 0.3), targets, np.array([[1, 2, 0, 3, 1]]))
    assert scores == 0.5


@pytest.mark.parametrize("metric", [*CLASSIFICATION, *REGRESSION])
def test_no_row_with_weight_is_no_score(metric: str) -> None:
    outputs, targets, weights = example(metric, 3, seed=11)
    weights[2] = 0
    scores = ours(metric, outputs, targets, weights)
    assert np.isnan(scores[2]).all()
    assert np.isfinite(np.delete(scores, 2, axis=0)).all()


def test_r2_of_a_constant_target() -> None:
    targets = np.full(30, 0.1)
    reduced = np.stack([targets, targets + 0.5])
    weights = np.random.default_rng(12).integers(0, 3, size=(5, 30))
    scores = weighted_scores("r2", reduced, targets, weights)
    np.testing.assert_array_equal(scores, [[1.0, 0.0]] * 5)


def test_r2_of_a_target_that_is_constant_among_the_rows_with_weight() -> None:
    targets = np.array([0.1] * 20 + [0.7, 3.0])
    reduced = np.stack([targets, targets + np.linspace(0, 1, 22)])
    weights = np.ones((2, 22))
    weights[1, 20:] = 0
    scores = weighted_scores("r2", reduced, targets, weights)
    np.testing.assert_allclose(scores[0], [1.0, oracle.r2_score(targets, reduced[1])], rtol=1e-12)
    np.testing.assert_array_equal(scores[1], [1.0, 0.0])


def test_r2_far_from_zero_keeps_its_digits() -> None:
    generator = np.random.default_rng(13)
    targets = 1e7 + generator.normal(size=80)
    outputs = targets[None, :, None] + 0.4 * generator.normal(size=(2, 80, 1))
    weights = generator.integers(0, 4, size=(4, 80))
    expected = [[repeated("r2", one, targets, line) for one in outputs] for line in weights]
    np.testing.assert_allclose(ours("r2", outputs, targets, weights), expected, rtol=1e-6)


@pytest.mark.parametrize("outlier", [1e5, 1e8])
def test_r2_does_not_know_rows_without_weight(outlier: float) -> None:
    generator = np.random.default_rng(14)
    targets = np.append(generator.normal(size=200), outlier)
    reduced = targets + 0.1 * generator.normal(size=(1, 201))
    weights = np.append(np.ones(200), 0)[None]
    expected = oracle.r2_score(targets[:200], reduced[0, :200])
    assert weighted_scores("r2", reduced, targets, weights)[0, 0] == pytest.approx(expected, 1e-4)


@pytest.mark.parametrize("rows", [2**17 - 1, 2**17, 200_000])
def test_shares_of_many_rows_are_exact(rows: int) -> None:
    hits = np.arange(rows) % 7 > 0
    weights = np.stack([np.ones(rows), np.arange(rows) % 251]).astype(np.int16)
    scores = weighted_scores("accuracy", hits[None], np.zeros(rows), weights)
    heavy = weights[1].astype(np.int64)
    assert scores[0, 0] == hits.sum() / rows
    assert scores[1, 0] == heavy[hits].sum() / heavy.sum()


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[str, Any, Any, Any]:
    """Draw a metric, outputs with ties, targets and small weights that are not all 0."""
    metric = draw(st.sampled_from([*CLASSIFICATION, *REGRESSION]))
    rows = draw(st.integers(2, 12))
    classes = 1 if metric in REGRESSION else draw(st.integers(2, 4))
    outputs = draw(arrays(np.int64, (2, rows, classes), elements=st.integers(-2, 2)))
    targets = draw(
        arrays(np.int64, rows, elements=st.integers(0, classes - 1 if classes > 1 else 5))
    )
    weights = draw(
        arrays(np.int64, rows, elements=st.integers(0, 3)).filter(lambda line: line.any())
    )
    return metric, outputs.astype(np.float64), targets, weights


@given(weighted_rows())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_weight_is_a_row_repeated(case: tuple[str, Any, Any, Any]) -> None:
    metric, outputs, targets, weights = case
    rows = np.repeat(np.arange(len(targets)), weights)
    by_weight = ours(metric, outputs, targets, weights[None])
    by_copy = ours(metric, outputs[:, rows], targets[rows], np.ones((1, len(rows))))
    np.testing.assert_allclose(by_weight, by_copy, rtol=1e-9, atol=1e-12)
    for index, one in enumerate(outputs):
        if metric != "r2" or len(rows) > 1:  # scikit-learn has no R2 of a single row
            expected = repeated(metric, one, targets, weights)
            np.testing.assert_allclose(by_weight[0, index], expected, rtol=1e-9, atol=1e-12)


def test_logits_of_any_size_have_logarithms() -> None:
    outputs = np.array([[1000.0, 0.0, -1000.0], [-3e38, 3e38, 0.0], [0.5, 0.5, 0.5]], np.float32)
    ours_, scipys = log_softmax(outputs), scipy.special.log_softmax(outputs.astype(float), axis=1)
    assert ours_.dtype == np.float64
    np.testing.assert_allclose(ours_, scipys, rtol=1e-12)
    losses = reduce_outputs("cross_entropy", outputs, np.array([2, 1, 0]))
    np.testing.assert_allclose(losses, [2000.0, 0.0, math.log(3)], rtol=1e-12)


def test_what_is_kept_of_outputs() -> None:
    outputs = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]], np.float32)
    targets = np.array([0, 1])
    assert reduce_outputs("accuracy", outputs, targets).tolist() == [True, False]
    assert reduce_outputs("macro_f1", outputs, targets).tolist() == [0, 2]
    assert reduce_outputs("roc_auc", outputs, targets).shape == (2, 3)
    assert reduce_outputs("roc_auc", outputs[:, :2], targets).shape == (2,)
    assert reduce_outputs("rmse", outputs[:, :1], targets).tolist() == [2.0, 0.0]


def test_an_unknown_metric_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="log_likelihood"):
        weighted_scores("log_likelihood", np.ones((1, 2)), np.ones(2), np.ones((1, 2)))
    with pytest.raises(KeyError, match="log_likelihood"):
        reduce_outputs("log_likelihood", np.ones((2, 2)), np.ones(2))


@pytest.mark.parametrize("metric", [*CLASSIFICATION, *REGRESSION])
@pytest.mark.parametrize("classes", [2, 4])
def test_what_is_kept_of_a_rung_scores_as_the_outputs_do(metric: str, classes: int) -> None:
    generator = np.random.default_rng(classes)
    rows = 300
    targets: Any
    outputs: Any
    if metric in REGRESSION:
        targets = 1e4 * generator.normal(size=rows)
        outputs = (targets + generator.normal(size=rows)).astype(np.float32)[:, None]
    else:
        targets = generator.integers(0, classes, rows)
        outputs = generator.normal(size=(rows, classes)).astype(np.float32)
        outputs[:50] *= 100  # chances so near to 0 and 1 that only their order is left
        outputs[50:60] = outputs[60:70]  # ties
    reduced = reduce_outputs(metric, outputs, targets)
    kept = compact(metric, reduced)
    assert kept.nbytes <= 4 * rows * (classes if metric == "roc_auc" and classes > 2 else 1)
    weights = generator.integers(0, 4, size=(5, rows))
    whole = weighted_scores(metric, reduced[None], targets, weights)
    np.testing.assert_allclose(
        weighted_scores(metric, kept[None], targets, weights), whole, rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize(
    ("metric", "value"),
    [("accuracy", "hit"), ("cross_entropy", "negative_log_likelihood"), ("mae", "absolute_error")],
)
def test_score_is_the_mean_of_its_row_values(metric: str, value: Any) -> None:
    generator = np.random.default_rng(0)
    targets: Any
    outputs: Any
    if metric == "mae":
        targets, outputs = generator.normal(size=40), generator.normal(size=(40, 1))
    else:
        targets, outputs = generator.integers(0, 3, 40), generator.normal(size=(40, 3))
    reduced = reduce_outputs(metric, outputs, targets)
    once = np.ones((1, 40))
    assert row_values(value, reduced, targets).mean() == pytest.approx(
        weighted_scores(metric, reduced[None], targets, once)[0, 0]
    )


@pytest.mark.parametrize("offset", [1.7e12, -1e13, 1e15])
def test_r2_of_a_target_with_a_large_offset(offset: float) -> None:
    generator = np.random.default_rng(3)
    targets = offset + 10 * generator.normal(size=200)
    outputs = (targets + generator.normal(size=200))[:, None]
    reduced = reduce_outputs("r2", outputs, targets)[None]
    ours = weighted_scores("r2", reduced, targets, np.ones((1, 200)))[0, 0]
    assert ours == pytest.approx(oracle.r2_score(targets, outputs[:, 0]), abs=1e-3)
    assert ours > 0.9
