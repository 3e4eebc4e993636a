"""The command line: one command per question, results on stdout, progress on stderr.

Packages with heavy libraries are imported by the command that needs them, so that help stays quick.
Exit codes: 0 done, 1 a user's error, 2 wrong usage, 3 refused,
4 the server does not answer, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

import selection
from selection.cli import (
    compare,
    database,
    diagnose,
    enqueue,
    init,
    pages,
    predict,
    result,
    run,
    study,
)
from selection.cli.options import AsJson, print_json, say
from selection.cli.streams import (
    LostOutputError,
    give_up_output,
    open_streams,
    require_working_directory,
)
from selection.errors import SelectionError
from selection.report.terminal.readable import readable

app = typer.Typer(
    help="Sweep the hyperparameters of MLPs under cross-validation, all trials and folds at once.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")


def _version(is_asked: bool) -> None:
    """Print the version and end."""
    if is_asked:
        typer.echo(f"selection {selection.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the stack of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options of all commands; main() reads them."""


app.command(epilog="Example: selection init table.csv --target species")(init.init)
app.command(epilog="Example: selection run studies/digits.toml")(run.run)
app.command(epilog="Example: selection worker digits")(run.worker)
app.command(epilog="Example: selection enqueue digits --set width=128 --set dropout=0.2")(
    enqueue.enqueue
)


app.command(epilog="Example: selection status digits")(study.status)
app.command(epilog="Example: selection trials digits -f csv > trials.csv")(study.trials)
app.command("learning-curves", epilog="Example: selection learning-curves digits --trial 3 -f csv")(
    study.curves
)
app.command(epilog="Example: selection best digits")(study.best)
app.command(epilog="Example: selection compare digits digits-wide")(compare.compare)
app.command(epilog="Example: selection diagnose digits --trial 3")(diagnose.diagnose)
app.command(
    "validation-curve",
    epilog="Example: selection validation-curve digits --over width --values 8,32,128",
)(diagnose.curve)
app.command(epilog="Example: selection evaluate digits")(result.evaluate)
app.command(epilog="Example: selection export digits --to exports")(result.export)
app.command(epilog="Example: selection predict exports --input new_rows.csv")(predict.predict)
app.command(epilog="Example: selection serve --port 8080")(pages.serve)
app.command(epilog="Example: selection report digits --to report.html")(pages.report)


@app.command(epilog="Example: selection datasets")
def datasets(as_json: AsJson = False) -> None:
    """List the data sets that a study file can name."""
    from dataclasses import asdict

    from selection.data.sources import list_data_sets
    from selection.report.terminal import text

    found = list_data_sets()
    if as_json:
        print_json([asdict(info) for info in found])
    else:
        text.data_sets(text.make_console(), found)


app.command(epilog="Example: selection studies --json")(database.studies)
app.command(epilog="Example: selection doctor --fix --dry-run")(database.doctor)
app.command(epilog="Example: selection copy digits --to sqlite:///copy.db")(database.copy)
app.command(epilog="Example: selection delete digits --yes")(database.delete)
db.command(epilog="Example: selection db upgrade")(database.upgrade)
db.command(epilog="Example: selection db check --json")(database.check)


def main() -> None:
    """Run the command line and turn every error into its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    # Threads that spin while they wait make a busy machine several times slower. OpenMP reads this
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    open_streams()
    stdout = sys.stdout
    try:
        require_working_directory()
        try:
            app()
        finally:
            # The command line's library puts another in its place where a pipe is closed.
            stdout.flush()
    except BaseException as error:
        if stopped := _stop_behind(error):
            _end(stopped)
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    """End with an error: one line for a user's, the stack for one of ours."""
    found = give_up_output(error) if isinstance(error, LostOutputError) else error
    if not isinstance(found, SelectionError) or "--debug" in sys.argv:
        raise error
    if found.details:
        # Each is a line of its own, whatever a name in it holds.
        say("\n".join(readable(str(detail)) for detail in found.details))
    sys.exit(found.exit_code)


def _stop_behind(error: BaseException | None) -> _StoppedError | None:
    """Return the stop that an error comes from: a driver torn from its work complains."""
    while error is not None and not isinstance(error, _StoppedError):
        error = error.__context__
    return error


def _end(stopped: _StoppedError) -> NoReturn:
    again = "; the same command goes on from there" if "run" in sys.argv[1:3] else ""
    say(f"{stopped}: what is finished is kept{again}")
    # The cohort is released and nothing is left to save: do not wait for threads that train.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(128 + stopped.number)


class _StoppedError(BaseException):
    """Unwind on SIGINT and SIGTERM, so that the running cohort is released."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number) or f"signal {number}")
        self.number = number


def _stop(number: int, _frame: Any) -> None:
    """Unwind once; a second signal ends the process on the spot, and the record survives that."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise _StoppedError(number)
