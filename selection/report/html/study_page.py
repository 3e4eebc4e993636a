"""What the page of a study and its report say: values for the templates, nothing of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selection.report.answer import Quantity, answer
from selection.report.cells import show_dimension, show_value
from selection.report.course import change_text, course_lines
from selection.report.diagnosis_view import ShownDiagnosis
from selection.report.html.stored_curves import ShownCurves
from selection.report.leaderboard import Leaderboard
from selection.report.plots.chart_source import Chart
from selection.report.study_view import StudyView
from selection.report.verdict import detail_lines, held_out_lines, winner_lines
from selection.report.warnings import StudyWarning, early_warnings, study_warnings
from selection.store.evidence import RowFacts
from selection.study.ensemble import counts_of, weights_of
from selection.study.trial import Trial
from selection.workflows.assess import Assessment

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """Hold facts under a title."""

    title: str
    pairs: Pairs


@dataclass(frozen=True, eq=False)
class StudyAnswer:
    """Hold who won and how good that is; while is_final is false, winner is the best so far."""

    warnings: Sequence[StudyWarning]
    winner: Trial | None
    weights: Mapping[int, float]
    is_final: bool
    numbers: Sequence[Quantity]
    lines: Sequence[str]
    details: Sequence[str]
    diagnosis: ShownDiagnosis | None


@dataclass(frozen=True, eq=False)
class StudyFacts:
    """Hold what the study was made of; classes have their development rows by name."""

    sections: Sequence[Section]
    classes: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class StudyPage:
    """Hold all that the page of a study says as a reader asks for it.

    curve_trials and contour are the choices of its charts.
    """

    view: StudyView
    answer: StudyAnswer
    board: Leaderboard
    charts: Sequence[Chart]
    curve_trials: Sequence[int]
    contour: tuple[str, str] | None
    stored_curves: ShownCurves
    facts: StudyFacts


def study_answer(
    view: StudyView,
    assessment: Assessment | None,
    diagnosis: ShownDiagnosis | None,
    *,
    waiting: str,
    evaluate: str,
) -> StudyAnswer:
    """Return who won and how good that is; waiting says why there is no assessment yet."""
    winner = winner_of(view, assessment)
    lines: list[str] = []
    details: list[str] = []
    if assessment is not None and winner is not None:
        details = detail_lines(assessment)
        lines = winner_lines(assessment, winner) + course_lines(assessment)
        lines += held_out_lines(assessment, evaluate)
    return StudyAnswer(
        warnings=early_warnings(view.study, view.trials)
        if assessment is None
        else study_warnings(assessment),
        winner=winner,
        weights=_weights(winner),
        is_final=assessment is not None,
        numbers=answer(view, assessment, waiting),
        lines=lines,
        details=details,
        diagnosis=diagnosis,
    )


def _weights(winner: Trial | None) -> dict[int, float]:
    """Return the weights of an ensemble by the number of its trials; nothing of a trial."""
    counts = None if winner is None else counts_of(winner)
    return {} if counts is None else weights_of(counts)


def winner_of(view: StudyView, assessment: Assessment | None) -> Trial | None:
    """Return the winner by the rule, or while that is not known the best trial so far."""
    if assessment is not None:
        return assessment.winner
    return view.ranked[0] if view.ranked else None


def study_facts(view: StudyView, rows: RowFacts | None) -> StudyFacts:
    """Return what the study was made of; rows are those of its evidence."""
    sections = [
        Section("Data", _data(view)),
        Section("Folds", _folds(view, rows)),
        Section("Search space", [(n, show_dimension(d)) for n, d in view.spec.space.items()]),
        Section("Fixed settings", _fixed(view)),
        Section("Search", _flat(view.study.spec_json["search"])),
        Section("Changes after it began", _changes(view)),
        Section("Environment", _flat(view.study.environment)),
    ]
    shown = [section for section in sections if section.pairs]
    return StudyFacts(shown, view.study.facts.class_counts)


def _data(view: StudyView) -> Pairs:
    study, facts = view.study, view.study.facts
    return [
        *_flat(study.spec_json["data"]),
        ("development rows", str(facts.rows)),
        ("held-out rows", str(facts.held_out_rows)),
        ("features", str(facts.features)),
        ("rows with a copy in another fold", str(facts.duplicate_rows)),
        ("fingerprint", study.data_fingerprint[:16]),
        ("study file's fingerprint", study.spec_fingerprint[:16]),
    ]


def _folds(view: StudyView, rows: RowFacts | None) -> Pairs:
    pairs = [("kind of folds", view.study.facts.fold_kind)]
    pairs += _flat(view.study.spec_json["cv"])
    if rows is not None:
        sizes = [np.bincount(folds[folds >= 0]).tolist() for folds in rows.folds]
        shown = "; ".join(", ".join(map(str, of_repeat)) for of_repeat in sizes)
        pairs.append(("validation rows by fold", shown))
    return pairs


def _fixed(view: StudyView) -> Pairs:
    constants = [(name, show_value(value)) for name, value in view.spec.constants.items()]
    return constants + list(_flat(view.study.spec_json["training"]))


def _changes(view: StudyView) -> Pairs:
    return [(each.difference.key, change_text(each)) for each in view.study.changes]


def _flat(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the keys of a section that say something, with short values."""
    return [
        (name.replace("_", " "), _short(value))
        for name, value in section.items()
        if value not in (None, "", {}, [])
    ]


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
