"""The report of a study as one HTML file that needs no network to be read."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from selection.errors import ErrorDetail, ExportError
from selection.report.html import render as html
from selection.report.html.pictures import Pictures
from selection.report.html.study_page import answer_values, fact_values
from selection.report.html.trial_page import trial_values
from selection.report.leaderboard import Order, leaderboard
from selection.report.plots.charts import (
    LAYER_CHARTS,
    Chart,
    ChartSource,
    curve_values,
    draw,
    study_charts,
)
from selection.report.plots.figures import Figure
from selection.report.study_view import StudyView
from selection.store.repository import Repository
from selection.workflows.assess import Assessment

# All trials are in trials.csv.
MOST_ROWS = 100
# By this a report knows an older one, which it may replace.
MARK = '<meta name="generator" content="selection report">'
MARK_BYTES = 4096


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
    winner = assessment.winner
    charts = study_charts(view, {})
    of_trial: dict[str, Any] = {"trial": None, "predictions": None, "mistakes": []}
    diagnosis = None
    if winner is not None:
        of_trial = trial_values(view, repository, winner, pictures)
        of_winner = ("confusion", *LAYER_CHARTS)
        charts += [chart for chart in of_trial["charts"] if chart.name in of_winner]
        diagnosis = of_trial["diagnosis"]
    source = ChartSource(view, assessment, repository)
    drawn: list[tuple[str, Chart, Figure]] = []
    for index, chart in enumerate(charts):
        figure = draw(chart.name, chart.query, source)
        if figure is not None:
            drawn.append((f"figure-{index}", chart, figure))
    curves = curve_values(view, repository)
    figures = [(id, figure) for id, _, figure in drawn] + [
        (curve.id, draw(curve.chart.name, curve.chart.query, source))
        for curve in curves["stored_curves"]
    ]
    values = {
        **of_trial,
        **answer_values(view, assessment, diagnosis, waiting="", evaluate=evaluate),
        **curves,
        **fact_values(view, repository.evidence.rows(view.study)),
    }
    return html.render(
        "report.html",
        **{name: value for name, value in values.items() if name not in ("view", "charts")},
        view=view,
        board=leaderboard(view, Order(), MOST_ROWS),
        names=list(view.spec.space),
        mark=Markup(MARK),
        drawn=drawn,
        figures=figures,
        base="",
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )


def check_file(path: Path, *, force: bool) -> None:
    """Refuse to replace a file that is no report, unless by force.

    Raises: ExportError.
    """
    try:
        if path.is_dir():
            got, hint = "a folder", f"Name a file: --to {path / 'report.html'}."
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
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".report-") as work:
            file = Path(work, path.name)
            file.write_text(text, encoding="utf-8")
            os.replace(file, path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ExportError:
    got = error.strerror or str(error)
    return ExportError(
        ErrorDetail(str(path), "the file must be writable", got, "Name a file of yours.")
    )
