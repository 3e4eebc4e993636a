"""What the registry says is what the data sets hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from selection.data.sources import (
    DataSetInfo,
    data_folder,
    list_data_sets,
    official_identity,
    read_named,
)
from selection.errors import DataError
from selection.study.spec import StudySpec

MADE_HERE = [info for info in list_data_sets() if info.name != "fashion_mnist"]
NOWHERE = Path("/nowhere")


def test_fashion_mnist_is_listed_first() -> None:
    info = list_data_sets()[0]
    assert (info.name, info.rows, info.held_out_rows) == ("fashion_mnist", 70_000, 10_000)
    assert (info.features, info.classes) == (784, 10)


@pytest.mark.parametrize("info", MADE_HERE, ids=lambda info: info.name)
def test_registry_is_true(info: DataSetInfo) -> None:
    rows = read_named(info.name, 3, NOWHERE)
    assert (rows.name, rows.task) == (info.name, info.task)
    assert len(rows) == info.rows - info.held_out_rows
    assert rows.features.shape == (len(rows), info.features)
    assert len(rows.feature_names) == len(set(rows.feature_names)) == info.features
    assert len(rows.class_names) == info.classes
    assert np.isfinite(rows.features).all()
    if info.task == "classification":
        assert rows.target.dtype == np.int64
        np.testing.assert_array_equal(np.unique(rows.target), np.arange(info.classes))
    else:
        assert rows.target.dtype == np.float64
        assert info.classes == 0


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_embedded_rows_are_those_of_scikit_learn(name: str) -> None:
    bunch = getattr(datasets, f"load_{name}")()
    rows = read_named(name, 0, NOWHERE)
    np.testing.assert_array_equal(rows.features, bunch.data)
    np.testing.assert_array_equal(rows.target, bunch.target)
    assert rows.class_names == tuple(str(label) for label in bunch.target_names)


def test_diabetes_is_not_scaled_by_held_out_rows() -> None:
    features = read_named("diabetes", 0, NOWHERE).features
    assert features[:, 0].max() == 79.0  # years of age


@pytest.mark.parametrize("name", ["moons", "high_dimensional_linear", "cubic_polynomial"])
def test_synthetic_rows_follow_the_seed(name: str) -> None:
    first, again, other = (read_named(name, seed, NOWHERE) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.target, again.target)
    assert not np.array_equal(first.features, other.features)


@pytest.mark.parametrize("name", ["high_dimensional_linear", "cubic_polynomial"])
def test_official_held_out_rows_are_other_rows(name: str) -> None:
    development = read_named(name, 1, NOWHERE)
    held_out = read_named(name, 1, NOWHERE, "held_out")
    assert held_out.features.shape == (100, development.features.shape[1])
    assert not np.isin(held_out.features[:, 0], development.features[:, 0]).any()
    assert official_identity(name, 1) != official_identity(name, 2)


def test_linear_target_is_the_formula() -> None:
    rows = read_named("high_dimensional_linear", 0, NOWHERE, "held_out")
    noise = rows.target - (0.05 + rows.features @ np.full(200, 0.01))
    assert 0.007 < noise.std() < 0.013
    assert abs(noise.mean()) < 0.004
    assert 0.97 < rows.features.std() < 1.03


def test_cubic_target_is_the_formula() -> None:
    rows = read_named("cubic_polynomial", 0, NOWHERE)
    x = rows.features[:, 0]
    noise = rows.target - (5 + 1.2 * x - 3.4 * x**2 / 2 + 5.6 * x**3 / 6)
    assert 0.07 < noise.std() < 0.13
    assert abs(noise.mean()) < 0.04
    np.testing.assert_allclose(rows.features[:, 4], x**5 / 120, rtol=1e-12)


def test_unknown_name_gets_the_nearest(study: Callable[..., StudySpec]) -> None:
    assert study({"dataset": "digitz"})  # the study file cannot know
    with pytest.raises(DataError, match=r'but got "digitz"\. Did you mean digits\?'):
        read_named("digitz", 0, NOWHERE)


def test_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELECTION_DATA_DIR", raising=False)
    assert data_folder() == Path("data")
    monkeypatch.setenv("SELECTION_DATA_DIR", "/elsewhere")
    assert data_folder() == Path("/elsewhere")
