"""Prose on a terminal: broken at words, never inside them."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from selection.report.terminal.wrap import wrap

SENTENCE = "  the linear baseline scores 0.9645, 0.0091 less: the winner does not clearly beat it"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120])
def test_no_word_is_broken_or_lost_and_no_line_is_wider(width: int) -> None:
    lines = wrap(SENTENCE, width).splitlines()
    assert " ".join(lines).split() == SENTENCE.split()
    assert all(len(line) <= width for line in lines)


def test_lines_after_the_first_hang_under_the_text() -> None:
    assert wrap("  one two three", 9) == "  one two\n    three"
    assert wrap("one two", 4) == "one\n  two"


def test_a_word_wider_than_the_terminal_stays_whole() -> None:
    assert wrap("see /a/very/long/path now", 8) == "see\n  /a/very/long/path\n  now"


def test_a_command_stays_in_one_line() -> None:
    text = wrap("to open it once: selection evaluate digits", 30, whole="selection evaluate digits")
    assert text == "to open it once:\n  selection evaluate digits"


def test_wide_characters_count_twice() -> None:
    lines = wrap("数字 数字 数字 数字", 9).splitlines()
    assert len(lines) > 1
    assert all(cell_len(line) <= 9 for line in lines)
