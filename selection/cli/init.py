"""The command that drafts a study file for a table of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import AsJson, command, print_json
from selection.errors import ErrorDetail, StudyFileError


def init(
    table: Annotated[Path, typer.Argument(help="A .csv or .parquet file.")],
    target: Annotated[str, typer.Option("--target", help="The column to predict.")],
    name: Annotated[str, typer.Option("--name", help="Name of the study; the table's.")] = "",
    to: Annotated[
        Path | None, typer.Option("--to", help="The file to write; NAME.toml if omitted.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented study file for a table, ready to run."""
    from selection.data.study_draft import draft_study, metric_for
    from selection.data.table_profile import profile_table
    from selection.report.terminal import layout, text
    from selection.study.spec import parse_study

    name = name or table.stem
    path = to or Path(f"{name.replace('/', '-')}.toml")
    profile = profile_table(table, target)
    draft = draft_study(name, profile)
    parse_study(_content(draft), str(path))
    _write(path, draft, force=force)
    metric = metric_for(profile)
    if as_json:
        print_json({"study": name, "file": str(path), "task": profile.task, "metric": metric})
        return
    console = text.make_console()
    features = f"{len(profile.numeric)} numeric and {len(profile.categorical)} categorical features"
    layout.say(console, f"study {name} in {path}: {profile.task} by {features}, metric {metric}")
    for column, reason in profile.left_out.items():
        layout.say(console, f"  left out: {column}: {reason}")
    text.next_steps(console, [command("run", operands=[str(path)], storage=DEFAULT_STORAGE)])


def _content(draft: str) -> dict[str, object]:
    import tomllib

    return tomllib.loads(draft)


def _write(path: Path, draft: str, *, force: bool) -> None:
    """Write a new file; replace one that exists by force alone.

    Raises: StudyFileError.
    """
    where = str(path)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(draft)
    except FileExistsError:
        hint = "Choose another with --to, or replace it with --force."
        error = ErrorDetail(where, "init writes a new file", "one that exists", hint)
        raise StudyFileError(error) from None
    except OSError as error:
        reason = error.strerror or "an unwritable path"
        hint = "Choose another with --to."
        detail = ErrorDetail(where, "the study file must be writable", reason, hint)
        raise StudyFileError(detail) from None
