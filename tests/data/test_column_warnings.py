"""What is suspicious about columns and rows is said before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selection.data.dataset import load_development
from selection.errors import DataError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
Table = Callable[..., str]


@pytest.fixture
def plain() -> pd.DataFrame:
    """Hold 40 rows that nothing is said of."""
    generator = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "a": generator.normal(size=40),
            "b": generator.normal(size=40),
            "c": generator.choice(["red", "blue"], size=40),
            "y": np.tile(["u", "v"], 20),
        }
    )


def warnings_of(
    study: Study, path: str, cv: dict[str, Any] | None = None, **data: Any
) -> list[str]:
    content = {"path": path, "target": "y", "categorical": ["c"], **data}
    metric = content.pop("metric", "accuracy")
    spec = study(content, cv=cv, metric=metric)
    return list(load_development(spec, Path("nowhere")).warnings)


def test_a_plain_table_has_no_warning(study: Study, table: Table, plain: pd.DataFrame) -> None:
    assert warnings_of(study, table(plain)) == []


@pytest.mark.parametrize("start", [0, 1, 1000])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_column_that_counts_the_rows(
    study: Study, table: Table, plain: pd.DataFrame, start: int, name: str
) -> None:
    plain.insert(0, "Unnamed: 0", np.arange(start, start + 40))
    shown = f"{start}, {start + 1}, {start + 2}"
    expected = [f"column Unnamed: 0 counts the rows ({shown}, ...): drop it"]
    assert warnings_of(study, table(plain, name)) == expected
    assert warnings_of(study, table(plain, name), drop=["Unnamed: 0"]) == []


def test_a_missing_category_is_a_value_of_its_own(
    study: Study, table: Table, plain: pd.DataFrame
) -> None:
    plain["one"] = np.where(np.arange(40) % 3 == 0, "", "red")
    plain["none"] = ""
    plain["leak"] = np.where(plain["y"] == "u", "", "red")
    said = warnings_of(
        study, table(plain), categorical=["c", "one", "none", "leak"], impute="median"
    )
    assert said == [
        "column none has one value in every development row",
        "column leak determines the target y exactly: does it leak?",
    ]


def test_constant_columns(study: Study, table: Table, plain: pd.DataFrame) -> None:
    plain["one"], plain["c"] = 1.5, "red"
    assert warnings_of(study, table(plain)) == [
        "columns one, c have one value each in every development row"
    ]


@pytest.mark.parametrize("as_number", [False, True])
def test_a_feature_that_is_the_target(
    study: Study, table: Table, plain: pd.DataFrame, as_number: bool
) -> None:
    plain["copy"] = plain["y"].map({"u": 7, "v": 3} if as_number else {"u": "yes", "v": "no"})
    categorical = ["c"] if as_number else ["c", "copy"]
    assert warnings_of(study, table(plain), categorical=categorical) == [
        "column copy determines the target y exactly: does it leak?"
    ]
    numbers = plain.assign(y=plain["a"]).drop(columns="copy")
    assert warnings_of(study, table(numbers), metric="rmse") == [
        "column a determines the target y exactly: does it leak?"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("yes", "Yes"), ("yes", "yes "), ("yes", "ye\u200bs"), ("a b", "a  b"), ("\u00e9", "e\u0301")],
)
def test_spellings_that_look_alike(
    study: Study, table: Table, plain: pd.DataFrame, first: str, second: str
) -> None:
    plain["g"] = np.repeat(np.arange(8).astype(str), 5)
    plain["part"] = ["early"] * 39 + ["late"]
    held_out = {"column": "part", "value": "late"}
    for column in ("y", "c", "g"):
        looks = plain.assign(**{column: [first, second, "other", "more"] * 10})
        found = warnings_of(study, table(looks), groups="g", held_out=held_out)
        (line,) = [each for each in found if "invisible characters" in each]
        assert line.startswith(f"column {column}: ")
        assert line.endswith(" differ only in spaces, case or invisible characters")


def test_spellings_of_the_part_that_is_held_out(
    study: Study, table: Table, plain: pd.DataFrame
) -> None:
    plain["part"] = ["test", "Test", "train", "train"] * 10
    found = warnings_of(study, table(plain), held_out={"column": "part", "value": "test"})
    expected = 'column part: "Test" and "test" differ only in spaces, case or invisible characters'
    assert found == [expected]


@pytest.mark.parametrize("copies", [1, 5])
def test_copies_across_the_border(
    study: Study, table: Table, plain: pd.DataFrame, copies: int
) -> None:
    doubled = pd.concat([plain, plain.iloc[:copies]], ignore_index=True)
    doubled["part"] = ["train"] * 40 + ["test"] * copies
    (line,) = warnings_of(study, table(doubled), held_out={"column": "part", "value": "test"})
    have = "row has" if copies == 1 else "rows have"
    assert line.startswith(f"{copies} held-out {have} an exact copy in development")


def test_copies_in_a_data_set(study: Study) -> None:
    found = load_development(study({"dataset": "iris", "held_out": 0.5}), Path("nowhere")).warnings
    features = pd.DataFrame(load_development(study({"dataset": "iris"}), Path("nowhere")).features)
    assert features.duplicated().any(), "iris has a row twice"
    assert all("exact copy" in line for line in found)


@pytest.mark.parametrize("dates", [False, True])
def test_time_that_runs_backwards(
    study: Study, table: Table, plain: pd.DataFrame, dates: bool
) -> None:
    days = pd.date_range("2026-01-01", periods=40)[::-1]
    plain["day"] = days.strftime("%Y-%m-%d") if dates else np.arange(40.0)[::-1] * 7
    path, drop = table(plain), ["day"]
    found = warnings_of(study, path, cv={"kind": "time_series", "folds": 2}, drop=drop)
    assert found == [
        'column day falls from row to row: if the newest row is first, write time = "day" in [cv]'
    ]
    cv = {"kind": "time_series", "folds": 2, "time": "day"}
    assert warnings_of(study, path, cv=cv) == []
    spec = study({"path": path, "target": "y", "categorical": ["c"]}, cv=cv)
    ordered = load_development(spec, Path("nowhere"))
    np.testing.assert_array_equal(ordered.features[:, 0], plain["a"][::-1][:32])


def test_time_must_be_dates_that_can_be_ordered(
    study: Study, table: Table, plain: pd.DataFrame
) -> None:
    plain["day"] = [f"{index % 28 + 1}.01.2026" for index in range(40)]
    cv = {"kind": "time_series", "folds": 2, "time": "day"}
    with pytest.raises(DataError, match="time must be numbers or ISO dates"):
        warnings_of(study, table(plain), cv=cv)


def test_a_category_that_names_the_row_is_refused(
    study: Study, table: Table, plain: pd.DataFrame
) -> None:
    plain["c"] = [f"customer {index}" for index in range(40)]
    with pytest.raises(DataError, match="a categorical column must repeat its values") as caught:
        warnings_of(study, table(plain))
    assert "column c: " in str(caught.value)
    assert "40 different values in 40 rows" in str(caught.value)


def test_an_index_with_gaps_or_in_another_order(
    study: Study, table: Table, plain: pd.DataFrame
) -> None:
    for index in (
        np.delete(np.arange(44), [3, 9, 20, 21]),
        np.random.default_rng(2).permutation(40),
    ):
        plain["Unnamed: 0"] = index
        (line,) = warnings_of(study, table(plain))
        assert line.startswith("column Unnamed: 0 numbers the rows")
