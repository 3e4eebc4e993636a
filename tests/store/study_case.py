"""A study on a database, and workers that claim, train and finish its cohorts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel

from selection.errors import (
    ErrorDetail,
)
from selection.store.claims import Claim, Limits, NewCohort, ResumedCohort, Spent, Wait
from selection.store.cohorts import Cohorts
from selection.store.database import Database
from selection.store.leases import (
    Lease,
    Leases,
    Progress,
    Worker,
    new_worker,
    read_leases,
)
from selection.store.ledger import Ledger
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.tables import lease_table, metadata, trial_table
from selection.study.trial import Trial, TrialResult, TrialState
from tests.store.store_examples import example_params, example_result

TABLES = (
    *BaseModel.metadata.sorted_tables,
    *(table for table in metadata.sorted_tables if table.name.startswith("selection_")),
)
LONG_AGO = datetime(2000, 1, 1)
LIMITS = Limits(trials=6, cohort=2)
WAIT, SPENT = Wait(), Spent()
ERROR = ErrorDetail("postgresql:///none", "the server must be reachable", "no answer", "Start it.")


@dataclass(frozen=True)
class StudyCase:
    """Hold one study of a database, and what workers say to it."""

    database: Database
    study: StudyRecord

    @property
    def cohorts(self) -> Cohorts:
        return Cohorts(self.database)

    @property
    def leases(self) -> Leases:
        return Leases(self.database)

    def claim(
        self, worker: Worker, limits: Limits = LIMITS, training: Collection[int] = ()
    ) -> Claim:
        return self.cohorts.claim(self.study, worker, limits, training)

    def lease(
        self, worker: Worker, limits: Limits = LIMITS, training: Collection[int] = ()
    ) -> Lease:
        """Claim, and return the lease that is given."""
        claim = self.claim(worker, limits, training)
        assert isinstance(claim, NewCohort | ResumedCohort)
        return claim.lease

    def new_cohort(
        self, worker: Worker, limits: Limits = LIMITS, training: Collection[int] = ()
    ) -> NewCohort:
        """Claim, and return the new cohort that is given."""
        claim = self.claim(worker, limits, training)
        assert isinstance(claim, NewCohort)
        return claim

    def resume(
        self, worker: Worker, limits: Limits = LIMITS, training: Collection[int] = ()
    ) -> ResumedCohort:
        """Claim, and return the cohort that is given to be resumed."""
        claim = self.claim(worker, limits, training)
        assert isinstance(claim, ResumedCohort)
        return claim

    def begin(self, lease: Lease, count: int = 2) -> list[int]:
        params = example_params(self.study.spec(), count)
        return self.cohorts.begin(self.study, lease, params, self.study.space)

    def train(
        self, worker: Worker, limits: Limits = LIMITS, training: Collection[int] = ()
    ) -> tuple[Lease, list[int]]:
        """Claim a new cohort and begin its trials."""
        claim = self.new_cohort(worker, limits, training)
        assert claim.new_trials > 0
        return claim.lease, self.begin(claim.lease, claim.new_trials)

    def finish(
        self, lease: Lease, numbers: list[int], state: TrialState = TrialState.COMPLETE
    ) -> None:
        self.cohorts.finish(self.study, lease, results(numbers, state))

    def release(self, lease: Lease) -> None:
        self.cohorts.release(self.study, lease)

    def renew(self, lease: Lease, progress: Progress | None = None) -> bool:
        return not self.leases.renew(self.study, {lease: progress or Progress()})

    def trials(self) -> list[Trial]:
        return Records(self.database).trials(self.study)

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.trials()]

    def attempts(self) -> list[int]:
        query = sa.select(trial_table.c.attempt).order_by(trial_table.c.number)
        with self.database.reading() as connection:
            return list(connection.scalars(query))

    def lease_rows(self) -> Mapping[int, Any]:
        with self.database.reading() as connection:
            return read_leases(connection, self.study)

    def expire(self, cohort: int, **values: object) -> None:
        """Let the lease of a cohort end, as if its worker had been silent for long."""
        self.change_lease(cohort, expires_at=LONG_AGO, **values)

    def change_lease(self, cohort: int, **values: object) -> None:
        update = sa.update(lease_table).where(lease_table.c.cohort == cohort).values(values)
        with self.database.writing() as connection:
            assert connection.execute(update).rowcount == 1

    def evaluation(self) -> None:
        """Open the held-out set."""
        finished = sum(state.is_finished for state in self.states())
        ledger = Ledger(self.database)
        assert ledger.claim(self.study, 0, "best", evaluation=1, reason="", finished=finished)


def someone(home: str = "") -> Worker:
    """Return a worker that nobody has met before; without a home only its lease tells of it."""
    return replace(new_worker(600.0, is_alone=False), process=home)


def results(numbers: list[int], state: TrialState = TrialState.COMPLETE) -> dict[int, TrialResult]:
    return {number: example_result(number, state, epochs=2) for number in numbers}


def all_rows(database: Database) -> dict[str, list[str]]:
    """Return every row of every table."""
    with database.reading() as connection:
        return {
            table.name: sorted(map(str, connection.execute(sa.select(table)).all()))
            for table in TABLES
        }


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """Check that the block writes nothing."""
    before = all_rows(database)
    yield
    assert all_rows(database) == before


@contextmanager
def child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a process of this machine, and yield it with its home; it waits to be killed."""
    imported = "from selection.store.process_identity import this_process"
    code = f"{imported}\nprint(this_process(), flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
