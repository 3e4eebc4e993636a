"""The one rule by which labels are the same: text as text, numbers by value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selection.data.cells import number_in, text_of
from selection.data.labels import LabelKind, Labels, labels_of, match_names, rows_with, sort_names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (-2.5, "-2.5"),
        (True, "True"),
        (np.False_, "False"),
        ("01", "01"),
        (" 1", " 1"),
        (b"caf\xc3\xa9", "café"),
        (Decimal("0.10"), "0.1"),
        (Decimal("3.00"), "3"),
        (12345678901234567, "12345678901234567"),
        (np.int64(-(2**63)), str(-(2**63))),
        (pd.Timestamp("2026-01-31"), "2026-01-31 00:00:00"),
    ],
)
def test_a_typed_value_has_the_shortest_text(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        (" 1 ", 1.0),
        ("+1", 1.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("True", 1.0),
        ("FALSE", 0.0),
        ("-inf", -np.inf),
        ("1_000", None),
        ("1,5", None),
        ("0x1f", None),
        ("\u0661", None),
        ("nan", None),
        ("", None),
        ("1 2", None),
    ],
)
def test_the_number_that_a_text_spells(text: str, number: float | None) -> None:
    assert number_in(text) == number


def test_a_decimal_comma_is_read_where_it_is_one() -> None:
    assert number_in("-0,5", decimal=",") == -0.5
    assert number_in("1.234,5", decimal=",") is None
    assert number_in("0.5", decimal=",") is None


@pytest.mark.parametrize(
    ("column", "kind", "names"),
    [
        (pd.Series([1, 2, 1]), "number", ("1", "2")),
        (pd.Series([1.0, np.nan, 2.5]), "number", ("1", "2.5")),
        (pd.Series([0.1, 0.2], dtype="float32"), "number", ("0.1", "0.2")),
        (pd.Series([True, False]), "boolean", ("True", "False")),
        (pd.Series([1, None, 3], dtype="Int64"), "number", ("1", "3")),
        (pd.Series(["01", "1", None]), "text", ("01", "1")),
        (pd.Series(["b", "a"], dtype="category"), "text", ("b", "a")),
        (pd.Series([1, 2], dtype="category"), "number", ("1", "2")),
        (pd.Series([1, 1.0, "1"], dtype=object), "text", ("1",)),
        (pd.Series([True, 1], dtype=object), "text", ("True", "1")),
        (pd.Series([10**17, 10**17 + 1]), "number", (str(10**17), str(10**17 + 1))),
    ],
)
def test_labels_of_typed_columns(
    column: pd.Series[Any], kind: LabelKind, names: tuple[str, ...]
) -> None:
    labels = labels_of(column)
    assert (labels.kind, labels.names) == (kind, names)
    assert labels.missing == int(column.isna().sum())
    present = column[column.notna()]
    assert [labels.names[code] for code in labels.codes if code >= 0] == list(
        map(text_of, np.asarray(present))
    )


SAME: list[tuple[str, LabelKind, list[str], LabelKind, int]] = [
    ("1", "text", ["01", "1"], "text", 1),
    ("1.0", "text", ["1", "2"], "text", -1),
    ("True", "text", ["true"], "text", -1),
    ("0.1", "number", ["0.10", "0.20"], "text", 0),
    ("1", "number", ["01", "02"], "text", 0),
    ("1", "number", ["01", "001"], "text", -1),
    ("1", "number", ["01", "1"], "text", 1),
    ("0.10", "text", ["0.1", "0.2"], "number", 0),
    ("True", "boolean", ["true", "false"], "text", 0),
    ("FALSE", "text", ["True", "False"], "boolean", 1),
    ("True", "boolean", ["1", "0"], "number", -1),
    ("12345678901234567", "number", ["12345678901234568", "x"], "text", -1),
    ("12345678901234567", "number", ["12345678901234568", "12345678901234567"], "text", 1),
]


@pytest.mark.parametrize(("name", "kind", "known", "known_kind", "place"), SAME)
def test_which_labels_are_the_same(
    name: str, kind: LabelKind, known: list[str], known_kind: LabelKind, place: int
) -> None:
    assert match_names([name], kind, known, known_kind).tolist() == [place]


@given(st.lists(st.text(min_size=1), unique=True, min_size=1))
def test_text_is_only_the_same_as_itself(names: list[str]) -> None:
    assert match_names(names, "text", names, "text").tolist() == list(range(len(names)))
    assert sorted(sort_names(names)) == list(range(len(names)))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, min_size=1))
def test_numbers_are_the_same_in_a_table_of_numbers_and_in_text(values: list[float]) -> None:
    typed = labels_of(pd.Series(values))
    assert match_names(typed.names, "number", typed.names, "text").tolist() == [
        *range(len(typed.names))
    ]


def test_names_are_sorted_by_value_or_as_text() -> None:
    def ordered(*names: str) -> list[str]:
        return [names[index] for index in sort_names(names)]

    assert ordered("10", "9", "1e0") == ["1e0", "9", "10"]
    assert ordered("10", "9", "x") == ["10", "9", "x"]
    assert ordered("01", "1", "0.5") == ["0.5", "01", "1"]
    assert ordered("True", "False") == ["False", "True"]


def test_rows_are_taken_with_the_names_they_have() -> None:
    labels = Labels(np.array([0, 1, 2, -1, 1]), ("b", "a", "c"))
    taken = labels.take(np.array([4, 3, 1]))
    assert taken.names == ("a",)
    assert taken.codes.tolist() == [0, -1, 0]
    codes, names = labels.take(np.array([0, 1, 2])).sorted()
    assert (codes.tolist(), names) == ([1, 0, 2], ("a", "b", "c"))


@pytest.mark.parametrize(
    ("names", "value", "wanted"),
    [
        (("1", "1.0", "x"), 1, [True, True, False]),
        (("1", "1.0", "x"), "1", [True, False, False]),
        (("TRUE", "false", "1"), True, [True, False, False]),
        (("0.50", "5", ""), 0.5, [True, False, False]),
    ],
)
def test_rows_with_a_value(names: tuple[str, ...], value: Any, wanted: list[bool]) -> None:
    labels = Labels(np.array([0, 1, 2, -1]), names)
    assert rows_with(labels, value).tolist() == [*wanted, False]
