"""The commands that manage the database: studies, doctor, copy, delete, db."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer

from selection.api.defaults import DEFAULT_STORAGE
from selection.cli.options import (
    AsJson,
    Name,
    Storage,
    command,
    print_json,
    print_line,
    print_plain,
)


def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies of the database."""
    from selection.api.run import list_studies
    from selection.report import values
    from selection.report.terminal import text

    found = list_studies(storage)
    if as_json:
        print_json([values.summary_value(summary) for summary in found])
    else:
        text.studies(text.make_console(), found)


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Fix what can be fixed without losing anything.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Check the database for damage and contradictions; exit code 1 if anything is wrong."""
    from selection.store.database import check_database, open_database, writer_lock
    from selection.store.doctor import examine
    from selection.store.doctor import fix as fix_database

    check_database(storage)
    fixed = []
    if fix:
        with writer_lock(storage), open_database(storage, create=False, write=True) as database:
            fixed = fix_database(database)
    with open_database(storage, create=False, write=False) as database:
        wrong = examine(database)
    if as_json:
        print_json(
            {"fixed": [asdict(each) for each in fixed], "wrong": [asdict(each) for each in wrong]}
        )
    else:
        for each in fixed:
            print_line(f"fixed: {each.where}: {each.rule}, but got {each.got}.")
        for each in wrong:
            print_line(str(each))
        print(f"{len(wrong)} wrong" if wrong else "nothing is wrong")
    if wrong:
        raise typer.Exit(1)


def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without, only say what.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Delete a study; what it did to the held-out set stays in the ledger."""
    from selection.report.cells import count_of
    from selection.store.database import writer_lock
    from selection.store.delete_study import delete_study
    from selection.store.repository import open_repository
    from selection.store.study_tables import study_size

    lock = writer_lock(storage) if yes else nullcontext()
    with lock, open_repository(storage, write=yes) as repository:
        study = repository.study(name)
        size = (delete_study if yes else study_size)(repository.database, study)
    if as_json:
        print_json({"study": name, "is_deleted": yes, **asdict(size)})
        return
    print_line(
        f"study {name}: {count_of(size.trials, 'trial')} with "
        f"{count_of(size.fold_rows, 'fold result')} and "
        f"{count_of(size.final_models, 'final model')} {'deleted' if yes else 'to delete'}; kept "
        f"in the ledger: {count_of(size.ledger_rows, 'evaluation')} of the held-out set"
    )
    if not yes:
        again = command("delete", "--yes", operands=[name], storage=storage)
        print_line(f"to delete it: {again}", whole=again)


def copy(
    name: Name,
    to: Annotated[str, typer.Option("--to", help="Database URL to copy it to.")],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Copy a study to another database, with all its trials, models and evaluations."""
    from selection.report.cells import count_of
    from selection.store.copy_study import copy_study
    from selection.store.database import open_database, writer_lock
    from selection.store.repository import open_repository

    with (
        open_repository(storage) as repository,
        writer_lock(to),
        open_database(to, create=True, write=True) as target,
    ):
        study = repository.study(name)
        copied = copy_study(repository.database, study, target)
        shown = target.url
    if as_json:
        print_json({"study": name, "to": shown, **asdict(copied)})
        return
    waiting = f", {copied.waiting} of them to be trained there" if copied.waiting else ""
    print_line(
        f"study {name} is in {shown} too: {count_of(copied.trials, 'trial')}{waiting}, "
        f"{count_of(copied.fold_rows, 'fold result')}, "
        f"{count_of(copied.final_models, 'final model')}, "
        f"{count_of(copied.ledger_rows, 'evaluation')} of the held-out set"
    )


def upgrade(storage: Storage = DEFAULT_STORAGE) -> None:
    """Bring the tables of an existing database to this version."""
    from selection.store.database import upgrade_database

    upgrade_database(storage)
    check(storage, as_json=False)


def check(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Say which version of the tables the database has; exit code 1 if it is not this one."""
    from selection.store.database import check_database

    found = check_database(storage)
    if as_json:
        print_json({**asdict(found), "is_ok": found.is_ok})
    else:
        print_plain(f"database           {found.url}")
        print_plain(
            f"selection's tables {found.revision or 'none'} (this version has {found.head})"
        )
        print_plain(
            f"Optuna's tables    {found.optuna_revision} (this version has {found.optuna_head})"
        )
    if not found.is_ok:
        raise typer.Exit(1)
