"""When a study is finished."""

from __future__ import annotations

from collections.abc import Sequence

from selection.study.spec import StudySpec
from selection.study.trial import Trial


def is_finished(spec: StudySpec, trials: Sequence[Trial], seconds: float) -> bool:
    """Return whether the budget of a study, in trials or in seconds, is spent."""
    finished = sum(trial.state.is_finished for trial in trials)
    limit = spec.sections.search.timeout_seconds
    return is_spent(finished, len(trials), spec.budget, limit, seconds)


def is_spent(finished: int, begun: int, budget: int, limit: float, seconds: float) -> bool:
    """Return whether a budget is spent by so many trials, finished and begun, and seconds.

    Units: limit is in seconds, 0 for none.
    """
    is_late = finished > 0 and 0 < limit <= seconds and finished == begun
    return finished >= budget or is_late
