"""The two histories in one database: Optuna's schema and ours, each with its own version table.

Tables come into being here and nowhere else. A migration knows nothing of the rest of selection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from optuna.storages._rdb import models
from sqlalchemy.engine import Connection, Engine

from selection.store.address import sqlite_path
from selection.store.tables import VERSION_TABLE


def find_scripts(folder: Path) -> Path:
    """Return the folder of our migrations, given the folder of this package.

    A wheel carries them inside the package; a checkout has them in the repository's root.
    """
    inside = folder / "alembic"
    return inside if inside.is_dir() else folder.parents[1] / "alembic"


SCRIPTS = find_scripts(Path(__file__).resolve().parent)
OPTUNA_SCRIPTS = Path(models.__file__).parent / "alembic"
# Any number will do, as long as every process takes the same one.
ADVISORY_KEY = 0x73656C656374


@dataclass(frozen=True)
class Revisions:
    """Hold where a database stands in both histories; None where it never began."""

    ours: str | None = None
    optuna: str | None = None


def read_revisions(engine: Engine) -> Revisions:
    """Return where the database stands."""
    with engine.connect() as connection:
        ours = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        optuna = MigrationContext.configure(connection)
        return Revisions(ours.get_current_revision(), optuna.get_current_revision())


@cache
def our_history() -> tuple[str, ...]:
    """Return our revisions, newest first."""
    return tuple(script.revision for script in ScriptDirectory(SCRIPTS).walk_revisions())


@cache
def optuna_head() -> str | None:
    """Return the newest revision that the installed Optuna knows."""
    return ScriptDirectory(OPTUNA_SCRIPTS).get_current_head()


@contextmanager
def exclusive(engine: Engine) -> Iterator[None]:
    """Let one process at a time make or upgrade tables; the others wait.

    A server has advisory locks for this. For SQLite a file beside the database is locked: SQLite's
    own locks do not span the several transactions that Optuna needs.
    """
    if engine.dialect.name == "sqlite":
        with _file_lock(Path(f"{sqlite_path(engine.url).resolve()}.build.lock")):
            yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({ADVISORY_KEY})")
        try:
            yield
        finally:
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({ADVISORY_KEY})")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is removed afterwards."""
    with FileLock(path):
        try:
            yield
        finally:
            # Removed while it is locked: a process that waits for it then sees that it is gone and
            # makes a new one. Windows removes no open file; there FileLock does it.
            with suppress(OSError):
                path.unlink()


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's settings for work on one connection; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade_to_head(engine: Engine) -> None:
    """Bring our tables to the newest revision, in one transaction."""
    with engine.connect() as connection, foreign_keys_off(connection):
        command.upgrade(alembic_config(connection), "head")


@contextmanager
def foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Let SQLite change a table, which it does by making a copy and dropping the old one.

    With foreign keys on, dropping it would delete the rows that point to it. The switch works
    outside a transaction only, hence on the driver's connection.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")
