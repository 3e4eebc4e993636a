"""The command that compares two studies."""

from __future__ import annotations

from typing import Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import AsJson, Storage, print_json


def compare(
    first: Annotated[str, typer.Argument(help="Name of a study.")],
    second: Annotated[str, typer.Argument(help="Name of another study.")],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Compare the winners of two studies, on paired folds where they share rows and folds."""
    from selection.api.run import open_study
    from selection.report.comparison import comparison_value
    from selection.report.terminal import comparison, text

    one, other = (open_study(name, storage=storage) for name in (first, second))
    found = one.compare(other)
    if as_json:
        print_json(comparison_value(found))
    else:
        comparison.comparison(text.make_console(), found)
