"""Verdicts on constructed curves, at their borders, and on polynomials with a known answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from selection.stats.fit_diagnosis import (
    MATERIAL,
    RISEN,
    WORSE,
    Diagnosis,
    Verdict,
    diagnose,
    negligible_loss,
)
from selection.stats.paired_tests import validation_ratio
from selection.study.trial import LearningCurve

WOBBLE = np.array([0.98, 1.01, 1.0, 0.99, 1.02])
GOOD = {"trial 7": 0.30 * WOBBLE}
FASHION = 0.01 * math.log(10)


def curves_of(training: Any, validation: Any) -> list[LearningCurve]:
    """Return one curve per fold. Shape: training, validation (T, J)."""
    training, validation = np.atleast_2d(training), np.atleast_2d(validation)
    running = np.full_like(training, 9.0)
    columns = (running, running, training, 1 - training, validation, 1 - validation)
    points = np.stack(np.broadcast_arrays(*columns), axis=-1)  # (T, J, 6)
    return [LearningCurve(points[:, fold]) for fold in range(points.shape[1])]


def judge(
    training: Any, validation: Any, references: Any = GOOD, negligible: float = FASHION
) -> Diagnosis:
    curves = curves_of(training, validation)
    ratio = 1 / max(len(curves) - 1, 1)
    return diagnose(curves, references, negligible=negligible, ratio=ratio, level=0.95)


def times(quotients: Any) -> tuple[float, float, float]:
    """Return the typical quotient over folds and its corrected interval, by hand."""
    shares = [(quotient - 1) / (quotient + 1) for quotient in quotients]
    count, mean = len(shares), sum(shares) / len(shares)
    variance = sum((one - mean) ** 2 for one in shares) / (count - 1)
    error = math.sqrt(variance * (1 / count + 1 / (count - 1)))
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return as_times(mean), as_times(mean - half), as_times(mean + half)


def as_times(share: float) -> float:
    """Return a / b from (a - b) / (a + b), which an interval may carry beyond 1."""
    return (1 + max(share, -1.0)) / (1 - share) if share < 1 else math.inf


def test_a_network_that_knows_its_rows_by_heart_is_overfit() -> None:
    """The book's MLP on 250 rows."""
    noisy = np.array([0.71, 0.92, 0.78, 0.85, 0.74])
    found = judge(0.05 * WOBBLE[::-1], noisy, {"trial 3": noisy * 0.95})
    assert found.verdict is Verdict.OVERFIT
    mean, low, high = times(noisy / (0.05 * WOBBLE[::-1]))
    assert found.rule == (
        "observed validation loss 0.8, training loss 0.05; over folds the first is about "
        f"{mean:.3g} times the second (95% interval over 5 folds {low:.3g} to {high:.3g}): "
        "at least 1.5"
    )
    assert "weight decay" in found.advice


def test_a_network_that_learns_less_than_others_predict_is_underfit() -> None:
    found = judge(0.9 * WOBBLE[::-1], 0.92 * WOBBLE)
    assert found.verdict is Verdict.UNDERFIT
    assert found.rule.startswith("observed training loss 0.9, validation loss 0.3 of trial 7; ")
    assert "is about 3 times the second" in found.rule
    assert found.rule.endswith("at least 1.1")
    assert "levelled off" in found.advice


def test_a_good_network_on_many_rows_is_balanced() -> None:
    found = judge(0.24 * WOBBLE[::-1], 0.31 * WOBBLE)
    assert found.verdict is Verdict.BALANCED
    assert "under 1.5" in found.rule
    assert "under 1.1" in found.rule


def test_the_best_reference_is_the_one_that_counts() -> None:
    near, far = 0.8 * WOBBLE, 0.4 * WOBBLE
    training, validation = 0.7 * WOBBLE[::-1], 0.75 * WOBBLE
    assert judge(training, validation, {"near": near}).verdict is Verdict.BALANCED
    found = judge(training, validation, {"lost": far * math.nan, "near": near, "far": far})
    assert found.verdict is Verdict.UNDERFIT
    assert "of far" in found.rule


def test_what_neither_fits_nor_generalises_is_underfit_first() -> None:
    found = judge(0.5 * WOBBLE, 0.9 * WOBBLE)
    assert found.verdict is Verdict.UNDERFIT


