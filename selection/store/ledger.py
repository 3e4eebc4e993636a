"""The evaluation ledger: who opened which held-out rows, when, why, and with which result.

A claim is written before the rows are read, by a statement that only one process can win. A claim
without a result stays visible. The ledger outlives its studies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from selection.data.row_hashes import HeldOutRows
from selection.errors import ErrorDetail, RefusedError
from selection.store.clock import utc_now
from selection.store.codec import (
    decode_held_out,
    decode_outputs,
    encode_held_out,
    encode_outputs,
)
from selection.store.database import Database
from selection.store.evidence import Evidence
from selection.store.ledger_chain import extend_chain, seal_evaluation
from selection.store.seals import seal_trials
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import state_error, study_transaction
from selection.store.tables import lease_table, ledger_table, trial_table
from selection.store.trial_reader import ENDED, ENDINGS, has_ended, own_rows
from selection.study.ensemble import subject
from selection.study.fields import Rule
from selection.study.held_out_result import HeldOutResult
from selection.study.trial import Outputs

CLAIMED, EVALUATED, RETURNED = "claimed", "evaluated", "returned"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Hold one row of the ledger; without a result it was claimed and never finished.

    A returned claim showed nothing to anybody: note says why it was given back. shared_rows says of
    the evaluation of another study how many of this study's held-out rows it opened, 0 where it
    opened others of the same table; None where it opened them all.
    Shape: outputs are the model's outputs on the held-out rows, (N, C) float32.
    Units: times are UTC, with their zone.
    """

    study_uuid: str
    study_name: str
    evaluation: int
    number: int
    rule: Rule
    reason: str
    state: str
    claimed_at: datetime
    evaluated_at: datetime | None
    result: HeldOutResult | None
    outputs: Outputs | None
    note: str = ""
    shared_rows: int | None = None


