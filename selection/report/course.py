"""How a study came to its end, in sentences: what was changed on the way, and what cut it short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selection.errors import show
from selection.report.cells import count_of
from selection.study.changes import READINGS, RecordedChange, departures
from selection.study.trial import Trial

if TYPE_CHECKING:
    from selection.store.study_record import StudyRecord
    from selection.workflows.assess import Assessment


def course_lines(assessment: Assessment) -> list[str]:
    """Return what a reader of the verdict must know of the way to it."""
    changes = [
        change_line(change)
        for change in assessment.study.changes
        if change.difference.key in READINGS
    ]
    return [*changes, *departure_lines(assessment), *_time_limit(assessment)]


def change_line(change: RecordedChange) -> str:
    """Say what was changed in the file of a study, when, and after how many trials."""
    return f"{change.difference.key} was changed {change_text(change)}"


def change_text(change: RecordedChange) -> str:
    """Say from what to what a key was changed, when, and after how many trials."""
    before, after = _shown(change.difference.before), _shown(change.difference.after)
    when = f"after {count_of(change.trials, 'trial')}, at {change.at:%Y-%m-%d %H:%M} UTC"
    return f"from {before} to {after} {when}"


def departure_lines(assessment: Assessment) -> list[str]:
    """Say at which trials a study was extended that is not the one with all trials at once."""
    cohort = assessment.spec.sections.search.cohort
    return [
        f"extended at trial {number}, inside a cohort of {cohort}: from there on its trials are "
        f"not those of a study of {assessment.spec.budget} from the start"
        for number in extended_at(assessment.study, assessment.trials)
    ]


def extended_at(study: StudyRecord, trials: Sequence[Trial]) -> list[int]:
    """Return the trials from which a study is not the one with its whole budget at once."""
    return departures(study.changes, trials, study.spec().sections.search.cohort)


def _time_limit(assessment: Assessment) -> list[str]:
    """Say that time ended the study before its budget of trials was spent."""
    finished = sum(trial.state.is_finished for trial in assessment.trials)
    budget = assessment.spec.budget
    if assessment.evaluations or not assessment.is_finished or finished >= budget:
        return []
    seconds = assessment.spec.sections.search.timeout_seconds
    return [
        f"ended by its time limit after {finished} of {budget} trials: "
        f"timeout_seconds = {seconds:g}; raise it to go on"
    ]


def _shown(value: object) -> str:
    return "none" if value is None else show(value)
