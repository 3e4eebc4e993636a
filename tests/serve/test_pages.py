"""What our pages say, read as a browser reads them but without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urljoin

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from benchmarks.many_studies import clone_study
from selection.report.plots.charts import CHARTS
from selection.report.terminal import text
from selection.study.trial import TrialState
from selection.workflows.sweep import SweepNews
from tests.serve.serve_bench import Page, cells, open_server, wait_for_answer
from tests.sweep_bench import Bench, make_spec

ROOT = "/selection/studies/iris/"


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Collect the statements of every engine."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_every_link_of_every_page_leads_somewhere(study_url: str) -> None:
    with open_server(study_url) as client:
        wait_for_answer(client, "iris")
        seen, waiting = set(), ["/selection/"]
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = client.get(path)
            assert answer.status_code == 200, path
            if not answer.headers["content-type"].startswith("text/html") or "export" in path:
                continue
            page = Page(answer.text)
            sources = page.all("a", "href") + page.all("script", "src") + page.all("link", "href")
            for link in sources + page.all("div", "data-src"):
                target = urljoin(path, link).partition("#")[0]
                assert target.startswith("/"), f"{path} leads to another host: {link}"
                if target not in seen and target not in waiting and "sort=" not in target:
                    waiting.append(target)
    assert len([path for path in seen if "/trials/" in path]) == 9
    drawn = {path.rsplit("/", 1)[1].partition(".json")[0] for path in seen if "/figures/" in path}
    assert drawn == {name for name, entry in CHARTS.items() if entry.pages != ("dashboard",)}
    assert {path.rsplit("/", 1)[1] for path in seen if "/export/" in path} == {
        "best.toml",
        "best.json",
        "trials.csv",
        "report.html",
    }


def test_a_study_between_two_cohorts_trains_and_after_the_last_one_is_finished(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = {}

    def watch(news: SweepNews) -> None:
        if news.training == 0:
            with open_server(bench.database.address.secret_url) as client:
                status: Any = client.get("/selection/api/studies/iris").json()
                seen[news.cohort] = (Page(client.get(ROOT).text).text, status)
                (row,) = cells(client.get("/selection/").text, "Studies")
                assert (row[0], row[5]) == ("iris", "1"), "one worker holds the study"

    bench.run(make_spec(), watch)
    assert list(seen) == [0, 1, 2]
    between, status = seen[0]
    (held,) = status["running"]
    assert (held["cohort"], held["trials"], held["epoch"]) == (0, 0, 0)
    line = f"cohort 0 is finished; the next one is asked for on {held['worker']}"
    assert line in between
    assert "iris training 4 of 9 trials" in between
    assert "computed when training ends" in between
    text.status(text.make_console(), status)
    assert f"training: {line}" in capsys.readouterr().out.replace("\n", " ")
    end, status = seen[2]
    assert status["is_finished"]
    assert "iris finished 9 of 9 trials" in end
    assert "asked for" not in end


def test_the_answer_says_of_every_number_what_it_is(client: TestClient) -> None:
    text = Page(wait_for_answer(client, "iris")).text
    best = client.get("/selection/api/studies/iris/best").json()
    assert f"trial {best['number']}" in text
    assert f"accuracy observed {best['observed']['mean']:.4f}" in text
    assert f"accuracy corrected {best['corrected']['estimate']:.4f}" in text
    low, high = best["corrected"]["low"], best["corrected"]["high"]
    assert f"[{low:.4f}, {high:.4f}] at 95%" in text
    assert f"baseline linear observed {best['baselines']['linear']['mean']:.4f}" in text
    assert f"default setting observed {best['default']['mean']:.4f}" in text
    for name, baseline in best["baselines"].items():
        verdict = "better" if baseline["is_beaten"] else "not shown to be better"
        assert f"baseline {name} observed {baseline['mean']:.4f} the winner is {verdict}" in text
    assert "accuracy held out" in text
    assert "never opened by this study" in text
    assert re.search(
        r"(overfit|underfit|balanced|inconclusive) observed (validation|training) loss", text
    )


def test_data_and_folds_are_stated(client: TestClient) -> None:
    text = Page(client.get(ROOT).text).text
    status = client.get("/selection/api/studies/iris").json()
    assert f"development rows {status['rows']}" in text
    assert f"held-out rows {status['held_out_rows']}" in text
    assert "validation rows by fold 40, 40, 40" in text
    assert "setosa 40 versicolor 40 virginica 40" in text
    assert "rows with a copy in another fold" in text


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table of trials."""
    return cells(text, "Trials")


