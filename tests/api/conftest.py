"""The databases that the API is tried on."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def postgres_url(new_postgres: Callable[[], str]) -> str:
    return new_postgres()


@pytest.fixture
def sqlite_url(new_sqlite: Callable[[], str]) -> str:
    return new_sqlite()


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def storage_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, once of each kind."""
    return str(request.getfixturevalue(request.param))
