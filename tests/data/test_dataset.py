"""Only development rows reach a Dataset, and its fingerprints say which they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selection.data.dataset import Dataset, load_development
from selection.data.held_out import open_held_out
from selection.data.split import split_source
from selection.errors import DataError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
Table = Callable[..., str]
NOWHERE = Path("/nowhere")


def load(study: Study, data: dict[str, Any], **options: Any) -> Dataset:
    return load_development(study(data, **options), NOWHERE)


def refusal(study: Study, data: dict[str, Any], **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(study, data, **options)
    message = str(caught.value)
    assert len(caught.value.details) == 1
    assert "\n" not in message
    return message


@pytest.fixture
def data(table: Table, frame: pd.DataFrame) -> dict[str, Any]:
    return {"path": table(frame), "target": "y", "categorical": ["colour"], "groups": "site"}


@pytest.fixture
def ungrouped(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "groups": None, "drop": ["site"]}


def held_out_numbers(dataset: Dataset) -> set[int]:
    """Return the rows that are missing; the first feature numbers the rows."""
    return set(range(60)) - set(dataset.features[:, 0].astype(int).tolist())


def test_held_out_rows_are_stratified_by_class(
    study: Study, ungrouped: dict[str, Any], frame: pd.DataFrame
) -> None:
    dataset = load(study, {**ungrouped, "held_out": 0.3})
    held_out = held_out_numbers(dataset)
    assert (len(dataset), len(held_out), dataset.held_out_rows) == (42, 18, 18)
    assert dataset.class_counts == {"a": 28, "b": 14}
    kept = frame.drop(index=sorted(held_out))
    np.testing.assert_array_equal(dataset.features[:, 1], kept["noise"])
    np.testing.assert_array_equal(dataset.categories["colour"], kept["colour"])
    np.testing.assert_array_equal(np.array(dataset.class_names)[dataset.target], kept["y"])
    assert dataset.warnings == ("column number counts the rows (0, 1, 2, ...): drop it",)


def test_groups_are_held_out_whole(study: Study, data: dict[str, Any], frame: pd.DataFrame) -> None:
    dataset = load(study, {**data, "held_out": 0.25})
    held_out = sorted(held_out_numbers(dataset))
    assert len(held_out) == 15
    assert not set(frame["site"][held_out]) & set(frame["site"].drop(index=held_out))
    assert dataset.groups is not None
    assert len(dataset.groups) == len(dataset) == 45


def test_fraction_defaults_to_a_fifth(study: Study, ungrouped: dict[str, Any]) -> None:
    assert load(study, ungrouped).held_out_rows == 12


def test_time_series_hold_out_the_latest_rows(study: Study, ungrouped: dict[str, Any]) -> None:
    dataset = load(study, {**ungrouped, "held_out": 0.3}, cv={"kind": "time_series"})
    assert held_out_numbers(dataset) == set(range(42, 60))


def test_regression_holds_out_any_rows(study: Study, table: Table, frame: pd.DataFrame) -> None:
    path = table(frame.drop(columns=["colour", "y"]))
    dataset = load(study, {"path": path, "target": "noise", "held_out": 0.1}, metric="rmse")
    assert (len(dataset), dataset.held_out_rows, dataset.class_counts) == (54, 6, {})
    assert dataset.target.dtype == np.float64


def test_column_holds_out_its_rows(study: Study, table: Table, frame: pd.DataFrame) -> None:
    frame["part"] = np.where(frame["number"] % 4 == 0, "late", "early")
    frame.loc[frame["part"] == "late", "noise"] = 1e6
    data = {"path": table(frame), "target": "y", "drop": ["colour", "site"]}
    dataset = load(study, {**data, "held_out": {"column": "part", "value": "late"}})
    assert held_out_numbers(dataset) == set(range(0, 60, 4))
    assert dataset.feature_names == ("number", "noise")
    assert dataset.features[:, 1].max() < 1e6


def test_split_gives_back_every_row_once(study: Study, data: dict[str, Any]) -> None:
    spec = study(data)
    parts = split_source(spec, NOWHERE)
    both = np.concatenate([parts.development, parts.held_out])
    np.testing.assert_array_equal(np.sort(both), np.arange(60))
    assert set(parts.held_out.tolist()) == held_out_numbers(load_development(spec, NOWHERE))


def test_seed_decides_which_rows(study: Study, ungrouped: dict[str, Any]) -> None:
    first, again, other = (load(study, ungrouped, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint
    assert first.held_out_fingerprint == again.held_out_fingerprint
    assert first.fingerprint != other.fingerprint
    assert first.held_out_fingerprint != other.held_out_fingerprint


@pytest.mark.parametrize("column", ["noise", "colour", "y", "site"])
def test_fingerprint_sees_one_changed_cell(
    study: Study, data: dict[str, Any], table: Table, frame: pd.DataFrame, column: str
) -> None:
    data = {**data, "held_out": {"column": "number", "value": 59}}
    before = load(study, data)
    other = {"noise": 0.5, "colour": "grey", "y": "a", "site": 99}[column]
    row = int(np.flatnonzero(frame["y"] == "b")[0])
    table(frame.assign(**{column: frame[column].where(frame.index != row, other)}))
    after = load(study, data)
    assert before.fingerprint != after.fingerprint
    # The held-out rows are the same: a second study on them must be known as such.
    assert before.held_out_fingerprint == after.held_out_fingerprint


def test_fingerprint_sees_order_and_names_but_not_the_path(
    study: Study, data: dict[str, Any], table: Table, frame: pd.DataFrame
) -> None:
    def fingerprint(frame: pd.DataFrame, name: str = "t.csv") -> str:
        held_out = {"column": "number", "value": 59}
        return load(study, {**data, "path": table(frame, name), "held_out": held_out}).fingerprint

    first = fingerprint(frame)
    assert fingerprint(frame, "u.csv") == first
    assert fingerprint(frame.iloc[::-1]) != first
    assert fingerprint(frame.rename(columns={"noise": "sound"})) != first


def test_held_out_cell_changes_the_held_out_identity_only(
    study: Study, data: dict[str, Any], table: Table, frame: pd.DataFrame
) -> None:
    data = {**data, "held_out": {"column": "number", "value": 59}}
    before = load(study, data)
    frame.loc[59, "noise"] = 0.5
    table(frame)
    after = load(study, data)
    assert before.fingerprint == after.fingerprint
    assert before.held_out_fingerprint != after.held_out_fingerprint


def test_official_held_out_set_is_the_default(study: Study) -> None:
    dataset = load(study, {"dataset": "cubic_polynomial"}, metric="rmse")
    assert (len(dataset), dataset.held_out_rows) == (100, 100)
    same = load(study, {"dataset": "cubic_polynomial", "held_out": "official"}, metric="rmse")
    assert same.held_out_fingerprint == dataset.held_out_fingerprint
    fraction = load(study, {"dataset": "cubic_polynomial", "held_out": 0.2}, metric="rmse")
    assert (len(fraction), fraction.held_out_rows) == (80, 20)
    assert fraction.held_out_fingerprint != dataset.held_out_fingerprint


@pytest.mark.parametrize(
    ("data", "metric", "expected"),
    [
        ({"dataset": "iris", "held_out": "official"}, "accuracy", "iris has no official held-out"),
        ({"path": "t.csv", "target": "y", "held_out": "official"}, "accuracy", "a table has no"),
        (
            {"dataset": "iris", "held_out": {"column": "a", "value": 1}},
            "accuracy",
            "held_out by column belongs to path, but got { column",
        ),
        ({"dataset": "iris"}, "rmse", 'iris needs a metric of classification, but got "rmse"'),
        ({"dataset": "diabetes"}, "accuracy", "diabetes needs a metric of regression"),
        ({"dataset": "irys"}, "accuracy", "Did you mean iris?"),
        ({"dataset": "iris", "held_out": 0.01}, "accuracy", "148 development and 2 held-out rows"),
        ({"dataset": "iris", "held_out": 0.99}, "accuracy", "1 development and 149 held-out rows"),
        (
            {"dataset": "diabetes", "held_out": 0.999},
            "rmse",
            "0 development and 442 held-out rows",
        ),
    ],
)
def test_held_out_that_cannot_be(
    study: Study, data: dict[str, Any], metric: str, expected: str
) -> None:
    assert expected in refusal(study, data, metric=metric)


def test_class_of_one_row_cannot_be_stratified(study: Study, table: Table) -> None:
    path = table("a,y\n" + "1,u\n" * 9 + "2,v\n")
    message = refusal(study, {"path": path, "target": "y"})
    assert 'a class needs two rows, one for each side of held_out, but got one row of ["v"]' in (
        message
    )


GARBAGE = {"number": "1e6", "noise": "-5", "colour": "grey", "y": "a", "site": "0.123"}
UNREADABLE = {
    "number": ("nonsense", 'a numeric column must be free of text, but got "nonsense" in row 60'),
    "noise": ("-inf", "values must be finite, but got -inf in row 60"),
    "colour": ("", "categorical columns must have no missing values, but got colour (1)"),
    "y": ("", "the target must have no missing values, but got y (1)"),
}


@pytest.mark.parametrize("column", UNREADABLE)
def test_a_held_out_cell_that_cannot_be_read_is_refused_before_the_study_begins(
    study: Study, data: dict[str, Any], table: Table, frame: pd.DataFrame, column: str
) -> None:
    frame["part"] = np.where(frame["number"] == 59, "late", "early")
    held_out = {"column": "part", "value": "late"}
    broken = frame.astype(str)
    broken.loc[59, column], expected = UNREADABLE[column]
    message = refusal(study, {**data, "held_out": held_out, "path": table(broken)})
    assert expected in message
    assert message.count("\n") == 0
    load(study, {**data, "held_out": held_out, "path": table(frame)})


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_garbage_in_held_out_cells_changes_nothing_of_the_development_rows(
    study: Study, data: dict[str, Any], table: Table, frame: pd.DataFrame, name: str
) -> None:
    frame["part"] = np.where(frame["number"] % 4 == 0, "late", "early")
    held_out = {"column": "part", "value": "late"}
    data = {**data, "groups": None, "drop": ["site"], "held_out": held_out}
    before = load(study, data | {"path": table(frame, name)})
    garbage = frame.astype(str)
    garbage.loc[frame["part"] == "late", list(GARBAGE)] = list(GARBAGE.values())
    # A column of a Parquet file has one type, so garbage there is made of numbers.
    if name == "t.parquet":
        garbage = frame.assign(noise=frame["noise"].where(frame["part"] != "late", -5.0))
    after = load(study, data | {"path": table(garbage, name)})
    assert after.fingerprint == before.fingerprint
    assert after.held_out_fingerprint != before.held_out_fingerprint
    np.testing.assert_array_equal(after.features, before.features)
    np.testing.assert_array_equal(after.target, before.target)
    assert after.class_names == before.class_names == ("a", "b")


def test_the_door_opens_to_the_very_rows_that_were_held_out(
    study: Study, data: dict[str, Any], frame: pd.DataFrame
) -> None:
    spec = study(data)
    development = load_development(spec, NOWHERE)
    rows = open_held_out(spec, development, NOWHERE)
    numbers = sorted(held_out_numbers(development))
    assert len(rows) == development.held_out_rows == len(numbers)
    np.testing.assert_array_equal(rows.features[:, 0], numbers)
    np.testing.assert_array_equal(rows.categories["colour"], frame["colour"][numbers])
    np.testing.assert_array_equal(
        np.array(development.class_names)[rows.target], frame["y"][numbers]
    )


def test_the_door_numbers_classes_as_the_development_rows_do(study: Study, table: Table) -> None:
    path = table("p,a,y\n" + "0,1,u\n0,2,v\n" * 9 + "1,3,v\n")
    spec = study({"path": path, "target": "y", "held_out": {"column": "p", "value": 1}})
    development = load_development(spec, NOWHERE)
    assert open_held_out(spec, development, NOWHERE).target.tolist() == [1]


def test_the_door_stays_shut_where_the_held_out_rows_have_changed(
    study: Study, data: dict[str, Any], table: Table, frame: pd.DataFrame
) -> None:
    spec = study({**data, "held_out": {"column": "number", "value": 59}})
    development = load_development(spec, NOWHERE)
    frame.loc[59, "noise"] = 0.5
    table(frame)
    with pytest.raises(DataError, match="must stay as they were when the study began"):
        open_held_out(spec, development, NOWHERE)


def test_a_class_that_is_held_out_only_is_refused(study: Study, table: Table) -> None:
    path = table("p,a,y\n" + "0,1,u\n0,2,v\n" * 9 + "1,3,w\n")
    data = {"path": path, "target": "y", "held_out": {"column": "p", "value": 1}}
    assert 'a development row, but got none of ["w"], as in row 19' in refusal(study, data)


def test_groups_on_both_sides_are_said(study: Study, table: Table) -> None:
    path = table("p,a,g,y\n" + "0,1,7,u\n0,2,8,v\n" * 9 + "1,3,7,u\n")
    held_out = {"column": "p", "value": 1}
    dataset = load(study, {"path": path, "target": "y", "groups": "g", "held_out": held_out})
    assert (
        dataset.warnings[0] == "1 group has rows in both the development set and the held-out set"
    )


def test_one_group_cannot_be_split(study: Study, table: Table) -> None:
    path = table("a,g,y\n" + "1,7,u\n2,7,v\n" * 9)
    assert "0 development and 1 held-out groups" in refusal(
        study, {"path": path, "target": "y", "groups": "g"}
    )
