"""The commands that manage the database: studies, doctor, copy, delete, db."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from selection.store.doctor import Finding, Restored


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --fix: only say what it would do.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Bring back what --fix moved into the quarantine.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Check the database for damage and contradictions; exit code 1 if anything is wrong."""
    from selection.store.database import check_database, open_database, writer_lock
    from selection.store.doctor import examine, kept_rows
    from selection.store.doctor import fix as fix_database
    from selection.store.doctor import restore as restore_rows

    if dry_run and not fix:
        raise typer.BadParameter("--dry-run needs --fix")
    if restore and fix:
        raise typer.BadParameter("--fix and --restore cannot be used together")
    check_database(storage)
    fixed: list[Finding] = []
    restored: Restored | None = None
    if fix or restore:
        lock = nullcontext() if dry_run else writer_lock(storage)
        with lock, open_database(storage, create=False, write=True) as database:
            if fix:
                fixed = fix_database(database, dry_run=dry_run)
            else:
                restored = restore_rows(database)
    with open_database(storage, create=False, write=False) as database:
        wrong, kept = examine(database), kept_rows(database)
    found = {("would_fix" if dry_run else "fixed"): [asdict(each) for each in fixed]}
    if as_json:
        back = {} if restored is None else restored.back
        value = {"fixed": [], **found, "wrong": [asdict(each) for each in wrong]}
        print_json({**value, "restored": back, "quarantine": kept})
    else:
        _print_doctor("would fix" if dry_run else "fixed", fixed, restored, kept, wrong)
    if wrong:
        raise typer.Exit(1)


def _print_doctor(
    label: str, fixed: list[Finding], restored: Restored | None, kept: int, wrong: list[Finding]
) -> None:
    from selection.report.cells import count_of

    for each in fixed:
        print_line(f"{label}: {each}")
    for table, count in ({} if restored is None else restored.back).items():
        print_line(f"restored: {count_of(count, 'row')} of {table}")
    if restored is not None and kept:
        why = "their study or trial is not there, or their place is taken"
        print_line(f"stay in the quarantine: {kept} rows; {why}")
    elif kept:
        again = "selection doctor --restore"
        print_line(
            f"in the quarantine: {count_of(kept, 'row')}; to restore them: {again}", whole=again
        )
    for each in wrong:
        print_line(str(each))
    print(f"{len(wrong)} wrong" if wrong else "nothing is wrong")


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
        for part in found.missing:
            print_plain(f"missing            {part}; selection doctor --fix makes it")
    if not found.is_ok:
        raise typer.Exit(1)
