"""Scalings equal pytabkit's and scikit-learn's, and hold where float64 comes to its ends."""

from __future__ import annotations

import json
import warnings
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.preprocessing import QuantileTransformer

from selection.data.scaling import (
    Floats,
    Quantile,
    Robust,
    fit_scaling,
    scaling_from_json,
    scaling_to_json,
)
from selection.study.fields import Prepare

GENERATOR = np.random.default_rng(2)
NORMAL = GENERATOR.normal(size=400)
COLUMNS = {
    "normal": NORMAL,
    "offset": 1e6 + NORMAL,
    "skewed": np.exp(3.0 * NORMAL),
    "whole": np.round(2.0 * NORMAL),
    "mostly one value": np.where(NORMAL > 1.0, NORMAL, 0.25),
    "two values": (NORMAL > 0.3).astype(np.float64),
    "a far cell": np.r_[NORMAL[1:], 1e12],
    "constant": np.full(400, 0.1),
    "zeros": np.zeros(400),
}
TABLE = np.column_stack(list(COLUMNS.values()))
SCALES = [name for name in get_args(Prepare) if name != "none"]


def robust_by_hand(values: Floats, new: Floats) -> Floats:
    """Return RealMLP's transform as its paper has it, column by column."""
    columns = []
    for column, unseen in zip(values.T, new.T, strict=True):
        lower, upper = np.quantile(column, [0.25, 0.75])
        if column.min() == column.max():
            factor = 0.0
        elif upper == lower:
            factor = 2.0 / (column.max() - column.min())
        else:
            factor = 1.0 / (upper - lower)
        scaled = factor * (unseen - np.median(column))
        columns.append(scaled / np.sqrt(1.0 + (scaled / 3.0) ** 2))
    return np.column_stack(columns)


def test_robust_is_the_formula_of_the_paper() -> None:
    new = np.vstack([TABLE, 1.3 * TABLE, TABLE - 5.0])
    scaled = fit_scaling(TABLE, "robust").apply(new)
    np.testing.assert_allclose(scaled, robust_by_hand(TABLE, new), rtol=1e-12, atol=1e-12)
    assert np.abs(scaled).max() <= 3.0


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_robust_is_that_of_realmlp() -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pytest.importorskip("pytabkit.models.data.data")
        models = pytest.importorskip("pytabkit.models.nn_models.models")
    # In float32, where an offset of 1e6 leaves too few digits.
    values = TABLE[:, [name != "offset" for name in COLUMNS]].astype(np.float32)
    count, width = values.shape
    tensors = {
        "x_cont": torch.from_numpy(values),
        "x_cat": torch.zeros(count, 0, dtype=torch.int64),
        "y": torch.zeros(count, 1, dtype=torch.int64),
    }
    info = data.TensorInfo
    infos = {
        "x_cont": info(feat_shape=[width]),
        "x_cat": info(cat_sizes=[]),
        "y": info(cat_sizes=[1]),
    }
    rows = data.DictDataset(tensors, infos)
    transforms = ["median_center", "robust_scale", "smooth_clip"]
    fitter = models.PreprocessingFactory(tfms=transforms).create(rows.tensor_infos)
    _, theirs = fitter.fit_transform(rows)
    ours = fit_scaling(values.astype(np.float64), "robust").apply(values.astype(np.float64))
    np.testing.assert_allclose(ours, theirs.tensors["x_cont"].numpy(), rtol=1e-5, atol=1e-5)


def scikit_learn(values: Floats, new: Floats, quantiles: int) -> Floats:
    oracle = QuantileTransformer(
        n_quantiles=quantiles, output_distribution="normal", subsample=None
    )
    scores: Floats = oracle.fit(values).transform(new)
    return scores


@pytest.mark.parametrize(("rows", "quantiles"), [(5, 5), (100, 10), (3000, 100), (40_000, 1000)])
def test_quantile_is_scikit_learns_where_values_differ(rows: int, quantiles: int) -> None:
    generator = np.random.default_rng(rows)
    normal = generator.normal(size=(rows, 2))
    values = np.column_stack([normal, np.exp(3.0 * normal[:, 0]), generator.random(rows) * 1e6])
    new = np.vstack([values[:500], 1.2 * values[:500], values[:500] + 0.1])
    scaling = fit_scaling(values, "quantile")
    assert isinstance(scaling, Quantile)
    assert len(scaling.quantiles) == quantiles
    theirs = scikit_learn(values, new, quantiles)
    np.testing.assert_allclose(scaling.apply(new), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["whole", "mostly one value", "two values"])
