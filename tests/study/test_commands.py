"""A command that is printed can be pasted."""

from __future__ import annotations

import shlex

import pytest

from selection.study.commands import command_text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("digits", "selection export digits --to exports"),
        ("two words", "selection export 'two words' --to exports"),
        ("$(reboot)", "selection export '$(reboot)' --to exports"),
        ("it's", """selection export 'it'"'"'s' --to exports"""),
        ("-x", "selection export --to exports -- -x"),
        ("--help", "selection export --to exports -- --help"),
    ],
)
def test_a_name_stays_one_operand(name: str, text: str) -> None:
    assert command_text("export", "--to", "exports", operands=[name]) == text
    assert name in shlex.split(text)


def test_without_an_operand_there_are_only_options() -> None:
    assert (
        command_text("db", "upgrade", "--storage", "a b") == "selection db upgrade --storage 'a b'"
    )