def test_training_that_still_falls_is_advised_to_go_on() -> None:
    falling = np.linspace(2.0, 0.9, 8)[:, None] * WOBBLE[::-1]
    found = judge(falling, falling[:, ::-1] * 1.01)
    assert found.verdict is Verdict.UNDERFIT
    assert "more epochs" in found.advice
    assert "still falls" in found.advice


WIDE = np.array([0.5, 1.3, 0.8, 1.4, 1.0])
NARROW = WOBBLE
BORDERS = [
    # Which end of the interval lies at which limit, and the verdict on its far side.
    ("times", NARROW, None, 1, True),
    ("times", NARROW, None, -1, False),
    ("low", WIDE, 1.0, 1, True),
    ("low", WIDE, 1.0, -1, False),
    ("high", NARROW, None, 1, False),
    ("high", NARROW, None, -1, None),
]


def at_border(end: str, shape: Any, below: Any, limit: float, side: int) -> Any:
    """Scale shape so that one end of the interval of shape / below lies beside a limit."""
    index = ("times", "low", "high").index(end)

    def beyond(scale: float) -> float:
        return times(shape * scale / below)[index] - limit * (1 + side * 1e-6)

    return shape * brentq(beyond, 0.01, 10.0 * limit * max(below) / max(shape), xtol=1e-14)


@pytest.mark.parametrize(("end", "shape", "limit", "side", "is_large"), BORDERS)
def test_a_gap_needs_size_and_certainty(
    end: str, shape: Any, limit: float | None, side: int, is_large: bool | None
) -> None:
    training = 0.2 * WOBBLE[::-1]
    validation = at_border(end, shape, training, limit or MATERIAL, side)
    mean, low, _ = times(validation / training)
    assert bool(mean >= MATERIAL and low > 1) is bool(is_large)
    found = judge(training, validation, {"trial 7": 0.3 * np.ones(5)})
    expected = {True: Verdict.OVERFIT, False: Verdict.INCONCLUSIVE, None: Verdict.BALANCED}
    assert found.verdict is expected[is_large]
    if is_large is False:
        assert "neither clearly under 1.5 nor clearly a gap" in found.rule


@pytest.mark.parametrize(("end", "shape", "limit", "side", "is_large"), BORDERS)
def test_a_poor_fit_needs_size_and_certainty(
    end: str, shape: Any, limit: float | None, side: int, is_large: bool | None
) -> None:
    reference = 0.3 * WOBBLE[::-1]
    training = at_border(end, shape, reference, limit or WORSE, side)
    found = judge(training, training * 1.1, {"trial 7": reference})
    expected = {True: Verdict.UNDERFIT, False: Verdict.INCONCLUSIVE, None: Verdict.BALANCED}
    assert found.verdict is expected[is_large]
    if is_large is False:
        assert "neither clearly under 1.1 nor clearly a poor fit" in found.rule


def rising(last: float) -> tuple[Any, Any]:
    """Return training and validation losses whose mean is lowest at epoch 3 and rises then."""
    path = np.array([0.6, 0.5, 0.4, 0.41, 0.42, last])
    return np.linspace(0.6, 0.35, 6)[:, None] * WOBBLE[::-1], path[:, None] * WOBBLE


@pytest.mark.parametrize(
    ("last", "expected"),
    [(0.4 * RISEN * 1.001, Verdict.OVERFIT), (0.4 * RISEN * 0.999, Verdict.BALANCED)],
)
def test_a_validation_loss_that_rises_is_overfit(last: float, expected: Verdict) -> None:
    training, validation = rising(last)
    found = judge(training, validation, {"trial 7": np.full(5, 0.4)})
    assert found.verdict is expected
    if expected is Verdict.OVERFIT:
        assert "observed validation loss 0.4404, lowest 0.4 after epoch 3; " in found.rule
        assert "at least 1.1, while the training loss did not rise" in found.rule
        assert "Stop near epoch 3" in found.advice


def test_a_rise_in_some_folds_only_proves_nothing() -> None:
    training, validation = rising(0.4)
    validation[-1] *= [1.6, 1.0, 1.5, 1.0, 1.0]
    training[-1] *= [1.6, 1.0, 1.5, 1.0, 1.0]
    assert validation[-1].mean() > RISEN * validation[2].mean()
    found = judge(training, validation, {"trial 7": np.full(5, 0.9)})
    assert found.verdict is Verdict.BALANCED


