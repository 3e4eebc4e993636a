"""Tables on a terminal fit by choosing columns; plain text keeps every column."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from selection.report.terminal.layout import ShownColumn, print_columns, say

COLUMNS = [
    ShownColumn("rank", ["1", "2"]),
    ShownColumn("weight_decay", ["0.001", "0.002"], rank=1),
    ShownColumn("activation", ["relu", "relu"], rank=3),
    ShownColumn("accuracy_observed", ["0.9736 +- 0.0045"] * 2),
    ShownColumn("state", ["failed: " + "a long reason " * 9, "pruned"], is_text=True),
]


def console_of(width: int, *, is_terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=is_terminal, width=width, color_system=None), text


@pytest.mark.parametrize(
    ("width", "expected"),
    [(56, ["activation"]), (60, ["activation"]), (80, []), (100, []), (120, [])],
)
def test_a_table_fits_its_terminal_and_says_what_it_left_out(
    width: int, expected: list[str]
) -> None:
    console, text = console_of(width, is_terminal=True)
    left_out = print_columns(console, COLUMNS)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 5, "no line is broken"
    assert left_out == expected
    assert "failed: a long reason" in text.getvalue()


def test_the_column_of_the_highest_rank_goes_first() -> None:
    console, text = console_of(36, is_terminal=True)
    assert print_columns(console, COLUMNS[:4]) == ["activation"]
    assert "decay" in text.getvalue()


def test_the_last_text_is_cut_before_another() -> None:
    console, text = console_of(70, is_terminal=True)
    words = ShownColumn("dataset", ["high_dimensional_linear_one"], is_text=True)
    print_columns(console, [words, ShownColumn("source", ["made of " * 9], is_text=True)])
    assert "high_dimensional_linear_one" in text.getvalue()
    assert "..." in text.getvalue()


def test_plain_text_keeps_every_column() -> None:
    console, text = console_of(40, is_terminal=False)
    assert print_columns(console, COLUMNS, sections=[1]) == []
    lines = text.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].split() == [column.name for column in COLUMNS]


def test_prose_is_wrapped_at_words_on_a_terminal_alone() -> None:
    sentence = "  the default (trial 0) scores 0.9360 (observed), 0.038 less: [b]clearly worse[/b]"
    console, text = console_of(40, is_terminal=False)
    say(console, sentence)
    assert text.getvalue() == f"{sentence}\n"
    console, text = console_of(40, is_terminal=True)
    say(console, sentence)
    lines = text.getvalue().splitlines()
    assert lines[0] == "  the default (trial 0) scores 0.9360"
    assert lines[1].startswith("    (observed)")
    assert all(len(line) <= 40 for line in lines)
