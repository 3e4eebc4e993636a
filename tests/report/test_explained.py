"""The table of `run --explain`: it fits a terminal, and says where each value comes from."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from selection.report.terminal.explained import print_explained
from selection.study.explained import explain
from selection.study.recipes import RecipeFacts
from selection.study.spec import parse_study

pytestmark = pytest.mark.usual_recipe


@pytest.mark.parametrize("is_terminal", [True, False])
def test_80_columns_hold_what_the_recipe_fills_in(*, is_terminal: bool) -> None:
    content = {"name": "s", "data": {"path": "s.csv", "target": "y"}}
    read = parse_study(content, "s.toml")
    final = read.with_rows(RecipeFacts(rows=1_000, folds=5, is_image=False))
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=80, color_system=None)
    print_explained(console, explain(content, read, final), "tabular", 1_000)
    first, *lines = text.getvalue().splitlines()
    assert first == "recipe tabular, for 1,000 rows"
    assert "..." not in text.getvalue()
    if is_terminal:
        assert max(map(len, lines)) <= 80
    found = [tuple(line.split()) for line in lines]
    assert ("training.epochs", "64", "rows") in found
    assert ("training.optimizer", '"adamw"', "recipe") in found
    assert ("data.target", '"y"', "file") in found
    assert ("cv.folds", "5", "default") in found
