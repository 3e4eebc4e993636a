"""What the commands of the command line share: options, and how they print."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from selection.api.defaults import DEFAULT_STORAGE, STORAGE_VARIABLE
from selection.report.terminal.readable import readable, readable_lines
from selection.study.commands import command_text

# The width of a terminal that does not say its own.
NARROW = 80


class Format(StrEnum):
    """Name how a table is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class DeviceOption(StrEnum):
    """Name the device to train on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Storage = Annotated[
    str,
    typer.Option(envvar=STORAGE_VARIABLE, help="Database URL: SQLite or PostgreSQL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str, typer.Argument(help="Name of a study.")]
OptionalName = Annotated[str | None, typer.Argument(help="Name of a study; the newest if omitted.")]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to print the table.")]


RuleOption = Annotated[
    Literal["best", "one_standard_error", "ensemble"] | None,
    typer.Option("--rule", help="Choose by another rule than the study file's."),
]
Device = Annotated[DeviceOption, typer.Option(help="Where to train.")]


def command(name: str, *options: str, operands: Sequence[str] = (), storage: str) -> str:
    """Return a command as this user can type it: by its path where it is not on PATH."""
    program = ["selection"]
    if Path(sys.argv[0]).name == "__main__.py":
        program = [Path(sys.executable).name, "-m", "selection"]
    elif shutil.which("selection") is None:
        program = [os.path.relpath(sys.argv[0])]
    given: list[str] = []
    if STORAGE_VARIABLE not in os.environ and storage != DEFAULT_STORAGE:
        from selection.store.address import read_address

        # Without its password, which a screen and a log would keep.
        given = [str(read_address(storage))]
    at = [f"--storage={url}" for url in given]
    return command_text(name, *options, *at, operands=operands, program=program)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of equal keys as CSV."""
    from selection.report.csv_text import csv_text

    text = csv_text(rows)
    # What a pipe or a file gets is data, as it is.
    sys.stdout.write(readable_lines(text) if sys.stdout.isatty() else text)


def print_plain(line: str) -> None:
    """Print a line that is not wrapped, such as a command to copy."""
    print(readable(line))


def print_line(line: str, *, whole: str = "") -> None:
    """Print a line of a result, wrapped at words on a terminal; whole is never broken."""
    from selection.report.terminal.layout import say as print_wrapped
    from selection.report.terminal.text import make_console

    print_wrapped(make_console(), line, whole=whole)


def say(line: str) -> None:
    """Print a line of progress or an error, apart from results; a terminal wraps it at words."""
    line = readable_lines(line)
    if sys.stderr.isatty():
        from selection.report.terminal.wrap import wrap

        width = os.get_terminal_size(sys.stderr.fileno()).columns or NARROW
        line = "\n".join(wrap(each, width) for each in line.splitlines())
    print(line, file=sys.stderr)
