"""Parquet and Feather files: typed columns, their oddities, and files that are too large."""

from __future__ import annotations

import datetime
import decimal
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest

from selection.data.rows import Rows
from selection.data.tables import open_table
from selection.errors import DataError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
Y = ["u", "v", "u", "v"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(study: Study, path: str, metric: str = "accuracy", **data: Any) -> Rows:
    spec = study({"path": path, "target": "y", **data}, metric=metric)
    return open_table(spec.sections.data, spec.task).rows()


def write(name: str, **columns: Any) -> str:
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], **columns})
    parquet.write_table(table, name) if name.endswith("parquet") else feather.write_feather(
        table, name
    )
    return name


@pytest.mark.parametrize("name", ["t.parquet", "t.PARQUET", "t.feather"])
def test_text_without_its_annotation_is_text(study: Study, name: str) -> None:
    path = write("t.parquet" if "P" in name else name, y=pa.array([b"u", b"caf\xc3\xa9"] * 2))
    if path != name:
        os.rename(path, name)
    assert read(study, name).class_names == ("café", "u")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([1, 2, 1, 2], pa.int8()), ("1", "2")),
        (pa.array([1.0, 0.5, 1.0, 0.5] * 1, pa.float32()), None),
        (pa.array([True, False] * 2), ("False", "True")),
        (pa.array(Y).dictionary_encode(), ("u", "v")),
        (pa.array(Y, pa.large_string()), ("u", "v")),
        (pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.00")] * 2), ("1", "2")),
        (pa.array([datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)] * 2), None),
        (pa.array([10**17, 10**17 + 1] * 2), (str(10**17), str(10**17 + 1))),
    ],
)
def test_labels_of_every_type(study: Study, values: Any, names: tuple[str, ...] | None) -> None:
    if names is None:
        rows = read(study, write("t.parquet", c=values, y=Y), categorical=["c"])
        assert len(set(rows.categories["c"])) == 2
    else:
        assert read(study, write("t.parquet", y=values)).class_names == names


def test_whole_numbers_with_gaps_keep_all_their_digits(study: Study) -> None:
    large = pa.array([10**17, None, 10**17 + 1, 10**17])
    with pytest.raises(DataError, match=r"categorical columns must have no missing values"):
        read(study, write("t.parquet", c=large, y=Y), categorical=["c"])
    rows = read(study, write("t.parquet", c=large, y=Y), impute="median")
    np.testing.assert_array_equal(np.isnan(rows.features[:, 1]), [False, True, False, False])


def test_an_index_is_no_column(study: Study) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": Y}, index=list("abcd"))
    frame.to_parquet("t.parquet")
    assert read(study, "t.parquet").feature_names == ("x",)


def test_names_with_points_and_many_row_groups(study: Study) -> None:
    frame = pd.DataFrame({"a.b": np.arange(9.0), "a": np.arange(9.0) * 2, "y": list("uvuvuvuvu")})
    for columns in (["a.b", "a", "y"], ["a", "y"]):
        frame[columns].to_parquet("t.parquet", row_group_size=2)
        rows = read(study, "t.parquet")
        np.testing.assert_array_equal(rows.features[:, -1], np.arange(9.0) * 2)
        assert rows.class_names == ("u", "v")


def test_text_and_dates_are_no_numbers(study: Study) -> None:
    dates = pa.array([datetime.datetime(2026, 1, day) for day in range(1, 5)])
    with pytest.raises(DataError) as caught:
        read(study, write("t.parquet", d=dates, t=["1", "2", "3", "4"], y=Y))
    lines = str(caught.value).split("\n")
    assert 'column d: a numeric column must be free of text, but got "2026-01-01' in lines[0]
    assert 'column t: a numeric column must be free of text, but got "1" in row 1' in lines[1]


def test_a_table_that_cannot_fit_is_refused_before_it_is_read(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("t.parquet", y=Y)
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if "SIZE" in name else 50)
    with pytest.raises(DataError, match="must fit into the"):
        read(study, path)


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_a_file_that_is_cut_is_refused(study: Study, name: str) -> None:
    content = Path(write(name, y=Y)).read_bytes()
    for end in (0, 3, len(content) // 2, len(content) - 1):
        Path(name).write_bytes(content[:end])
        with pytest.raises(DataError):
            read(study, name)


def test_columns_that_no_study_uses_may_be_of_any_kind(study: Study) -> None:
    odd = {
        "embedding": pa.array([[0.1, 0.2]] * 4),
        "bytes": pa.array([b"\xff\xfe", b"\x00", b"a", None]),
        "struct": pa.array([{"a": 1}] * 4),
        "nothing": pa.nulls(4),
    }
    rows = read(study, write("t.parquet", y=Y, **odd), drop=list(odd))
    assert rows.feature_names == ("x",)
