"""Arrays become a table that is read by the rules of a table in a file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import selection
from selection.data.arrays import IN_MEMORY, table_from_arrays
from selection.data.dataset import Dataset, load_development
from selection.data.held_out import open_held_out
from selection.errors import DataError
from selection.study.spec import StudySpec, parse_study

FRAME = pd.DataFrame(
    {
        "size": [1.5, 2.5, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0],
        "colour": ["red", "blue", "red", "green", "red", "blue", "red", "green"],
        "kind": pd.Categorical(["a", "b", "a", "b", "a", "b", "a", "b"]),
        "is_new": [True, False, True, False, True, False, True, False],
    },
    index=[10, 11, 12, 13, 14, 15, 16, 17],
)
TARGET = pd.Series(list("xyxyxyxy"), index=FRAME.index, name="label")


def make_spec(section: dict[str, Any], metric: str = "accuracy") -> StudySpec:
    content = {
        "name": "arrays",
        "data": section,
        "search": {"metric": metric, "trials": 1},
        "cv": {"folds": 2},
    }
    return parse_study(content, "arrays")


def load(
    features: Any, target: Any, groups: Any = None, *, metric: str = "accuracy", **section: Any
) -> Dataset:
    frame, stated = table_from_arrays(features, target, groups, section=section)
    return load_development(make_spec(stated, metric), Path("nowhere"), frame)


def test_a_frame_reads_as_the_same_table_in_a_file(tmp_path: Path) -> None:
    ours = load(FRAME, TARGET, impute="median", held_out=0.25)
    path = tmp_path / "table.parquet"
    FRAME.assign(label=TARGET).to_parquet(path)
    names = ("colour", "kind")
    section = {"path": str(path), "target": "label", "impute": "median", "held_out": 0.25}
    theirs = load_development(make_spec({**section, "categorical": names}), Path("nowhere"))
    np.testing.assert_array_equal(ours.features, theirs.features)
    np.testing.assert_array_equal(ours.target, theirs.target)
    assert ours.feature_names == theirs.feature_names == ("size", "is_new")
    assert ours.class_names == theirs.class_names == ("x", "y")
    assert {name: list(column) for name, column in ours.categories.items()} == {
        name: list(column) for name, column in theirs.categories.items()
    }
    assert ours.fingerprint == theirs.fingerprint


def test_an_array_has_numbered_features() -> None:
    values = np.arange(16).reshape(8, 2)
    dataset = load(values, np.array([0, 1] * 4))
    assert dataset.feature_names == ("feature_0", "feature_1")
    assert set(map(tuple, dataset.features.tolist())) <= set(map(tuple, values.tolist()))


def test_a_target_is_named_apart_from_the_features() -> None:
    frame, section = table_from_arrays(FRAME.rename(columns={"size": "target"}), TARGET)
    assert section["target"] == "target_"
    assert list(frame["target_"]) == list(TARGET)
    assert section["path"] == IN_MEMORY


def test_groups_stay_whole() -> None:
    groups = [0, 0, 1, 1, 2, 2, 3, 3]
    frame, section = table_from_arrays(np.arange(8.0)[:, None], [0.5, 1.5] * 4, groups, 0.5)
    spec = make_spec(section, "rmse")
    dataset = load_development(spec, Path("nowhere"), frame)
    assert dataset.held_out_rows == 4
    held_out = open_held_out(spec, dataset, Path("nowhere"), frame)
    rows = set(held_out.features[:, 0].astype(int).tolist())
    assert rows == {row for row in range(8) if row - row % 2 in rows}


def test_a_mask_says_which_rows_are_held_out() -> None:
    mask = np.array([False, False, True, False, False, True, False, False])
    frame, section = table_from_arrays(np.arange(8.0)[:, None], list("xyxyxyxy"), None, mask)
    spec = make_spec(section)
    dataset = load_development(spec, Path("nowhere"), frame)
    assert dataset.feature_names == ("feature_0",)
    assert dataset.features[:, 0].tolist() == [0.0, 1.0, 3.0, 4.0, 6.0, 7.0]
    held_out = open_held_out(spec, dataset, Path("nowhere"), frame)
    assert held_out.features[:, 0].tolist() == [2.0, 5.0]


def test_other_held_out_rows_are_refused() -> None:
    frame, section = table_from_arrays(np.arange(8.0)[:, None], list("xyxyxyxy"), None, 0.25)
    spec = make_spec(section)
    dataset = load_development(spec, Path("nowhere"), frame)
    with pytest.raises(DataError, match="held-out rows must stay"):
        open_held_out(spec, dataset, Path("nowhere"), frame.assign(feature_0=7.0))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (([1.0, 2.0], [0, 1]), "(N, D), but got shape (2,)"),
        ((np.ones((3, 2)), [0, 1]), "one value for each of the 3 rows of X, but got shape (2,)"),
        ((np.ones((2, 1)), [[0], [1]]), "one value for each of the 2 rows"),
        ((np.ones((2, 1)), [0, 1], [1]), "groups must have one value for each"),
        ((np.ones((2, 1)), [0, 1], None, [True]), "held_out must have one value for each"),
        ((np.ones((2, 1)), [0, 1], None, [0, 1]), "one True or False for each row"),
        ((np.ones((2, 1)), [0, 1], None, [True, np.nan]), "one True or False for each row"),
        ((np.ones((2, 1)), [0, 1], None, True), "one True or False for each row"),
        ((np.ones((2, 1)) * 1j, [0, 1]), "features must be real numbers"),
        ((np.ma.masked_equal(np.ones((2, 1)), 1), [0, 1]), "values must not be masked"),
        ((pd.DataFrame({"a": []}), []), "must be a table of rows and columns"),
        ((pd.DataFrame([[1, 2]], columns=["1", 1]), [0]), "columns must have different names"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DataError) as caught:
        table_from_arrays(*arrays)
    assert said in str(caught.value)


def test_a_sparse_matrix_is_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(DataError, match="features must be dense"):
        table_from_arrays(sparse.eye(3).tocsr(), [0, 1, 0])


def test_a_source_beside_arrays_is_refused() -> None:
    with pytest.raises(DataError, match="must leave to the arguments"):
        table_from_arrays(np.ones((2, 1)), [0, 1], section={"dataset": "iris"})
    with pytest.raises(DataError, match="must leave to the arguments"):
        table_from_arrays(np.ones((2, 1)), [0, 1], None, 0.5, {"held_out": 0.2})


def test_a_fraction_may_be_of_numpy() -> None:
    _, section = table_from_arrays(np.ones((2, 1)), [0, 1], None, np.float32(0.5))
    assert type(section["held_out"]) is float


def test_a_missing_label_in_a_list_is_missing() -> None:
    rows = np.arange(8.0)[:, None] ** 2
    for y in (["a", "b"] * 3 + ["a", float("nan")], ["a", "b"] * 3 + ["a", None]):
        frame, section = table_from_arrays(rows, y)
        with pytest.raises(DataError, match="the target must have no missing values"):
            load_development(make_spec(section), Path("nowhere"), frame)
    masked = np.ma.MaskedArray([0, 1] * 4, mask=[False] * 7 + [True])
    for given in ({"y": masked}, {"y": [0, 1] * 4, "groups": masked}):
        with pytest.raises(DataError, match="values must not be masked"):
            table_from_arrays(rows, **given)


def test_columns_of_numbers_are_no_categories_whatever_holds_them() -> None:
    y = [0, 1, 0, 1]
    for column in ([1, 2, 3, None], [Decimal("0.5"), Decimal("1.5"), 2, 3]):
        frame = pd.DataFrame({"a": pd.Series(column, dtype=object), "b": list("uvuv")})
        assert table_from_arrays(frame, y)[1]["categorical"] == ["b"]
    assert table_from_arrays([[1, "u"], [2, "v"]], [0, 1])[1]["categorical"] == ["feature_1"]


def test_columns_with_another_use_are_no_categories() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "day": ["2026-01-01", "2026-01-02"], "part": ["x", "z"]})
    held_out = {"held_out": {"column": "part", "value": "x"}}
    assert table_from_arrays(frame, [0, 1], section=held_out, time="day")[1]["categorical"] == []


def test_long_labels_and_float32_labels_come_back() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(40, 2))
    sign = (rows[:, 0] > 0).astype(int)
    content = {"search": {"trials": 1}, "cv": {"folds": 2}, "assessment": {"baselines": []}}
    large = np.array([1234567890123456781, 1234567890123456782])[sign]
    model = selection.run(content, rows, large, progress=False).model()
    assert set(model.predict(rows).tolist()) <= set(large.tolist())
    assert len(set(model.classes_.tolist())) == 2
    small = np.array([0.1, 0.2], dtype=np.float32)[sign]
    model = selection.run(content, rows, small, progress=False).model()
    assert model.score(rows, small) == model.score(rows, small.astype(np.float64)) > 0.5
    frame = pd.DataFrame(rows)
    model = selection.run(content, frame, sign, progress=False).model()
    np.testing.assert_array_equal(model.predict(frame), model.predict(rows))
    for odd in (rows.astype(complex), [["1_0", "2"]], np.ma.masked_array(rows)):
        with pytest.raises(ValueError, match="features must"):
            model.predict(odd)


def test_weights_of_rows_belong_to_the_rows() -> None:
    target = list("xyxyxyxy")
    weights = np.arange(8.0)
    frame, section = table_from_arrays(
        FRAME.rename(columns={"size": "weights"}), target, sample_weight=weights
    )
    assert section["weights"] == "weights_"
    assert frame["weights_"].tolist() == weights.tolist()
    values = np.arange(8.0)[:, None]
    prints = set()
    for given in (weights, weights + 1.0, None):
        frame, section = table_from_arrays(values, target, sample_weight=given)
        dataset = load_development(make_spec(section), Path("nowhere"), frame)
        assert dataset.feature_names == ("feature_0",)
        prints.add(dataset.fingerprint)
        if given is not None:
            assert dataset.weights is not None
            assert dataset.weights.tolist() == given[dataset.features[:, 0].astype(int)].tolist()
    assert len(prints) == 3
    with pytest.raises(DataError, match="leave to the arguments"):
        table_from_arrays(values, target, section={"weights": "w"})
