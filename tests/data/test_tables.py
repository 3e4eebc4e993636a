"""Tables of the user's: read faithfully, or refused in one line per error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from selection.data.csv_file import CsvFormat
from selection.data.dataset import load_development
from selection.data.rows import Rows, hash_rows
from selection.data.tables import open_table, read_columns
from selection.errors import DataError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
Table = Callable[..., str]
PLAIN = "a,b,y\n1,2,u\n3,4,v\n5,6,u\n"


def read(study: Study, path: str, metric: str = "accuracy", **data: Any) -> Rows:
    spec = study({"path": path, "target": "y", **data}, metric=metric)
    return open_table(spec.sections.data, spec.task).rows()


def marks(study: Study, path: str, metric: str = "accuracy", **data: Any) -> NDArray[np.bool_]:
    spec = study({"path": path, "target": "y", **data}, metric=metric)
    found = open_table(spec.sections.data, spec.task).keys(is_stratified=True).marks
    assert found is not None
    return found


def refusal(study: Study, path: str, metric: str = "accuracy", **data: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(study, path, metric, **data)
    lines = str(caught.value).split("\n")
    assert len(lines) == len(caught.value.details)
    assert all(line.startswith(path) for line in lines)
    return lines


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_columns_are_read_in_their_order(
    study: Study, table: Table, frame: pd.DataFrame, name: str
) -> None:
    path = table(frame, name)
    rows = read(study, path, drop=["noise"], categorical=["colour"], groups="site")
    assert rows.feature_names == ("number",)
    assert rows.features.dtype == np.float64
    np.testing.assert_array_equal(rows.features[:, 0], np.arange(60))
    np.testing.assert_array_equal(rows.categories["colour"], frame["colour"])
    assert rows.class_names == ("a", "b")
    np.testing.assert_array_equal(np.array(rows.class_names)[rows.target], frame["y"])
    assert rows.groups is not None
    assert [len(set(rows.groups[start : start + 5])) for start in range(0, 60, 5)] == [1] * 12
    assert len(set(rows.groups)) == 12


def test_csv_and_parquet_agree(study: Study, table: Table, frame: pd.DataFrame) -> None:
    kinds = [read(study, table(frame, name), drop=["colour"]) for name in ("t.csv", "t.parquet")]
    np.testing.assert_array_equal(kinds[0].features, kinds[1].features)
    np.testing.assert_array_equal(kinds[0].target, kinds[1].target)


def test_classes_are_sorted_as_numbers_or_words(study: Study, table: Table) -> None:
    assert read(study, table("a,y\n1,10\n2,9\n3,10\n")).class_names == ("9", "10")
    assert read(study, table("a,y\n1,10.0\n2,9.0\n")).class_names == ("9.0", "10.0")
    assert read(study, table("a,y\n1,true\n2,false\n")).class_names == ("false", "true")
    assert read(study, table("a,y\n1,z\n2,B\n")).class_names == ("B", "z")


def test_booleans_become_numbers(study: Study, table: Table) -> None:
    path = table("a,b,y\nTrue,True,1\nFalse,,2\nTrue,False,3\n")
    rows = read(study, path, metric="rmse", impute="median")
    np.testing.assert_array_equal(rows.features, [[1, 1], [0, np.nan], [1, 0]])
    np.testing.assert_array_equal(rows.target, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "values",
    [
        pd.array([1, None, 3], dtype="Int64"),
        pd.Categorical([1, None, 3]),
        pd.array([1.0, None, 3.0], dtype="float32"),
    ],
)
def test_nullable_columns_of_parquet(study: Study, table: Table, values: Any) -> None:
    path = table(pd.DataFrame({"a": values, "y": [1, 2, 3]}), "t.parquet")
    rows = read(study, path, metric="rmse", impute="median")
    np.testing.assert_array_equal(rows.features, [[1], [np.nan], [3]])


def test_byte_order_mark_is_no_part_of_a_name(study: Study, table: Table) -> None:
    assert read(study, table("\ufeff" + PLAIN)).feature_names == ("a", "b")


@pytest.mark.parametrize(
    ("value", "cells"),
    [
        ("test", ["train", "test", "train"]),
        (1, [0, 1, 2]),
        (1, [0.5, 1.0, 2.5]),
        (1, ["x", "1", "y"]),
        ("1", [0, 1, 2]),
        (True, [False, True, False]),
        (True, ["true", "x", "y"]),
        (0.5, [0.25, 0.5, 1.0]),
    ],
)
def test_held_out_column_marks_rows_and_is_no_feature(
    study: Study, table: Table, value: Any, cells: list[Any]
) -> None:
    path = table(pd.DataFrame({"part": cells, "a": [1, 2, 3], "y": [1.0, 2.0, 3.0]}))
    held_out = {"column": "part", "value": value}
    assert read(study, path, metric="rmse", held_out=held_out).feature_names == ("a",)
    wanted = [str(cell).lower() == str(value).lower() or cell == value for cell in cells]
    assert sum(wanted) == 1
    np.testing.assert_array_equal(marks(study, path, "rmse", held_out=held_out), wanted)


def test_file_that_is_not_there(study: Study, table: Table) -> None:
    table(PLAIN)
    expected = "the table must be readable, but got No such file or directory"
    assert expected in refusal(study, "absent.csv")[0]
    assert (
        "must be a .csv, .tsv, .csv.gz, .parquet or .feather file, but got .xlsx"
        in refusal(study, "t.xlsx")[0]
    )
    Path("folder.csv").mkdir()
    assert "Is a directory" in refusal(study, "folder.csv")[0]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_empty_file(study: Study, table: Table, name: str) -> None:
    assert refusal(study, table("", name)) == [
        f"{name}: a table needs a header and a row, but got an empty file. Fill it."
    ]


def test_header_without_rows(study: Study, table: Table) -> None:
    assert "a table needs a header and a row" in refusal(study, table("a,y\n"))[0]


@pytest.mark.parametrize(
    "text", ["a,y\n1,2\n3,4,5\n", "a,y\n1,2,3\n4,5,6\n", 'a,y\n1,"2\n', "a,y\n1,\ud800\n"]
)
def test_broken_csv(study: Study, table: Table, text: str) -> None:
    path = table(PLAIN)
    Path(path).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "must be a csv file, but got" in refusal(study, path)[0]


def test_broken_parquet(study: Study, table: Table) -> None:
    assert "must be a parquet file, but got" in refusal(study, table("PAR1 no", "t.parquet"))[0]


def test_parquet_without_pyarrow(
    study: Study, table: Table, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(frame, "t.parquet")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    expected = "Parquet needs pyarrow, but got none installed. Install it: pip install"
    assert expected in refusal(study, path)[0]


def test_every_unknown_column_is_named_with_its_nearest(study: Study, table: Table) -> None:
    path = table("age,weight,y\n1,2,u\n3,4,v\n")
    lines = refusal(
        study,
        path,
        target="yy",
        drop=["wieght"],
        categorical=["aeg"],
        groups="q",
        held_out={"column": "p", "value": 1},
    )
    assert lines == [
        f'{path}: target must name a column of the table, but got "yy". Did you mean y?',
        f'{path}: groups must name a column of the table, but got "q". Known: age, weight, y.',
        f'{path}: drop must name a column of the table, but got "wieght". Did you mean weight?',
        f'{path}: categorical must name a column of the table, but got "aeg". Did you mean age?',
        f'{path}: held_out must name a column of the table, but got "p". Known: age, weight, y.',
    ]


def test_column_names_must_differ(study: Study, table: Table) -> None:
    path = table("a,b,a,y\n1,2,3,u\n4,5,6,v\n")
    assert 'column names must differ, but got twice ["a"]' in refusal(study, path)[0]


def test_column_has_one_use(study: Study, table: Table) -> None:
    lines = refusal(study, table(PLAIN), drop=["y"], categorical=["a"], groups="a")
    assert ['"y" as target and drop' in line for line in lines] == [True, False]
    assert '"a" as groups and categorical' in lines[1]
    for column, use in (("y", "target"), ("b", "categorical")):
        held_out = {"column": column, "value": 2}
        line = refusal(study, table(PLAIN), categorical=["b"], held_out=held_out)[0]
        assert f'"{column}" as {use} and held_out' in line


def test_rows_may_be_held_out_by_their_group(
    study: Study, table: Table, frame: pd.DataFrame
) -> None:
    held_out = {"column": "site", "value": 3}
    found = marks(study, table(frame), drop=["colour"], groups="site", held_out=held_out)
    np.testing.assert_array_equal(found, frame["site"] == 3)


def test_text_in_numeric_columns_is_named_by_value_and_row(study: Study, table: Table) -> None:
    path = table("a,b,c,y\n1,x,2020-01-01,u\n2,3,2020-01-02,v\nseven,4,2020-01-03,v\n")
    assert refusal(study, path) == [
        f'{path}: column {name}: a numeric column must be free of text, but got "{value}" in '
        f"row {row}. Add the column to categorical or to drop, correct the value, or list it in "
        "missing."
        for name, value, row in (("a", "seven", 3), ("b", "x", 1), ("c", "2020-01-01", 1))
    ]


def test_missing_features_are_named_and_counted(study: Study, table: Table) -> None:
    path = table("a,b,c,y\n1,,2,u\n,,3,v\n4,5,6,u\n")
    assert refusal(study, path) == [
        f"{path}: features must have no missing values, but got a (1), b (2). "
        'Write impute = "median", drop the columns, or fill them.'
    ]
    np.testing.assert_array_equal(
        np.isnan(read(study, path, impute="median").features).sum(axis=0), [1, 2, 0]
    )


def test_odd_names_stay_on_one_line(study: Study, table: Table) -> None:
    path = table('"a\nb",,y\n1,,u\n,,v\n')
    assert r'but got "a\nb" (1), "" (2). ' in refusal(study, path)[0]
    assert r'Known: "", "a\nb", y.' in refusal(study, path, groups="q")[0]


def test_missing_elsewhere_is_refused_even_with_impute(study: Study, table: Table) -> None:
    path = table("a,c,g,y\n1,x,1,u\n2,,1,v\n3,z,,\n")
    lines = refusal(study, path, impute="median", categorical=["c"], groups="g")
    assert [line.split(": ")[1].split(". ")[0] for line in lines] == [
        "the target must have no missing values, but got y (1)",
        "groups must have no missing values, but got g (1)",
    ]


def test_a_missing_category_is_one_of_its_own_with_impute_alone(study: Study, table: Table) -> None:
    path = table("a,c,d,y\n1,x,1,u\n2,,,v\n3,NA,2,v\n4,z,2,u\n")
    assert refusal(study, path, categorical=["c", "d"]) == [
        f"{path}: categorical columns must have no missing values, but got c (2), d (1): "
        '"NA" 1 rows were read as missing. '
        'Write impute = "median", drop the columns, or fill them. '
        'If such words are values, write missing = [""] in [data].'
    ]
    rows = read(study, path, categorical=["c", "d"], impute="median")
    assert rows.categories["c"].tolist() == ["x", "", "", "z"]
    assert rows.categories["d"].tolist() == ["1", "", "2", "2"]
    named = read(study, path, categorical=["c", "d"], impute="median", missing=[""])
    assert named.categories["c"].tolist() == ["x", "", "NA", "z"]


def test_infinity_is_refused(study: Study, table: Table) -> None:
    path = table("a,y\n1,1\n-inf,2\n3,inf\n")
    assert refusal(study, path, metric="rmse") == [
        f"{path}: column a: values must be finite, but got -inf in row 2. "
        "Correct or remove that row.",
        f"{path}: column y: values must be finite, but got inf in row 3. "
        "Correct or remove that row.",
    ]


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("a,y\n1,1.5\n2,2\n", "accuracy", "1.5 in row 1. Choose a regression metric"),
        ("a,y\n1,u\n2,v\n", "rmse", '"u" in row 1. Choose a classification metric'),
        ("a,y\n1,u\n2,u\n", "accuracy", 'at least two classes, but got only "u"'),
        ("y\n1\n2\n", "rmse", "the table needs a feature, but got a target alone"),
    ],
)
def test_target_must_fit_the_metric(
    study: Study, table: Table, text: str, metric: str, expected: str
) -> None:
    assert expected in refusal(study, table(text), metric=metric)[0]


@pytest.mark.parametrize(("value", "got"), [("w", "0 of 3 rows"), ("x", "3 of 3 rows")])
def test_held_out_column_must_split(study: Study, table: Table, value: str, got: str) -> None:
    path = table("part,a,y\nx,1,u\nx,2,v\nx,3,u\n")
    with pytest.raises(DataError) as caught:
        marks(study, path, held_out={"column": "part", "value": value})
    assert f'but got {got}. Values there: "x".' in str(caught.value)


def test_a_label_is_named_by_its_own_cell_alone(study: Study, table: Table) -> None:
    """Or a table of new rows would name the same cell otherwise than the study did."""
    cells = ["1", "1.0", "01", "true", "TRUE", "x", " 1", "-2.00", "12345678901234567"]
    path = table("c,y\n" + "".join(f"{cell},{index % 2}\n" for index, cell in enumerate(cells)))
    rows = read(study, path, categorical=["c"])
    assert rows.categories["c"].tolist() == cells
    target = read(
        study, table("a,y\n" + "".join(f"{index},{cell}\n" * 2 for index, cell in enumerate(cells)))
    )
    assert sorted(target.class_names) == sorted(cells)
    for cell in cells:
        alone = table(f"c,y\n{cell},0\n", "alone.csv")
        _, _, labels = read_columns(Path(alone), {"c": "labels"}, CsvFormat())
        assert labels["c"].names == (cell,)


@pytest.mark.parametrize("column", ["groups", "time"])
def test_labels_that_decide_nothing_are_not_looked_at(
    study: Study, table: Table, frame: pd.DataFrame, column: str
) -> None:
    by_group = column == "groups"
    options: dict[str, Any] = {"groups": "site"} if by_group else {"drop": ["site"]}
    data = {"target": "y", "categorical": ["colour"], "held_out": 0.25, **options}
    cv = None if by_group else {"kind": "time_series"}
    before = load_development(study({"path": table(frame), **data}, cv=cv), Path())
    kept = set(before.features[:, 0].astype(int).tolist())
    garbage = frame.copy()
    garbage.loc[[row for row in range(60) if row not in kept], "y"] = "a"
    after = load_development(study({"path": table(garbage), **data}, cv=cv), Path())
    assert after.fingerprint == before.fingerprint


def test_the_layout_in_memory_is_no_part_of_the_fingerprint(
    study: Study, table: Table, frame: pd.DataFrame
) -> None:
    rows = read(study, table(frame), drop=["colour"])
    assert rows.features.flags.f_contiguous
    other = replace(rows, features=np.ascontiguousarray(rows.features))
    assert hash_rows(other) == hash_rows(rows)


def test_a_table_that_is_released_gives_its_features_away(
    study: Study, table: Table, frame: pd.DataFrame
) -> None:
    spec = study({"path": table(frame), "target": "y", "drop": ["colour"]})
    whole, given = (open_table(spec.sections.data, spec.task) for _ in range(2))
    np.testing.assert_array_equal(whole.rows().features, given.rows(release=True).features)
    assert set(given.columns.numbers) == set()


# Weights of rows.


def test_weights_are_read_and_are_no_feature(study: Study, table: Table) -> None:
    rows = read(study, table("a,w,y\n1,0,u\n3,2.5,v\n5,1,u\n"), weights="w")
    assert rows.feature_names == ("a",)
    assert rows.weights is not None
    assert rows.weights.tolist() == [0.0, 2.5, 1.0]
    assert rows.take(np.array([1])).weights == [2.5]
    assert read(study, table(PLAIN)).weights is None


def test_other_weights_are_other_rows(study: Study, table: Table) -> None:
    texts = ["a,w,y\n1,1,u\n3,2,v\n", "a,w,y\n1,1,u\n3,3,v\n"]
    hashes = {hash_rows(read(study, table(text), weights="w")) for text in texts}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("-1", "weights must be at least 0, but got -1 in row 2"),
        ("", "weights must have no missing values, but got w (1)"),
        ("much", 'a numeric column must be free of text, but got "much" in row 2'),
    ],
)
def test_weights_that_are_none_are_refused(
    study: Study, table: Table, cell: str, said: str
) -> None:
    path = table(f"a,w,y\n1,0,u\n3,{cell},v\n5,1,u\n")
    (line,) = refusal(study, path, weights="w")
    assert said in line


def test_weights_must_be_a_column_of_their_own(study: Study, table: Table) -> None:
    path = table(PLAIN)
    assert "weights must name a column" in refusal(study, path, weights="w")[0]
    assert "as target and weights" in refusal(study, path, weights="y")[0]
