"""Trains a study by several workers: the driver proposes, hands out and records every cohort.

The driver alone writes the record. Which cohort knows which is fixed by the lag, so that the trials
do not depend on how fast the workers are, or on which of them die.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from selection.errors import LostCohortError
from selection.store.claims import Claim, ResumedCohort, Spent, Wait
from selection.store.heartbeat import Heartbeat, heartbeat
from selection.store.leases import Lease, Progress, RunningCohort, Worker
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.lag import Lag
from selection.study.spec import StudySpec
from selection.study.trial import TrialResult
from selection.workers.launcher import Advanced, Died, Trained
from selection.workers.team import POLL_SECONDS, Team, TeamEvent
from selection.workflows.audit import audit_pruned
from selection.workflows.callbacks import TeamView
from selection.workflows.cohort import CohortPlan
from selection.workflows.sweep_record import BegunCohort, SweepRecord


@dataclass
class _Held:
    """Follow a cohort from its beginning to its end; slot is None until it trains."""

    begun: BegunCohort
    plan: CohortPlan | None = None
    slot: int | None = None


def run_team(
    team: Team,
    spec: StudySpec,
    study: StudyRecord,
    repository: Repository,
    worker: Worker,
    view: TeamView,
    *,
    lag: int | None,
    max_retries: int | None,
) -> None:
    """Train a study by a team until its budget is spent, then the pruned trials to be audited.

    worker is this process, the driver: it holds the cohorts of all its workers. An interrupt gives
    them back; what is finished stays. The other arguments are those of run_sweep.
    """
    record = SweepRecord(
        spec,
        study,
        repository,
        worker,
        view.say,
        lag=Lag(lag, team.facts().asks_ahead),
        max_retries=max_retries,
        begins_ahead=True,
    )
    with heartbeat(repository.leases, study, worker.lease_seconds) as beating:
        sweep = _TeamSweep(team, record, view, beating)
        try:
            sweep.run()
        finally:
            sweep.leave()
    audit_pruned(spec, study, repository, team.train, view.say)


@dataclass
class _TeamSweep:
    team: Team
    record: SweepRecord
    view: TeamView
    heartbeat: Heartbeat
    held: dict[int, _Held] = field(default_factory=dict)  # by cohort
    # To give back, by cohort: also of cohorts that are about to begin, or lost their worker.
    leases: dict[int, Lease] = field(default_factory=dict)
    # The workers that died while they trained a cohort.
    lost_by: dict[int, set[int]] = field(default_factory=dict)
    # Of finished cohorts, kept until the next claim: else the study would seem to have stopped.
    resting: list[Lease] = field(default_factory=list)
    is_spent: bool = False
    has_news: bool = True
    claimed_at: float = 0.0
    shown_at: float = 0.0

    def run(self) -> None:
        """Hand out cohorts and record what comes back, until the study is spent."""
        while not self.is_spent:
            # One at a time: a worker trains while the cohort of the next one is proposed, or the
            # results of another are written.
            is_claimed = self._claim()
            self._hand_out()
            self._show()
            if not is_claimed:
                for event in self.team.advance():
                    self._handle(event)
        self._show(is_last=True)

    def leave(self) -> None:
        """Give back all that is held."""
        for lease in [*self.resting, *self.leases.values()]:
            self.record.release(lease)

    @property
    def _begins_spare(self) -> bool:
        """Whether a cohort may be begun that no worker waits for yet."""
        lag = self.record.lag
        return lag.is_ahead or (lag.cohorts is not None and lag.cohorts > self.team.workers)

    def _claim(self) -> bool:
        """Begin a cohort if a worker can train it, or soon can; say whether it did."""
        now = time.monotonic()
        if not self.has_news and now - self.claimed_at < POLL_SECONDS:
            return False
        waiting = [each.begun for each in self.held.values() if each.slot is None]
        ready = sum(self.record.knows_enough(begun) for begun in waiting)
        # A cohort that has to wait keeps no worker idle: it may wait for one that nobody trains.
        is_one_more = self._begins_spare and ready == len(waiting)
        # One that lost its worker is taken up at once, so that its lease is renewed.
        wanted = max(len(self.team.idle()) - ready + is_one_more, len(self._lost()))
        if not self.held:
            # Ask even without an idle worker: the study may be spent.
            wanted = max(wanted, 1)
        while wanted > 0:
            claim = self.record.claim(self.held)
            self.resting, self.claimed_at = [], now
            self._forget_lost(claim)
            if isinstance(claim, Spent | Wait):
                self.is_spent, self.has_news = isinstance(claim, Spent), False
                return False
            lease = claim.lease
            self.leases[lease.cohort] = lease
            # A proposal may take longer than a lease.
            self.heartbeat.hold(lease)
            try:
                begun = self.record.begin(claim)
            except LostCohortError as error:
                self.heartbeat.let_go(lease)
                del self.leases[lease.cohort]
                self.view.say(str(error))
                continue
            self.held[lease.cohort] = _Held(begun)
            return True
        return False

    def _lost(self) -> set[int]:
        """Return the cohorts that lost their worker and have not been claimed again."""
        return self.leases.keys() - self.held.keys()

    def _forget_lost(self, claim: Claim) -> None:
        """Forget lost cohorts that have failed for good: those that remain are claimed in order."""
        claimed = claim.lease.cohort if isinstance(claim, ResumedCohort) else None
        for cohort in self._lost():
            if claimed is None or cohort < claimed:
                del self.leases[cohort]

    def _hand_out(self) -> None:
        """Give idle workers the cohorts that know all they are to know, in order."""
        for cohort in sorted(each for each, held in self.held.items() if held.slot is None):
            held = self.held[cohort]
            if not self.record.knows_enough(held.begun):
                continue
            results = self.record.recovered(held.begun)
            if results is None:
                held.plan = held.plan or self.record.plan(held.begun)
                if held.plan.task.settings:
                    slot = self._slot_for(cohort)
                    if slot is not None:
                        held.slot = slot
                        self.team.give(slot, held.plan.task)
                    continue
                results = held.plan.complete({}, self.record.recall)
            self._finish(held, results)

    def _slot_for(self, cohort: int) -> int | None:
        """Return the idle worker that gets a cohort: one that has not died of it, if there is one.

        While there is one that trains another cohort, it is waited for.
        """
        idle, lost_by = self.team.idle(), self.lost_by.get(cohort, set())
        others = [slot for slot in idle if slot not in lost_by]
        if others or self.team.ready() - lost_by:
            return others[0] if others else None
        return idle[0] if idle else None

    def _handle(self, event: TeamEvent) -> None:
        if not isinstance(event, Advanced):
            self.has_news = True
        held = next((each for each in self.held.values() if each.slot == event.slot), None)
        if held is None:
            return
        lease = held.begun.lease
        match event:
            case Advanced(_, news):
                # Whether the cohort was lost is asked when it is finished.
                with suppress(LostCohortError):
                    progress = Progress(news.members, news.epoch, news.epochs)
                    self.heartbeat.report(lease, progress)
            case Died(slot, _):
                self._drop(held)
                self.lost_by.setdefault(lease.cohort, set()).add(slot)
                self.record.lose(lease)
            case Trained(_, results):
                assert held.plan is not None, "what trained was planned"
                if self.record.lag.cohorts is not None:
                    # Another may be ready that does not know this one: its worker need not wait.
                    self._hand_out()
                self._finish(held, held.plan.complete(results, self.record.recall))

    def _finish(self, held: _Held, results: Mapping[int, TrialResult]) -> None:
        try:
            self.record.finish(held.begun, results)
        except LostCohortError as error:
            self.view.say(str(error))
        self._drop(held)
        self.resting.append(self.leases.pop(held.begun.lease.cohort))
        self.lost_by.pop(held.begun.lease.cohort, None)
        self.has_news = True

    def _drop(self, held: _Held) -> None:
        del self.held[held.begun.lease.cohort]
        self.heartbeat.let_go(held.begun.lease)

    def _show(self, *, is_last: bool = False) -> None:
        now = time.monotonic()
        if is_last or now - self.shown_at >= POLL_SECONDS:
            self.shown_at = now
            running = [self._running(cohort) for cohort in sorted(self.held)]
            shown = [cohort for cohort in running if cohort is not None]
            self.view.show_team(self.record.spec.budget, tuple(self.record.finished), shown)

    def _running(self, cohort: int) -> RunningCohort | None:
        held = self.held[cohort]
        if held.slot is None:
            return None
        name, news = self.team.news(held.slot)
        progress = Progress() if news is None else Progress(news.members, news.epoch, news.epochs)
        living = None if news is None else news.trials
        return RunningCohort(cohort, name, len(held.begun.trials), progress, living)
