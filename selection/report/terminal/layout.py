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

from selection.report.cells import show_value
from selection.report.terminal.wrap import keep, plain, wrap
from selection.study.trial import Params

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
    line = wrap(line, console.width, whole=whole) if console.is_terminal else plain(line)
    console.print(escape(line), soft_wrap=True)


def params_text(params: Params) -> str:
    """Return a setting whose names stay beside their values."""
    return ", ".join(keep(f"{name} = {show_value(value)}") for name, value in params.items())


def print_columns(
    console: Console, columns: Sequence[ShownColumn], *, sections: Sequence[int] = ()
) -> list[str]:
    """Print a table of the columns that fit and return the names of the others.

    sections are the numbers of rows after which a terminal shows a line.
    """
    shown = _fit(columns, console.width) if console.is_terminal else list(columns)
    is_terminal = console.is_terminal
    table = Table(
        box=box.SIMPLE_HEAD if is_terminal else None,
        pad_edge=False,
        show_edge=False,
        padding=(0, 0 if is_terminal else 2, 0, 0),
    )
    for column in shown:
        # A terminal breaks the name to save width.
        name = column.name.replace("_", "\n") if is_terminal else column.name
        table.add_column(escape(name), justify="left" if column.is_text else "right", no_wrap=True)
    for number, cells in enumerate(zip(*(column.cells for column in shown), strict=True), start=1):
        table.add_row(*map(escape, cells), end_section=number in sections)
    _print_table(console, table)
    names = {column.name for column in shown}
    return [column.name for column in columns if column.name not in names]


def fits(console: Console, columns: Sequence[ShownColumn]) -> bool:
    """Say whether a table can be shown whole; without a terminal it always can."""
    return not console.is_terminal or _width(columns) <= console.width


def _print_table(console: Console, table: Table) -> None:
    """Print a table at its natural width: a narrow terminal breaks lines, and loses nothing."""
    width = console.width
    unlimited = console.options.update(max_width=PLAIN_WIDTH)
    console.width = max(width, console.measure(table, options=unlimited).maximum)
    console.print(table, soft_wrap=True, crop=False)
    console.width = width


def _fit(columns: Sequence[ShownColumn], width: int) -> list[ShownColumn]:
    """Cut text, then leave columns out, the highest rank first."""
    shown = list(columns)
    for index, column in reversed(list(enumerate(columns))):
        excess = _width(shown) - width
        if column.is_text and excess > 0:
            shown[index] = _cut(column, excess)
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
