"""The page that shows two studies beside each other, on both databases."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urljoin

import pytest

from selection.store.database import open_database
from tests.command_line import Cli
from tests.serve.serve_bench import Page, cells, open_server, wait_for_answer
from tests.sweep_bench import Bench, make_spec

ADDRESS = "/selection/compare"


@pytest.fixture
def two_studies(storage_url: str, tmp_path: Path) -> str:
    """The URL of a database with two finished studies on the same folds; one has an odd name."""
    bench = Bench(tmp_path)
    bench.database.close()
    bench.use(open_database(storage_url, create=True, write=True))
    bench.procedure(make_spec(trials=3, cohort=3, pruner="none", pruner_options={}))
    other = {"name": "a/b & c", "training": {"epochs": 1, "batch_size": 16}}
    bench.procedure(make_spec(other, trials=3, cohort=3, pruner="none", pruner_options={}))
    bench.database.close()
    return storage_url


def test_studies_are_compared_by_two_clicks(two_studies: str, cli: Cli) -> None:
    with open_server(two_studies) as client:
        for name in ("iris", "a%2Fb%20%26%20c"):
            wait_for_answer(client, name)
        (link,) = [
            urljoin("/selection/", href)
            for href in Page(client.get("/selection/").text).all("a", "href")
            if "compare" in href
        ]
        form = client.get(link)
        assert form.status_code == 200
        assert "paired" not in Page(form.text).text
        asked = {"first": "iris", "second": "a/b & c"}
        text = client.get(ADDRESS, params=asked).text
        value = client.get("/selection/api/compare", params=asked).json()
    assert "on 3 paired folds, the winner of iris" in Page(text).text
    rows = {row[0]: row[1:] for row in cells(text, "Comparison")}
    assert rows["epochs trained"] == ["12", "3"]
    assert rows["winner"] == [f"trial {each['number']}" for each in value["studies"]]
    assert "/selection/studies/a%2Fb%20%26%20c/" in Page(text).all("a", "href")
    printed = cli("compare", "iris", "a/b & c", "--json", "--storage", two_studies)
    assert printed.json == value


def test_the_page_of_a_study_leads_to_its_comparison(two_studies: str) -> None:
    with open_server(two_studies) as client:
        page = Page(client.get("/selection/studies/a%2Fb%20%26%20c/").text)
        (link,) = [href for href in page.all("a", "href") if "compare" in href]
        text = client.get(link).text
        missing = client.get(ADDRESS, params={"first": "iris", "second": "nope"})
        wrong = client.get("/selection/api/compare")
    assert "<option selected>a/b &amp; c</option>" in text
    assert missing.status_code == wrong.status_code == 404
    assert "the database must contain the study" in Page(missing.text).text


def test_a_study_alone_offers_no_comparison(sqlite_study: str) -> None:
    with open_server(sqlite_study) as client:
        assert "compare" not in client.get("/selection/").text
