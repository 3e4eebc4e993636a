"""Several workers of one study in every order that Hypothesis finds: what must hold, always holds.

The workers live in this process; a killed one is silent, and its lease is ended by SQL. What must
hold is read by SQL of its own and compared with the calls of the workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from selection.errors import LostCohortError, RefusedError, SelectionError, StudyStateError
from selection.store.claims import Claim, Limits, NewCohort, ResumedCohort, Spent, Wait
from selection.store.cohorts import Cohorts
from selection.store.database import Database
from selection.store.doctor import examine
from selection.store.leases import Lease, Leases, Progress, Worker, new_worker
from selection.store.ledger import Ledger
from selection.store.process_identity import this_process
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.tables import lease_table
from selection.study.trial import TrialResult, TrialState
from tests.store.store_examples import (
    FOLDS,
    REPEATS,
    RESULT,
    create_example,
    example_params,
    example_result,
    example_spec,
)
from tests.store.study_case import LONG_AGO

BUDGET, COHORT, WORKERS, MEMBERS = 7, 2, 3, FOLDS * REPEATS
SPEC = example_spec(trials=BUDGET, cohort=COHORT)
# Optuna says FAIL where we say failed.
COMPLETE, FAIL, FINISHED = "COMPLETE", "FAIL", ("COMPLETE", "PRUNED", "FAIL")
END = st.sampled_from(
    [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED]
)
ENDS = st.lists(END, min_size=COHORT, max_size=COHORT)
ACTS = st.sampled_from(["begin", "finish", "renew", "release"])
# Which of those that there are, by the remainder.
PICK = st.integers(0, 59)

TRIALS = """
    SELECT own.number, own.cohort, own.attempt, own.reason, own.epochs, own.uuid,
           trials.number AS their_number, trials.state, trials.datetime_complete,
           trial_values.value
    FROM selection_trial AS own
    JOIN trials ON trials.trial_id = own.optuna_trial_id
    LEFT JOIN trial_values ON trial_values.trial_id = trials.trial_id
    WHERE own.study_uuid = :uuid ORDER BY own.number
"""
MEMBERS_OF = """
    SELECT own.number, fold.repeat, fold.fold, fold.attempt, fold.score, fold.row_hash
    FROM selection_fold AS fold
    JOIN selection_trial AS own ON own.uuid = fold.trial_uuid
    WHERE own.study_uuid = :uuid ORDER BY own.number, fold.repeat, fold.fold
"""
THEIR_TRIALS = "SELECT number FROM trials WHERE study_id = :study_id ORDER BY number"
LEASES = """
    SELECT cohort, worker, attempt, lost FROM selection_lease
    WHERE study_uuid = :uuid AND trials > 0 ORDER BY cohort
"""
RESTED = "SELECT cohort FROM selection_lease WHERE study_uuid = :uuid AND trials = 0"
LOOKS = "SELECT evaluation FROM selection_ledger WHERE study_uuid = :uuid"
EXPIRE = """
    UPDATE selection_lease SET expires_at = '2000-01-01 00:00:00.000000', home = :home
    WHERE study_uuid = :uuid AND worker = :worker
