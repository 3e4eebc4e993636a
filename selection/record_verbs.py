"""The verbs that look after the record: studies, db."""

from __future__ import annotations

import typer

from selection.command import DEFAULT_STORAGE, AsJson, Storage, print_json


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


def upgrade(storage: Storage = DEFAULT_STORAGE) -> None:
    """Bring the tables of an existing database to this version."""
    from selection.store.database import upgrade_database

    upgrade_database(storage)
    check(storage, as_json=False)


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
