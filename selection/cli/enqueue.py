"""The command that asks for a setting."""

from __future__ import annotations

from typing import Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import AsJson, Name, Storage, print_json, print_line


def enqueue(
    name: Name,
    pairs: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A hyperparameter to set; may be given repeatedly."
        ),
    ],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Ask for a setting: the next cohort trains it first, as one trial of the budget."""
    from selection.api.run import open_study
    from selection.cli.key_value import read_pairs
    from selection.report.other_trials import enqueued_lines, enqueued_value

    study = open_study(name, storage=storage)
    done = study.enqueue(read_pairs(pairs))
    if as_json:
        print_json(enqueued_value(study.name, done))
        return
    for line in enqueued_lines(study.name, done):
        print_line(line)
