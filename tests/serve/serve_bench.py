"""A server in memory on a small study, without a port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from selection.serve.app import make_app
from selection.serve.dashboard import DashboardStorage
from selection.serve.desk import Desk
from selection.serve.guard import Rules
from selection.store.books import books_of
from selection.store.database import open_database

LOCAL = Rules(frozenset({"localhost"}), None, allow_edit=False)


@contextmanager
def open_server(url: str, rules: Rules = LOCAL, **options: Any) -> Iterator[TestClient]:
    """Open a database as `selection serve` does."""
    with open_database(url, create=False, write=False) as database:
        desk = Desk(books_of(database), lambda name: f"selection evaluate {name}")
        storage = DashboardStorage(
            database.address.secret_url, desk.dashboard_additions, write=rules.allow_edit
        )
        app = make_app(desk, storage, rules)
        try:
            with TestClient(app, base_url="http://localhost:8080", **options) as client:
                yield client
        finally:
            # An assessment that still reads would keep its connection open.
            desk.answers._pool.shutdown(wait=True, cancel_futures=True)
            storage.remove_session()
            storage.engine.dispose()


def wait_for_answer(client: TestClient, name: str) -> str:
    """Return the page of a study once it has been assessed."""
    client.get(f"/selection/api/studies/{name}/best")
    return client.get(f"/selection/studies/{name}/").text
