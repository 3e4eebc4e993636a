"""Both databases for the tests of the store: SQLite files and one real PostgreSQL server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel

from selection.store.database import Database, open_database
from selection.store.records import Records
from selection.store.tables import ledger_end_table, ledger_table, quarantine_table
from tests.store.store_examples import create_example
from tests.store.study_case import StudyCase


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def new_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database that does not exist yet, or is empty."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def sqlite_url(new_sqlite: Callable[[], str]) -> str:
    return new_sqlite()


@pytest.fixture(scope="session")
def sqlite_template(new_sqlite: Callable[[], str]) -> Path:
    url = new_sqlite()
    open_database(url, create=True, write=True).close()
    return Path(sa.make_url(url).database or "")


@pytest.fixture
def made_sqlite_url(sqlite_template: Path, sqlite_url: str) -> str:
    """The URL of an SQLite database with all its tables; a copy is made faster than the tables."""
    shutil.copy(sqlite_template, sa.make_url(sqlite_url).database or "")
    return sqlite_url


@pytest.fixture(scope="session")
def scratch_url(new_postgres: Callable[[], str]) -> str:
    return new_postgres()


@pytest.fixture
def postgres_url(scratch_url: str) -> str:
    """The URL of an empty database; making a new one for each test would take seconds."""
    engine = sa.create_engine(scratch_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return scratch_url


@pytest.fixture(
    scope="session",
    params=["sqlite", pytest.param("sqlite public", marks=pytest.mark.slow), "postgres"],
)
def shared_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An open database; "public" takes the path for an Optuna schema that is not known."""
    kind, *path = request.param.split()
    url = request.getfixturevalue(f"new_{kind}")()
    with open_database(url, create=True, write=True) as database:
        database.storage.is_batched = not path
        if kind == "sqlite":
            database.engine.dispose()
            sa.event.listen(database.engine, "connect", _do_not_wait_for_the_disk)
        yield database


def _do_not_wait_for_the_disk(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """An open database without studies."""
    is_batched = shared_database.storage.is_batched
    yield shared_database
    shared_database.storage.is_batched = is_batched
    with shared_database.writing() as connection:
        for table in reversed(BaseModel.metadata.sorted_tables):
            if table.name != "version_info":
                connection.execute(sa.delete(table))
        # These outlive their studies.
        for table in (ledger_table, ledger_end_table, quarantine_table):
            connection.execute(sa.delete(table))


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


@pytest.fixture
def case(database: Database, records: Records) -> StudyCase:
    return StudyCase(database, create_example(records))


@pytest.fixture
def study(case: StudyCase) -> Iterator[optuna.Study]:
    """The study as another program with Optuna alone sees it."""
    storage = optuna.storages.RDBStorage(case.database.address.secret_url)
    yield optuna.load_study(study_name=case.study.name, storage=storage)
    storage.remove_session()
    storage.engine.dispose()
