"""The command that predicts the rows of a table with an exported model."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selection.cli.options import AsJson, print_csv, print_json, say
from selection.errors import ErrorDetail, ExportError

if TYPE_CHECKING:
    from selection.model.tables import Predictions

DIGITS = 4


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An exported model.")],
    table: Annotated[
        Path, typer.Option("--input", help="A .csv, .csv.gz, .tsv, .parquet or .feather file.")
    ],
    to: Annotated[Path | None, typer.Option("--to", help="Write a CSV file here.")] = None,
    probabilities: Annotated[
        bool, typer.Option(help="Also print the probability of each class.")
    ] = True,
    allow_unknown: Annotated[
        bool,
        typer.Option("--allow-unknown", help="Predict even where a column has no known category."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the rows of a table with an exported model; a terminal shows rounded numbers."""
    from selection.model.files import load_model
    from selection.model.tables import predict_table

    done = predict_table(load_model(folder), table, allow_unknown=allow_unknown)
    for line in done.warnings:
        say(f"warning: {line}")
    rows = _rows(done, probabilities)
    if to is not None:
        _write(to, rows)
        say(f"{len(rows)} predictions in {to}")
    if as_json:
        print_json(rows)
    elif to is None:
        print_csv(_rounded(rows) if sys.stdout.isatty() else rows)


def _write(to: Path, rows: list[dict[str, Any]]) -> None:
    from selection.report.csv_text import csv_text

    try:
        to.write_text(csv_text(rows), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "no access"
        hint = "Name a file that can be written."
        raise ExportError(ErrorDetail(str(to), "must be writable", reason, hint)) from None


def _rows(done: Predictions, probabilities: bool) -> list[dict[str, Any]]:
    columns = {"prediction": done.predictions["prediction"].tolist()}
    if probabilities:
        columns |= {str(name): values.tolist() for name, values in done.probabilities.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the digits of each number in which they differ, and a few more."""
    places = {
        name: _decimals([row[name] for row in rows])
        for name, value in (rows[0] if rows else {}).items()
        if isinstance(value, float)
    }
    return [
        {
            name: f"{value:.{places[name]}f}" if name in places else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _decimals(values: list[float]) -> int:
    spread = max(values) - min(values) or max(map(abs, values)) or 1.0
    return max(0, DIGITS - math.floor(math.log10(spread)))
