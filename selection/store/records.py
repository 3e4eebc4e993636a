"""The record of a study: rows to values and back, one transaction per event.

Whatever kills the process, an event is in the record as a whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from optuna.distributions import json_to_distribution
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import Fault, RefusedError, StudyStateError
from selection.store.codec import (
    decode_fold,
    encode_fold,
    shown_attrs,
    thinned_points,
    utc_now,
)
from selection.store.database import Database
from selection.store.ledger import is_opened
from selection.store.optuna_storage import Ending, studies
from selection.store.study_event import (
    UUID_ATTR,
    find_study,
    our_studies,
    state_error,
    study_event,
)
from selection.store.study_record import StudyRecord, StudySummary, record_from_row
from selection.store.tables import fold_table, study_table, trial_table
from selection.store.trial_reader import (
    OPTUNA_STATES,
    OUTSIDE_ATTR,
    STATES,
    own_rows,
    read_fold_rows,
    read_trials,
    training_seconds,
)
from selection.study.optuna_names import distribution_json, from_optuna, to_optuna
from selection.study.space import SearchSpace, nearest_inside, value_to_json
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Params, Trial, TrialResult, TrialState


class Records:
    """Keep and tell what every study of one database did.

    Every method raises StorageError where the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage = database.storage

    def create_study(
        self,
        spec: StudySpec,
        data_fingerprint: str,
        held_out_fingerprint: str | None,
        facts: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> StudyRecord:
        """Begin a study.

        Raises: StudyStateError where the name is taken.
        """
        row = {
            "uuid": str(uuid4()),
            "spec_json": json.dumps(spec.to_json()),
            "spec_fingerprint": spec.fingerprint,
            "data_fingerprint": data_fingerprint,
            "held_out_fingerprint": held_out_fingerprint,
            "facts_json": json.dumps(facts),
            "environment_json": json.dumps(environment),
            "created_at": utc_now(),
        }
        direction = StudyDirection.MINIMIZE if spec.is_minimised else StudyDirection.MAXIMIZE
        with self._database.writing() as connection:
            storage = self._storage.joined(connection)
            try:
                study_id = storage.create_new_study([direction], spec.name)
            except DuplicatedStudyError:
                is_ours = find_study(connection, studies.c.study_name == spec.name) is not None
                raise _name_taken(spec.name, is_ours=is_ours) from None
            storage.set_study_user_attr(study_id, UUID_ATTR, row["uuid"])
            # Optuna's own tools delete on SQLite without foreign keys: our row stays behind and
            # the id is given again.
            left_behind = study_table.c.optuna_study_id == study_id
            connection.execute(sa.delete(study_table).where(left_behind))
            connection.execute(sa.insert(study_table), {**row, "optuna_study_id": study_id})
            record = find_study(connection, study_table.c.uuid == row["uuid"])
        assert record is not None, "a study that was just written can be read"
        return record

    def move_table(self, study: StudyRecord, spec: StudySpec) -> StudyRecord:
        """Keep the new place of a study's table, whose rows are the same."""
        values = {"spec_json": json.dumps(spec.to_json()), "spec_fingerprint": spec.fingerprint}
        with study_event(self._database, study) as connection:
            is_it = study_table.c.uuid == study.uuid
            connection.execute(sa.update(study_table).where(is_it).values(values))
            moved = find_study(connection, is_it)
        assert moved is not None, "a study that was just written can be read"
        return moved

    def find_study(self, name: str) -> StudyRecord | None:
        """Return a study of ours by name; None if there is none."""
        with self._database.reading() as connection:
            return find_study(connection, studies.c.study_name == name)

    def list_studies(self) -> list[StudySummary]:
        """Return a line for each study of ours, oldest first."""
        with self._database.reading() as connection:
            query = our_studies().order_by(study_table.c.created_at, studies.c.study_name)
            records = [record_from_row(row) for row in connection.execute(query).all()]
            return [self._summary(connection, record) for record in records]

    def trials(self, study: StudyRecord, *, with_curves: bool = True) -> list[Trial]:
        """Return the trials of a study by number; without curves their fold_means stay empty."""
        with self._database.reading() as connection:
            return read_trials(connection, self._storage, study, with_curves=with_curves)

    def curves(
        self, study: StudyRecord, number: int, *, outputs: bool = False
    ) -> tuple[FoldResult, ...]:
        """Return the members of one trial with their curves, by repeat and fold.

        Raises: StudyStateError without such a trial; StorageError where a row is damaged.
        """
        with self._database.reading() as connection:
            query = own_rows(study).where(trial_table.c.number == number)
            if connection.execute(query).first() is None:
                raise state_error(study, f"trial {number} must exist", "no such trial")
            rows = read_fold_rows(connection, study, number)
        for row, row_hash in rows:
            if row.row_hash != row_hash:
                got = f"other bytes in trial {number}, repeat {row.repeat}, fold {row.fold}"
                rule = "what was stored must be read back unchanged"
                raise self._database.address.fault(rule, got, "Restore a copy of the database.")
        return tuple(decode_fold(row, outputs=outputs) for row, _ in rows)

    def elapsed_seconds(self, study: StudyRecord) -> float:
        """Return the time that the study's finished cohorts took."""
        with self._database.reading() as connection:
            return training_seconds(connection, self._storage, study)

    def begin_cohort(
        self, study: StudyRecord, cohort: int, params: Sequence[Params], space: SearchSpace
    ) -> list[int]:
        """Write down the trials that are about to be trained and return their numbers.

        Raises: StudyStateError where the cohort has begun already; RefusedError where the held-out
        set has been opened.
        """
        templates = [_template(setting, space) for setting in params]
        with study_event(self._database, study) as connection:
            _refuse_opened(connection, study)
            query = own_rows(study).where(trial_table.c.cohort == cohort)
            if connection.execute(query).first() is not None:
                rule = f"cohort {cohort} must be new"
                raise state_error(study, rule, "a cohort that another process began")
            if not templates:
                return []
            study_id = study.optuna_study_id
            numbered = self._storage.create_trials(connection, study_id, templates)
            ids = [trial_id for trial_id, _ in numbered]
            # As in create_study: a fresh id cannot be ours yet.
            left_behind = trial_table.c.optuna_trial_id.in_(ids)
            connection.execute(sa.delete(trial_table).where(left_behind))
            rows = [
                {
                    "uuid": str(uuid4()),
                    "study_uuid": study.uuid,
                    "optuna_trial_id": trial_id,
                    "number": number,
                    "cohort": cohort,
                    "attempt": 1,
                    "reason": "",
                    "epochs": 0,
                }
                for trial_id, number in numbered
            ]
            connection.execute(sa.insert(trial_table), rows)
        return [number for _, number in numbered]

    def restart_cohort(self, study: StudyRecord, cohort: int) -> list[tuple[int, Params]]:
        """Take up the unfinished trials of a cohort again and return their numbers and params."""
        with study_event(self._database, study) as connection:
            _refuse_opened(connection, study)
            unfinished = self._unfinished(connection, study, trial_table.c.cohort == cohort)
            storage = self._storage.joined(connection)
            for row, state in unfinished:
                # Optuna takes a trial up from WAITING only, and sets its start anew.
                if state is OptunaState.RUNNING:
                    storage.set_trial_state_values(row.optuna_trial_id, OptunaState.WAITING)
                storage.set_trial_state_values(row.optuna_trial_id, OptunaState.RUNNING)
            again = trial_table.c.uuid.in_([row.uuid for row, _ in unfinished])
            attempt = trial_table.c.attempt + 1
            connection.execute(sa.update(trial_table).where(again).values(attempt=attempt))
            numbers = {row.number for row, _ in unfinished}
            trials = read_trials(connection, self._storage, study, with_curves=False)
        return [(trial.number, trial.params) for trial in trials if trial.number in numbers]

    def release(self, study: StudyRecord) -> None:
        """Put running trials back, so that the next run takes them up."""
        with study_event(self._database, study) as connection:
            storage = self._storage.joined(connection)
            for row, state in self._unfinished(connection, study, sa.true()):
                if state is OptunaState.RUNNING:
                    storage.set_trial_state_values(row.optuna_trial_id, OptunaState.WAITING)

    def finish_cohort(self, study: StudyRecord, results: Mapping[int, TrialResult]) -> None:
        """Write down how trials ended: members, curves, values and states in one transaction.

        Raises: StudyStateError where a trial is not running or a result is not whole.
        """
        trained = {number: _trained(result) for number, result in results.items()}
        for number, result in trained.items():
            _refuse_unsound(study, number, result)
        if not trained:
            return
        with study_event(self._database, study) as connection:
            rows = self._running(connection, study, trained)
            endings = [_ending(row.optuna_trial_id, trained[row.number]) for row in rows]
            self._storage.finish_trials(connection, endings)
            update = (
                sa.update(trial_table)
                .where(trial_table.c.uuid == sa.bindparam("key"))
                .values(
                    {name: sa.bindparam(f"new_{name}") for name in ("reason", "epochs", "seconds")}
                )
            )
            connection.execute(update, [_own_ending(row, trained[row.number]) for row in rows])
            members = [
                encode_fold(row.uuid, row.attempt, fold)
                for row in rows
                for fold in trained[row.number].folds
            ]
            if members:
                insert = sa.insert(fold_table)
                connection.execute(
                    insert, [{**vars(member), "row_hash": member.row_hash} for member in members]
                )

    def _unfinished(
        self, connection: Connection, study: StudyRecord, condition: sa.ColumnElement[bool]
    ) -> list[tuple[Any, OptunaState]]:
        rows = connection.execute(own_rows(study).where(condition)).all()
        states = self._storage.locked_states(connection, [row.optuna_trial_id for row in rows])
        return [
            (row, states[row.optuna_trial_id])
            for row in rows
            if row.optuna_trial_id in states and not states[row.optuna_trial_id].is_finished()
        ]

    def _running(
        self, connection: Connection, study: StudyRecord, results: Mapping[int, TrialResult]
    ) -> Sequence[Any]:
        """Return our rows of the trials that end; refuse if any of them is not running."""
        rows = connection.execute(own_rows(study).where(trial_table.c.number.in_(results))).all()
        states = self._storage.locked_states(connection, [row.optuna_trial_id for row in rows])
        found = {row.number: states.get(row.optuna_trial_id) for row in rows}
        for number in results:
            state = found.get(number)
            if state is not OptunaState.RUNNING:
                got = "no such trial" if state is None else f"a {STATES[state]} one"
                rule = f"trial {number} must be running to be finished"
                raise state_error(study, rule, got)
        return rows

    def _summary(self, connection: Connection, record: StudyRecord) -> StudySummary:
        spec = record.spec()
        trials = read_trials(connection, self._storage, record, with_curves=False)
        values = [trial.value for trial in trials if trial.value is not None]
        best = min if spec.is_minimised else max
        return StudySummary(
            name=record.name,
            created_at=record.created_at,
            counts={state: sum(trial.state is state for trial in trials) for state in TrialState},
            best_value=best(values) if values else None,
            budget=spec.budget,
        )


def _refuse_opened(connection: Connection, study: StudyRecord) -> None:
    if is_opened(connection, study):
        rule = "a study takes no trials after its held-out set was opened"
        mend = "Give the study another name to search on."
        raise RefusedError(Fault(study.name, rule, "one more cohort", mend))


def _template(params: Params, space: SearchSpace) -> FrozenTrial:
    """Return a running trial for Optuna, and beside it what Optuna's params cannot hold."""
    inside = nearest_inside(space, params)
    shown = {name: to_optuna(dimension, inside[name]) for name, dimension in space.items()}
    outside = {
        name: value_to_json(params[name])
        for name, dimension in space.items()
        if from_optuna(dimension, shown[name]) != params[name]
    }
    distributions = {
        name: json_to_distribution(distribution_json(dimension))
        for name, dimension in space.items()
    }
    return create_trial(
        state=OptunaState.RUNNING,
        params=dict(shown),
        distributions=distributions,
        user_attrs={OUTSIDE_ATTR: outside} if outside else {},
    )


def _trained(result: TrialResult) -> TrialResult:
    """Return the result without members that ended before their first epoch."""
    return replace(result, folds=tuple(fold for fold in result.folds if len(fold.curve.points)))


def _refuse_unsound(study: StudyRecord, number: int, result: TrialResult) -> None:
    places = [(fold.repeat, fold.fold) for fold in result.folds]
    assert places == sorted(set(places)), "members stand by repeat and fold, each once"
    if not result.state.is_finished:
        rule = f"trial {number} can only end complete, pruned or failed"
        raise state_error(study, rule, result.state)
    if result.state is not TrialState.COMPLETE:
        return
    if len(places) != study.members_per_trial:
        rule = f"trial {number} is complete with {study.members_per_trial} folds"
        raise state_error(study, rule, f"{len(places)} folds")
    if result.value is None or not math.isfinite(result.value):
        raise state_error(study, f"trial {number} must have a finite score", str(result.value))


def _ending(trial_id: int, result: TrialResult) -> Ending:
    return Ending(
        trial_id=trial_id,
        state=OPTUNA_STATES[result.state],
        value=result.value,
        intermediate_values=thinned_points(result.fold_means),
        user_attrs=shown_attrs(result),
    )


def _own_ending(row: Any, result: TrialResult) -> dict[str, Any]:
    return {
        "key": row.uuid,
        "new_reason": result.reason,
        "new_epochs": result.epochs,
        "new_seconds": result.seconds,
    }


def _name_taken(name: str, *, is_ours: bool) -> StudyStateError:
    rule = "a new study needs a name that is free in this database"
    got = "a study of that name" if is_ours else "a study of that name that only Optuna knows"
    mend = "Choose another name, or another database: --storage sqlite:///FILE.db."
    return StudyStateError(Fault(name, rule, got, mend))
