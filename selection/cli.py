"""The command line: one verb per question, results on stdout, progress on stderr.

Rooms with heavy libraries are imported by the verb that needs them, so that help stays quick.
Exit codes: 0 done, 1 a fault of the user's, 2 wrong usage, 3 refused, 130 interrupted.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selection.errors import Fault, SelectionError, StudyStateError

if TYPE_CHECKING:
    from selection.store.records import Records
    from selection.store.study_record import StudyRecord

DEFAULT_STORAGE = "sqlite:///selection.db"

app = typer.Typer(
    help="Sweep the hyperparameters of MLPs under cross-validation, all trials and folds at once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")


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
    typer.Option(envvar="SELECTION_STORAGE", help="Database URL: SQLite or PostgreSQL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Name = Annotated[str, typer.Argument(help="Name of a study.")]
OptionalName = Annotated[str | None, typer.Argument(help="Name of a study; the newest if omitted.")]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to print the table.")]


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option(help="Show the stack of an error.")] = False,
) -> None:
    """Take the options of all verbs; main() reads them."""


@app.command(epilog="Example: selection run studies/digits.toml")
def run(
    file: Annotated[Path, typer.Argument(help="A study file.")],
    storage: Storage = DEFAULT_STORAGE,
    device: Annotated[DeviceOption, typer.Option(help="Where to train.")] = DeviceOption.AUTO,
    pack_members: Annotated[
        int, typer.Option(min=0, help="Members per pack at most; 0 sizes packs by itself.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it; a finished one only prints its result."""
    from selection.data.sources import data_folder
    from selection.report import text, values
    from selection.report.progress import SweepView
    from selection.store.database import open_database, writer_lock
    from selection.store.records import Records
    from selection.study.spec import read_study
    from selection.sweep import enter_study, load_study_data, make_trainer, run_sweep
    from selection.train.device import choose_device

    spec = read_study(file)
    chosen = choose_device(device.value)
    data = load_study_data(spec, data_folder())
    for warning in data.facts["warnings"]:
        _say(f"warning: {warning}")
    with writer_lock(storage), open_database(storage, create=True, write=True) as database:
        records = Records(database)
        study = enter_study(spec, data, records, chosen)
        trainer = make_trainer(spec, data, chosen, pack_members)
        with SweepView(spec.metric, is_minimised=spec.is_minimised, is_quiet=as_json) as view:
            run_sweep(spec, study, records, trainer, view.show)
        trials = records.trials(study, with_curves=False)
        seconds = records.elapsed_seconds(study)
        shown = database.url
    if as_json:
        _print_json(values.run_value(study, shown, trials, seconds))
        return
    console = text.make_console()
    every = _command("trials", study.name, storage=storage)
    text.leaderboard(console, study, trials, more=every)
    text.winner(console, study, trials)
    text.next_steps(
        console,
        [
            _command("best", study.name, storage=storage),
            _command("curves", study.name, "--trial", "0", storage=storage),
            f"{_command('trials', study.name, '-f', 'csv', storage=storage)} > trials.csv",
        ],
    )


