"""The loop of one worker: claim a cohort, train it on every fold at once, record it.

Several processes may do this at once, each with the same record.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from selection.errors import LostCohortError
from selection.store.claims import NewCohort, ResumedCohort, Spent, Wait
from selection.store.heartbeat import Heartbeat, heartbeat
from selection.store.leases import Lease, Progress, Worker
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.lag import Lag
from selection.study.spec import StudySpec
from selection.study.trial import Trial
from selection.train.fit import EpochNews
from selection.workflows.cohort import CohortTrainer
from selection.workflows.sweep_record import SweepRecord

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
    trainer: CohortTrainer,
    worker: Worker,
    view: View,
    *,
    max_retries: int | None = None,
    lag: int | None = None,
) -> None:
    """Train cohort after cohort until the budget of trials or of seconds is spent.

    Other workers may do the same at once; this one waits for the cohorts that they hold. An
    interrupt gives the running cohort back; what is finished stays. A cohort that lost its worker
    more than max_retries times in a row is failed; None never fails one. With a lag of N, cohort k
    is proposed from the cohorts up to k - N, however fast the others are; None takes all that have
    finished.
    """
    record = SweepRecord(
        spec,
        study,
        repository,
        worker,
        view.say,
        lag=Lag(lag, trainer.asks_ahead),
        max_retries=max_retries,
    )
    with heartbeat(repository.leases, study, worker.lease_seconds) as beating:
        sweep = _Sweep(record, trainer, view, beating)
        try:
            while sweep.run_cohort():
                pass
        finally:
            sweep.leave()


class _Sweep:
    def __init__(
        self, record: SweepRecord, trainer: CohortTrainer, view: View, beating: Heartbeat
    ) -> None:
        self.record = record
        self.trainer = trainer
        self.view = view
        self.heartbeat = beating
        self.has_said_who = False
        # Kept until the next claim: until then the study must not seem to have stopped.
        self.lease: Lease | None = None

    def run_cohort(self) -> bool:
        """Train one more cohort, or wait for those of others; False where the study is spent."""
        claim = self.record.claim()
        if isinstance(claim, Wait | Spent):
            self.lease = None
            if isinstance(claim, Wait):
                self._say_who_trains()
                time.sleep(WAIT_SECONDS)
            return isinstance(claim, Wait)
        self.lease = claim.lease
        self.heartbeat.hold(claim.lease)
        try:
            self._train(claim)
        except LostCohortError as error:
            self.leave()
            self.view.say(str(error))
        finally:
            self.heartbeat.let_go(claim.lease)
        return True

    def leave(self) -> None:
        """Give back what this worker holds."""
        if self.lease is not None:
            self.record.release(self.lease)

    def _say_who_trains(self) -> None:
        """Say once which hosts a worker waits for that must be the only one."""
        record = self.record
        if not record.worker.is_alone or self.has_said_who:
            return
        self.has_said_who = True
        running = record.retry(lambda: record.repository.leases.running(record.study))
        hosts = ", ".join(sorted({cohort.host for cohort in running}))
        if hosts:
            self.view.say(
                f"{record.spec.name}: waiting for {hosts}, which trains this study: one process "
                "writes an SQLite database at a time"
            )

    def _train(self, claim: NewCohort | ResumedCohort) -> None:
        record, lease = self.record, claim.lease
        begun = record.begin(claim)
        if not record.knows_enough(begun):
            # Begun ahead by another process; what it waits for may be what nobody trains.
            self.leave()
            time.sleep(WAIT_SECONDS)
            return
        finished = tuple(record.finished)
        self._show(finished, lease.cohort, len(begun.trials), None)
        results = record.recovered(begun)
        if results is None:
            plan = record.plan(begun)
            training = len(plan.task.settings)

            def watch(epoch: EpochNews) -> None:
                self.heartbeat.report(lease, Progress(epoch.members, epoch.epoch, epoch.epochs))
                self._show(finished, lease.cohort, training, epoch)

            results = plan.complete(plan.task.train(self.trainer, watch), record.recall)
        record.finish(begun, results)
        self._show(tuple(record.finished), lease.cohort, 0, None)

    def _show(
        self, finished: Sequence[Trial], cohort: int, training: int, epoch: EpochNews | None
    ) -> None:
        budget = self.record.spec.budget
        self.view.show(SweepNews(budget, finished, cohort, training, epoch))
