"""The loop: propose a cohort, train it on every fold at once, record it, until the budget is spent.

A cohort is one event of the record: killed at any moment, the study goes on with the cohort it was
in and ends with the trials of the uninterrupted study.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Protocol, TypeVar

from selection.errors import LostCohortError, RefusedError, SelectionError, StudyStateError
from selection.search import CohortPruner, Proposer, shared_start
from selection.store.claims import Limits, NewCohort, ResumedCohort, Spent, Wait
from selection.store.heartbeat import Heartbeat, heartbeat
from selection.store.leases import Lease, Progress, Worker
from selection.store.recovery import RecoveryFiles
from selection.store.repository import Repository
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Params, Trial, TrialResult, TrialState
from selection.train.fit import EpochNews, Trainer

Value = TypeVar("Value")
# How long a worker that has nothing to train waits before it asks again.
WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class SweepNews:
    """Say how far a study is: its finished trials, and the cohort that trains now."""

    budget: int
    finished: Sequence[Trial]
    cohort: int
    training: int
    epoch: EpochNews | None


class View(Protocol):
    """Show how far a study is."""

    def show(self, news: SweepNews) -> None: ...

    def say(self, line: str) -> None: ...


def run_sweep(
    spec: StudySpec,
    study: StudyRecord,
    repository: Repository,
    trainer: Trainer,
    worker: Worker,
    view: View,
    *,
    max_retries: int | None = None,
) -> None:
    """Train cohort after cohort until the budget of trials or of seconds is spent.

    Other workers may do the same at once: what they hold is waited for. An interrupt gives the
    running cohort back; what is finished stays. A cohort that lost its worker more than max_retries
    times in a row is failed, None is never.
    """
    sweep = _Sweep(spec, study, repository, trainer, worker, view, max_retries)
    try:
        while sweep.run_cohort():
            pass
    finally:
        sweep.leave()


class Memory:
    """Keep between cohorts what finished trials amount to, so that each is looked at once."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._finished: list[Trial] = []
        self._first: dict[Setting, Trial] = {}

    def seen(self, finished: Sequence[Trial]) -> Mapping[Setting, Trial]:
        """Return the first settled trial of each setting; finished is ordered by number."""
        kept = shared_start(self._finished, finished)
        for trial in self._finished[kept:]:
            setting = self._spec.setting(trial.params)
            if self._first.get(setting) is trial:
                del self._first[setting]
        news = finished[kept:]
        for trial in filter(_is_settled, news):
            self._first.setdefault(self._spec.setting(trial.params), trial)
        self._finished[kept:] = news
        return self._first


def train_cohort(
    spec: StudySpec,
    trainer: Trainer,
    finished: Sequence[Trial],
    cohort: Mapping[int, Params],
    recall: Callable[[Trial], TrialResult],
    tell: Callable[[int, EpochNews], None],
    memory: Memory | None = None,
) -> dict[int, TrialResult]:
    """Train every setting not seen before; recall the result of those that were.

    The scores of a trial are a pure function of its setting, so training one again would only
    repeat them. tell hears how many trials train, epoch by epoch. finished is ordered by number; a
    memory that is kept between cohorts saves time and changes nothing.
    """
    memory = memory or Memory(spec)
    settings = {number: spec.setting(params) for number, params in cohort.items()}
    seen = memory.seen(finished)
    first: dict[Setting, int] = {}
    for number, setting in settings.items():
        if setting not in seen:
            first.setdefault(setting, number)
    numbers = list(first.values())
    asked = {number: cohort[number] for number in numbers}
    pruner = CohortPruner(spec, finished, asked)

    def decide(epoch: int, means: Mapping[int, float]) -> list[int]:
        by_number = {numbers[index]: mean for index, mean in means.items()}
        return [numbers.index(number) for number in pruner.decide(epoch, by_number)]

    trained = trainer.train(list(first), decide, lambda news: tell(len(numbers), news))
    results = dict(zip(numbers, trained, strict=True))
    for number, setting in settings.items():
        if setting in seen:
            results[number] = _repeated(recall(seen[setting]), seen[setting].number)
        elif number not in results:
            results[number] = _repeated(results[first[setting]], first[setting])
    return dict(sorted(results.items()))


