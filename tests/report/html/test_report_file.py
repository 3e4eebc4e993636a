"""The report of a study is one file that needs nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.command_line import STUDY, Cli

STUDY_TEXT = STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy")


@pytest.fixture
def ran(cli: Cli) -> Cli:
    Path("s.toml").write_text(STUDY_TEXT)
    assert cli("run", "s.toml").code == 0
    return cli


def test_it_holds_all_that_it_needs(ran: Cli) -> None:
    outcome = ran("report", "small", "--to", "new/report.html")
    assert (outcome.code, outcome.out) == (0, "study small in new/report.html\n")
    text = Path("new/report.html").read_text()
    head = text[: text.index("plotly.js v")]
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', head)
    assert "default-src 'none'" in head
    figures = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', text))
    asked = re.findall(r'data-inline="([^"]+)"', text)
    assert asked
    assert set(asked) == set(figures)
    assert all(json.loads(figure)["data"] for figure in figures.values())
    assert "complete trials: fewer than 8 would show chance.</p>" in head, "empty charts say why"
    best = ran("best", "small", "--json").json
    assert f"{best['corrected']['estimate']:.4f}" in head
    assert f"{best['observed']['mean']:.4f}" in head
    assert sorted(path.name for path in Path("new").iterdir()) == ["report.html"]


def test_a_report_replaces_a_report_and_nothing_else(ran: Cli) -> None:
    for _ in range(2):
        assert ran("report", "small", "--to", "report.html").code == 0
    Path("mine.html").write_text("<!doctype html><p>mine")
    outcome = ran("report", "small", "--to", "mine.html")
    assert outcome.code == 1
    assert "mine.html: a report replaces only a report, but got another file." in outcome.err
    assert Path("mine.html").read_text() == "<!doctype html><p>mine"
    forced = ran("report", "small", "--to", "mine.html", "--force", "--json")
    assert forced.json == {
        "study": "small",
        "file": "mine.html",
        "bytes": Path("mine.html").stat().st_size,
    }


def test_a_place_that_is_no_file_is_refused(ran: Cli) -> None:
    Path("folder").mkdir()
    outcome = ran("report", "small", "--to", "folder")
    assert outcome.code == 1
    assert "folder: a report is a file, but got a folder. Name a file:" in outcome.err
    os.mkfifo("pipe")
    for words in ([], ["--force"]):
        outcome = ran("report", "small", "--to", "pipe", *words)
        assert outcome.code == 1
        assert "a report is a file, but got a device or a pipe" in outcome.err
    outcome = ran("report", "small", "--to", "s.toml/report.html")
    assert outcome.code == 1
    assert "the file must be writable" in outcome.err


def test_a_study_without_a_complete_trial_has_a_report(cli: Cli) -> None:
    diverging = STUDY_TEXT.replace("low = 0.05, high = 1.0, log = true", "choices = [1e30]")
    Path("s.toml").write_text(diverging)
    assert cli("run", "s.toml").code == 1
    assert cli("status", "small", "--json").json["trials"]["failed"] == 5
    assert cli("report", "small", "--to", "report.html").code == 0
    assert "No trial is complete, so there is no winner." in Path("report.html").read_text()


def test_a_study_that_is_not_there_writes_nothing(ran: Cli) -> None:
    outcome = ran("report", "smal", "--to", "report.html")
    assert outcome.code == 1
    assert "small" in outcome.err
    assert not Path("report.html").exists()


def test_a_link_is_replaced_by_force_alone_and_never_followed(ran: Cli) -> None:
    assert ran("report", "small", "--to", "target.html").code == 0
    before = Path("target.html").read_bytes()
    for name, target in (("link.html", "target.html"), ("dangling.html", "nowhere.html")):
        link = Path(name)
        link.symlink_to(target)
        refused = ran("report", "small", "--to", name)
        assert refused.code == 1
        assert f"a report is a file, but got a link to {target}." in refused.err
        assert link.is_symlink()
        assert ran("report", "small", "--to", name, "--force").code == 0
        assert not link.is_symlink()
    assert Path("target.html").read_bytes() == before
    assert not Path("nowhere.html").exists()
