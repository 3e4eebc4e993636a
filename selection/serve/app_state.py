"""What every request shares: the open database, and the caches of what was read and computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from selection.report.diagnosis_view import show_diagnosis
from selection.report.html.pictures import Pictures
from selection.report.html.render import study_segment
from selection.report.html.report_file import report_file
from selection.report.html.stored_curves import show_curves
from selection.report.html.study_page import StudyPage, study_answer, study_facts, winner_of
from selection.report.html.trial_page import TrialPage, find_trial, trial_page
from selection.report.leaderboard import Order, leaderboard
from selection.report.plots.chart_source import (
    CHOICES,
    ChartSource,
    Query,
    Subject,
    contour_params,
    curve_trials,
)
from selection.report.plots.charts import charts_of, draw
from selection.report.plots.figures import Figure
from selection.report.study_view import StudyView
from selection.serve.assessment_cache import AssessmentCache, KnownAssessment
from selection.serve.chart_cache import ChartCache
from selection.serve.dashboard import additions
from selection.serve.live import LiveStudies
from selection.store.repository import Repository
from selection.workflows.assess import Assessment, assess_study, rule_to_export
from selection.workflows.compare import StudyComparison, compare_studies, compared_study


class AppState:
    """Hold one open database with its caches, and make what pages show from them.

    evaluate returns the command that opens the held-out set of the study of that name.
    """

    def __init__(self, repository: Repository, evaluate: Callable[[str], str]) -> None:
        self.repository = repository
        self.live = LiveStudies(repository)
        self.assessments = AssessmentCache(repository)
        self._charts = ChartCache()
        self._pictures = Pictures()
        self._evaluate = evaluate

    def study_page(
        self, view: StudyView, known: KnownAssessment, order: Order, query: Query
    ) -> StudyPage:
        """Return all that the page of a study says.

        Raises: StorageError where a row is damaged.
        """
        assessment = known.assessment
        winner = winner_of(view, assessment)
        diagnosis = None
        if assessment is not None and winner is not None:
            diagnosis = show_diagnosis(view, self.repository, winner)
        evaluate = self._evaluate(view.study.name)
        return StudyPage(
            view=view,
            answer=study_answer(
                view, assessment, diagnosis, waiting=known.waiting, evaluate=evaluate
            ),
            board=leaderboard(view, order),
            charts=charts_of("study", Subject(view, query)),
            curve_trials=curve_trials(view, query),
            contour=contour_params(view, query),
            stored_curves=show_curves(view, self.repository),
            facts=study_facts(view, self.repository.evidence.rows(view.study)),
        )

    def trial_page(self, view: StudyView, number: int) -> TrialPage:
        """Return all that the page of a trial says.

        Raises: StudyStateError without such a trial; StorageError where a row is damaged.
        """
        return trial_page(view, self.repository, find_trial(view, number), self._pictures)

    def known_comparison(self, first: StudyView, second: StudyView) -> StudyComparison | str:
        """Return the comparison of two studies, or why there is none yet; nothing is waited for.

        Raises: StudyStateError if one of them has no complete trial.
        """
        found = []
        for view in (first, second):
            known = self.assessments.get(view)
            if known.assessment is None:
                return f"study {view.study.name}: {known.waiting}; load this page again later"
            found.append(compared_study(known.assessment, view.seconds))
        return compare_studies(*found)

    def comparison(self, first: StudyView, second: StudyView) -> StudyComparison:
        """Return the comparison of two studies; their assessments are waited for.

        Raises: StudyStateError if one of them has no complete trial; StorageError.
        """
        one, other = (
            compared_study(self.assessments.require(view), view.seconds) for view in (first, second)
        )
        return compare_studies(one, other)

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

    def chart(self, view: StudyView, name: str, query: Query) -> str:
        """Return a chart of CHARTS as JSON; null where there is nothing to show."""
        chosen = {word: query[word] for word in CHOICES if word in query}
        key = (view.study.uuid, name, tuple(chosen.items()))
        assessment = self.assessments.get(view).assessment
        version = (view.version, assessment is not None)
        make = partial(draw, name, ChartSource(view, assessment, self.repository), chosen)
        return self._charts.get(key, version, make, is_busy=view.is_training)

    def dashboard_additions(self, study_id: int | None) -> dict[str, dict[str, Any]]:
        """Return what Optuna Dashboard is shown beside what its tables hold, by uuid.

        Charts are drawn for the study with this number of Optuna's alone.
        """
        every = {}
        for study in self.repository.studies.names():
            is_asked = study.optuna_study_id == study_id
            record = self.repository.records.find_uuid(study.uuid) if is_asked else None
            charts = {} if record is None else self._dashboard_charts(self.live.view(record))
            segment = study_segment(study.name, study.uuid)
            note = f"[Winner, corrected score, curves by fold](/selection/studies/{segment}/)"
            every[study.uuid] = additions(f"{study.metric}, observed", note, charts)
        return every

    def _dashboard_charts(self, view: StudyView) -> dict[str, Figure | None]:
        if not view.ranked:
            return {}
        source = ChartSource(view, None, self.repository)
        charts = charts_of("dashboard", Subject(view))
        return {each.name: draw(each.name, source, each.query) for each in charts}
