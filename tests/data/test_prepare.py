"""Preparation equals scikit-learn's, and knows nothing of validation rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FunctionTransformer, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from selection.data.dataset import Dataset
from selection.data.folds import Split, make_splits
from selection.data.prepare import (
    AppendedColumns,
    FoldData,
    fit_preparation,
    preparation_from_json,
    preparation_to_json,
    prepare_folds,
)
from selection.data.scaling import Linear, fit_scaling, scaling_to_json
from selection.errors import DataError, StudyFileError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
COLOURS = ("red", "green", "blue")
SCALERS = {
    "standardize": StandardScaler(),
    "scale": MinMaxScaler(),
    "robust": make_pipeline(
        RobustScaler(), FunctionTransformer(lambda values: values / np.hypot(1.0, values / 3.0))
    ),
    "quantile": QuantileTransformer(n_quantiles=10, output_distribution="normal"),
}


def dataset_of(features: NDArray[Any], target: NDArray[Any], colours: bool = False) -> Dataset:
    generator = np.random.default_rng(11)
    is_classes = np.issubdtype(target.dtype, np.integer)
    column = generator.choice(COLOURS, size=len(target)).astype(object)
    return Dataset(
        name="t",
        task="classification" if is_classes else "regression",
        features=features,
        feature_names=tuple(f"x{index}" for index in range(features.shape[1])),
        categories={"colour": column} if colours else {},
        target=target,
        class_names=("a", "b") if is_classes else (),
        groups=None,
        fingerprint="f",
        held_out_fingerprint="h",
        held_out_rows=1,
    )


@pytest.fixture
def numbers() -> NDArray[np.float64]:
    """Hold columns of different scales, one constant, one with a constant that rounds."""
    generator = np.random.default_rng(3)
    columns = generator.normal(loc=[0, 100, -5], scale=[1, 30, 0.01], size=(50, 3))
    return np.hstack([columns, np.full((50, 1), 0.1), np.zeros((50, 1))])


@pytest.fixture
def holes(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    generator = np.random.default_rng(4)
    return np.where(generator.random(numbers.shape) < 0.15, np.nan, numbers)


CLASSES = np.arange(50) % 2
VALUES = np.random.default_rng(5).normal(loc=1000, scale=50, size=50)


def prepared(
    study: Study, dataset: Dataset, prepare: str, dtype: Any = np.float64, **data: Any
) -> tuple[FoldData, ...]:
    metric = "rmse" if dataset.task == "regression" else "accuracy"
    columns = {"path": "t.csv", "target": "y", "prepare": prepare, **data}
    spec = study(columns, cv={"folds": 3}, metric=metric)
    return prepare_folds(dataset, make_splits(dataset, spec).splits, spec, dtype)


@pytest.mark.parametrize("prepare", SCALERS)
def test_scalers_are_fitted_on_training_rows(
    study: Study, numbers: NDArray[np.float64], prepare: str
) -> None:
    # Of a constant column scikit-learn's quantiles make their least score.
    columns = numbers[:, :3] if prepare == "quantile" else numbers
    for fold in prepared(study, dataset_of(columns, CLASSES), prepare):
        expected = SCALERS[prepare].fit(columns[fold.training]).transform(columns)
        np.testing.assert_allclose(fold.features, expected, atol=1e-9)


def test_none_leaves_features_alone(study: Study, numbers: NDArray[np.float64]) -> None:
    folds = prepared(study, dataset_of(numbers, CLASSES), "none")
    np.testing.assert_array_equal(folds[0].features, numbers)
    assert all(fold.features is folds[0].features for fold in folds)


@pytest.mark.parametrize("prepare", [*SCALERS, "none"])
def test_medians_of_training_rows_fill_holes(
    study: Study, holes: NDArray[np.float64], prepare: str
) -> None:
    for fold in prepared(study, dataset_of(holes, CLASSES), prepare, impute="median"):
        imputer = SimpleImputer(strategy="median").fit(holes[fold.training])
        expected = imputer.transform(holes)
        if prepare == "quantile":
            expected = fit_scaling(expected[fold.training], "quantile").apply(expected)
        elif prepare != "none":
            expected = SCALERS[prepare].fit(expected[fold.training]).transform(expected)
        np.testing.assert_allclose(fold.features, expected, atol=1e-12)


def test_categories_of_training_rows_become_columns(
    study: Study, numbers: NDArray[np.float64]
) -> None:
    dataset = dataset_of(numbers, CLASSES, colours=True)
    column = dataset.categories["colour"].reshape(-1, 1)
    for fold in prepared(study, dataset, "standardize"):
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        expected = encoder.fit(column[fold.training]).transform(column)
        np.testing.assert_array_equal(fold.features[:, 5:], expected)
        np.testing.assert_allclose(
            fold.features[:, :5],
            StandardScaler().fit(numbers[fold.training]).transform(numbers),
            atol=1e-12,
        )


def test_missing_numbers_of_training_columns_have_an_indicator(
    study: Study, holes: NDArray[np.float64]
) -> None:
    """As scikit-learn's MissingIndicator has it."""
    dataset = dataset_of(holes, CLASSES, colours=True)
    options = {"impute": "median", "missing_indicators": True}
    widths = set()
    for fold in prepared(study, dataset, "robust", **options):
        oracle = MissingIndicator(error_on_new=False).fit(holes[fold.training])
        expected = oracle.transform(holes)
        widths.add(expected.shape[1])
        np.testing.assert_array_equal(fold.features[:, fold.indicators], expected)
        assert fold.indicators == slice(5, 5 + expected.shape[1])
        plain = prepared(study, dataset, "robust", impute="median")[fold.fold].features
        np.testing.assert_array_equal(
            np.delete(fold.features, fold.indicators, axis=1), plain, strict=True
        )
    assert widths == {4, 5}, "one column has one hole, which one fold does not train on"
    assert replace(dataset, has_indicators=True).inputs == 5 + 5 + 3
    assert dataset.inputs == 5 + 3