class Ledger:
    """Read and write the ledger of one database.

    Every method raises StorageError if the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._evidence = Evidence(database)
        self._counted: dict[str, tuple[tuple[Any, ...], int]] = {}

    def evaluations(self, study: StudyRecord) -> list[Evaluation]:
        """Return the evaluations of this study in order, without claims that were given back."""
        return [each for each in self._claims(study) if each.state != RETURNED]

    def returned_claims(self, study: StudyRecord) -> list[Evaluation]:
        """Return the claims of this study that were given back, in order."""
        return [each for each in self._claims(study) if each.state == RETURNED]

    def _claims(self, study: StudyRecord) -> list[Evaluation]:
        with self._database.reading() as connection:
            query = sa.select(ledger_table).where(_of(study)).order_by(ledger_table.c.evaluation)
            return [_evaluation(row) for row in connection.execute(query)]

    def check_first_evaluation(self, study: StudyRecord) -> None:
        """Refuse a second evaluation.

        Raises: RefusedError if the study's held-out rows have been claimed before.
        """
        evaluations = self.evaluations(study)
        if evaluations:
            raise refusal(evaluations)

    def count_openings_by_others(self, study: StudyRecord) -> int:
        """Return the number of evaluations in openings_by_others; read once per state."""
        columns = ledger_table.c
        returned = sa.func.sum(sa.case((columns.state == RETURNED, 1), else_=0))
        query = sa.select(sa.func.count(), returned).select_from(ledger_table)
        with self._database.reading() as connection:
            state = tuple(connection.execute(query).one())
        known = self._counted.get(study.uuid)
        if known is None or known[0] != state:
            known = (state, len(self.openings_by_others(study)))
            self._counted[study.uuid] = known
        return known[1]

    def openings_by_others(self, study: StudyRecord) -> list[Evaluation]:
        """Return the evaluations by other studies, also deleted ones, of rows of the same table.

        Their held-out rows are the same, or some of them are, or other rows of the table were.
        """
        own = self._evidence.held_out_rows(study)
        columns = ledger_table.c
        is_other = (columns.study_uuid != study.uuid) & (columns.state != RETURNED)
        is_same = columns.held_out_fingerprint == study.held_out_fingerprint
        may_share = columns.held_out_rows.is_not(None) if own is not None else sa.false()
        query = sa.select(ledger_table).where(is_other, is_same | may_share)
        order = (columns.claimed_at, columns.study_uuid, columns.evaluation)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(*order)).all()
        found = []
        for row in rows:
            if row.held_out_fingerprint == study.held_out_fingerprint:
                found.append(_evaluation(row))
            elif own is not None and (shared := _shared(row, own)) is not None:
                found.append(replace(_evaluation(row), shared_rows=shared))
        return found

    def claim(
        self,
        study: StudyRecord,
        number: int,
        rule: Rule,
        *,
        evaluation: int,
        reason: str,
        finished: int,
        rows: HeldOutRows | None = None,
    ) -> bool:
        """Claim the right to open the held-out rows; False if another process has it.

        Unfinished trials are failed in the same transaction: none may finish afterwards.
        evaluation is the number of this claim, counted from 1; finished is the number of
        trials that were finished when the trial was chosen; by rows they are known again.

        Raises: StudyStateError if more trials have finished since.
        """
        row = {
            "data_fingerprint": study.data_fingerprint,
            "held_out_fingerprint": study.held_out_fingerprint,
            "study_uuid": study.uuid,
            "evaluation": evaluation,
            "study_name": study.name,
            "number": number,
            "rule": rule,
            "reason": reason,
            "state": CLAIMED,
            "claimed_at": utc_now(),
            "table_hash": None if rows is None else rows.table,
            "held_out_rows": None if rows is None else encode_held_out(rows),
        }
        with study_transaction(self._database, study) as connection:
            is_sqlite = connection.dialect.name == "sqlite"
            insert = sqlite.insert if is_sqlite else postgresql.insert
            statement = insert(ledger_table).on_conflict_do_nothing()
            claimed = connection.execute(statement.returning(ledger_table.c.evaluation), row)
            if claimed.first() is None:
                return False
            extend_chain(connection, _of(study), ledger_table.c.evaluation == evaluation)
            if (now := self._end_trials(connection, study)) != finished:
                expected = f"the study must have the {finished} finished trials of its assessment"
                raise state_error(study, expected, f"{now} finished trials")
            return True

    def _end_trials(self, connection: Connection, study: StudyRecord) -> int:
        """Fail all unfinished trials, held by a worker or not; return how many were finished."""
        rows = connection.execute(own_rows(study)).all()
        storage = self._database.storage
        states = storage.locked_states(connection, [row.optuna_trial_id for row in rows])
        left = [
            row
            for row in rows
            if row.optuna_trial_id in states
            and not (has_ended(row) and states[row.optuna_trial_id].is_finished())
        ]
        # Another program may have ended some of them.
        storage.reopen_trials(connection, [row.optuna_trial_id for row in left])
        joined = storage.joined(connection)
        for row in left:
            joined.set_trial_state_values(row.optuna_trial_id, OptunaState.FAIL)
        connection.execute(sa.delete(lease_table).where(lease_table.c.study_uuid == study.uuid))
        ended = trial_table.c.uuid.in_([row.uuid for row in left])
        connection.execute(sa.update(trial_table).where(ended).values(reason=ENDED))
        seal_trials(connection, storage, [row.uuid for row in left])
        return len(states) - len(left)

    def give_back(self, study: StudyRecord, evaluation: int, note: str) -> None:
        """Return a claim that showed nothing to anybody: it stays in the ledger, and counts not.

        The trials that it ended are unfinished again, unless another claim stands.
        """
        is_it = (_of(study), ledger_table.c.evaluation == evaluation)
        update = sa.update(ledger_table).where(*is_it, ledger_table.c.state == CLAIMED)
        with study_transaction(self._database, study) as connection:
            connection.execute(update.values(state=RETURNED, evaluated_at=utc_now(), note=note))
            seal_evaluation(connection, *is_it)
            if not is_opened(connection, study):
                self._reopen_trials(connection, study)

    def _reopen_trials(self, connection: Connection, study: StudyRecord) -> None:
        """Let the trials that a claim has ended be trained after all."""
        rows = [row for row in connection.execute(own_rows(study)) if row.reason in ENDINGS]
        storage = self._database.storage
        ids = [row.optuna_trial_id for row in rows]
        storage.reopen_trials(connection, ids)
        storage.put_back_trials(connection, ids)
        ended = trial_table.c.uuid.in_([row.uuid for row in rows])
        reopened = {"reason": "", "row_hash": None}
        connection.execute(sa.update(trial_table).where(ended).values(reopened))

    def finish(
        self,
        study: StudyRecord,
        evaluation: int,
        result: HeldOutResult,
        outputs: Outputs,
    ) -> None:
        """Write the result of a claimed evaluation; again, it changes nothing."""
        is_it = (_of(study), ledger_table.c.evaluation == evaluation)
        written = json.dumps(result.to_json(), allow_nan=False)
        update = (
            sa.update(ledger_table)
            .where(*is_it, ledger_table.c.state == CLAIMED)
            .values(
                state=EVALUATED,
                evaluated_at=utc_now(),
                result_json=written,
                outputs_columns=outputs.shape[1],
                outputs=encode_outputs(outputs),
            )
        )
        with self._database.writing() as connection:
            if connection.execute(update).rowcount:
                seal_evaluation(connection, *is_it)
                return
            there = connection.scalar(sa.select(ledger_table.c.result_json).where(*is_it))
            assert there == written, "a claim is finished once"


def refusal(evaluations: Sequence[Evaluation]) -> RefusedError:
    """Return the error that names the trial and the time of the earlier evaluation."""
    first = next(
        (evaluation for evaluation in evaluations if evaluation.state == EVALUATED), evaluations[0]
    )
    what = "an evaluation" if first.state == EVALUATED else "a claim without a result"
    of = subject(first.number, first.result.ensemble if first.result else None)
    got = f"{what} for {of} at {first.claimed_at:%Y-%m-%d %H:%M} UTC"
    hint = "Another evaluation is recorded permanently: --again --reason TEXT."
    where = f"study {first.study_name}"
    detail = ErrorDetail(where, "the held-out set may be opened only once", got, hint)
    return RefusedError(detail, result=first.result)


def is_opened(connection: Connection, study: StudyRecord) -> bool:
    """Say whether the study's held-out rows have been claimed."""
    query = sa.select(ledger_table.c.state).where(_of(study), ledger_table.c.state != RETURNED)
    return connection.execute(query).first() is not None


