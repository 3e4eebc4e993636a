"""How text is laid out: prose wrapped at words, and tables that fit by choosing columns.

Only a terminal has a width: what a pipe or a file reads is never wrapped, cut or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from selection.report.cells import show_value
from selection.report.terminal.readable import readable
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
    line, whole = readable(line), readable(whole)
    line = wrap(line, console.width, whole=whole) if console.is_terminal else plain(line)
    # As it is: what looks like markup or the name of an emoji is text.
    console.print(Text(line), soft_wrap=True)


def params_text(params: Params) -> str:
    """Return a setting whose names stay beside their values."""
    return ", ".join(keep(f"{name} = {show_value(value)}") for name, value in params.items())


def print_columns(
    console: Console, columns: Sequence[ShownColumn], *, sections: Sequence[int] = ()
) -> list[str]:
    """Print a table of the columns that fit and return the names of the others.

    sections are the numbers of rows after which a terminal shows a line.
    """
    is_terminal = console.is_terminal
    columns = _readable(columns)
    shown = _fit(columns, console.width) if is_terminal else list(columns)
    # As it is, whatever the width: a narrow terminal breaks lines, and loses nothing.
    for line, style in _lines(shown, sections, is_terminal=is_terminal):
        console.print(Text(line, style=style), soft_wrap=True, crop=False)
    names = {column.name for column in shown}
    return [column.name for column in columns if column.name not in names]


def fits(console: Console, columns: Sequence[ShownColumn]) -> bool:
    """Say whether a table can be shown whole; without a terminal it always can."""
    return not console.is_terminal or _width(_readable(columns)) <= console.width


def _readable(columns: Sequence[ShownColumn]) -> list[ShownColumn]:
    return [
        replace(column, name=readable(column.name), cells=[readable(text) for text in column.cells])
        for column in columns
    ]


def _lines(
    columns: Sequence[ShownColumn], sections: Sequence[int], *, is_terminal: bool
) -> Iterator[tuple[str, str]]:
    """Yield the lines of a table, each with its style; rich takes seconds for thousands of rows."""
    # A terminal breaks names to save width.
    heads = [column.name.split("_") if is_terminal else [column.name] for column in columns]
    widths = [
        max(map(cell_len, [*head, *column.cells]))
        for head, column in zip(heads, columns, strict=True)
    ]
    pads = [_pad_right if column.is_text else _pad_left for column in columns]
    height = max(map(len, heads), default=0)
    rows = zip(*([""] * (height - len(head)) + head for head in heads), strict=True)
    gap = " " if is_terminal else "  "
    for row in rows:
        yield gap.join(_padded(row, widths, pads)), "bold"
    rule = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (sum(widths) + len(widths) - 1)
    if is_terminal:
        yield rule, ""
    cells = list(zip(*(column.cells for column in columns), strict=True))
    for number, row in enumerate(cells, start=1):
        yield gap.join(_padded(row, widths, pads)), ""
        if is_terminal and number in sections and number < len(cells):
            yield " " * len(rule), ""


def _padded(
    row: Sequence[str], widths: Sequence[int], pads: Sequence[Callable[[str, int], str]]
) -> Iterator[str]:
    return (pad(text, width) for text, width, pad in zip(row, widths, pads, strict=True))


def _pad_left(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _pad_right(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


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