def test_the_leaderboard_ranks_by_the_observed_mean(client: TestClient) -> None:
    trials = {
        each["number"]: each for each in client.get("/selection/api/studies/iris/trials").json()
    }
    complete = [each for each in trials.values() if each["state"] == "complete"]
    ranked = sorted(complete, key=lambda each: (-each["value"], each["number"]))
    shown = rows(client.get(ROOT).text)
    assert len(shown) == len(trials)
    assert [int(row[1]) for row in shown[: len(ranked)]] == [each["number"] for each in ranked]
    assert [row[0] for row in shown[: len(ranked)]] == [
        str(index + 1) for index in range(len(ranked))
    ]
    for row in shown[: len(ranked)]:
        assert row[4].startswith(f"{trials[int(row[1])]['value']:.4f} ±")


@pytest.mark.parametrize(
    ("query", "column"),
    [("number", 1), ("param:width", 2), ("param:learning_rate", 3), ("epochs", 6), ("score", 4)],
)
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_it_sorts_by_any_column(client: TestClient, query: str, column: int, order: str) -> None:
    shown = rows(client.get(ROOT, params={"sort": query, "order": order}).text)
    values = [float(row[column].split()[0]) for row in shown if row[column]]
    assert values == sorted(values, reverse=order == "descending")
    assert len(set(values)) > 1
    empty = [not row[column] for row in shown]
    assert empty == sorted(empty), "what has no value comes last"


def test_it_filters_by_state(client: TestClient) -> None:
    trials = client.get("/selection/api/studies/iris/trials").json()
    for state in TrialState:
        shown = rows(client.get(ROOT, params={"state": state.value}).text)
        numbers = {each["number"] for each in trials if each["state"] == state.value}
        assert {int(row[1]) for row in shown if len(row) > 1} == numbers


@pytest.mark.parametrize(
    "query",
    [
        "sort=nothing",
        "state=bad",
        "page=-1",
        "page=999",
        "page=x",
        "page=9999999999999999999999",
        "trials=<script>",
        "trials=999,1",
        "first=x&second=y",
        "first=width&second=width",
        "sort=param:",
        "order=up&sort=score",
        "trials=" + "1," * 5000,
    ],
)
def test_choices_that_make_no_sense_are_as_if_not_made(client: TestClient, query: str) -> None:
    answer = client.get(f"{ROOT}?{query}")
    assert answer.status_code == 200
    assert len(rows(answer.text)) == 9
    assert "<script>" not in answer.text.replace("<script defer", "")