"""


@dataclass
class Work:
    """Hold what one attempt knows of its cohort: where, what it was given, what it has begun."""

    study: StudyRecord
    lease: Lease
    new_trials: int
    numbers: list[int]
    finished: dict[int, TrialResult] = field(default_factory=dict)


@dataclass
class Hand:
    """Hold a worker and its work, which others may have taken from it."""

    worker: Worker
    work: Work | None = None


@dataclass(frozen=True)
class Now:
    """Hold what the database says of the study in one moment."""

    trials: list[Any]
    members: dict[int, list[Any]]
    their_numbers: list[int]
    leases: dict[int, Any]
    rested: set[int]
    evaluations: int

    def finished(self) -> dict[int, tuple[Any, ...]]:
        """Return all that is said of each finished trial."""
        return {
            row.number: (
                row.uuid,
                row.state,
                row.reason,
                row.attempt,
                row.value,
                row.epochs,
                str(row.datetime_complete),
                [member.row_hash for member in self.members.get(row.number, [])],
            )
            for row in self.trials
            if row.state in FINISHED
        }


class WorkersMachine(RuleBasedStateMachine):
    """Let workers ask, train, die, fall asleep and wake up, and evaluation of the held-out set."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.cohorts, self.leases = Cohorts(database), Leases(database)
        self.ledger, self.records = Ledger(database), Records(database)
        self.hands: list[Hand] = []
        for _ in range(WORKERS):
            a_hand(self.hands)
        self.late: list[Work] = []
        self.limits = Limits(BUDGET, COHORT)
        self.begin_study()

    def begin_study(self) -> None:
        self.study = create_example(self.records, SPEC)
        self.holder: dict[int, Lease] = {}
        self.dead: set[int] = set()
        self.finished: dict[int, tuple[Any, ...]] = {}
        self.is_opened = False

    @initialize(max_retries=st.sampled_from([None, None, 0, 1]))
    def choose(self, max_retries: int | None) -> None:
        self.limits = replace(self.limits, max_retries=max_retries)

    # What a worker does.

    @rule(pick=PICK, is_slow=st.sampled_from([False, False, True]))
    def ask(self, pick: int, is_slow: bool) -> None:
        """Let a worker without work claim, and begin unless it is slow."""
        idle = [hand for hand in self.hands if hand.work is None]
        hand = idle[pick % len(idle)] if idle else a_hand(self.hands)
        self.claim(hand)
        if not is_slow:
            self.begin_work(hand.work)

    @precondition(lambda self: self.busy())
    @rule(pick=PICK)
    def ask_again(self, pick: int) -> None:
        """Claim with work in hand, as when the answer to a claim was lost."""
        self.claim(self.pick_busy(pick))

    @precondition(lambda self: self.busy())
    @rule(pick=PICK)
    def begin(self, pick: int) -> None:
        """Begin a new cohort, maybe once more."""
        self.begin_work(self.pick_busy(pick).work)

    @precondition(lambda self: self.busy())
    @rule(pick=PICK, ends=ENDS)
    def finish(self, pick: int, ends: list[TrialState]) -> None:
        hand = self.pick_busy(pick)
        if hand.work is not None and hand.work.numbers:
            self.finish_work(hand.work, ends)
            self.late.append(hand.work)
            hand.work = None

    @precondition(lambda self: self.late)
    @rule(pick=PICK, ends=ENDS)
    def finish_late(self, pick: int, ends: list[TrialState]) -> None:
        """Finish what was lost, or what was finished: its answer was lost."""
        self.finish_work(self.late[pick % len(self.late)], ends)

    @precondition(lambda self: self.busy())
    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        self.renew_work(self.pick_busy(pick).work)

    @precondition(lambda self: self.busy())
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        hand = self.pick_busy(pick)
        self.release_work(hand.work)
        hand.work = None

    # What happens to it.

    @precondition(lambda self: self.busy())
    @rule(pick=PICK, is_seen=st.booleans())
    def kill(self, pick: int, is_seen: bool) -> None:
        """Let a worker vanish: its lease ends, or its process of this machine is gone."""
        hand = self.pick_busy(pick)
        self.silence(hand, dead_home() if is_seen else "")
        self.hands.remove(hand)
        a_hand(self.hands)

    @precondition(lambda self: self.busy())
    @rule(pick=PICK)
    def pause(self, pick: int) -> None:
        """Let the lease of a worker end that goes on later."""
        self.silence(self.pick_busy(pick), "")

    @precondition(lambda self: self.busy() and not self.is_opened)
    @rule(pick=PICK, ends=ENDS, act=ACTS, is_same=st.booleans())
    def wake_up_late(self, pick: int, ends: list[TrialState], act: str, is_same: bool) -> None:
        """Let others, or the worker itself, reap all that is dead; then what was lost goes on."""
        hand = self.pick_busy(pick)
        work = hand.work
        self.silence(hand, "")
        while self.dead:
            self.claim(hand if is_same else a_hand(self.hands))
            is_same = False
        if hand.work is work:
            hand.work = None
        if act == "begin":
            self.begin_work(work)
        elif act == "renew":
            self.renew_work(work)
        elif act == "release":
            self.release_work(work)
        else:
            self.finish_work(work, ends)

    # What happens to the study.

    @precondition(lambda self: any(row[1] == COMPLETE for row in self.finished.values()))
    @rule(is_stale=st.booleans())
    def evaluation(self, is_stale: bool) -> None:
        """Look at the held-out set, once; not after trials that were not assessed."""
        best = next(n for n, row in self.finished.items() if row[1] == COMPLETE)
        seen = len(self.finished) - is_stale
        asked: dict[str, Any] = {"evaluation": 1, "reason": "", "finished": seen}
        if not self.is_opened and is_stale:
            with pytest.raises(StudyStateError):
                self.ledger.claim(self.study, best, "best", **asked)
            return
        assert self.ledger.claim(self.study, best, "best", **asked) is not self.is_opened
        if self.is_opened:
            return
        self.is_opened = True
        self.holder, self.dead = {}, set()
        now = self.read()
        assert all(row.state in FINISHED for row in now.trials)
        ended = {n: row for n, row in now.finished().items() if n not in self.finished}
        assert all(row[1] == FAIL for row in ended.values())
        self.finished |= ended
        self.ledger.finish(self.study, 1, RESULT, np.zeros((2, 3), np.float32))

    @rule(is_sure=st.integers(0, 3))
    def delete_study(self, is_sure: int) -> None:
        """Delete the study, seldom, and go on with a new one of the same name."""
        if is_sure < 3:
            return
        self.database.storage.delete_study(self.study.optuna_study_id)
        self.begin_study()

    # What must hold.

    @invariant()
    def all_that_must_hold(self) -> None:
        now = self.read()
        self.trials_are_whole(now)
        self.numbers_have_no_gaps(now)
        self.finished_trials_stay(now)
        self.held_out_set_is_opened_once(now)
        self.cohorts_are_parts_of_the_study(now)
        self.leases_are_of_cohorts_that_are_not_finished(now)

    def trials_are_whole(self, now: Now) -> None:
        """I1: complete is what has every member of its attempt, and their mean."""
        for row in now.trials:
            found = now.members.get(row.number, [])
            if row.state not in FINISHED:
                assert found == []
                assert row.value is None
            assert {member.attempt for member in found} <= {row.attempt}
            assert (row.state == COMPLETE) == (row.value is not None)
            if row.state == COMPLETE:
                assert [(member.repeat, member.fold) for member in found] == [
                    (repeat, fold) for repeat in range(REPEATS) for fold in range(FOLDS)
                ]
                assert math.isfinite(row.value)
                assert row.value == float(np.mean([member.score for member in found]))

    def numbers_have_no_gaps(self, now: Now) -> None:
        """I2 and I8: numbers count from 0, by Optuna as by us, and stay in the budget."""
        rows = now.trials
        numbers = list(range(len(rows)))
        assert [row.number for row in rows] == numbers
        assert [row.their_number for row in rows] == numbers
        assert now.their_numbers == numbers
        assert len(rows) <= BUDGET

    def finished_trials_stay(self, now: Now) -> None:
        """I3: what is finished is the calls of the workers, and never changes."""
        finished = now.finished()
        lost = {n: row for n, row in finished.items() if n not in self.finished}
        assert {n: finished.get(n) for n in self.finished} == self.finished
        assert all(row[1] == FAIL and row[2].startswith("lost: ") for row in lost.values())
        if lost:
            assert self.limits.max_retries is not None
            self.finished |= lost

    def held_out_set_is_opened_once(self, now: Now) -> None:
        """I4: there is one look, if there is any."""
        assert now.evaluations == self.is_opened

    def cohorts_are_parts_of_the_study(self, now: Now) -> None:
        """Cohorts follow each other, of one size but the last, and are finished as a whole."""
        rows = now.trials
        assert [row.cohort for row in rows] == [row.number // COHORT for row in rows]
        for _, group in groupby(rows, key=lambda row: row.cohort):
            cohort = list(group)
            assert len({row.attempt for row in cohort}) == 1
            assert len({row.state in FINISHED for row in cohort}) == 1
            assert len({row.state for row in cohort if row.state not in FINISHED}) <= 1

    def leases_are_of_cohorts_that_are_not_finished(self, now: Now) -> None:
        """One lease for each cohort that runs, by its attempt, and one more for a proposer.

        Those of workers between two cohorts are of finished ones.
        """
        rows = now.trials
        leases = now.leases
        running = {row.cohort: row.attempt for row in rows if row.state == "RUNNING"}
        begun = max((row.cohort for row in rows), default=-1) + 1
        assert set(running) <= set(leases)
        assert set(leases) - set(running) <= {begun}
        assert now.rested <= {row.cohort for row in rows if row.state in FINISHED}
        assert all(leases[cohort].attempt == attempt for cohort, attempt in running.items())
        assert {cohort: (lease.worker, lease.attempt) for cohort, lease in leases.items()} == {
            cohort: (lease.worker.uuid, lease.attempt) for cohort, lease in self.holder.items()
        }

    def teardown(self) -> None:
        """Let one worker that is alone end the study, which then is whole."""
        try:
            if not self.is_opened:
                self.run_to_the_end()
            assert examine(self.database) == []
        finally:
            self.database.storage.delete_study(self.study.optuna_study_id)

    # The model: what each step writes, and whom it must refuse.

    def busy(self) -> list[Hand]:
        return [hand for hand in self.hands if hand.work is not None]

    def pick_busy(self, pick: int) -> Hand:
        busy = self.busy()
        return busy[pick % len(busy)]

    def claim(self, hand: Hand) -> None:
        if self.is_opened:
            with pytest.raises(RefusedError):
                self.cohorts.claim(self.study, hand.worker, self.limits)
            return
        if hand.work is not None:
            self.late.append(hand.work)
            hand.work = None
        held_by_others = self.held_by_others(hand.worker)
        attempts = {row.cohort: row.attempt for row in self.read().trials}
        claim = self.cohorts.claim(self.study, hand.worker, self.limits)
        self.check_claim(claim, held_by_others)
        if isinstance(claim, ResumedCohort | NewCohort):
            assert claim.lease.attempt == attempts.get(claim.lease.cohort, 0) + 1
            new_trials, numbers = 0, []
            if isinstance(claim, NewCohort):
                new_trials = claim.new_trials
            else:
                numbers = [trial.number for trial in claim.trials]
            hand.work = Work(self.study, claim.lease, new_trials, numbers)
            self.holder[claim.lease.cohort] = claim.lease
            self.dead.discard(claim.lease.cohort)

    def begin_work(self, work: Work | None) -> None:
        if work is None or not work.new_trials:
            return
        params = example_params(SPEC, work.new_trials)
        if refused := self.why_refused(work):
            with pytest.raises(refused) as caught:
                self.cohorts.begin(work.study, work.lease, params, work.study.space)
            assert caught.type is refused
            return
        numbers = self.cohorts.begin(work.study, work.lease, params, work.study.space)
        assert work.numbers in ([], numbers)
        work.numbers = numbers

    def renew_work(self, work: Work | None) -> None:
        assert work is not None
        is_held = self.why_refused(work) is None
        lost = self.leases.renew(work.study, {work.lease: Progress(6, 1, 2)})
        assert lost == (set() if is_held else {work.lease})
        if is_held:
            self.dead.discard(work.lease.cohort)

    def release_work(self, work: Work | None) -> None:
        assert work is not None
        self.late.append(work)
        if work.study is not self.study:
            with pytest.raises(StudyStateError):
                self.cohorts.release(work.study, work.lease)
            return
        is_held = self.why_refused(work) is None
        self.cohorts.release(work.study, work.lease)
        if is_held:
            del self.holder[work.lease.cohort]
            self.dead.discard(work.lease.cohort)

    def check_claim(self, claim: Claim, held_by_others: Mapping[int, Lease]) -> None:
        """Check a claim against what others hold, and forget what it has failed or given up."""
        now = self.read()
        rows, leases = now.trials, set(now.leases)
        assert set(held_by_others) <= leases, "what others hold is not taken"
        self.holder = {cohort: self.holder[cohort] for cohort in self.holder if cohort in leases}
        self.dead &= leases
        if isinstance(claim, Wait | Spent):
            is_proposed = any(cohort * COHORT >= len(rows) for cohort in held_by_others)
            assert len(rows) == BUDGET or is_proposed
            assert claim == (Wait() if held_by_others else Spent())
            return
        assert claim.lease.cohort not in held_by_others
        if isinstance(claim, ResumedCohort):
            assert claim.trials
            assert {trial.cohort for trial in claim.trials} == {claim.lease.cohort}
            assert {trial.state for trial in claim.trials} == {TrialState.RUNNING}
        else:
            assert claim.new_trials == min(COHORT, BUDGET - len(rows)) > 0
            assert claim.lease.cohort * COHORT == len(rows)
            assert {row.cohort for row in rows if row.state not in FINISHED} <= set(held_by_others)

    def why_refused(self, work: Work) -> type[SelectionError] | None:
        """Return the error that work must meet now; None if its lease is the one that counts."""
        if work.study is not self.study:
            return StudyStateError
        if self.is_opened:
            return RefusedError
        return None if self.holder.get(work.lease.cohort) == work.lease else LostCohortError

    def finish_work(self, work: Work | None, ends: list[TrialState]) -> None:
        """Finish trials; who lost them is refused, and who tells it again is heard."""
        if work is None or not work.numbers:
            return
        results = work.finished or {
            number: example_result(number, end, epochs=work.lease.attempt)
            for number, end in zip(work.numbers, ends, strict=False)
        }
        is_there = work.study is self.study
        refused = None if is_there and work.finished else self.why_refused(work)
        if refused:
            with pytest.raises(refused) as caught:
                self.cohorts.finish(work.study, work.lease, results)
            assert caught.type is refused
            return
        self.cohorts.finish(work.study, work.lease, results)
        if work.finished:
            return
        work.finished = results
        del self.holder[work.lease.cohort]
        self.dead.discard(work.lease.cohort)
        assert work.lease.cohort in self.read().rested
        values = {trial.number: trial.value for trial in self.records.trials(self.study)}
        assert [values[n] for n in results] == [result.value for result in results.values()]
        assert not set(results) & set(self.finished), "a trial ends once"
        now = self.read().finished()
        self.finished |= {number: now[number] for number in results}

    def held_by_others(self, worker: Worker) -> dict[int, Lease]:
        return {
            cohort: lease
            for cohort, lease in self.holder.items()
            if lease.worker.uuid != worker.uuid and cohort not in self.dead
        }

    def silence(self, hand: Hand, home: str) -> None:
        values = {"uuid": self.study.uuid, "worker": hand.worker.uuid, "home": home}
        with self.database.writing() as connection:
            connection.execute(sa.text(EXPIRE), values)
        self.dead |= {
            cohort for cohort, lease in self.holder.items() if lease.worker.uuid == hand.worker.uuid
        }
        if hand.work is not None:
            self.late.append(hand.work)

    def run_to_the_end(self) -> None:
        alone = replace(a_worker(), is_alone=True)
        limits = replace(self.limits, max_retries=None)
        with self.database.writing() as connection:
            connection.execute(sa.update(lease_table).values(expires_at=LONG_AGO))
        while not isinstance(claim := self.cohorts.claim(self.study, alone, limits), Spent):
            assert not isinstance(claim, Wait)
            if isinstance(claim, NewCohort):
                params = example_params(SPEC, claim.new_trials)
                numbers = self.cohorts.begin(self.study, claim.lease, params, self.study.space)
            else:
                numbers = [trial.number for trial in claim.trials]
            results = {number: example_result(number) for number in numbers}
            self.cohorts.finish(self.study, claim.lease, results)
        rows = self.read().finished()
        assert list(rows) == list(range(BUDGET))
        assert {number: rows[number] for number in self.finished} == self.finished

    def read(self) -> Now:
        """Return one moment of the study."""
        values = {"uuid": self.study.uuid, "study_id": self.study.optuna_study_id}
        with self.database.reading() as connection:
            trials, members, theirs, leases, rested, evaluations = (
                list(connection.execute(sa.text(query), values).all())
                for query in (TRIALS, MEMBERS_OF, THEIR_TRIALS, LEASES, RESTED, LOOKS)
            )
        by_number = groupby(members, key=attrgetter("number"))
        return Now(
            trials=trials,
            members={number: list(group) for number, group in by_number},
            their_numbers=[row.number for row in theirs],
            leases={row.cohort: row for row in leases},
            rested={row.cohort for row in rested},
            evaluations=len(evaluations),
        )


def a_hand(hands: list[Hand]) -> Hand:
    """Add a worker that nobody has met before."""
    hands.append(Hand(a_worker()))
    return hands[-1]


def a_worker() -> Worker:
    return new_worker(600.0, is_alone=False)


def dead_home() -> str:
    """Return the home of a process that had our number before us."""
    return f"{this_process().rpartition('/')[0]}/1"


def run_machine(database: Database, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        cast(Any, lambda: WorkersMachine(database)),
        settings=settings(
            deadline=None,
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_workers_in_a_few_orders(database: Database) -> None:
    run_machine(database, examples=15, steps=20)


@pytest.mark.slow
def test_workers_in_many_orders(database: Database) -> None:
    run_machine(database, examples=60, steps=40)
