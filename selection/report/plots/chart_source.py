"""What a chart is on a page, and what it is drawn from; which charts there are is in charts.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from selection.report.study_view import StudyView
from selection.store.repository import Repository
from selection.study.trial import FoldResult, Trial
from selection.workflows.assess import Assessment

CURVE_TRIALS = 3
MOST_CURVE_TRIALS = 6
Query = Mapping[str, str]
# The choices of a reader that charts know.
CHOICES = ("param", "trial", "trials", "first", "second", "over")


@dataclass(frozen=True)
class Chart:
    """Name one chart of a page, and say in a caption what it shows; query are its choices."""

    name: str
    title: str
    caption: str
    query: Query = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The chart's address relative to the page of its study."""
        return f"figures/{self.name}.json" + (f"?{urlencode(self.query)}" if self.query else "")


@dataclass(frozen=True, eq=False)
class ChartSource:
    """Hold what charts are drawn from; curves and predictions are read when they are needed."""

    view: StudyView
    assessment: Assessment | None
    repository: Repository

    @property
    def finished(self) -> list[Trial]:
        return [trial for trial in self.view.trials if trial.state.is_finished]

    @property
    def winner(self) -> int | None:
        """The winner by the study's rule, or its leading trial; before that, the best so far."""
        if self.assessment is not None and self.assessment.winner is not None:
            return self.assessment.winner.number
        return self.view.ranked[0].number if self.view.ranked else None

    def folds(self, numbers: Sequence[int]) -> dict[int, Sequence[FoldResult]]:
        """Read the learning curves of trials, by number."""
        records = self.repository.records
        return {number: records.curves(self.view.study, number) for number in numbers}


@dataclass(frozen=True, eq=False)
class Subject:
    """Hold what a page is about: a study as a reader asks for it, or one of its trials."""

    view: StudyView
    query: Query = field(default_factory=dict)
    trial: Trial | None = None
    folds: Sequence[FoldResult] = ()
    has_predicted_classes: bool = False


def curve_trials(view: StudyView, query: Query) -> list[int]:
    """Return the trials whose learning curves are shown: those asked for, or the leaders."""
    words = query.get("trials", "").replace(",", " ").split()
    known = {trial.number for trial in view.trials if trial.epochs}
    asked = [int(word) for word in words if word.isdecimal() and len(word) < 10]
    found = [number for number in dict.fromkeys(asked) if number in known]
    leaders = [trial.number for trial in view.ranked[:CURVE_TRIALS]]
    return found[:MOST_CURVE_TRIALS] or leaders


def contour_params(view: StudyView, query: Query) -> tuple[str, str] | None:
    """Return the two hyperparameters of the contour: those asked for, or the first two."""
    names = list(view.spec.space)
    if len(names) < 2:
        return None
    first = query.get("first", "")
    first = first if first in names else names[0]
    others = [name for name in names if name != first]
    second = query.get("second", "")
    return first, second if second in others else others[0]
