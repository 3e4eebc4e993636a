"""What the page of a trial says: values for the templates, nothing of HTML."""

from __future__ import annotations

from typing import Any

from selection.errors import ErrorDetail, StudyStateError
from selection.report.diagnosis_view import show_diagnosis
from selection.report.html.pictures import Pictures
from selection.report.plots.charts import trial_charts
from selection.report.study_view import StudyView
from selection.store.repository import Repository
from selection.study.trial import Trial, TrialState
from selection.workflows.out_of_fold import most_confident_mistakes, out_of_fold


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


def trial_values(
    view: StudyView, repository: Repository, trial: Trial, pictures: Pictures
) -> dict[str, Any]:
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
    return {
        "view": view,
        "trial": trial,
        "metric": view.spec.metric,
        "folds": view.spec.sections.cv.folds,
        "diagnosis": diagnosis,
        "charts": trial_charts(trial, folds, has_predictions=has_classes),
        "predictions": predictions,
        "mistakes": [
            {"mistake": each, "picture": pictures.picture(view, each.row)} for each in mistakes
        ],
    }