def test_no_column_is_indicated_where_nothing_is_missing(
    study: Study, numbers: NDArray[np.float64]
) -> None:
    options = {"impute": "median", "missing_indicators": True}
    for fold in prepared(study, dataset_of(numbers, CLASSES), "standardize", **options):
        assert fold.features.shape == (50, 5)
    pixels = np.random.default_rng(0).integers(0, 256, size=(50, 9), dtype=np.uint8)
    assert replace(dataset_of(pixels, CLASSES), has_indicators=True).inputs == 9
    for fold in prepared(study, dataset_of(pixels, CLASSES), "scale", **options):
        assert (fold.numeric, fold.indicators) == (9, slice(9, 9))


def test_indicators_need_filled_numbers(study: Study) -> None:
    data = {"path": "t.csv", "target": "y", "missing_indicators": True}
    with pytest.raises(StudyFileError, match="missing_indicators needs impute"):
        study(data)
    study({**data, "impute": "median"})


def test_a_fold_says_what_each_of_its_columns_is(study: Study, holes: NDArray[np.float64]) -> None:
    dataset = dataset_of(holes, CLASSES, colours=True)
    dataset.categories["colour"][7] = "mauve"
    sizes = np.array(["small", "large"], dtype=object)[np.arange(50) // 25]
    dataset = replace(dataset, categories={**dataset.categories, "size": sizes})
    options = {"impute": "median", "missing_indicators": True}
    for fold in prepared(study, dataset, "quantile", **options):
        colours = 3 + (7 in fold.training)
        shown = fold.appended.indicators
        assert fold.appended == AppendedColumns(shown, (colours, 2))
        assert fold.numeric == 5
        assert fold.indicators == slice(5, 5 + shown)
        colour, size = fold.blocks
        assert colour == slice(5 + shown, 5 + shown + colours)
        assert size == slice(colour.stop, fold.features.shape[1])
        assert (fold.features[:, size].sum(axis=1) == 1).all()
        np.testing.assert_array_equal(fold.features[:, size][:, 1], sizes == "small")
        is_known = dataset.categories["colour"] != "mauve"
        assert (fold.features[is_known, colour].sum(axis=1) == 1).all()
    for fold in prepared(study, dataset_of(np.empty((50, 0)), CLASSES, colours=True), "robust"):
        assert (fold.numeric, fold.indicators) == (0, slice(0, 0))
        assert fold.blocks == (slice(0, 3),)
    fold = prepared(study, dataset_of(np.ones((50, 2)), CLASSES), "none")[0]
    assert (fold.numeric, fold.indicators, fold.blocks) == (2, slice(2, 2), ())


def test_category_unknown_in_training_is_all_zeros(
    study: Study, numbers: NDArray[np.float64]
) -> None:
    dataset = dataset_of(numbers, CLASSES, colours=True)
    dataset.categories["colour"][7] = "mauve"
    for fold in prepared(study, dataset, "none"):
        is_known = 7 in fold.training
        assert fold.features.shape[1] == 5 + 3 + is_known
        assert fold.features[7, 5:].sum() == is_known
        np.testing.assert_array_equal(np.delete(fold.features[:, 5:].sum(axis=1), 7), np.ones(49))


def test_pixels_are_scaled_once_for_all_folds(study: Study) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(50, 9), dtype=np.uint8)
    folds = prepared(study, dataset_of(pixels, CLASSES), "scale", np.float32)
    np.testing.assert_array_equal(folds[0].features, (pixels / 255).astype(np.float32))
    assert all(fold.features is folds[0].features for fold in folds)
    assert all(fold.targets is folds[0].targets for fold in folds)


