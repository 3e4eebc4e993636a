"""Prints the values that trials depend on, each with where it comes from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.console import Console

from selection.errors import show
from selection.report.terminal.layout import ShownColumn, print_columns, say
from selection.study.explained import ExplainedValue


def print_explained(
    console: Console, values: Sequence[ExplainedValue], recipe: str, rows: int
) -> None:
    """Print a table, which 80 columns hold; rows is the number of development rows."""
    say(console, f"recipe {recipe}, for {rows:,} rows")
    columns = [
        # As --set takes it.
        ShownColumn("key", [f"{each.section}.{each.key}" for each in values], is_text=True),
        ShownColumn("value", [show(each.value) for each in values], is_text=True),
        ShownColumn("from", [each.origin for each in values], is_text=True),
    ]
    pairs = itertools.pairwise(values)
    borders = [row for row, (above, own) in enumerate(pairs, 1) if above.section != own.section]
    print_columns(console, columns, sections=borders)
