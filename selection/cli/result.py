"""The commands that end a study: evaluate and export."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import (
    AsJson,
    Device,
    DeviceOption,
    OptionalName,
    RuleOption,
    Storage,
    command,
    print_json,
    print_plain,
    say,
)
from selection.errors import RefusedError, StorageError

if TYPE_CHECKING:
    from selection.api.study import Study
    from selection.study.held_out_result import HeldOutResult

AGAIN = "to evaluate again: --again --reason TEXT"


def evaluate(
    name: OptionalName = None,
    rule: RuleOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Open the held-out set once more, on record.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is opened again; kept for good.")] = "",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="End a study here that has trials left.")
    ] = False,
    device: Device = DeviceOption.AUTO,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Make the final model and open the held-out set, once."""
    if again != bool(reason.strip()):
        raise typer.BadParameter("--again and --reason TEXT belong together")
    if not reason.isprintable():
        raise typer.BadParameter("--reason must be one line of readable text")
    from selection.api.run import open_study

    study = open_study(name, storage=storage)
    claims = len(study.evaluations)
    try:
        result = study.evaluate(
            rule=rule,
            again=again,
            reason=reason.strip(),
            unfinished=unfinished,
            device=device.value,
            say=say,
        )
    except RefusedError as error:
        _print_evaluation(study, error.result, as_json)
        raise
    except BaseException:
        # The first error is the one to see, not that the database cannot be read either.
        with suppress(StorageError):
            if len(study.evaluations) > claims:
                say(f"the claim stays on record without a result; {AGAIN}")
        raise
    _print_evaluation(study, result, as_json)
    if not as_json:
        following = command("export", "--to", "exports", operands=[study.name], storage=storage)
        print_plain(f"what next: {following}")


def _print_evaluation(study: Study, result: HeldOutResult | None, as_json: bool) -> None:
    """Print a held-out result, if there is one, and how often the rows were opened."""
    from selection.report.terminal import text, verdict

    if result is None:
        return
    evaluations = study.evaluations
    seen = sum(each.result is not None for each in evaluations)
    shown = replace(result, evaluations=seen)
    if as_json:
        print_json(shown.to_json())
    else:
        verdict.evaluation(text.make_console(), shown, evaluations)


def export(
    name: OptionalName = None,
    to: Annotated[Path, typer.Option("--to", help="The folder to write.")] = Path("exports"),
    form: Annotated[
        str, typer.Option("--format", help="Formats with commas between; all that can be made.")
    ] = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Write into a folder that holds files, over earlier exports."),
    ] = False,
    device: Device = DeviceOption.AUTO,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write the winner as files: a study file, its model, a model card, all trials."""
    from selection.api.run import open_study
    from selection.report.export import missing_formats
    from selection.study.ensemble import subject

    asked = [each.strip() for each in form.split(",") if each.strip()] if form else None
    study = open_study(name, storage=storage)
    done = study.export(to, asked, force=force, device=device.value, say=say)
    for line in missing_formats() if asked is None else []:
        say(line)
    files = list(done.files)
    if as_json:
        print_json({"study": study.name, "number": done.trial, "folder": str(to), "files": files})
        return
    what = subject(done.trial, done.ensemble)
    print_plain(f"{what} of study {study.name} in {to}: {', '.join(files)}")
    if "model.json" in files:
        options = ("--input", "TABLE.csv")
        rows = command("predict", *options, operands=[str(to)], storage=DEFAULT_STORAGE)
        print_plain(f"what next: {rows}")
