"""The dashboard and our pages in a real browser, on a finished and on a running study."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import Complaints, browser_path, open_browser, served
from tests.command_line import finish

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser_path() is None, reason="no Chromium on this machine"),
]

STUDY = """
name = {name}
recipe = "book"
[data]
dataset = "digits"
[cv]
folds = 3
[training]
epochs = {epochs}
batch_size = 64
diagnostics = true
[space]
width = {{ low = 8, high = 64, log = true }}
dropout = {{ low = 0.0, high = 0.5 }}
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
[assessment]
baselines = {baselines}
[search]
trials = {trials}
cohort = 4
pruner_options = {{ min_resource = 1, reduction_factor = 2, finalists = 9 }}
"""
TRAP = "<img src=x onerror=alert(1)>"
QUOTES = "a \"b\" 'c' /../ \U0001f9ea"
PLOTS = ".plot .main-svg"


def write(
    folder: Path, name: str, epochs: int, trials: int, slow_baselines: tuple[str, ...] = ()
) -> str:
    file = folder / "study.toml"
    file.write_text(
        STUDY.format(
            name=json.dumps(name, ensure_ascii=False),
            epochs=epochs,
            trials=trials,
            baselines=["majority", "linear", *slow_baselines],
        )
    )
    return str(file)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three finished studies, one of them evaluated and with two curves."""
    folder = tmp_path_factory.mktemp("browser")
    finish(folder, "run", write(folder, "digits", 6, 12, ("gradient_boosting",)))
    for name in (TRAP, QUOTES):
        finish(folder, "run", write(folder, name, 6, 12))
    finish(folder, "evaluate", "digits")
    finish(folder, "validation-curve", "digits", "--over", "activation", "--values", "relu,tanh")
    finish(folder, "validation-curve", "digits", "--over", "rows", "--values", "50,200,800")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.fixture(params=[(1600, "light"), (375, "dark")], ids=["wide-light", "narrow-dark"])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that must have nothing to complain of in the end."""
    width, scheme = request.param
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with new_page(browser, address, accept_downloads=True, **options) as page:
        yield page


@contextmanager
def new_page(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """Open a page that must ask nobody but this address, and complain of nothing."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints = Complaints(page, urlsplit(address).netloc)
    yield page
    context.close()
    assert complaints.lines == []


def see_all_charts(page: Any, count: int) -> None:
    """Scroll through the page and see each of so many charts drawn."""
    plots = page.locator(".plot").all()
    assert len(plots) == count
    for plot in plots:
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
    assert page.locator(".plot p.quiet").all_inner_texts() == []


