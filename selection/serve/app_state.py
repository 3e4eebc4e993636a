"""What requests are answered from: the open database, and what was read and computed of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from selection.report.diagnosis_view import show_diagnosis
from selection.report.html.pictures import Pictures
from selection.report.html.render import study_segment
from selection.report.html.report_file import report_file
from selection.report.html.study_page import answer_values, fact_values, winner_of
from selection.report.html.trial_page import find_trial, trial_values
from selection.report.leaderboard import Order, leaderboard
from selection.report.plots import figures
from selection.report.plots.charts import (
    CHOICES,
    ChartSource,
    contour_params,
    curve_trials,
    curve_values,
    draw,
    study_charts,
)
from selection.report.study_view import StudyView
from selection.serve.assessment_cache import Answer, AssessmentCache
from selection.serve.chart_cache import ChartCache
from selection.serve.dashboard import additions
from selection.serve.live import LiveStudies
from selection.store.repository import Repository
from selection.workflows.assess import Assessment, assess_study, rule_to_export

DASHBOARD_LEADERS = 5


class AppState:
    """Answer what pages ask of one open database.

    evaluate returns the command that opens the held-out set of the study of that name.
    """

    def __init__(self, repository: Repository, evaluate: Callable[[str], str]) -> None:
        self.repository = repository
        self.live = LiveStudies(repository)
        self.assessments = AssessmentCache(repository)
        self._charts = ChartCache()
        self._pictures = Pictures()
        self._evaluate = evaluate

    def study_values(
        self, view: StudyView, answer: Answer, order: Order, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return all that the page of a study says."""
        assessment = answer.assessment
        winner = winner_of(view, assessment)
        diagnosis = None
        if assessment is not None and winner is not None:
            diagnosis = show_diagnosis(view, self.repository, winner)
        evaluate = self._evaluate(view.study.name)
        names = list(view.spec.space)
        return {
            "view": view,
            **answer_values(view, assessment, diagnosis, waiting=answer.waiting, evaluate=evaluate),
            "board": leaderboard(view, order),
            "names": names,
            "charts": study_charts(view, query),
            "curves": curve_trials(view, query),
            **curve_values(view, self.repository),
            "contour": contour_params(view, query) if len(names) > 1 else ("", ""),
            **fact_values(view, self.repository.evidence.rows(view.study)),
        }

    def trial_values(self, view: StudyView, number: int) -> dict[str, Any]:
        """Return all that the page of a trial says.

        Raises: StudyStateError without such a trial.
        """
        return trial_values(view, self.repository, find_trial(view, number), self._pictures)

    def assessment_to_export(self, view: StudyView) -> Assessment:
        """Return the assessment that exports are of; it is waited for.

        Raises: StorageError.
        """
        rule = rule_to_export(view.evaluations)
        if rule in (None, view.spec.sections.selection.rule):
            return self.assessments.require(view)
        return assess_study(view.study, self.repository, rule)

    def report(self, view: StudyView, assessment: Assessment) -> str:
        """Return the page of a study as one file."""
        evaluate = self._evaluate(view.study.name)
        return report_file(view, assessment, self.repository, self._pictures, evaluate)

    def chart(self, view: StudyView, name: str, query: Mapping[str, str]) -> str:
        """Return a chart as JSON; null where there is nothing to show, or no such chart."""
        chosen = {word: query[word] for word in CHOICES if word in query}
        key = (view.study.uuid, name, tuple(chosen.items()))
        answer = self.assessments.get(view)
        version = (view.version, answer.assessment is not None)
        source = ChartSource(view, answer.assessment, self.repository)

        make = partial(draw, name, chosen, source)
        return self._charts.get(key, version, make, is_busy=view.is_training)

    def dashboard_additions(self, study_id: int | None) -> dict[str, dict[str, Any]]:
        """Return what Optuna Dashboard is shown beside what its tables hold, by uuid.

        Charts are drawn for the study with this number of Optuna's alone.
        """
        every = {}
        for study in self.repository.records.all_studies():
            is_asked = study.optuna_study_id == study_id
            charts = self._dashboard_charts(self.live.view(study)) if is_asked else {}
            segment = study_segment(study.name, study.uuid)
            note = f"[Winner, corrected score, curves by fold](/selection/studies/{segment}/)"
            metric = f"{study.spec_json['search']['metric']}, observed"
            every[study.uuid] = additions(metric, note, charts)
        return every

    def _dashboard_charts(self, view: StudyView) -> dict[str, Any]:
        leaders = view.ranked[:DASHBOARD_LEADERS]
        if not leaders:
            return {}
        records = self.repository.records
        curves = {trial.number: records.curves(view.study, trial.number) for trial in leaders}
        return {
            "learning-curves": figures.learning_band(view.spec, curves),
            "fold-scores": figures.leader_folds(view.spec, view.ranked[: 2 * DASHBOARD_LEADERS]),
        }
