"""The one way to a database: its trials, evidence, evaluation ledger, curves and leases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from selection.errors import ErrorDetail, StudyStateError, nearest_name, show
from selection.store.cohorts import Cohorts
from selection.store.curve_points import CurvePoints
from selection.store.database import Database, open_database
from selection.store.evidence import Evidence
from selection.store.leases import Leases
from selection.store.ledger import Ledger
from selection.store.links import refuse_unlinked
from selection.store.records import Records
from selection.store.study_list import StudyList
from selection.store.study_record import StudyRecord


@dataclass(frozen=True, eq=False)
class Repository:
    """Hold an open database and the parts that read and write it."""

    database: Database
    records: Records
    studies: StudyList
    evidence: Evidence
    ledger: Ledger
    curves: CurvePoints
    cohorts: Cohorts
    leases: Leases

    def study(self, name: str) -> StudyRecord:
        """Return a study by name.

        Raises: StudyStateError, with the most similar name as a hint, if there is no such study, or
        another tool has renamed it.
        """
        study = self.records.find_study(name)
        if study is None:
            self._refuse_unlinked(name)
            known = [each.name for each in self.studies.names()]
            hint = nearest_name(name, known) if known else "Start one: selection run FILE."
            raise StudyStateError(
                ErrorDetail("study", "the database must contain the study", show(name), hint)
            )
        return study

    def newest_study(self) -> StudyRecord:
        """Return the study that was started last.

        Raises: StudyStateError if there is none.
        """
        newest = self.studies.newest()
        if newest is None:
            self._refuse_unlinked()
            rule = "the database must contain a study"
            raise StudyStateError(
                ErrorDetail("study", rule, "none", "Start one: selection run FILE.")
            )
        return self.study(newest)

    def _refuse_unlinked(self, name: str = "") -> None:
        with self.database.reading() as connection:
            refuse_unlinked(connection, name)


@contextmanager
def open_repository(url: str, *, create: bool = False, write: bool = False) -> Iterator[Repository]:
    """Open a database and close it at the end of the block.

    Raises: StorageError.
    """
    with open_database(url, create=create, write=write) as database:
        yield repository_of(database)


def repository_of(database: Database) -> Repository:
    """Return the repository of an open database."""
    return Repository(
        database,
        Records(database),
        StudyList(database),
        Evidence(database),
        Ledger(database),
        CurvePoints(database),
        Cohorts(database),
        Leases(database),
    )
