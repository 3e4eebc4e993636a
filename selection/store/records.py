"""The record of every study: creates studies, and reads them and their trials back.

Every event is one transaction: it is recorded completely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, StudyStateError
from selection.store.clock import utc_now
from selection.store.codec import decode_fold
from selection.store.database import Database
from selection.store.file_changes import keep_file
from selection.store.hashed_rows import damage_error
from selection.store.ledger import refuse_opened
from selection.store.links import refuse_unlinked
from selection.store.optuna_rows import studies, trials
from selection.store.other_trials import Enqueued, OtherTrial, add_to_queue, read_others
from selection.store.quarantine import set_aside
from selection.store.seals import seal_study
from selection.store.study_list import StudyList
from selection.store.study_record import (
    StudyRecord,
    StudySummary,
    record_from_row,
)
from selection.store.study_transaction import (
    UUID_ATTR,
    find_study,
    our_studies,
    state_error,
    study_transaction,
)
from selection.store.tables import study_table, trial_table
from selection.store.trial_reader import (
    HAS_ENDED,
    IS_UNFINISHED,
    own_rows,
    read_fold_rows,
    read_trials,
    training_seconds,
)
from selection.study.asked import AskedSetting
from selection.study.changes import Difference
from selection.study.data_facts import DataFacts
from selection.study.optuna_log import quiet_optuna
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Trial


class Records:
    """Create and read the studies of one database and their trials.

    Every method raises StorageError if the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage = database.storage

    def create_study(
        self,
        spec: StudySpec,
        data_fingerprint: str,
        held_out_fingerprint: str | None,
        facts: DataFacts,
        environment: Mapping[str, Any],
        asked: Sequence[AskedSetting] = (),
    ) -> StudyRecord:
        """Create a study; asked are the settings that it trains right after the default.

        Raises: StudyStateError if the name is taken, or another tool has renamed its study.
        """
        uuid = str(uuid4())
        row = {
            "uuid": uuid,
            "spec_json": json.dumps(spec.to_json()),
            "spec_fingerprint": spec.fingerprint,
            "data_fingerprint": data_fingerprint,
            "held_out_fingerprint": held_out_fingerprint,
            "facts_json": json.dumps(facts.to_json()),
            "environment_json": json.dumps(environment),
            "created_at": utc_now(),
        }
        direction = StudyDirection.MINIMIZE if spec.is_minimised else StudyDirection.MAXIMIZE
        with self._database.writing() as connection:
            refuse_unlinked(connection, spec.name)
            storage = self._storage.joined(connection)
            try:
                with quiet_optuna():
                    study_id = storage.create_new_study([direction], spec.name)
            except DuplicatedStudyError:
                is_ours = find_study(connection, studies.c.study_name == spec.name) is not None
                raise _name_taken(spec.name, is_ours=is_ours) from None
            storage.set_study_user_attr(study_id, UUID_ATTR, row["uuid"])
            # Optuna's own tools delete on SQLite without foreign keys: our row stays behind and
            # the id is used again.
            set_aside(connection, study_table, study_table.c.optuna_study_id == study_id)
            connection.execute(sa.insert(study_table), {**row, "optuna_study_id": study_id})
            seal_study(connection, uuid)
            record = find_study(connection, study_table.c.uuid == row["uuid"])
            assert record is not None, "a study that was just written can be read"
            add_to_queue(connection, self._storage, record, asked)
        return record

    def keep_file(
        self, study: StudyRecord, spec: StudySpec, recorded: Sequence[Difference] = ()
    ) -> StudyRecord:
        """Store a changed study file; the caller checks that no trial depends on the change.

        recorded are the differences to record, by which the study goes on or is read otherwise.

        Raises: RefusedError if there are any and the held-out set has been opened;
        StudyStateError if more trials have begun than the study is to have, or its file was
        changed since the record was read.
        """
        return keep_file(self._database, study, spec, recorded)

    def find_study(self, name: str) -> StudyRecord | None:
        """Return a study by name; None if there is none."""
        with self._database.reading() as connection:
            return find_study(connection, studies.c.study_name == name)

    def find_uuid(self, uuid: str) -> StudyRecord | None:
        """Return a study by uuid; None if there is none."""
        with self._database.reading() as connection:
            return find_study(connection, study_table.c.uuid == uuid)

    def list_studies(self) -> list[StudySummary]:
        """Return a summary of each study, oldest first."""
        return StudyList(self._database).summaries()

    def all_studies(self) -> list[StudyRecord]:
        """Return all studies, oldest first."""
        with self._database.reading() as connection:
            return _all(connection)

    def trials(
        self,
        study: StudyRecord,
        *,
        with_curves: bool = True,
        numbers: Collection[int] | None = None,
    ) -> list[Trial]:
        """Return the trials of a study, or those with the given numbers, by number.

        Without curves, their fold_means stay empty.
        """
        with self._database.reading() as connection:
            return read_trials(
                connection, self._storage, study, with_curves=with_curves, numbers=numbers
            )

    def others(self, study: StudyRecord) -> list[OtherTrial]:
        """Return Optuna's trials of the study that no cohort has, by number."""
        with self._database.reading() as connection:
            return read_others(connection, self._storage, study)

    def enqueue(self, study: StudyRecord, asked: Sequence[AskedSetting]) -> list[Enqueued]:
        """Let the next cohort train these settings first.

        Raises: RefusedError once the held-out set has been opened.
        """
        with study_transaction(self._database, study) as connection:
            refuse_opened(connection, study, "a setting to train")
            return add_to_queue(connection, self._storage, study, asked)

    def finished_numbers(self, study: StudyRecord, *, since: int = 0) -> list[int]:
        """Return the numbers of the finished trials, from cohort since on, in order."""
        is_since = trial_table.c.cohort >= since
        query = self._numbers(study).where(is_since, sa.not_(IS_UNFINISHED))
        with self._database.reading() as connection:
            return [row.number for row in connection.execute(query)]

    def pending(
        self,
        study: StudyRecord,
        *,
        since: int = 0,
        known: Mapping[int, Trial] = MappingProxyType({}),
    ) -> list[Trial]:
        """Return the unfinished trials, from cohort since on, by number; the known are not read."""
        is_since = trial_table.c.cohort >= since
        query = self._numbers(study).where(is_since, IS_UNFINISHED)
        with self._database.reading() as connection:
            numbers = [row.number for row in connection.execute(query)]
            new = [number for number in numbers if number not in known]
            read = read_trials(connection, self._storage, study, with_curves=False, numbers=new)
        found = {**{trial.number: trial for trial in read}, **known}
        return [found[number] for number in numbers if number in found]

    def curves(
        self, study: StudyRecord, number: int, *, outputs: bool = False
    ) -> tuple[FoldResult, ...]:
        """Return the members of one trial with their curves, by repeat and fold.

        Raises: StudyStateError if there is no such trial; StorageError if a row is damaged.
        """
        with self._database.reading() as connection:
            query = own_rows(study).where(trial_table.c.number == number)
            trial = connection.execute(query).first()
            if trial is None:
                raise state_error(study, f"trial {number} must exist", "no such trial")
            rows = read_fold_rows(connection, study, number)
        for row, row_hash in rows:
            if row.row_hash != row_hash:
                where = f"trial {number}, repeat {row.repeat}, fold {row.fold}"
                raise damage_error(self._database.address, where)
        best = trial.best_epoch
        return tuple(decode_fold(row, outputs=outputs, best_epoch=best) for row, _ in rows)

    def elapsed_seconds(self, study: StudyRecord) -> float:
        """Return how long the study's finished cohorts were training."""
        with self._database.reading() as connection:
            return training_seconds(connection, self._storage, study)

    def finished_within(self, study: StudyRecord, seconds: float) -> int:
        """Return how many trials have ended within the last seconds, by this machine's clock."""
        since = utc_now() - timedelta(seconds=seconds)
        query = (
            sa.select(sa.func.count())
            .select_from(
                trial_table.join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
            )
            .where(trial_table.c.study_uuid == study.uuid, HAS_ENDED)
            .where(trials.c.datetime_complete >= since)
        )
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    @staticmethod
    def _numbers(study: StudyRecord) -> sa.Select[Any]:
        return (
            sa.select(trial_table.c.number)
            .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
            .where(trial_table.c.study_uuid == study.uuid)
            .order_by(trial_table.c.number)
        )


def _all(connection: Connection) -> list[StudyRecord]:
    query = our_studies().order_by(study_table.c.created_at, studies.c.study_name)
    return [record_from_row(row) for row in connection.execute(query).all()]


def _name_taken(name: str, *, is_ours: bool) -> StudyStateError:
    rule = "a new study needs a name that is free in this database"
    got = (
        "a study of that name" if is_ours else "a study of that name that selection did not create"
    )
    hint = "Choose another name, or another database: --storage sqlite:///FILE.db."
    return StudyStateError(ErrorDetail(name, rule, got, hint))
