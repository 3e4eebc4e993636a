"""Proposes the cohorts of one sweep, where it pays while the cohort before still trains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from selection.search.history import History
from selection.search.proposals import propose
from selection.study.spec import StudySpec
from selection.study.trial import Trial, Value

Proposed = list[dict[str, Value]]


@dataclass(frozen=True)
class _Question:
    cohort: int
    count: int
    finished: tuple[int, ...]


class Proposer:
    """Ask for cohorts, one ahead where is_ahead says so.

    Ahead, a cohort is asked of all trials but those of the cohort just before it, whether or not
    these were known in time: what is proposed never depends on speed, and a resumed study proposes
    what the uninterrupted one would have. Samplers that learn nothing need no time and look at
    nothing.
    """

    def __init__(self, spec: StudySpec, *, is_ahead: bool) -> None:
        self._spec = spec
        self._is_ahead = is_ahead and spec.sections.search.sampler in ("tpe", "gp")
        # Of its own: the one that decides about pruning is in use while this one is asked.
        self._history = History(spec)
        self._thread = ThreadPoolExecutor(1)
        self._asked: tuple[_Question, Future[Proposed]] | None = None

    def propose(
        self, finished: Sequence[Trial], count: int, cohort: int, pending: Sequence[Trial]
    ) -> Proposed:
        """Return the params of a cohort; arguments as of search.propose."""
        finished = self._visible(finished, cohort)
        asked, self._asked = self._asked, None
        if asked is not None:
            question, answer = asked
            proposed = answer.result()
            if question == _question(finished, count, cohort):
                return proposed
        return propose(self._spec, finished, count, cohort, pending, self._history)

    def look_ahead(self, finished: Sequence[Trial], count: int, cohort: int) -> None:
        """Begin to ask for a cohort that will be wanted when the one before it is trained."""
        if not self._is_ahead or count < 1 or self._asked is not None:
            return
        finished = self._visible(finished, cohort)
        answer = self._thread.submit(
            propose, self._spec, finished, count, cohort, (), history=self._history
        )
        self._asked = (_question(finished, count, cohort), answer)

    def _visible(self, finished: Sequence[Trial], cohort: int) -> list[Trial]:
        return [trial for trial in finished if not self._is_ahead or trial.cohort < cohort - 1]


def _question(finished: Sequence[Trial], count: int, cohort: int) -> _Question:
    return _Question(cohort, count, tuple(trial.number for trial in finished))
