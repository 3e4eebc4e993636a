"""Proposes the cohorts of one sweep; if worthwhile, while the previous cohort still trains."""

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
    """Propose cohorts; with is_ahead, one cohort ahead of the training.

    Ahead, a proposal ignores the trials of the cohort just before it, even if they have finished in
    time. So it never depends on speed, and a resumed study proposes the same as an uninterrupted
    one. Only samplers that learn from trials are asked ahead.
    """

    def __init__(self, spec: StudySpec, *, is_ahead: bool) -> None:
        self._spec = spec
        self._is_ahead = is_ahead and spec.sections.search.sampler in ("tpe", "gp")
        self._history = History(spec)
        self._thread = ThreadPoolExecutor(1)
        self._asked: tuple[_Question, Future[Proposed]] | None = None

    def propose(
        self, finished: Sequence[Trial], count: int, cohort: int, pending: Sequence[Trial]
    ) -> Proposed:
        """Return the params of a cohort; the arguments are those of proposals.propose."""
        finished = self._visible(finished, cohort)
        asked, self._asked = self._asked, None
        if asked is not None:
            question, future = asked
            proposed = future.result()
            if question == _question(finished, count, cohort):
                return proposed
        return propose(self._spec, finished, count, cohort, pending, self._history)

    def look_ahead(self, finished: Sequence[Trial], count: int, cohort: int) -> None:
        """Start to propose the next cohort in the background, while the current one trains."""
        if not self._is_ahead or count < 1 or self._asked is not None:
            return
        finished = self._visible(finished, cohort)
        future = self._thread.submit(
            propose, self._spec, finished, count, cohort, (), history=self._history
        )
        self._asked = (_question(finished, count, cohort), future)

    def _visible(self, finished: Sequence[Trial], cohort: int) -> list[Trial]:
        return [trial for trial in finished if not self._is_ahead or trial.cohort < cohort - 1]


def _question(finished: Sequence[Trial], count: int, cohort: int) -> _Question:
    return _Question(cohort, count, tuple(trial.number for trial in finished))