def test_pixels_can_be_standardised(study: Study) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(50, 9), dtype=np.uint8)
    for fold in prepared(study, dataset_of(pixels, CLASSES), "standardize"):
        expected = StandardScaler().fit(pixels[fold.training]).transform(pixels)
        np.testing.assert_allclose(fold.features, expected, atol=1e-12)


def test_rows_beyond_one_chunk_are_prepared(study: Study) -> None:
    values = np.random.default_rng(0).normal(size=(9001, 2))
    dataset = dataset_of(values, np.arange(9001) % 2)
    fold = prepared(study, dataset, "standardize")[0]
    expected = StandardScaler().fit(values[fold.training]).transform(values)
    np.testing.assert_allclose(fold.features, expected, atol=1e-12)


@pytest.mark.parametrize("prepare", ["standardize", "robust", "quantile"])
def test_continuous_target_is_standardised_by_training_rows(
    study: Study, numbers: NDArray[np.float64], prepare: str
) -> None:
    for fold in prepared(study, dataset_of(numbers, VALUES), prepare):
        assert fold.target_mean == pytest.approx(VALUES[fold.training].mean(), rel=1e-14)
        assert fold.target_std == pytest.approx(VALUES[fold.training].std(), rel=1e-12)
        again = fold.targets * fold.target_std + fold.target_mean
        np.testing.assert_allclose(again, VALUES, rtol=1e-12)
        assert fold.classes == 0


@pytest.mark.parametrize("prepare", ["scale", "none"])
def test_continuous_target_keeps_its_units_otherwise(
    study: Study, numbers: NDArray[np.float64], prepare: str
) -> None:
    for fold in prepared(study, dataset_of(numbers, VALUES), prepare):
        assert (fold.target_mean, fold.target_std) == (0.0, 1.0)
        np.testing.assert_array_equal(fold.targets, VALUES)