def refuse_opened(connection: Connection, study: StudyRecord, got: str = "one more cohort") -> None:
    """Refuse what would add trials once the study's held-out rows have been claimed.

    Raises: RefusedError.
    """
    if is_opened(connection, study):
        rule = "a study takes no trials after its held-out set was opened"
        hint = "To search on, run the study under another name."
        raise RefusedError(ErrorDetail(study.name, rule, got, hint))


def _of(study: StudyRecord) -> sa.ColumnElement[bool]:
    return sa.and_(
        ledger_table.c.data_fingerprint == study.data_fingerprint,
        ledger_table.c.held_out_fingerprint == study.held_out_fingerprint,
        ledger_table.c.study_uuid == study.uuid,
    )


def _shared(row: Any, own: HeldOutRows) -> int | None:
    """Return how many of a study's held-out rows a claim opened; None for those of other tables."""
    rows = decode_held_out(row.held_out_rows, row.table_hash)
    shared = own.shared_with(rows)
    return shared if shared or rows.table == own.table else None


def _evaluation(row: Any) -> Evaluation:
    return Evaluation(
        study_uuid=row.study_uuid,
        study_name=row.study_name,
        evaluation=row.evaluation,
        number=row.number,
        rule=row.rule,
        reason=row.reason,
        state=row.state,
        claimed_at=row.claimed_at.replace(tzinfo=UTC),
        evaluated_at=None if row.evaluated_at is None else row.evaluated_at.replace(tzinfo=UTC),
        result=_result(row.result_json),
        outputs=None if row.outputs is None else decode_outputs(row.outputs, row.outputs_columns),
        note=row.note or "",
    )


def _result(text: str | None) -> HeldOutResult | None:
    return None if text is None else HeldOutResult.from_json(json.loads(text))
