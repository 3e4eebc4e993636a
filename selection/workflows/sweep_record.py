"""What a sweep does with its record: claim a cohort, begin it, plan it, finish it.

A cohort is one event of the record: killed at any moment, the study goes on with the cohort it was
in and ends with the trials of the uninterrupted study.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

from selection.errors import RefusedError, SelectionError, StudyStateError
from selection.search import Proposer
from selection.store.claims import Claim, Limits, NewCohort, ResumedCohort, Spent
from selection.store.leases import Lease, Worker
from selection.store.recovery import RecoveryFiles
from selection.store.repository import Repository
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.lag import Lag
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialResult, TrialState
from selection.workflows.cohort import CohortPlan, Memory, is_settled, plan_cohort, trial_of

Value = TypeVar("Value")


@dataclass(frozen=True)
class BegunCohort:
    """Hold a cohort whose trials are on record and run; trials are ordered by number."""

    lease: Lease
    trials: Sequence[Trial]

    @property
    def params(self) -> dict[int, Params]:
        return {trial.number: trial.params for trial in self.trials}


class SweepRecord:
    """Keep the record of a sweep for one worker, or for the driver of several.

    Its lag says what a cohort may know. One that begins ahead begins a cohort as soon as the
    sampler can propose it; else all that the cohort may know must have finished. say is told what a
    person should hear.
    """

    def __init__(
        self,
        spec: StudySpec,
        study: StudyRecord,
        repository: Repository,
        worker: Worker,
        say: Callable[[str], None],
        *,
        lag: Lag,
        max_retries: int | None,
        begins_ahead: bool = False,
    ) -> None:
        self.spec = spec
        self.study = study
        self.repository = repository
        self.worker = worker
        self.say = say
        self.proposer = Proposer(spec, lag)
        self.lag = self.proposer.lag
        search = spec.sections.search
        self.limits = Limits(
            spec.budget,
            search.cohort,
            search.timeout_seconds,
            max_retries,
            search.max_consecutive_failures,
            # A free lag waits for nobody, however far ahead the sampler is asked.
            self.lag if begins_ahead and lag.cohorts is not None else Lag(lag.cohorts),
        )
        self._begins_ahead = begins_ahead
        self._memory = Memory(spec)
        self._recovery = RecoveryFiles(repository.database.address, study)
        self._is_exhausted = False
        # Of the settled trials among the finished.
        self._tried: set[Setting] = set()
        # By number.
        self.finished: list[Trial] = []
        # Begun here and not finished, by number: they need not be read.
        self._running: dict[int, Trial] = {}
        # All trials of the cohorts below this one have finished; of later ones, by cohort, these.
        self._first_unfinished = 0
        self._finished_since: dict[int, set[int]] = {}

    def claim(self, training: Collection[int] = ()) -> Claim:
        """Return the next cohort to train; training are those that this worker trains already."""
        cohorts = self.repository.cohorts
        claim = self.retry(lambda: cohorts.claim(self.study, self.worker, self.limits, training))
        if isinstance(claim, Spent):
            self._recovery.remove()
        return claim

    def begin(self, claim: NewCohort | ResumedCohort) -> BegunCohort:
        """Propose the trials of a new cohort and write them down; those of another are on record.

        Raises: LostCohortError if another worker has the cohort.
        """
        # Before the finished ones: a trial that ends in between is in both, not in neither.
        pending = self._pending()
        self._learn()
        if isinstance(claim, ResumedCohort):
            begun = BegunCohort(claim.lease, claim.trials)
        else:
            begun = self._begin_new(claim, pending)
        self._running |= {trial.number: trial for trial in begun.trials}
        if not self._begins_ahead:
            self._look_ahead(begun, pending)
        return begun

    def knows_enough(self, begun: BegunCohort) -> bool:
        """Say whether all that a cohort is to know has finished; one begun ahead has to wait.

        Also where it was another process that began it ahead.
        """
        known = begun.trials[0].known_cohorts
        known = self.lag.known(begun.lease.cohort) if known is None else known
        if known is None:
            return True
        if self._first_unfinished >= known:
            return True
        # A cohort may be missing as a whole, where another program has deleted its trials.
        pending = self._pending()
        self._learn()
        return all(trial.cohort >= known for trial in pending)

    def plan(self, begun: BegunCohort) -> CohortPlan:
        """Return what of a cohort is to be trained, given the trials that it knows."""
        known = begun.trials[0].known_cohorts
        finished = [trial for trial in self.finished if known is None or trial.cohort < known]
        cohort = begun.lease.cohort
        return plan_cohort(self.spec, cohort, begun.params, finished, self._memory)

    def recovered(self, begun: BegunCohort) -> dict[int, TrialResult] | None:
        """Return the results of a cohort that was trained and could not be recorded."""
        number = begun.lease.cohort
        results = self._recovery.take(number, begun.params)
        if results is not None:
            self.say(f"{self.spec.name}: cohort {number} was trained before, and is recorded")
        return results

    def recall(self, trial: Trial) -> TrialResult:
        """Return the result of a finished trial."""
        records = self.repository.records
        folds = self.retry(lambda: records.curves(self.study, trial.number, outputs=True))
        return TrialResult(trial.state, trial.reason, folds, trial.epochs, 0.0)

    def finish(self, begun: BegunCohort, results: Mapping[int, TrialResult]) -> None:
        """Record a cohort; if the database does not take it, keep it in a file beside it.

        Raises: LostCohortError if another worker has the cohort.
        """
        lease, params = begun.lease, begun.params
        cohorts = self.repository.cohorts
        try:
            self.retry(lambda: cohorts.finish(self.study, lease, results, params))
        except (StudyStateError, RefusedError):
            raise
        except BaseException:
            # An interrupt too: it may come while the database is waited for.
            if path := self._recovery.keep(lease.cohort, params, results):
                self.say(
                    f"{self.spec.name}: cohort {lease.cohort} is trained and kept in {path}; "
                    "the next run of the study records it"
                )
            raise
        self._recovery.remove(lease.cohort)
        running = {trial.number: trial for trial in begun.trials}
        self._keep(trial_of(running[number], result) for number, result in results.items())

    def lose(self, lease: Lease) -> None:
        """Note that the process that trained a cohort has died."""
        self.retry(lambda: self.repository.leases.lose(self.study, lease))

    def release(self, lease: Lease) -> None:
        """Give a cohort back."""
        # Where even that fails, the trials stay running until the lease ends.
        with suppress(SelectionError):
            self.repository.cohorts.release(self.study, lease)

    def retry(self, act: Callable[[], Value]) -> Value:
        """Call act again while the database does not respond."""
        return retry(act, self.say)

    def _begin_new(self, claim: NewCohort, pending: Sequence[Trial]) -> BegunCohort:
        """Ask for the next cohort and write it down."""
        lease, queued = claim.lease, claim.queued
        # With a lag of one, cohorts follow each other and know all earlier ones.
        known = None if self.lag.cohorts == 1 else self.lag.known(lease.cohort)
        empty = Trial(0, TrialState.RUNNING, {}, lease.cohort, known_cohorts=known)
        waiting = [
            replace(empty, number=q.number, state=q.state, params=q.params, asked_for=q.asked_for)
            for q in queued
        ]
        proposed = self.proposer.propose(
            self.finished, claim.new_trials, lease.cohort, [*pending, *waiting]
        )
        begin, space = self.repository.cohorts.begin, self.spec.space
        numbers = self.retry(lambda: begin(self.study, lease, proposed, space, queued, known))
        self._say_if_exhausted(proposed)
        new = [(params, "") for params in proposed]
        asked = [(trial.params, trial.asked_for) for trial in waiting]
        # The default of the first cohort comes before what was asked for.
        first = 0 if lease.cohort else 1
        settings = [*new[:first], *asked, *new[first:]]
        trials = [
            replace(empty, number=number, params=params, asked_for=asked_for)
            for number, (params, asked_for) in zip(numbers, settings, strict=True)
        ]
        return BegunCohort(lease, trials)

    def _look_ahead(self, begun: BegunCohort, pending: Sequence[Trial]) -> None:
        """Start to propose the cohort after this one, if the sampler is asked ahead."""
        others = (*pending, *begun.trials)
        # Numbers may be greater than counts: other programs number trials too.
        known = {trial.number for trial in (*self.finished, *others)}
        count = min(self.limits.cohort, self.spec.budget - len(known))
        self.proposer.look_ahead(tuple(self.finished), count, begun.lease.cohort + 1, others)

    def _learn(self) -> None:
        """Hear of the trials that others have finished meanwhile."""
        records = self.repository.records
        first = self._first_unfinished
        finished = self.retry(lambda: records.finished_numbers(self.study, since=first))
        known = {number for numbers in self._finished_since.values() for number in numbers}
        news = [number for number in finished if number not in known]
        if news:
            self._keep(self.retry(lambda: records.trials(self.study, numbers=news)))

    def _keep(self, news: Iterable[Trial]) -> None:
        for trial in news:
            insort(self.finished, trial, key=attrgetter("number"))
            self._finished_since.setdefault(trial.cohort, set()).add(trial.number)
            self._running.pop(trial.number, None)
            if is_settled(trial):
                self._tried.add(self.spec.setting(trial.params))
        # The trials of a cohort finish together.
        while self._finished_since.pop(self._first_unfinished, None):
            self._first_unfinished += 1

    def _pending(self) -> list[Trial]:
        records = self.repository.records
        first, begun = self._first_unfinished, self._running
        return self.retry(lambda: records.pending(self.study, since=first, known=begun))

    def _say_if_exhausted(self, proposed: Sequence[Params]) -> None:
        """Say once that the sampler repeats settings, which it does only if none is untried."""
        if self._is_exhausted or self.spec.sections.search.sampler == "grid":
            return
        settings = [self.spec.setting(params) for params in proposed]
        different = len(self._tried) + len(set(settings) - self._tried)
        self._is_exhausted = different < len(self._tried) + len(settings)
        if self._is_exhausted:
            self.say(
                f"{self.spec.name}: every setting of the space has been tried, {different} in all; "
                "the trials that are left repeat their scores without training"
            )