def test_training_that_became_unstable_is_not_overfit() -> None:
    training, validation = rising(0.6)
    training[-1] = 0.55 * WOBBLE[::-1]
    assert judge(training, validation, {"trial 7": np.full(5, 0.55)}).verdict is Verdict.BALANCED


def test_a_gap_of_a_few_folds_is_inconclusive() -> None:
    """The ratios of the book's polynomial of degree 20 go from .88 to 9.5 between runs."""
    ratios = np.array([0.88, 9.5, 1.3, 2.0, 1.1])
    found = judge(0.01 * np.ones(5), 0.01 * ratios, {"trial 1": np.full(5, 0.01)}, 1e-4)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "More folds" in found.advice


def test_a_tiny_or_a_huge_loss_of_one_fold_does_not_hide_the_others() -> None:
    """Losses of a real network of width 1, and of a polynomial of degree 20."""
    reference = np.array([1.6e-1, 2.5e-4, 6.3e-2, 2.1e-4, 4.0e-4])
    found = judge(0.6 * WOBBLE, 0.6 * WOBBLE[::-1], {"wide": reference}, 1e-4)
    assert found.verdict is Verdict.UNDERFIT
    assert " and more)" in found.rule
    found = judge(0.01 * WOBBLE, 0.01 * np.array([3, 2e4, 8, 4, 5]), {}, 1e-4)
    assert found.verdict is Verdict.OVERFIT


def test_without_a_reference_nothing_is_balanced() -> None:
    found = judge(0.24 * WOBBLE, 0.31 * WOBBLE, {})
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "another trial" in found.advice
    assert judge(0.05 * WOBBLE, 0.8 * WOBBLE, {}).verdict is Verdict.OVERFIT


