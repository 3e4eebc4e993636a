"""The files that a study's page offers for download. Nothing is trained; no name becomes a path.

They are those of `selection export`; the model is there once `selection evaluate` has made it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec

from selection.errors import ErrorDetail, StudyStateError
from selection.report.study_view import StudyView
from selection.serve.app_state import AppState
from selection.study.trial import Trial
from selection.workflows.assess import Assessment, trial_to_export

# By name: what it is, the format it comes from, its media type.
DOWNLOADS: Mapping[str, tuple[str, str, str]] = {
    "best.toml": ("the winner as a study file", "toml", "application/toml"),
    "best.json": ("the winner, its scores and how certain they are", "json", "application/json"),
    "trials.csv": ("every trial", "csv", "text/csv; charset=utf-8"),
    "report.html": ("this page as one file", "", "text/html; charset=utf-8"),
    "model.zip": ("the final model, its weights and its model card", "", "application/zip"),
}


def downloads(view: StudyView) -> list[tuple[str, str]]:
    """Return the name and title of every file that a study has now."""
    if not view.ranked:
        return []
    is_evaluated = any(evaluation.result is not None for evaluation in view.evaluations)
    return [
        (name, title)
        for name, (title, _, _) in DOWNLOADS.items()
        if name != "model.zip" or is_evaluated
    ]


def make_download(app_state: AppState, view: StudyView, name: str) -> tuple[bytes, str]:
    """Return the content of one of DOWNLOADS and its media type.

    Raises: StudyStateError where the study has no winner, or no final model yet.
    """
    # It imports torch, which a server that only shows pages does not need.
    from selection.report.export import Winner, make_files

    _, form, kind = DOWNLOADS[name]
    assessment = app_state.assessment_to_export(view)
    if name == "report.html":
        return app_state.report(view, assessment).encode(), kind
    trial = trial_to_export(assessment)
    if name == "model.zip":
        return _bundle(app_state, view, assessment, trial), kind
    return make_files(Winner(assessment, trial, None), [form])[name], kind


def _bundle(app_state: AppState, view: StudyView, assessment: Assessment, trial: Trial) -> bytes:
    from selection.report.export import EXTRAS, FORMATS, Winner, make_files
    from selection.workflows.kept_models import kept_models

    is_evaluated = any(evaluation.result is not None for evaluation in view.evaluations)
    evidence = app_state.repository.evidence
    models = kept_models(view.study, trial, evidence) if is_evaluated else []
    if not models:
        rule = "the final model is made by selection evaluate"
        hint = "Run selection evaluate, or selection export, which trains it."
        raise StudyStateError(ErrorDetail(view.study.name, rule, "no evaluation yet", hint))
    missing = [name for name, package in EXTRAS.items() if find_spec(package) is None]
    formats = [name for name in FORMATS if name not in missing]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in make_files(Winner(assessment, trial, models[0]), formats).items():
            # One date, so that the same model is the same bytes.
            bundle.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
