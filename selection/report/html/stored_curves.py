"""What pages show of the stored curves of a study: a chart and the diagnosis of each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selection.report.diagnosis_view import MOST_CURVES, StoredCurve, judged_points, stored_curves
from selection.report.plots.chart_source import Chart
from selection.report.plots.charts import make_chart
from selection.report.study_view import StudyView
from selection.stats.fit_diagnosis import Diagnosis
from selection.store.curve_points import CurvePoint
from selection.store.repository import Repository


@dataclass(frozen=True, eq=False)
class ShownCurve:
    """Hold a stored curve as pages show it: its chart, and each point with its diagnosis."""

    id: str
    chart: Chart
    points: Sequence[tuple[CurvePoint, Diagnosis | None]]


@dataclass(frozen=True, eq=False)
class ShownCurves:
    """Hold the stored curves that a page shows, and how many it leaves out."""

    shown: Sequence[ShownCurve]
    left_out: int


def show_curves(view: StudyView, repository: Repository) -> ShownCurves:
    """Return the stored curves of a study, by trial and name.

    Raises: StorageError where a row is damaged.
    """
    found = stored_curves(view, repository)
    shown = [
        ShownCurve(f"curve-{index}", _chart(view, curve), judged_points(view, repository, curve))
        for index, curve in enumerate(found[:MOST_CURVES])
    ]
    return ShownCurves(shown, len(found) - len(shown))


def _chart(view: StudyView, curve: StoredCurve) -> Chart:
    chosen = {"over": curve.over, "trial": str(curve.number)}
    words = {"title": curve.title, "folds": str(curve.folds), "setting": curve.setting}
    return make_chart("point-curve", view, chosen, **words)
