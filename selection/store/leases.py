"""Leases: which worker holds which cohort, until when, by the database's clock.

A worker that does not renew its lease is considered dead, and any other may take its cohort. If it
comes back, its attempt is no longer the one in the table, and its results are refused.
Source: the fencing tokens of Kleppmann, Designing Data-Intensive Applications, chapter 8.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, LostCohortError
from selection.store.clock import database_now
from selection.store.database import Database
from selection.store.process_identity import is_dead, this_process
from selection.store.study_record import StudyRecord
from selection.store.tables import lease_table


@dataclass(frozen=True)
class Worker:
    """Identify a process that trains, by a uuid.

    process is its process identity, see process_identity.py; host is for people to read. A worker
    that is to be alone, the only writer of an SQLite file, trains nothing beside another: it waits.
    Units: lease_seconds is how long it may be silent before it is considered dead.
    """

    uuid: str
    host: str
    process: str
    lease_seconds: float
    is_alone: bool


def new_worker(lease_seconds: float, *, is_alone: bool) -> Worker:
    """Return this process as a new worker."""
    host = f"{socket.gethostname()}:{os.getpid()}"
    return Worker(str(uuid4()), host[-255:], this_process(), lease_seconds, is_alone)


@dataclass(frozen=True)
class Lease:
    """Give one attempt to train a cohort to one worker."""

    cohort: int
    worker: Worker
    attempt: int


@dataclass(frozen=True)
class Progress:
    """Hold the progress of a cohort in epochs, and how many members train."""

    members: int = 0
    epoch: int = 0
    epochs: int = 0


@dataclass(frozen=True)
class RunningCohort:
    """Describe a cohort that a live worker holds.

    trials counts those that train: 0 if the cohort is finished and the next not yet claimed.
    living counts those that have not been pruned or failed, where that is known.
    """

    cohort: int
    host: str
    trials: int
    progress: Progress
    living: int | None = None


class Leases:
    """Renew and read leases. Every method raises StorageError if the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, study: StudyRecord, progress: Mapping[Lease, Progress]) -> set[Lease]:
        """Extend leases and publish the progress of their cohorts, in one transaction.

        Return those that no longer hold: another worker has the cohort, or it is finished.
        """
        lost = set[Lease]()
        with self._database.writing(is_durable=False) as connection:
            now = database_now(connection)
            for lease, done in progress.items():
                update = sa.update(lease_table).where(_still_trains(study, lease))
                values = {"expires_at": _end(now, lease.worker), **vars(done)}
                if connection.execute(update.values(values)).rowcount != 1:
                    lost.add(lease)
        return lost

    def lose(self, study: StudyRecord, lease: Lease) -> None:
        """Count a death of the process that trained a cohort; its driver still holds the lease."""
        with self._database.writing(is_durable=False) as connection:
            update = sa.update(lease_table).where(_still_trains(study, lease))
            connection.execute(update.values(lost=lease_table.c.lost + 1))

    def running(self, study: StudyRecord) -> list[RunningCohort]:
        """Return the cohorts that live workers hold, in order."""
        with self._database.reading() as connection:
            now = database_now(connection)
            rows = read_leases(connection, study).values()
            return [_running(row) for row in rows if is_alive(row, now)]


def read_leases(connection: Connection, study: StudyRecord) -> Mapping[int, Any]:
    """Return the leases of a study by cohort, in order, including those of dead workers."""
    query = sa.select(lease_table).where(lease_table.c.study_uuid == study.uuid)
    return {row.cohort: row for row in connection.execute(query.order_by(lease_table.c.cohort))}


def running_by_study(
    connection: Connection, uuids: Sequence[str]
) -> dict[str, list[RunningCohort]]:
    """Return the cohorts that live workers hold, in order, by the uuid of their study."""
    query = sa.select(lease_table).where(lease_table.c.study_uuid.in_(uuids))
    now, found = database_now(connection), dict[str, list[RunningCohort]]()
    for row in connection.execute(query.order_by(lease_table.c.study_uuid, lease_table.c.cohort)):
        if is_alive(row, now):
            found.setdefault(row.study_uuid, []).append(_running(row))
    return found


def is_training(running: Iterable[RunningCohort], *, is_finished: bool) -> bool:
    """Say whether a worker of a study trains, or is between two cohorts."""
    return any(cohort.trials or not is_finished for cohort in running)


def is_alive(row: Any, now: datetime) -> bool:
    """Say whether the worker of this lease is alive, as far as can be known."""
    return row.expires_at > now and not is_dead(row.home)


def is_held_by_another(row: Any, worker: Worker, now: datetime) -> bool:
    """Say whether another worker holds this lease."""
    return row.worker != worker.uuid and is_alive(row, now)


def take(
    connection: Connection, study: StudyRecord, lease: Lease, *, trials: int, lost: int
) -> None:
    """Write a lease on a cohort of this many trials, in place of any earlier one."""
    connection.execute(sa.delete(lease_table).where(_of_cohort(study, lease.cohort)))
    row = {
        "study_uuid": study.uuid,
        "cohort": lease.cohort,
        "worker": lease.worker.uuid,
        "place": lease.worker.host,
        "home": lease.worker.process,
        "attempt": lease.attempt,
        "lost": lost,
        "expires_at": _end(database_now(connection), lease.worker),
        "trials": trials,
        **vars(Progress()),
    }
    connection.execute(sa.insert(lease_table), row)


def rest(connection: Connection, study: StudyRecord, cohort: int) -> None:
    """Mark the lease of a finished cohort: its worker is alive, and may no longer write to it."""
    update = sa.update(lease_table).where(_of_cohort(study, cohort))
    connection.execute(update.values(trials=0, **vars(Progress())))


def leave(connection: Connection, study: StudyRecord, lease: Lease) -> None:
    """Delete the lease of this attempt, if it is still there."""
    connection.execute(sa.delete(lease_table).where(_of_attempt(study, lease)))


def give_back(connection: Connection, study: StudyRecord, cohort: int) -> None:
    """Delete any lease on a cohort."""
    connection.execute(sa.delete(lease_table).where(_of_cohort(study, cohort)))


def is_held(connection: Connection, study: StudyRecord, lease: Lease) -> bool:
    """Say whether the lease still holds, and lock it until the transaction ends."""
    query = sa.select(lease_table.c.cohort).where(_still_trains(study, lease)).with_for_update()
    return connection.execute(query).first() is not None


def lost_cohort(study: StudyRecord, lease: Lease) -> LostCohortError:
    """Return the error for a cohort that was given to another worker."""
    rule = "a worker must hold the cohort that it trains"
    got = f"cohort {lease.cohort} given to another worker meanwhile"
    hint = "Its results are discarded; the other worker trains the cohort."
    return LostCohortError(ErrorDetail(study.name, rule, got, hint))


def _of_cohort(study: StudyRecord, cohort: int) -> sa.ColumnElement[bool]:
    return sa.and_(lease_table.c.study_uuid == study.uuid, lease_table.c.cohort == cohort)


def _of_attempt(study: StudyRecord, lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(
        _of_cohort(study, lease.cohort),
        lease_table.c.worker == lease.worker.uuid,
        lease_table.c.attempt == lease.attempt,
    )


def _still_trains(study: StudyRecord, lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(_of_attempt(study, lease), lease_table.c.trials > 0)


def _end(now: datetime, worker: Worker) -> datetime:
    return now + timedelta(seconds=worker.lease_seconds)


def _running(row: Any) -> RunningCohort:
    progress = Progress(row.members, row.epoch, row.epochs)
    return RunningCohort(row.cohort, row.place, row.trials, progress)
