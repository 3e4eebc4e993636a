"""A small finished study on both databases, and servers on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from selection.store.database import open_database
from tests.serve.serve_bench import add_curve, open_server
from tests.sweep_bench import Bench, make_spec


def make_study(url: str, folder: Path) -> None:
    """Run a study of iris with layers and two curves on an empty database."""
    bench = Bench(folder)
    bench.database.close()
    bench.use(open_database(url, create=True, write=True))
    training = {"epochs": 4, "batch_size": 16, "diagnostics": True}
    study, data = bench.procedure(make_spec({"name": "iris", "training": training}))
    add_curve(bench, study, data, "width", [1, 4, 16])
    add_curve(bench, study, data, "rows", [10, 80])
    bench.database.close()


@pytest.fixture(scope="session")
def sqlite_study(new_sqlite: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    url = new_sqlite()
    make_study(url, tmp_path_factory.mktemp("serve"))
    return url


@pytest.fixture(scope="session")
def postgres_study(
    new_postgres: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    url = new_postgres()
    make_study(url, tmp_path_factory.mktemp("serve"))
    return url


@pytest.fixture(params=["sqlite_study", "postgres_study"])
def study_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with a finished study, on both databases."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def client(sqlite_study: str) -> Iterator[TestClient]:
    with open_server(sqlite_study) as client:
        yield client
