"""What pages say of diagnoses and stored curves: values for the templates, nothing of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from selection.report.cells import show_value
from selection.report.study_view import StudyView
from selection.stats.fit_diagnosis import Diagnosis
from selection.store.curve_points import ROWS, CurvePoint
from selection.store.repository import Repository
from selection.study.trial import Trial
from selection.workflows.diagnose import (
    BaselineLine,
    baseline_lines,
    diagnose_points,
    diagnose_trial,
)

# Reading and judging more of them would hold up a page.
MOST_CURVES = 8


@dataclass(frozen=True)
class ShownDiagnosis:
    """Hold a diagnosis, the baselines beside it, and the level of the interval of the gap.

    best_epoch is Trial.best_epoch.
    """

    found: Diagnosis
    baselines: Mapping[str, BaselineLine]
    metric: str
    level: float
    best_epoch: int | None = None


@dataclass(frozen=True, eq=False)
class StoredCurve:
    """Hold the points of one curve by value: over a hyperparameter or "rows", of one trial."""

    number: int
    over: str
    points: Sequence[CurvePoint]

    @property
    def title(self) -> str:
        title = curve_title(self.number, self.over)
        return title[0].upper() + title[1:]

    @property
    def folds(self) -> int:
        return max(len(point.folds) for point in self.points)

    @property
    def setting(self) -> str:
        """Say what the points have in common, and which are not drawn."""
        if self.over == ROWS:
            fixed = (
                f"Nested subsets of the training rows with the setting of trial {self.number}, on "
                "the same validation rows; all sizes take about the same number of updates."
            )
        else:
            fixed = f"All hyperparameters but {self.over} are those of trial {self.number}."
        failed = [show_value(each.value) for each in self.points if not each.is_complete]
        left_out = f" Left out, because training failed: {', '.join(failed)}." if failed else ""
        return f"{fixed}{left_out}"


def show_diagnosis(view: StudyView, repository: Repository, trial: Trial) -> ShownDiagnosis | None:
    """Return the diagnosis of a trial with what it rests on; None where there is none.

    Raises: StorageError where a row is damaged.
    """
    found = diagnose_trial(view.study, view.spec, repository, trial, view.ranked)
    if found is None:
        return None
    baselines = baseline_lines(view.study, view.spec, repository)
    level = view.spec.sections.assessment.level
    return ShownDiagnosis(found, baselines, view.spec.metric, level, trial.best_epoch)


def stored_curves(view: StudyView, repository: Repository) -> list[StoredCurve]:
    """Return the curves of a study, by trial and name.

    Raises: StorageError where a row is damaged.
    """
    if not view.curve_folds:
        return []
    key = attrgetter("number", "over")
    return [
        StoredCurve(*of_curve, list(points))
        for of_curve, points in groupby(repository.curves.points(view.study), key)
    ]


def judged_points(
    view: StudyView, repository: Repository, curve: StoredCurve
) -> list[tuple[CurvePoint, Diagnosis | None]]:
    """Return each point of a curve with its diagnosis, None where there is none.

    Raises: StorageError where a row is damaged.
    """
    found = diagnose_points(view.study, view.spec, repository, curve.points)
    return list(zip(curve.points, found, strict=True))


def curve_title(number: int, over: str) -> str:
    """Return what a curve is called."""
    if over == ROWS:
        return f"sample-size curve, setting of trial {number}"
    return f"validation curve over {over}, all else as in trial {number}"