def test_equal_values_have_scikit_learns_score_and_nothing_near_them_jumps(name: str) -> None:
    values = COLUMNS[name][:, None]
    scaling = fit_scaling(values, "quantile")
    assert isinstance(scaling, Quantile)
    (knots, levels), *_ = scaling.knots
    theirs = scikit_learn(values, knots[:, None], 13)
    np.testing.assert_allclose(scaling.apply(knots[:, None]), theirs, rtol=1e-9, atol=1e-9)
    between = np.linspace(knots[0], knots[-1], 10_001)[:, None]
    ours, near = scaling.apply(between), scikit_learn(values, between, 13)
    assert (np.diff(norm.cdf(ours[:, 0])) >= 0).all()
    # Both lie between the scores of the neighbouring knots.
    least = np.diff(levels).max() * (1.0 + 1e-6)
    assert np.abs(norm.cdf(ours) - norm.cdf(near)).max() <= least
    step = np.diff(levels).max() * (between[1, 0] - between[0, 0]) / np.diff(knots).min()
    assert np.diff(norm.cdf(ours[:, 0])).max() <= step * 1.001


def test_values_beyond_the_quantiles_have_the_scores_of_the_ends() -> None:
    scaling = fit_scaling(TABLE, "quantile")
    end = norm.isf(1e-7)
    for factor, score in ((1e30, end), (-1e30, -end)):
        scores = scaling.apply(np.full((1, TABLE.shape[1]), factor))[0]
        expected = np.where([name in ("constant", "zeros") for name in COLUMNS], 0.0, score)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.parametrize("prepare", ["robust", "quantile"])
def test_a_column_of_one_value_is_zero_whatever_comes(prepare: Prepare) -> None:
    for constant in (0.0, 0.1, -1e300, 5e-324):
        scaling = fit_scaling(np.full((30, 1), constant), prepare)
        new = np.array([[constant], [0.0], [7.0], [-1e9]])
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(scaling.apply(new), np.zeros((4, 1)))


@pytest.mark.parametrize("prepare", SCALES)
@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e-30, 1e30, 1e99])
def test_units_do_not_matter(unit: float, prepare: Prepare) -> None:
    values = np.column_stack([NORMAL, np.round(NORMAL), np.where(NORMAL > 1.0, NORMAL, 0.25)])
    plain = fit_scaling(values, prepare).apply(values)
    scaled = fit_scaling(values * unit, prepare).apply(values * unit)
    np.testing.assert_allclose(scaled, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prepare", ["robust", "quantile"])
def test_the_largest_numbers_are_clipped_and_stay_in_order(prepare: Prepare) -> None:
    scaling = fit_scaling(NORMAL[:, None], prepare)
    largest = np.array([[-1.7e308], [-1e200], [-1e40], [0.0], [1e40], [1e200], [1.7e308]])
    with np.errstate(over="ignore"):
        scaled = scaling.apply(largest)
    assert np.isfinite(scaled).all()
    assert (np.diff(scaled[:, 0]) >= 0).all()
    end = 3.0 if prepare == "robust" else norm.isf(1e-7)
    np.testing.assert_allclose(np.abs(scaled[[0, -1]]), end, rtol=1e-6)


@pytest.mark.parametrize("prepare", ["robust", "quantile"])
def test_a_column_that_is_nearly_constant_is_spread(prepare: Prepare) -> None:
    """Two neighbours of float64 are told apart, as by a scale of their distance."""
    values = np.where(NORMAL > 0.0, 0.1, np.nextafter(0.1, 1.0))[:, None]
    scaled = fit_scaling(values, prepare).apply(values)
    assert len(np.unique(scaled.astype(np.float32))) == 2
    assert np.abs(np.diff(np.unique(scaled))).min() > 0.5


@pytest.mark.parametrize("prepare", get_args(Prepare))
@pytest.mark.parametrize("rows", [1, 2, 400])
@pytest.mark.parametrize("width", [0, 9])
def test_constants_return_from_json(prepare: Prepare, rows: int, width: int) -> None:
    scaling = fit_scaling(TABLE[:rows, :width], prepare)
    text = json.dumps(scaling_to_json(scaling), allow_nan=False)
    again = scaling_from_json(json.loads(text))
    assert type(again) is type(scaling)
    assert again.width == scaling.width == width
    np.testing.assert_array_equal(again.apply(TABLE[:, :width]), scaling.apply(TABLE[:, :width]))


@pytest.mark.parametrize("value", [{}, {"kind": "cube"}, {"kind": "linear", "center": [0.0]}])
def test_json_of_no_scaling_raises(value: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        scaling_from_json(value)


@pytest.mark.parametrize("prepare", get_args(Prepare))
def test_one_column_is_scaled_as_among_the_others(prepare: Prepare) -> None:
    scaling = fit_scaling(TABLE, prepare)
    whole: NDArray[np.float64] = scaling.apply(TABLE)
    for index in range(TABLE.shape[1]):
        alone = scaling.column(index).apply(TABLE[:, [index]])
        np.testing.assert_array_equal(alone[:, 0], whole[:, index])


def test_an_infinite_scale_is_null_in_json() -> None:
    scaling = fit_scaling(TABLE, "robust")
    assert isinstance(scaling, Robust)
    value = scaling_to_json(scaling)
    is_null = [each is None for each in value["scale"]]
    assert is_null == [name in ("constant", "zeros") for name in COLUMNS]
