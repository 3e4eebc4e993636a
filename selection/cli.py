"""The command line: one verb per question, results on stdout, progress on stderr.

Rooms with heavy libraries are imported by the verb that needs them, so that help stays quick.
Exit codes: 0 done, 1 a fault of the user's, 2 wrong usage, 3 refused, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selection import verdict_verbs
from selection.command import (
    DEFAULT_STORAGE,
    AsJson,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    Name,
    OptionalName,
    Storage,
    command,
    print_csv,
    print_json,
    say,
)
from selection.errors import SelectionError

if TYPE_CHECKING:
    from selection.assessment import Assessment

app = typer.Typer(
    help="Sweep the hyperparameters of MLPs under cross-validation, all trials and folds at once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option(help="Show the stack of an error.")] = False,
) -> None:
    """Take the options of all verbs; main() reads them."""


@app.command(epilog="Example: selection run studies/digits.toml")
def run(
    file: Annotated[Path, typer.Argument(help="A study file.")],
    storage: Storage = DEFAULT_STORAGE,
    device: Device = DeviceOption.AUTO,
    pack_members: Annotated[
        int, typer.Option(min=0, help="Members per pack at most; 0 sizes packs by itself.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it; a finished one only prints its result."""
    from selection.assessment import assess_study
    from selection.data.sources import data_folder
    from selection.entry import enter_study, load_study_data, make_trainer, row_facts
    from selection.nested import check_nested
    from selection.procedure import run_procedure
    from selection.report import values, verdict
    from selection.report.progress import SweepView
    from selection.store.books import open_books
    from selection.store.database import writer_lock
    from selection.study.spec import read_study
    from selection.train.device import choose_device

    spec = read_study(file)
    chosen = choose_device(device.value)
    data = load_study_data(spec, data_folder())
    check_nested(spec, data)
    for warning in data.facts["warnings"]:
        say(f"warning: {warning}")
    with writer_lock(storage), open_books(storage, create=True, write=True) as books:
        study = enter_study(spec, data, books.records, chosen)
        books.evidence.keep_rows(study, row_facts(data))
        if others := verdict.openings(books.ledger.openings_by_others(study)):
            say(f"warning: {others}")
        trainer = make_trainer(spec, data, chosen, pack_members)
        with SweepView(spec.metric, is_minimised=spec.is_minimised, is_quiet=as_json) as view:
            run_procedure(spec, study, data, books, trainer, chosen, view)
        assessment = assess_study(study, books)
        seconds = books.records.elapsed_seconds(study)
        shown = books.database.url
    if as_json:
        print_json(values.run_value(assessment, shown, seconds))
        return
    _show_run(assessment, storage)


@app.command(epilog="Example: selection status fashion-mnist")
def status(
    name: OptionalName = None, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Say how far a study is."""
    from selection.report import text, values
    from selection.store.books import open_books

    with open_books(storage) as books:
        study = books.newest_study() if name is None else books.study(name)
        trials = books.records.trials(study, with_curves=False)
        seconds = books.records.elapsed_seconds(study)
        looks = books.ledger.evaluations(study)
    value = values.status_value(study, trials, seconds, looks)
    if as_json:
        print_json(value)
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
    from selection.store.books import open_books

    form = Format.JSON if as_json else form
    with open_books(storage) as books:
        study = books.study(name)
        found = books.records.trials(study, with_curves=False)
    if form is Format.TABLE:
        text.leaderboard(text.make_console(), study, found)
    elif form is Format.JSON:
        print_json([values.trial_value(trial) for trial in found])
    else:
        print_csv(values.trial_rows(study, found))


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
    from selection.store.books import open_books

    form = Format.JSON if as_json else form
    with open_books(storage) as books:
        folds = books.records.curves(books.study(name), trial)
    if form is Format.TABLE:
        text.curves(text.make_console(), folds)
    elif form is Format.JSON:
        print_json(values.curve_values(folds))
    else:
        print_csv(values.curve_values(folds))


app.command(epilog="Example: selection best fashion-mnist")(verdict_verbs.best)
app.command(epilog="Example: selection evaluate fashion-mnist")(verdict_verbs.evaluate)
app.command(epilog="Example: selection export fashion-mnist --to exports")(verdict_verbs.export)
app.command(epilog="Example: selection predict exports --input new_rows.csv")(verdict_verbs.predict)


@app.command(epilog="Example: selection datasets")
def datasets(as_json: AsJson = False) -> None:
    """List the data sets that a study file can name."""
    from dataclasses import asdict

    from selection.data.sources import list_data_sets
    from selection.report import text

    found = list_data_sets()
    if as_json:
        print_json([asdict(info) for info in found])
    else:
        text.data_sets(text.make_console(), found)


@app.command(epilog="Example: selection studies --json")
def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies of the database."""
    from selection.report import text, values
    from selection.store.books import open_books

    with open_books(storage) as books:
        found = books.records.list_studies()
    if as_json:
        print_json([values.summary_value(summary) for summary in found])
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
        print_json({**asdict(found), "is_ok": found.is_ok})
    else:
        print(f"database           {found.url}")
        print(f"selection's tables {found.revision or 'none'} (this version has {found.head})")
        print(f"Optuna's tables    {found.optuna_revision} (this version has {found.optuna_head})")
    if not found.is_ok:
        raise typer.Exit(1)


def _show_run(assessment: Assessment, storage: str) -> None:
    """Print the leaders, the verdict and what comes next."""
    from selection.report import text, verdict

    study = assessment.study
    console = text.make_console()
    every = command("trials", study.name, storage=storage)
    text.leaderboard(console, study, assessment.trials, more=every)
    evaluate = command("evaluate", study.name, storage=storage)
    verdict.winner(console, assessment, evaluate)
    text.next_steps(
        console,
        [
            *([] if assessment.evaluations else [evaluate]),
            command("export", study.name, "--to", "exports", storage=storage),
            f"{command('trials', study.name, '-f', 'csv', storage=storage)} > trials.csv",
        ],
    )


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
        say(str(error))
        sys.exit(error.exit_code)
    except _StoppedError as error:
        again = "; the same command goes on from there" if "run" in sys.argv[1:3] else ""
        say(f"{error}: what is finished is kept{again}")
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
