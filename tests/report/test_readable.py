"""No text of data, names or other programs reaches a terminal as something that it obeys."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from rich.console import Console

from selection.cli import options
from selection.report.terminal.layout import ShownColumn, print_columns, say
from selection.report.terminal.readable import readable, readable_lines

TRAPS = {
    "\x1b[2J\x1b]0;title\x07": "\\x1b[2J\\x1b]0;title\\x07",
    "\x9b31m": "\\x9b31m",
    "two\nlines": "two\\nlines",
    "over\rwritten": "over\\rwritten",
    "back\x08": "back\\x08",
    "\x7f": "\\x7f",
    "\u202egnp.exe": "\\u202egnp.exe",
    "\u2028": "\\u2028",
    "half \ud800": "half \\ud800",
}
HARMLESS = ["größer", "日本", "a\u00a0b", "\U0001f9ea", "שלום", "[red]x[/red]", ":cat:", "a\\nb"]


@pytest.mark.parametrize(("text", "shown"), TRAPS.items())
def test_what_a_terminal_obeys_is_an_escape(text: str, shown: str) -> None:
    assert readable(text) == shown
    assert readable_lines(text) == shown.replace("two\\n", "two\n")


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays(text: str) -> None:
    assert readable(text) == readable_lines(text) == text


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("text", [*TRAPS, *HARMLESS])
def test_prose_and_tables_show_it(text: str, is_terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=200, color_system=None)
    say(console, f"study {text} ends", whole=text)
    print_columns(console, [ShownColumn(text, [text, "b"], is_text=True), ShownColumn("n", "12")])
    said, *table = stream.getvalue().split("\n")
    assert said.replace("\u00a0", " ") == f"study {readable(text)} ends".replace("\u00a0", " ")
    assert readable(text) in table[0]
    assert readable_lines(stream.getvalue()) == stream.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_csv_is_data_for_a_pipe_and_text_for_a_terminal(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    options.print_csv([{"class": "\x1b[2J"}])
    assert stream.getvalue() == ("class\n\\x1b[2J\n" if is_terminal else "class\n\x1b[2J\n")


def test_messages_and_single_lines_show_it(capsys: Any) -> None:
    options.say("class \x1b[2J\nnext")
    options.print_plain("study \x1b[2J\nnext")
    options.print_line("study \x1b[2J\nnext")
    out, err = capsys.readouterr()
    assert err == "class \\x1b[2J\nnext\n"
    assert out == "study \\x1b[2J\\nnext\n" * 2