def test_a_page_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    wait_for_answer(client, "iris")
    for path in (ROOT, "/selection/", f"{ROOT}?sort=epochs"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    other = client.get(
        ROOT, headers={"If-None-Match": client.get(f"{ROOT}?sort=epochs").headers["etag"]}
    )
    assert other.status_code == 200


def test_a_trial_shows_its_folds_classes_and_mistakes(client: TestClient) -> None:
    best = client.get("/selection/api/studies/iris/best").json()
    trials = client.get("/selection/api/studies/iris/trials").json()
    trial = next(each for each in trials if each["number"] == best["number"])
    text = Page(client.get(f"{ROOT}trials/{best['number']}").text).text
    for score, train in zip(trial["fold_scores"], trial["train_scores"], strict=True):
        assert f"{score:.4f} {train:.4f}" in text
    assert "setosa 40" in text
    assert "precision recall F1" in text
    wrong = round((1 - trial["value"]) * 120)
    assert text.count("confidence 0.") == min(wrong, 12)


@pytest.mark.parametrize("number", ["99", "-1", "x", "9" * 30, "9" * 5000, "%C2%B2", "1/", ""])
def test_a_trial_that_is_not_there_is_not_found(client: TestClient, number: str) -> None:
    answer = client.get(f"{ROOT}trials/{number}")
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_figures_or_nothing(client: TestClient, name: str) -> None:
    wait_for_answer(client, "iris")
    query = {
        "param": "width",
        "over": "width",
        "trial": str(client.get("/selection/api/studies/iris/best").json()["number"]),
    }
    figure: Any = client.get(f"{ROOT}figures/{name}.json", params=query).json()
    too_few = name in ("contour", "importance")  # of fewer than 8 complete trials
    assert bool(figure["data"]) != too_few
    assert ("fewer than 8" in figure["layout"].get("meta", {}).get("why", "")) == too_few
    wrong = client.get(
        f"{ROOT}figures/{name}.json", params={"param": "no", "trial": "no", "over": "no"}
    )
    assert wrong.status_code == 200
    nowhere = (
        "scores-against",
        "slice",
        "confusion",
        "point-curve",
        "gradient-norm",
        "weight-norm",
        "dead-units",
    )
    assert (wrong.json() is None) == (name in nowhere)


def test_our_pages_are_found_without_their_slash(client: TestClient) -> None:
    answer = client.get("/selection", follow_redirects=False)
    assert answer.headers["location"] == "/selection/"
    answer = client.get("/selection/studies/iris", follow_redirects=False)
    assert answer.headers["location"] == "/selection/studies/iris/"


def test_an_unknown_chart_is_not_found(client: TestClient) -> None:
    assert client.get(f"{ROOT}figures/nothing.json").status_code == 404


TRAPS = [
    "<img src=x onerror=alert(1)>",
    "quotes \"double\" 'single' `back`",
    "a/../b/trials/1",
    "..",
    ".",
    "emoji \U0001f9ea and \u202fspace",
    "</script><script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "%2e%2e%2f?x=1#y",
    "[x](javascript:alert(1))",
    "a" * 300,
]


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    bench = Bench(tmp_path_factory.mktemp("traps"))
    for name in TRAPS:
        bench.procedure(make_spec({"name": name}, trials=2, cohort=2))
    bench.database.close()
    with open_server(bench.database.address.secret_url) as client:
        yield client


@pytest.mark.parametrize("index", range(len(TRAPS)))
def test_a_name_is_only_ever_text(traps: TestClient, index: int) -> None:
    name = TRAPS[index]
    links = Page(traps.get("/selection/").text).all("a", "href")
    found = [link for link in links if link.startswith("/selection/studies/")]
    path = found[::-1][index]  # the newest is listed first
    title = " ".join(f"{name} - selection".split())
    assert Page(traps.get(path).text).text.startswith(title)
    assert path.count("/") == 4, "the name is one segment"
    traps.get(f"/selection/api{path.removeprefix('/selection').rstrip('/')}/best")
    for address in (path, f"{path}trials/0", "/selection/", f"{path}export/report.html"):
        answer = traps.get(address)
        assert answer.status_code == 200
        page = Page(answer.text)
        assert "x" not in page.all("img", "src")
        assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
        assert not [link for link in page.all("a", "href") if link.startswith("javascript")]
        scripts = [text for text in page.words if text.strip() == "alert(1)"]
        assert not scripts
    for file in ("best.toml", "best.json", "trials.csv"):
        answer = traps.get(f"{path}export/{file}")
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == f'attachment; filename="{file}"'


def test_names_lead_to_their_study_in_the_json(traps: TestClient) -> None:
    for name in TRAPS:
        if name not in (".", ".."):
            answer = traps.get(f"/selection/api/studies/{quote(name, safe='')}")
            assert answer.json()["study"] == name


def test_the_note_of_a_trap_is_one_link_and_no_more(traps: TestClient) -> None:
    for summary in traps.get("/api/studies").json()["study_summaries"]:
        note = traps.get(f"/api/studies/{summary['study_id']}").json()["note"]["body"]
        (target,) = re.fullmatch(
            r"\[[\w ,]+\]\((/selection/studies/[^\s()/<>\"]+/)\)", note
        ).groups()  # type: ignore[union-attr]
        assert traps.get(target).status_code == 200


def test_the_list_of_studies_comes_in_pages(bench: Bench) -> None:
    study = bench.run(make_spec(trials=2, cohort=2))
    clone_study(bench.database, study, 104)
    with open_server(bench.database.address.secret_url) as client:
        first = client.get("/selection/")
        text = Page(first.text).text
        assert "page 1 of 3, 105 studies, the newest first" in text
        assert len(cells(first.text, "Studies")) == 50
        assert "?page=2" in Page(first.text).all("a", "href")
        names = [cells(client.get(f"/selection/?page={n}").text, "Studies") for n in (1, 2, 3)]
        assert len({row[0] for page in names for row in page}) == 105
        assert cells(client.get("/selection/?page=99").text, "Studies") == names[2]
        assert cells(client.get("/selection/?page=x").text, "Studies") == names[0]
        kept = {"If-None-Match": first.headers["etag"]}
        assert client.get("/selection/", headers=kept).status_code == 304
        assert client.get("/selection/?page=2", headers=kept).status_code == 200
        assert len(client.get("/selection/api/studies").json()) == 105


@pytest.mark.parametrize("path", ["/selection/", "/selection/api/studies", "/selection/compare"])
def test_a_poll_asks_no_more_of_many_studies(bench: Bench, path: str) -> None:
    study = bench.run(make_spec(trials=2, cohort=2))
    with open_server(bench.database.address.secret_url) as client:
        counts = []
        for copies in (0, 60):
            clone_study(bench.database, study, copies)
            with counted_statements() as statements:
                client.get(path).raise_for_status()
            counts.append(len(statements))
    assert counts[0] == counts[1] > 0
