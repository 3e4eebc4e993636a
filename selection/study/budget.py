"""When a study is finished."""

from __future__ import annotations

from collections.abc import Sequence

from selection.study.spec import StudySpec
from selection.study.trial import Trial


def is_finished(spec: StudySpec, trials: Sequence[Trial], seconds: float) -> bool:
    """Return whether the budget of a study, in trials or in seconds, is spent."""
    finished = sum(trial.state.is_finished for trial in trials)
    limit = spec.sections.search.timeout_seconds
    is_late = finished > 0 and 0 < limit <= seconds and finished == len(trials)
    return finished >= spec.budget or is_late