def test_losses_near_zero_count_as_equal() -> None:
    tiny = np.array([0.0, 1e-12, 1e-9, 1e-5, 0.0])
    found = judge(tiny, tiny[::-1] * 1e3, {"trial 7": np.zeros(5)})
    assert found.verdict is Verdict.BALANCED
    found = judge(np.zeros(5), 0.8 * WOBBLE)
    assert found.verdict is Verdict.OVERFIT, "rows known by heart"
    found = judge(np.full(5, 0.9 * FASHION), np.full(5, 0.9 * FASHION), {"trial 7": np.zeros(5)})
    assert found.verdict is Verdict.BALANCED
    found = judge(np.zeros(5), np.zeros(5), {"trial 7": np.zeros(5)}, negligible=0.0)
    assert found.verdict is Verdict.BALANCED
    assert (found.gap.mean, found.gap_low, found.gap_high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_unit_of_a_regression_target_does_not_matter(unit: float) -> None:
    targets = np.random.default_rng(0).normal(size=500) * unit
    negligible = negligible_loss("regression", targets, is_standardized=False)
    square = unit * unit
    references = {"trial 7": 0.1 * square * WOBBLE}
    training = 0.08 * square * WOBBLE[::-1]
    for factor, verdict in ((1.05, Verdict.BALANCED), (4.0, Verdict.OVERFIT)):
        assert judge(training, training * factor, references, negligible).verdict is verdict
    found = judge(training * 3, training * 3.1, references, negligible)
    assert found.verdict is Verdict.UNDERFIT


def test_negligible_is_a_hundredth_of_a_constant() -> None:
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    labels = np.array([0, 0, 0, 2])
    assert negligible_loss("classification", labels, is_standardized=True) == pytest.approx(
        0.01 * entropy
    )
    targets = np.array([1.0, 3.0, 5.0])
    raw = negligible_loss("regression", targets, is_standardized=False)
    assert math.sqrt(raw) == pytest.approx(0.01 * np.std(targets))
    assert negligible_loss("regression", targets, is_standardized=True) == pytest.approx(1e-4)


def test_the_numbers_are_those_of_a_plain_loop() -> None:
    training, validation = np.array([0.2, 0.3, 0.25]), np.array([0.5, 0.7, 0.3])
    found = judge([[9, 9, 9], training], [[8, 8, 8], validation], {})
    gaps = [0.3, 0.4, 0.05]
    error = np.std(gaps, ddof=1) / math.sqrt(3)
    half = stats.t.ppf(0.975, 2) * np.std(gaps, ddof=1) * math.sqrt(1 / 3 + 1 / 2)
    assert found.training_loss.mean == pytest.approx(0.25)
    assert found.validation_loss.mean == pytest.approx(0.5)
    assert found.training_score.mean == pytest.approx(0.75)
    assert found.validation_score.mean == pytest.approx(0.5)
    assert found.gap.mean == pytest.approx(0.25)
    assert found.gap.standard_error == pytest.approx(error)
    assert (found.gap_low, found.gap_high) == pytest.approx((0.25 - half, 0.25 + half))


def test_one_fold_has_a_gap_and_no_verdict() -> None:
    found = judge([0.05], [0.8], {"trial 7": [0.01]})
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "one fold" in found.rule
    assert found.gap.mean == pytest.approx(0.75)
    assert (found.gap.standard_error, found.gap_low, found.gap_high) == (None, None, None)


@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("both", [False, True])
def test_what_is_no_number_never_raises(damage: float, folds: int, epoch: int, both: bool) -> None:
    training, validation = np.full((3, folds), 0.3), np.full((3, folds), 0.4)
    validation[epoch, 0] = damage
    if both:
        training[epoch] = damage
    found = judge(training, validation, {"trial 7": np.full(folds, damage)})
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "finite" in found.rule


def test_enormous_losses_never_raise() -> None:
    found = judge(np.array([1e300, 1e308, 2e307]), np.array([1e308, 1.7e308, 1e308]), {})
    assert found.verdict in Verdict


def test_folds_that_are_not_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of trial 7 beside 5"):
        judge(WOBBLE, WOBBLE, {"trial 7": [0.1, 0.2, 0.3]})


DEGREES = (1, 3, 20)


def polynomials(seed: int) -> dict[int, tuple[Any, Any]]:
    """Return training and validation losses of each degree over 5 folds of 40 rows of a cubic."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, size=40)
    y = 1.2 * x - 3 * x**2 + 5 * x**3 + 0.1 * generator.normal(size=40)
    folds = generator.permutation(40) % 5
    losses = {}
    for degree in DEGREES:
        features = np.polynomial.legendre.legvander(x, degree)
        pairs = []
        for fold in range(5):
            seen = folds != fold
            weights = np.linalg.lstsq(features[seen], y[seen], rcond=None)[0]
            squares = (features @ weights - y) ** 2
            pairs.append((squares[seen].mean(), squares[~seen].mean()))
        losses[degree] = tuple(np.array(pairs).T)
    return losses


def verdicts(seed: int) -> dict[int, Verdict]:
    losses = polynomials(seed)
    ratio = validation_ratio(5, is_time_series=False)
    found = {}
    for degree, (training, validation) in losses.items():
        others: dict[str, Sequence[float]] = {
            f"degree {other}": losses[other][1] for other in DEGREES if other != degree
        }
        found[degree] = diagnose(
            curves_of(training, validation), others, negligible=1e-4, ratio=ratio, level=0.95
        ).verdict
    return found


def test_polynomials_of_a_cubic_are_what_they_are_known_to_be() -> None:
    found = [verdicts(seed) for seed in range(50)]
    lines = {degree: [line[degree] for line in found] for degree in DEGREES}
    assert lines[1].count(Verdict.UNDERFIT) >= 48
    assert set(lines[1]) <= {Verdict.UNDERFIT, Verdict.INCONCLUSIVE}
    assert set(lines[20]) <= {Verdict.OVERFIT, Verdict.INCONCLUSIVE}
    assert lines[20].count(Verdict.OVERFIT) >= 45
    assert set(lines[3]) <= {Verdict.BALANCED, Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(("spread", "most"), [(0.2, 10), (1.0, 20)])
def test_pure_noise_is_rarely_given_a_wrong_verdict(spread: float, most: int) -> None:
    """Trials equal in all but noise: neither overfit nor underfit but by chance."""
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        losses = 0.69 * np.exp(spread * generator.normal(size=(12, 5)))
        competitors = {f"trial {number}": line for number, line in enumerate(losses[2:])}
        verdict = judge(losses[0], losses[1], competitors, 0.0069).verdict
        wrong += verdict in (Verdict.OVERFIT, Verdict.UNDERFIT)
    assert wrong <= most, "the best of ten references is the luckiest, too"