class _Sweep:
    def __init__(
        self,
        spec: StudySpec,
        study: StudyRecord,
        repository: Repository,
        trainer: Trainer,
        worker: Worker,
        view: View,
        max_retries: int | None,
    ) -> None:
        self.spec = spec
        self.study = study
        self.repository = repository
        self.trainer = trainer
        self.worker = worker
        self.view = view
        search = spec.sections.search
        self.limits = Limits(
            spec.budget,
            search.cohort,
            search.timeout_seconds,
            max_retries,
            search.max_consecutive_failures,
        )
        self.memory = Memory(spec)
        self.proposer = Proposer(spec, is_ahead=trainer.asks_ahead)
        self.recovery = RecoveryFiles(repository.database.address, study)
        self.is_exhausted = False
        # By number.
        self.finished: list[Trial] = []
        # All trials of the cohorts below this one have finished; of later ones, by cohort, these.
        self.first_unfinished = 0
        self.finished_since: dict[int, set[int]] = {}
        self.has_said_who = False
        # The last claim's: kept until the next one, so that nobody takes the study for stopped.
        self.lease: Lease | None = None

    def run_cohort(self) -> bool:
        """Train one more cohort, or wait for those of others; False where the study is spent."""
        claim = self._retry(
            lambda: self.repository.cohorts.claim(self.study, self.worker, self.limits)
        )
        if isinstance(claim, Wait | Spent):
            self.lease = None
            if isinstance(claim, Spent):
                self.recovery.remove()
            if isinstance(claim, Wait):
                self._say_who_trains()
                time.sleep(WAIT_SECONDS)
            return isinstance(claim, Wait)
        self.lease = claim.lease
        try:
            with heartbeat(self.repository.leases, self.study, claim.lease) as held:
                self._train(claim, held)
        except LostCohortError as error:
            self.leave()
            self.view.say(str(error))
        return True

    def leave(self) -> None:
        """Give back what this worker holds."""
        if self.lease is not None:
            # Where even that fails, the trials stay running until the lease ends.
            with suppress(SelectionError):
                self.repository.cohorts.release(self.study, self.lease)

    def _say_who_trains(self) -> None:
        """Say once for whom a worker waits that is to be alone."""
        if not self.worker.is_alone or self.has_said_who:
            return
        self.has_said_who = True
        running = self._retry(lambda: self.repository.leases.running(self.study))
        hosts = ", ".join(sorted({cohort.host for cohort in running}))
        if hosts:
            self.view.say(
                f"{self.spec.name}: waiting for {hosts}, which trains this study: one process "
                "writes an SQLite database at a time"
            )

    def _train(self, claim: ResumedCohort | NewCohort, held: Heartbeat) -> None:
        lease = claim.lease
        # Before the finished ones: a trial that ends in between is in both, not in neither.
        pending = self._pending()
        self._learn()
        begun = self._begin(claim, pending) if isinstance(claim, NewCohort) else claim.trials
        asked_for = {trial.number: trial.asked_for for trial in begun}
        finished = tuple(self.finished)
        cohort = {trial.number: trial.params for trial in begun}
        # Numbers may be greater than counts: other programs number trials too.
        known = {trial.number for trial in (*finished, *pending, *begun)}
        left = self.spec.budget - len(known)
        count = min(self.limits.cohort, left)
        self.proposer.look_ahead(finished, count, lease.cohort + 1, (*pending, *begun))
        self._tell(finished, lease.cohort, len(cohort), None)

        def tell(training: int, epoch: EpochNews) -> None:
            held.report(Progress(epoch.members, epoch.epoch, epoch.epochs))
            self._tell(finished, lease.cohort, training, epoch)

        recall, memory = self._from_record, self.memory
        results = self._recovered(lease.cohort, cohort)
        if results is None:
            results = train_cohort(self.spec, self.trainer, finished, cohort, recall, tell, memory)
        self._finish(lease, results, cohort)
        self._keep(
            trial_of(number, lease.cohort, cohort[number], result, asked_for[number])
            for number, result in results.items()
        )
        self._tell(tuple(self.finished), lease.cohort, 0, None)

    def _recovered(
        self, number: int, cohort: Mapping[int, Params]
    ) -> dict[int, TrialResult] | None:
        """Return the results of a cohort that was trained and could not be recorded."""
        results = self.recovery.take(number, cohort)
        if results is not None:
            self.view.say(f"{self.spec.name}: cohort {number} was trained before, and is recorded")
        return results

    def _finish(
        self, lease: Lease, results: Mapping[int, TrialResult], cohort: Mapping[int, Params]
    ) -> None:
        """Record a cohort; if the database does not take it, keep it in a file beside it."""
        try:
            self._retry(lambda: self.repository.cohorts.finish(self.study, lease, results, cohort))
        except (StudyStateError, RefusedError):
            raise
        except BaseException:
            # An interrupt too: it may come while the database is waited for.
            if path := self.recovery.keep(lease.cohort, cohort, results):
                self.view.say(
                    f"{self.spec.name}: cohort {lease.cohort} is trained and kept in {path}; "
                    "the next run of the study records it"
                )
            raise
        self.recovery.remove(lease.cohort)

    def _learn(self) -> None:
        """Hear of the trials that others have finished meanwhile."""
        records = self.repository.records
        while self.finished_since.pop(self.first_unfinished, None):
            self.first_unfinished += 1
        finished = self._retry(
            lambda: records.finished_numbers(self.study, since=self.first_unfinished)
        )
        known = {number for numbers in self.finished_since.values() for number in numbers}
        news = [number for number in finished if number not in known]
        if news:
            self._keep(self._retry(lambda: records.trials(self.study, numbers=news)))

    def _keep(self, news: Iterable[Trial]) -> None:
        for trial in news:
            insort(self.finished, trial, key=attrgetter("number"))
            self.finished_since.setdefault(trial.cohort, set()).add(trial.number)

    def _pending(self) -> list[Trial]:
        records = self.repository.records
        return self._retry(lambda: records.pending(self.study, since=self.first_unfinished))

    def _begin(self, claim: NewCohort, pending: Sequence[Trial]) -> list[Trial]:
        """Ask for the next cohort and write it down."""
        lease, queued = claim.lease, claim.queued
        waiting = [
            Trial(each.number, each.state, each.params, lease.cohort, asked_for=each.asked_for)
            for each in queued
        ]
        proposed = self.proposer.propose(
            self.finished, claim.new_trials, lease.cohort, [*pending, *waiting]
        )
        cohorts, space = self.repository.cohorts, self.spec.space
        numbers = self._retry(lambda: cohorts.begin(self.study, lease, proposed, space, queued))
        self._say_if_exhausted(proposed)
        new = [(params, "") for params in proposed]
        asked = [(trial.params, trial.asked_for) for trial in waiting]
        # The default of the first cohort comes before what was asked for.
        first = 0 if lease.cohort else 1
        settings = [*new[:first], *asked, *new[first:]]
        return [
            Trial(number, TrialState.RUNNING, params, lease.cohort, asked_for=asked_for)
            for number, (params, asked_for) in zip(numbers, settings, strict=True)
        ]

    def _say_if_exhausted(self, proposed: Sequence[Params]) -> None:
        """Say once that the sampler repeats settings, which it does only if none is untried."""
        if self.is_exhausted or self.spec.sections.search.sampler == "grid":
            return
        seen = self.memory.seen(self.finished)
        settings = [self.spec.setting(params) for params in proposed]
        different = len(seen.keys() | set(settings))
        self.is_exhausted = different < len(seen) + len(settings)
        if self.is_exhausted:
            self.view.say(
                f"{self.spec.name}: every setting of the space has been tried, {different} in all; "
                "the trials that are left repeat their scores without training"
            )

    def _retry(self, act: Callable[[], Value]) -> Value:
        return retry(act, self.view.say)

    def _from_record(self, trial: Trial) -> TrialResult:
        records = self.repository.records
        folds = self._retry(lambda: records.curves(self.study, trial.number, outputs=True))
        return TrialResult(trial.state, trial.reason, folds, trial.epochs, 0.0)

    def _tell(
        self, finished: Sequence[Trial], cohort: int, training: int, epoch: EpochNews | None
    ) -> None:
        self.view.show(SweepNews(self.spec.budget, finished, cohort, training, epoch))


def _is_settled(trial: Trial) -> bool:
    """Say whether training the same setting again could only repeat this trial."""
    return trial.state is not TrialState.FAILED or not trial.reason.startswith("out of memory")


def _repeated(result: TrialResult, number: int) -> TrialResult:
    reason = f"same setting as trial {number}"
    if result.reason:
        reason = f"{result.reason} ({reason})"
    return replace(result, reason=reason, seconds=0.0)


def trial_of(
    number: int, cohort: int, params: Params, result: TrialResult, asked_for: str = ""
) -> Trial:
    """Return the trial that the record will tell of this result."""
    folds: tuple[FoldResult, ...] = result.folds
    return Trial(
        number=number,
        state=result.state,
        params=params,
        cohort=cohort,
        reason=result.reason,
        value=result.value,
        fold_scores=tuple(fold.score for fold in folds),
        train_scores=tuple(fold.train_score for fold in folds),
        fold_means=result.fold_means,
        epochs=result.epochs,
        seconds=result.seconds,
        asked_for=asked_for,
    )