@app.command(epilog="Example: selection status fashion-mnist")
def status(
    name: OptionalName = None, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Say how far a study is."""
    from selection.report import text, values

    with _records(storage) as records:
        study = _newest(records) if name is None else _study(records, name)
        trials = records.trials(study, with_curves=False)
        seconds = records.elapsed_seconds(study)
    value = values.status_value(study, trials, seconds)
    if as_json:
        _print_json(value)
    else:
        text.status(text.make_console(), value)


@app.command(epilog="Example: selection trials fashion-mnist -f csv > trials.csv")
def trials(
    name: Name,
    form: FormatOption = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print every trial of a study."""
    from selection.report import text, values

    form = Format.JSON if as_json else form
    with _records(storage) as records:
        study = _study(records, name)
        found = records.trials(study, with_curves=False)
    if form is Format.TABLE:
        text.leaderboard(text.make_console(), study, found)
    elif form is Format.JSON:
        _print_json([values.trial_value(trial) for trial in found])
    else:
        _print_csv([values.trial_row(trial) for trial in found])


@app.command(epilog="Example: selection curves fashion-mnist --trial 3 -f csv")
def curves(
    name: Name,
    trial: Annotated[int, typer.Option(min=0, help="Number of the trial.")],
    form: FormatOption = Format.TABLE,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the learning curves of one trial, per fold and epoch."""
    from selection.report import text, values

    form = Format.JSON if as_json else form
    with _records(storage) as records:
        folds = records.curves(_study(records, name), trial)
    if form is Format.TABLE:
        text.curves(text.make_console(), folds)
    elif form is Format.JSON:
        _print_json(values.curve_values(folds))
    else:
        _print_csv(values.curve_values(folds))


@app.command(epilog="Example: selection best fashion-mnist")
def best(name: Name, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Say which trial won, and with which score."""
    from selection.report import text, values

    with _records(storage) as records:
        study = _study(records, name)
        found = records.trials(study, with_curves=False)
    if as_json:
        _print_json(values.winner_value(study, found))
    else:
        text.winner(text.make_console(), study, found)


@app.command(epilog="Example: selection datasets")
def datasets(as_json: AsJson = False) -> None:
    """List the data sets that a study file can name."""
    from dataclasses import asdict

    from selection.data.sources import list_data_sets
    from selection.report import text

    found = list_data_sets()
    if as_json:
        _print_json([asdict(info) for info in found])
    else:
        text.data_sets(text.make_console(), found)


@app.command(epilog="Example: selection studies --json")
def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies of the database."""
    from selection.report import text, values

    with _records(storage) as records:
        found = records.list_studies()
    if as_json:
        _print_json([values.summary_value(summary) for summary in found])
    else:
        text.studies(text.make_console(), found)


@db.command(epilog="Example: selection db upgrade")
def upgrade(storage: Storage = DEFAULT_STORAGE) -> None:
    """Bring the tables of an existing database to this version."""
    from selection.store.database import upgrade_database

    upgrade_database(storage)
    check(storage, as_json=False)


@db.command(epilog="Example: selection db check --json")
def check(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Say which version of the tables the database has; exit code 1 if it is not this one."""
    from dataclasses import asdict

    from selection.store.database import check_database

    found = check_database(storage)
    if as_json:
        _print_json({**asdict(found), "is_ok": found.is_ok})
    else:
        print(f"database           {found.url}")
        print(f"selection's tables {found.revision or 'none'} (this version has {found.head})")
        print(f"Optuna's tables    {found.optuna_revision} (this version has {found.optuna_head})")
    if not found.is_ok:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line and turn every error into its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    # Threads that spin while they wait make a busy machine several times slower. OpenMP reads this
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except SelectionError as error:
        if "--debug" in sys.argv:
            raise
        _say(str(error))
        sys.exit(error.exit_code)
    except _StoppedError as error:
        _say(f"{error}: what is finished is kept; the same command goes on from there")
        # The cohort is released and nothing is left to save: do not wait for threads that train.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + error.number)


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


@contextmanager
def _records(storage: str) -> Iterator[Records]:
    from selection.store.database import open_database
    from selection.store.records import Records

    with open_database(storage, create=False, write=False) as database:
        yield Records(database)


def _study(records: Records, name: str) -> StudyRecord:
    from selection.study.faults import nearest_name, show

    study = records.find_study(name)
    if study is None:
        known = [summary.name for summary in records.list_studies()]
        mend = nearest_name(name, known) if known else "Begin one: selection run FILE."
        raise StudyStateError(Fault("study", "the database must know the study", show(name), mend))
    return study


def _newest(records: Records) -> StudyRecord:
    summaries = records.list_studies()
    if not summaries:
        rule = "the database must hold a study"
        raise StudyStateError(Fault("study", rule, "none", "Begin one: selection run FILE."))
    return _study(records, summaries[-1].name)


def _command(*words: str, storage: str) -> str:
    """Return a command as this user can type it: by its path where it is not on PATH."""
    program = "selection"
    if shutil.which(program) is None:
        program = os.path.relpath(sys.argv[0])
    given = [] if "SELECTION_STORAGE" in os.environ or storage == DEFAULT_STORAGE else [storage]
    return shlex.join([program, *words, *(f"--storage={url}" for url in given)])


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _print_csv(rows: list[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
