"""Two studies beside each other as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from selection.report.comparison import comparison_lines, comparison_rows
from selection.report.terminal.layout import ShownColumn, print_columns, say

if TYPE_CHECKING:
    from selection.workflows.compare import StudyComparison


def comparison(console: Console, found: StudyComparison) -> None:
    """Print both winners, spaces and costs, and the test of the winners if there is one."""
    rows = comparison_rows(found)
    print_columns(
        console,
        [
            ShownColumn("", [row.label for row in rows], is_text=True),
            ShownColumn(found.first.name, [row.first for row in rows], is_text=True),
            ShownColumn(found.second.name, [row.second for row in rows], is_text=True),
        ],
    )
    for line in comparison_lines(found):
        say(console, line)
