"""Proposes the cohorts of one sweep; if worthwhile, while the previous cohort still trains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from selection.search.history import History
from selection.search.proposals import propose
from selection.study.lag import Lag
from selection.study.spec import StudySpec
from selection.study.trial import Trial, Value

Proposed = list[dict[str, Value]]


@dataclass(frozen=True)
class _Question:
    cohort: int
    count: int
    finished: tuple[int, ...]
    running: tuple[int, ...]


class Proposer:
    """Propose cohorts, each from the trials that its lag lets it know.

    A proposal treats the trials of later cohorts as running, even if they have finished. So it
    never depends on speed, and a resumed study proposes the same as an uninterrupted one. Only
    samplers that learn from trials are asked ahead of the training.
    """

    def __init__(self, spec: StudySpec, lag: Lag) -> None:
        self._spec = spec
        learns = spec.sections.search.sampler in ("tpe", "gp")
        self.lag = replace(lag, is_ahead=lag.is_ahead and learns)
        self._history = History(spec)
        self._thread = ThreadPoolExecutor(1)
        self._asked: tuple[_Question, Future[Proposed]] | None = None

    def propose(
        self, finished: Sequence[Trial], count: int, cohort: int, pending: Sequence[Trial]
    ) -> Proposed:
        """Return the params of a cohort; the arguments are those of proposals.propose."""
        finished, running = self._seen(finished, pending, cohort)
        asked, self._asked = self._asked, None
        if asked is not None:
            question, future = asked
            proposed = future.result()
            if question == _question(finished, running, count, cohort):
                return proposed
        return propose(self._spec, finished, count, cohort, running, self._history)

    def look_ahead(
        self, finished: Sequence[Trial], count: int, cohort: int, pending: Sequence[Trial]
    ) -> None:
        """Start to propose the next cohort in the background, while the current one trains.

        pending are all trials that run, with those of the current cohort.
        """
        if not self.lag.is_ahead or cohort < 2 or count < 1 or self._asked is not None:
            return
        finished, running = self._seen(finished, pending, cohort)
        future = self._thread.submit(
            propose, self._spec, finished, count, cohort, running, self._history
        )
        self._asked = (_question(finished, running, count, cohort), future)

    def _seen(
        self, finished: Sequence[Trial], pending: Sequence[Trial], cohort: int
    ) -> tuple[list[Trial], list[Trial]]:
        """Return the trials that count as finished, and as running, both by number."""
        known = self.lag.proposed_from(cohort)
        if known is None:
            return list(finished), list(pending)
        earlier = [trial for trial in finished if trial.cohort < known]
        later = {trial.number: trial for trial in (*finished, *pending)}
        for trial in earlier:
            del later[trial.number]
        return earlier, [later[number] for number in sorted(later)]


def _question(
    finished: Sequence[Trial], running: Sequence[Trial], count: int, cohort: int
) -> _Question:
    finished_numbers, running_numbers = (
        tuple(trial.number for trial in trials) for trials in (finished, running)
    )
    return _Question(cohort, count, finished_numbers, running_numbers)
