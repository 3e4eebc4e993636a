"""The report of a study as one HTML file that needs no network to be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from selection.errors import ErrorDetail, ExportError
from selection.report.html import render as html
from selection.report.html.pictures import Pictures
from selection.report.html.stored_curves import ShownCurves, show_curves
from selection.report.html.study_page import StudyAnswer, StudyFacts, study_answer, study_facts
from selection.report.html.trial_page import TrialPage, trial_page
from selection.report.leaderboard import Leaderboard, Order, leaderboard
from selection.report.plots.chart_source import Chart, ChartSource, Subject
from selection.report.plots.charts import charts_of, draw
from selection.report.plots.empty import why_empty
from selection.report.plots.figures import Figure
from selection.report.study_view import StudyView
from selection.report.work_folder import work_folder
from selection.store.repository import Repository
from selection.study.ensemble import leading
from selection.workflows.assess import Assessment

# All trials are in trials.csv.
MOST_ROWS = 100
# By this a report knows an older one, which it may replace.
MARK = '<meta name="generator" content="selection report">'
MARK_BYTES = 4096


@dataclass(frozen=True, eq=False)
class DrawnChart:
    """Hold a chart with its figure, and the id under which the file has it."""

    id: str
    chart: Chart
    figure: Figure | None

    @property
    def why_empty(self) -> str:
        return "" if self.figure is None else why_empty(self.figure)


@dataclass(frozen=True, eq=False)
class ReportPage:
    """Hold all that a report says; winner is the page of the winner, drawn what has a figure."""

    view: StudyView
    answer: StudyAnswer
    board: Leaderboard
    drawn: Sequence[DrawnChart]
    stored_curves: ShownCurves
    curve_figures: Sequence[DrawnChart]
    winner: TrialPage | None
    facts: StudyFacts
    made_at: datetime


def report_file(
    view: StudyView,
    assessment: Assessment,
    repository: Repository,
    pictures: Pictures,
    evaluate: str,
) -> str:
    """Return a report; evaluate is the command that opens the study's held-out set.

    Raises: StorageError where a row is damaged.
    """
    best = leading(assessment.winner)
    winner = None if best is None else trial_page(view, repository, best, pictures)
    diagnosis = None if winner is None else winner.diagnosis
    charts = charts_of("study", Subject(view))
    charts += [] if winner is None else winner.winner_charts
    source = ChartSource(view, assessment, repository)
    curves = show_curves(view, repository)
    page = ReportPage(
        view=view,
        answer=study_answer(view, assessment, diagnosis, waiting="", evaluate=evaluate),
        board=leaderboard(view, Order(), MOST_ROWS),
        drawn=_draw_all(charts, source),
        stored_curves=curves,
        curve_figures=[
            DrawnChart(each.id, each.chart, draw(each.chart.name, source, each.chart.query))
            for each in curves.shown
        ],
        winner=winner,
        facts=study_facts(view, repository.evidence.rows(view.study)),
        made_at=datetime.now(UTC),
    )
    return html.render("report.html", page=page, mark=Markup(MARK), base="")


def _draw_all(charts: Sequence[Chart], source: ChartSource) -> list[DrawnChart]:
    """Return the charts, and of those that have too little to show why."""
    drawn = [
        DrawnChart(f"figure-{index}", chart, draw(chart.name, source, chart.query))
        for index, chart in enumerate(charts)
    ]
    return [each for each in drawn if each.figure is not None]


def check_file(path: Path, *, force: bool) -> None:
    """Refuse to replace a file that is no report, or a link, unless by force.

    A link is never followed: with force it is replaced, and what it leads to stays.

    Raises: ExportError.
    """
    try:
        if path.is_dir():
            got, hint = "a folder", f"Name a file: --to {path / 'report.html'}."
            raise ExportError(ErrorDetail(str(path), "a report is a file", got, hint))
        if path.is_symlink() and not force:
            got = f"a link to {path.readlink()}"
            hint = "Name the file itself, or replace the link with --force."
            raise ExportError(ErrorDetail(str(path), "a report is a file", got, hint))
        if not path.exists():
            return
        if not path.is_file():
            got, hint = "a device or a pipe", "Name a file."
            raise ExportError(ErrorDetail(str(path), "a report is a file", got, hint))
        if force:
            return
        with path.open("rb") as file:
            is_report = MARK.encode() in file.read(MARK_BYTES)
    except OSError as error:
        raise _unwritable(path, error) from None
    if not is_report:
        rule, hint = "a report replaces only a report", "Name another file, or say --force."
        raise ExportError(ErrorDetail(str(path), rule, "another file", hint))


def write_report(path: Path, text: str) -> None:
    """Write a report whole, or leave what was there.

    Raises: ExportError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(path.parent) as work:
            file = work / path.name
            file.write_text(text, encoding="utf-8")
            os.replace(file, path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ExportError:
    got = error.strerror or str(error)
    return ExportError(
        ErrorDetail(str(path), "the file must be writable", got, "Name a file of yours.")
    )
