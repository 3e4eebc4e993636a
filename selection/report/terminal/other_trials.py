"""Settings in the queue and trials of other programs as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from selection.report.other_trials import other_params, other_reason, queue_lines
from selection.report.terminal.layout import ShownColumn, print_columns, say

if TYPE_CHECKING:
    from selection.store.other_trials import OtherTrial


def others(console: Console, found: Sequence[OtherTrial], left: int) -> None:
    """Print the trials that no cohort has, if there are any; left is the rest of the budget."""
    if not found:
        return
    console.print()
    for line in queue_lines(found, left):
        say(console, line)
    print_columns(
        console,
        [
            ShownColumn("trial", [str(each.number) for each in found]),
            ShownColumn("setting", [other_params(each) for each in found], is_text=True),
            ShownColumn("what", [other_reason(each) for each in found], is_text=True),
        ],
    )
