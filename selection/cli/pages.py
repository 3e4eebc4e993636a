"""The commands that show studies as pages: serve, report."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import AsJson, OptionalName, Storage, command, print_json, print_plain


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; off this machine it asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8080,
    allow_edit: Annotated[
        bool, typer.Option("--allow-edit", help="Let Optuna Dashboard write notes.")
    ] = False,
    token: Annotated[
        str, typer.Option(envvar="SELECTION_TOKEN", help="The token; by default a new one.")
    ] = "",
    proxy_host: Annotated[
        str, typer.Option("--proxy-host", help="Name of a proxy in front; asks for a token.")
    ] = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Serve Optuna Dashboard and a page for every study, until Ctrl-C."""
    from selection.serve.guard import make_rules
    from selection.serve.server import listen, serve_database

    rules = make_rules(host, token, allow_edit=allow_edit, proxy_host=proxy_host)
    evaluate = partial(_evaluate_command, storage=storage)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), listen(host, port) as listener:
        serve_database(storage, listener, rules, evaluate, partial(print, flush=True))
    # Nothing is left to save: do not wait for an assessment that still computes.
    os._exit(0)


def report(
    name: OptionalName = None,
    to: Annotated[Path, typer.Option("--to", help="The HTML file to write.")] = Path("report.html"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is no report.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write all that is known of a study as one HTML file that needs no network."""
    from selection.api.run import open_study

    study = open_study(name, storage=storage)
    evaluate = _evaluate_command(study.name, storage=storage)
    file = study.report(to, force=force, command=evaluate)
    if as_json:
        print_json({"study": study.name, "file": str(to), "bytes": file.stat().st_size})
    else:
        print_plain(f"study {study.name} in {to}")


def _evaluate_command(name: str, *, storage: str) -> str:
    return command("evaluate", operands=[name], storage=storage)
