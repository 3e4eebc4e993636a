"""What the page of a trial says: values for the templates, nothing of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selection.errors import ErrorDetail, StudyStateError
from selection.report.diagnosis_view import ShownDiagnosis, show_diagnosis
from selection.report.html.pictures import Pictures
from selection.report.plots.chart_source import Chart, Subject
from selection.report.plots.charts import charts_of
from selection.report.study_view import StudyView
from selection.store.repository import Repository
from selection.study.trial import Trial, TrialState
from selection.workflows.out_of_fold import (
    Mistake,
    OutOfFold,
    most_confident_mistakes,
    out_of_fold,
)


def find_trial(view: StudyView, number: int) -> Trial:
    """Return a trial by number.

    Raises: StudyStateError without it.
    """
    trial = next((trial for trial in view.trials if trial.number == number), None)
    if trial is None:
        rule = "the study must have the trial"
        hint = f"Trials are numbered from 0 to {len(view.trials) - 1}."
        raise StudyStateError(ErrorDetail(view.study.name, rule, f"trial {number}", hint))
    return trial


@dataclass(frozen=True, eq=False)
class ShownMistake:
    """Hold a row predicted wrongly; picture is the address of its image, "" without one."""

    mistake: Mistake
    picture: str


@dataclass(frozen=True, eq=False)
class TrialPage:
    """Hold all that a page says of one trial; predictions and diagnosis are of a complete one."""

    view: StudyView
    trial: Trial
    diagnosis: ShownDiagnosis | None
    subject: Subject
    predictions: OutOfFold | None
    mistakes: Sequence[ShownMistake]

    @property
    def charts(self) -> list[Chart]:
        return charts_of("trial", self.subject)

    @property
    def winner_charts(self) -> list[Chart]:
        """What a report shows of the winner beside the charts of the study."""
        return charts_of("winner", self.subject)


def trial_page(
    view: StudyView, repository: Repository, trial: Trial, pictures: Pictures
) -> TrialPage:
    """Return all that is known of one trial.

    Raises: StorageError where a row is damaged.
    """
    study, number = view.study, trial.number
    predictions, mistakes, diagnosis = None, [], None
    if trial.state is TrialState.COMPLETE:
        predictions = out_of_fold(study, repository, number)
        mistakes = most_confident_mistakes(study, repository, number)
        diagnosis = show_diagnosis(view, repository, trial)
    folds = repository.records.curves(study, number) if trial.epochs else ()
    has_classes = predictions is not None and predictions.counts is not None
    return TrialPage(
        view=view,
        trial=trial,
        diagnosis=diagnosis,
        subject=Subject(view, {}, trial, folds, has_classes),
        predictions=predictions,
        mistakes=[ShownMistake(each, pictures.picture(view, each.row)) for each in mistakes],
    )