def test_constant_target_is_divided_by_one(study: Study, numbers: NDArray[np.float64]) -> None:
    for fold in prepared(study, dataset_of(numbers, np.full(50, 0.1)), "standardize"):
        assert fold.target_std == 1.0
        np.testing.assert_allclose(fold.targets, 0.0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_contiguous_and_of_the_type_asked(
    study: Study, holes: NDArray[np.float64], dtype: Any
) -> None:
    dataset = dataset_of(holes, VALUES, colours=True)
    for fold in prepared(study, dataset, "standardize", dtype, impute="median"):
        assert fold.features.flags.c_contiguous
        assert fold.features.dtype == fold.targets.dtype == dtype
    for fold in prepared(study, dataset_of(holes, CLASSES), "scale", dtype, impute="median"):
        assert fold.targets.dtype == np.int64
        assert fold.classes == 2


@pytest.mark.parametrize("prepare", SCALERS)
def test_validation_rows_leak_nothing(
    study: Study, holes: NDArray[np.float64], prepare: str
) -> None:
    dataset = dataset_of(holes, VALUES, colours=True)
    columns = {"path": "t.csv", "target": "y", "prepare": prepare, "impute": "median"}
    spec = study(columns, cv={"folds": 3}, metric="rmse")
    for split in make_splits(dataset, spec).splits:
        features, target = dataset.features.copy(), dataset.target.copy()
        colours = dataset.categories["colour"].copy()
        features[split.validation] = 1e9
        target[split.validation] = -1e9
        colours[split.validation] = "mauve"
        poisoned = replace(
            dataset, features=features, target=target, categories={"colour": colours}
        )
        clean, dirty = (fit_preparation(d, split.training, spec) for d in (dataset, poisoned))
        np.testing.assert_array_equal(clean.fill, dirty.fill)
        assert scaling_to_json(clean.scaling) == scaling_to_json(dirty.scaling)
        assert clean.categories == dirty.categories
        assert (clean.target_mean, clean.target_std) == (dirty.target_mean, dirty.target_std)
        # The rows that are trained on come out the same, bit by bit.
        rows = split.training
        ours, theirs = (
            prepare_folds(d, [split], spec)[0].features[rows] for d in (dataset, poisoned)
        )
        np.testing.assert_array_equal(ours, theirs)


def test_refit_applies_to_new_rows(study: Study, holes: NDArray[np.float64]) -> None:
    dataset = dataset_of(holes, CLASSES, colours=True)
    columns = {"path": "t.csv", "target": "y", "impute": "median"}
    preparation = fit_preparation(dataset, np.arange(50), study(columns))
    new = {"colour": np.array(["blue", "mauve"], dtype=object)}
    features = preparation.apply(np.full((2, 5), np.nan), new, np.float64)
    imputer = SimpleImputer(strategy="median").fit(holes)
    scaler = StandardScaler().fit(imputer.transform(holes))
    expected = scaler.transform(imputer.transform(np.full((1, 5), np.nan)))[0]
    np.testing.assert_allclose(features[0], [*expected, 1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(features[1], [*expected, 0, 0, 0], atol=1e-12)


def test_column_without_a_training_value_cannot_be_imputed(
    study: Study, numbers: NDArray[np.float64]
) -> None:
    numbers[:, 1] = np.nan
    numbers[0, 1] = 1.0
    dataset = dataset_of(numbers, CLASSES)
    spec = study({"path": "t.csv", "target": "y", "impute": "median"})
    split = Split(0, 0, np.arange(1, 50), np.array([0]))
    with pytest.raises(DataError, match=r'of every fold, but got none in \["x1"\]') as caught:
        prepare_folds(dataset, [split], spec)
    assert "\n" not in str(caught.value)


def test_table_of_categories_alone(study: Study) -> None:
    dataset = dataset_of(np.empty((50, 0)), CLASSES, colours=True)
    for fold in prepared(study, dataset, "standardize"):
        assert fold.features.shape == (50, 3)
        np.testing.assert_array_equal(fold.features.sum(axis=1), np.ones(50))


def test_constants_of_an_earlier_version_are_read(study: Study, holes: NDArray[np.float64]) -> None:
    """Their center and scale stood beside fill."""
    spec = study({"path": "t.csv", "target": "y", "impute": "median"})
    preparation = fit_preparation(dataset_of(holes, CLASSES), np.arange(50), spec)
    value = preparation_to_json(preparation)
    assert isinstance(preparation.scaling, Linear)
    value |= {name: value["scaling"][name] for name in ("center", "scale")}
    del value["scaling"]
    again = preparation_from_json(value)
    np.testing.assert_array_equal(again.apply(holes, {}), preparation.apply(holes, {}))
