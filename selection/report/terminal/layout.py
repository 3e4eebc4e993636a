"""How text is laid out: prose wrapped at words, and tables that fit by choosing columns.

Only a terminal has a width: what a pipe or a file reads is never wrapped, cut or left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selection.report.terminal.wrap import wrap

PLAIN_WIDTH = 240
NARROWEST_TEXT = 24


@dataclass(frozen=True)
class ShownColumn:
    """Hold one column of a table.

    Where the terminal is narrow, text is cut first; then the column with the highest rank is left
    out. One of rank 0 always stays.
    """

    name: str
    cells: Sequence[str]
    rank: int = 0
    is_text: bool = False

    @property
    def width(self) -> int:
        """The cells of a terminal that it takes; its name is broken at underscores."""
        return max(map(cell_len, [*self.name.split("_"), *self.cells]))


def say(console: Console, line: str, *, whole: str = "") -> None:
    """Print a line of prose, wrapped at words on a terminal; whole is a part never broken."""
    if console.is_terminal:
        line = wrap(line, console.width, whole=whole)
    console.print(escape(line), soft_wrap=True)


def print_columns(
    console: Console, columns: Sequence[ShownColumn], *, sections: Sequence[int] = ()
) -> list[str]:
    """Print a table of the columns that fit and return the names of the others.

    sections are the numbers of rows after which a terminal shows a line.
    """
    shown = _fit(columns, console.width) if console.is_terminal else list(columns)
    table = make_table(console)
    for column in shown:
        name = column.name.replace("_", "\n") if console.is_terminal else column.name
        table.add_column(escape(name), justify="left" if column.is_text else "right", no_wrap=True)
    for number, cells in enumerate(zip(*(column.cells for column in shown), strict=True), start=1):
        table.add_row(*map(escape, cells), end_section=number in sections)
    print_table(console, table)
    names = {column.name for column in shown}
    return [column.name for column in columns if column.name not in names]


def make_table(console: Console, *names: str) -> Table:
    """Return a table of right-aligned columns; a terminal breaks their names to save width."""
    table = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        pad_edge=False,
        show_edge=False,
        padding=(0, 0 if console.is_terminal else 2, 0, 0),
    )
    for name in names:
        shown = name.replace("_", "\n") if console.is_terminal else name
        table.add_column(shown, justify="right", no_wrap=True)
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table at its natural width: a narrow terminal breaks lines, and loses nothing."""
    width = console.width
    unlimited = console.options.update(max_width=PLAIN_WIDTH)
    console.width = max(width, console.measure(table, options=unlimited).maximum)
    console.print(table, soft_wrap=True, crop=False)
    console.width = width


def _fit(columns: Sequence[ShownColumn], width: int) -> list[ShownColumn]:
    """Cut text, then leave columns out, the highest rank first."""
    excess = _width(columns) - width
    shown = [_cut(each, excess) if each.is_text and excess > 0 else each for each in columns]
    while _width(shown) > width:
        last = max(shown, key=lambda column: column.rank)
        if last.rank == 0:
            break
        shown.remove(last)
    return shown


def _width(columns: Sequence[ShownColumn]) -> int:
    return sum(column.width + 1 for column in columns) - 1


def _cut(column: ShownColumn, excess: int) -> ShownColumn:
    width = max(column.width - excess, NARROWEST_TEXT)
    cells = [
        text if cell_len(text) <= width else f"{set_cell_size(text, width - 3)}..."
        for text in column.cells
    ]
    return replace(column, cells=cells)
