"""A server in memory on a small study, without a port, and its pages without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

from starlette.testclient import TestClient

from selection.serve.app import make_app
from selection.serve.app_state import AppState
from selection.serve.dashboard import DashboardStorage
from selection.serve.guard import Rules
from selection.store.database import open_database
from selection.store.repository import repository_of
from selection.store.study_record import StudyRecord
from selection.study.trial import Scalar
from selection.train.device import choose_device
from selection.workflows.study_data import StudyData
from selection.workflows.validation_curve import Subject, trace_curve
from tests.sweep_bench import Bench

LOCAL = Rules(frozenset({"localhost"}), None, allow_edit=False)


class Page(HTMLParser):
    """Collect the links, elements and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, attribute: str) -> list[str]:
        return [
            attrs[attribute] or ""
            for name, attrs in self.tags
            if name == tag and attribute in attrs
        ]


@contextmanager
def open_server(url: str, rules: Rules = LOCAL, **options: Any) -> Iterator[TestClient]:
    """Open a database as `selection serve` does."""
    with open_database(url, create=False, write=False) as database:
        app_state = AppState(repository_of(database), lambda name: f"selection evaluate {name}")
        storage = DashboardStorage(
            database.address.secret_url, app_state.dashboard_additions, write=rules.allow_edit
        )
        app = make_app(app_state, storage, rules)
        try:
            with TestClient(app, base_url="http://localhost:8080", **options) as client:
                yield client
        finally:
            # An assessment that still reads would keep its connection open.
            app_state.assessments._pool.shutdown(wait=True, cancel_futures=True)
            storage.remove_session()
            storage.engine.dispose()


def wait_for_answer(client: TestClient, name: str) -> str:
    """Return the page of a study once it has been assessed."""
    client.get(f"/selection/api/studies/{name}/best")
    return client.get(f"/selection/studies/{name}/").text


def add_curve(
    bench: Bench, study: StudyRecord, data: StudyData, over: str, values: Sequence[Scalar]
) -> int:
    """Trace a curve of the winner, as `selection validation-curve` does, and return its number."""
    winner = bench.assess(study).winner
    assert winner is not None
    subject = Subject(study.spec(), study, data, winner, over)
    device = choose_device("cpu")
    trace_curve(subject, values, bench.repository, device, lambda news: None, bench.lines.append)
    return winner.number


def cells(text: str, label: str) -> list[list[str]]:
    """Return the cells of the table in the region of this label."""
    table = text[text.index(f'aria-label="{label}') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    return [
        [Page(cell).text for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S)]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.S)
    ]