def wait_until(page: Any, expression: str) -> None:
    """Wait for an expression to hold; the page's own policy forbids Playwright's way to do so."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"it never came to {expression}"
        page.wait_for_timeout(100)


def fits(page: Any) -> bool:
    """Say whether nobody has to scroll sideways."""
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def column(page: Any, index: int) -> list[str]:
    return [
        row.locator("td, th").nth(index).inner_text().split()[0]
        for row in page.locator("#leaders tbody tr").all()
    ]


def test_from_the_list_of_studies_to_a_trial(page: Any, address: str) -> None:
    page.goto(address)
    assert page.get_by_role("row").count() == 4
    assert fits(page)
    page.get_by_role("link", name="digits").click()
    page.get_by_role("heading", name="Answer").wait_for()
    page.locator(".quantity.corrected .number").filter(has_text="0.").wait_for()
    see_all_charts(page, 16)
    assert page.get_by_role("heading", name=re.compile("^Sample-size curve")).count() == 1
    assert page.locator(".stored-curve tbody .badge").count() == 5
    assert fits(page)
    held_out = page.locator(".quantity.held-out .number").inner_text()
    assert re.fullmatch(r"0\.\d{4}", held_out)
    page.locator("#leaders tbody th a").first.click()
    page.get_by_role("heading", name=re.compile("Trial \\d+")).wait_for()
    see_all_charts(page, 6)
    assert page.locator(".pictures img").count() == 12
    widths = page.eval_on_selector_all(".pictures img", "all => all.map(each => each.naturalWidth)")
    assert min(widths) >= 56
    assert fits(page)


def test_the_leaderboard_is_sorted_by_a_click_and_by_the_keyboard(page: Any, address: str) -> None:
    page.goto(f"{address}studies/digits/")
    page.get_by_role("link", name="epochs", exact=True).click()
    page.wait_for_selector('th[aria-sort="ascending"] >> text=epochs')
    shown = [int(text) for text in column(page, 7)]
    assert shown == sorted(shown)
    assert len(set(shown)) > 1
    assert "sort=epochs" in page.url
    page.keyboard.press("Enter")
    page.wait_for_selector('th[aria-sort="descending"] >> text=epochs')
    shown = [int(text) for text in column(page, 7)]
    assert shown == sorted(shown, reverse=True)
    page.reload()
    assert [int(text) for text in column(page, 7)] == shown
    page.get_by_label("State").select_option("complete")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**state=complete**")
    wait_until(page, "!document.querySelector('#leaders tbody').innerText.includes('pruned')")
    assert set(column(page, 8)) == {"complete"}
    page.go_back()
    page.locator("#leaders tbody").get_by_text("pruned").first.wait_for()


def test_a_reader_without_a_mouse_gets_everywhere(page: Any, address: str) -> None:
    page.goto(f"{address}studies/digits/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('a, button, select, input:not([type=hidden])')]"
        ".filter(each => !(each.textContent.trim() || each.labels?.length || "
        "each.getAttribute('aria-label') || each.dataset.title || each.closest('.plot'))).length"
    )
    assert unnamed == 0
    unlabelled = "[...document.querySelectorAll('.plot')].filter(each => !each.ariaLabel).length"
    assert page.evaluate(unlabelled) == 0


def test_the_page_follows_dark_and_light(browser: Any, address: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{address}studies/digits/")
        page.locator(".plot").first.scroll_into_view_if_needed()
        page.wait_for_selector(PLOTS)
        seen[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.querySelector('.plot .xtick text')).fill]"
        )
        context.close()
    assert seen["light"][0] != seen["dark"][0]
    assert seen["light"][1] != seen["dark"][1]


@pytest.mark.parametrize(
    "file", ["best.toml", "best.json", "trials.csv", "report.html", "model.zip"]
)
def test_exports_are_downloaded(browser: Any, address: str, file: str, tmp_path: Path) -> None:
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.goto(f"{address}studies/digits/")
    with page.expect_download() as waiting:
        page.get_by_role("link", name=file).click()
    assert waiting.value.suggested_filename == file
    waiting.value.save_as(tmp_path / file)
    context.close()
    content = (tmp_path / file).read_bytes()
    starts = {"model.zip": b"PK", "best.json": b"{", "report.html": b"<!doctype html>"}
    assert content.startswith(starts.get(file, b""))
    assert len(content) > 500


def test_the_dashboard_shows_the_study_and_leads_to_its_page(browser: Any, address: str) -> None:
    with new_page(browser, address, viewport={"width": 1400, "height": 900}) as page:
        page.goto(address.replace("/selection/", "/dashboard"))
        page.get_by_text("digits", exact=False).first.click()
        page.wait_for_url("**/dashboard/studies/1**")
        page.wait_for_selector(".main-svg")
        page.get_by_text("accuracy, observed").first.wait_for()
        page.get_by_text("trial, best first").first.wait_for()
        page.goto(address.replace("/selection/", "/dashboard/studies/1/note"))
        page.get_by_role("link", name="Winner, corrected score").click()
        page.get_by_role("heading", name="Answer").wait_for()


@pytest.mark.parametrize("name", [TRAP, QUOTES], ids=["tag", "quotes"])
def test_names_that_are_traps_catch_nobody(page: Any, address: str, name: str) -> None:
    page.goto(address)
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=name).wait_for()
    see_all_charts(page, 14)
    assert fits(page)
    page.goto(address.replace("/selection/", "/dashboard"))
    page.get_by_text(name, exact=False).first.click()
    page.wait_for_selector(".main-svg")


def test_the_report_needs_no_network(browser: Any, folder: Path) -> None:
    for name, file, charts in ((TRAP, "trap.html", 18), ("digits", "digits.html", 20)):
        finish(folder, "report", "--to", file, "--", name)
        viewport = {"width": 375, "height": 800}
        with new_page(browser, "", viewport=viewport, offline=True) as page:
            page.goto((folder / file).as_uri())
            see_all_charts(page, charts)
            assert page.locator(".pictures img").count() == 12
            assert fits(page)


def test_a_running_study_is_followed_without_a_reload(browser: Any, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "selection", "run", write(tmp_path, "live", 40, 400), "--json"]
    run = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        wait_for_a_trial(tmp_path)
        with served(tmp_path) as address, new_page(browser, address) as page:
            page.set_default_timeout(60_000)
            page.goto(f"{address}studies/live/")
            page.evaluate("window.notReloaded = true")
            assert page.locator("h1 .badge").inner_text() == "training"
            assert "computed when training ends" in page.locator("#answer").inner_text()
            page.locator(".plot").first.scroll_into_view_if_needed()
            page.wait_for_selector(PLOTS)
            done = int(page.locator("progress").first.get_attribute("value"))
            wait_until(page, f"document.querySelector('progress').value > {done} + 4")
            points = "document.querySelector('.plot').data.reduce((n, t) => n + t.x.length, 0)"
            wait_until(page, f"{points} > {done} + 4")
            run.send_signal(2)
            run.wait(timeout=60)
            page.wait_for_selector("h1 .badge.stopped")
            page.locator(".quantity.corrected .number").filter(has_text="0.").wait_for()
            assert page.evaluate("window.notReloaded")
    finally:
        run.kill()
        run.wait()


def test_a_new_curve_comes_to_an_open_page(browser: Any, tmp_path: Path) -> None:
    finish(tmp_path, "run", write(tmp_path, "open", 6, 12))
    finish(tmp_path, "validation-curve", "open", "--over", "width", "--values", "8,16")
    with served(tmp_path) as address, new_page(browser, address) as page:
        page.goto(f"{address}studies/open/")
        see_all_charts(page, 15)
        page.evaluate("window.notReloaded = true")
        finish(
            tmp_path, "validation-curve", "open", "--over", "activation", "--values", "relu,tanh"
        )
        page.get_by_role("heading", name="Validation curve over activation").wait_for()
        see_all_charts(page, 16)
        assert page.evaluate("window.notReloaded")
        assert fits(page)


def test_charts_and_open_rules_of_curves_outlive_news(browser: Any, address: str) -> None:
    with new_page(browser, address) as page:
        page.goto(f"{address}studies/digits/")
        see_all_charts(page, 16)
        page.get_by_text("Why these verdicts").first.click()
        assert page.locator(".stored-curve details[open] li").count() == 2
        marks = "document.querySelectorAll('.plot, #head > h1').forEach(e => e.dataset.old = 'yes')"
        page.evaluate(marks)
        page.evaluate("load(location.href)")
        assert page.locator("#head > h1[data-old]").count() == 0, "other parts are new"
        assert page.locator(".plot[data-old]:has(.main-svg)").count() == 16
        assert page.locator(".stored-curve details[open] li").count() == 2


def wait_for_a_trial(folder: Path) -> None:
    """Wait until the study has finished its first cohort."""
    for _ in range(200):
        done = subprocess.run(
            [sys.executable, "-m", "selection", "studies", "--json"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if (
            done.returncode == 0
            and json.loads(done.stdout)
            and json.loads(done.stdout)[0]["best_observed"]
        ):
            return
    raise AssertionError("the study never got on")


def test_the_reader_hears_that_the_server_is_gone(browser: Any, folder: Path) -> None:
    context = browser.new_context()
    with served(folder) as address:
        page = context.new_page()
        page.goto(f"{address}studies/digits/")
        page.evaluate("document.querySelector('[data-poll]').dataset.poll = '0.2'")
    page.wait_for_selector("#trouble:not([hidden])", timeout=30_000)
    assert "not up to date" in page.locator("#trouble").inner_text()
    context.close()
