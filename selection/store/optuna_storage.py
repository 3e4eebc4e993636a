"""Optuna's tables, written in batches: many trials in a handful of statements.

Everything joins the caller's transaction, so that Optuna's rows and ours appear together or not at
all. Where Optuna's schema is not the one known here, the same work goes through Optuna's public
methods, in the same transaction.
Source: optuna/storages/_rdb/storage.py, version 5.0, whose rows these are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.orm import scoped_session, sessionmaker

from selection.store.engine import engine_arguments

KNOWN_REVISION = "v3.2.0.a"

studies: sa.Table = models.StudyModel.__table__
study_user_attrs: sa.Table = models.StudyUserAttributeModel.__table__
trials: sa.Table = models.TrialModel.__table__
trial_params: sa.Table = models.TrialParamModel.__table__
trial_values: sa.Table = models.TrialValueModel.__table__
trial_intermediates: sa.Table = models.TrialIntermediateValueModel.__table__
trial_user_attrs: sa.Table = models.TrialUserAttributeModel.__table__


@dataclass(frozen=True)
class Ending:
    """Hold what Optuna's tables keep of a trial that ends."""

    trial_id: int
    state: OptunaState
    value: float | None
    intermediate_values: Mapping[int, float]
    user_attrs: Mapping[str, Any]


@dataclass(frozen=True)
class StoredTrial:
    """Hold one trial as Optuna's tables have it. Units: times are UTC, with their zone."""

    trial_id: int
    state: OptunaState
    value: float | None
    started_at: datetime | None
    completed_at: datetime | None
    params: Mapping[str, Any]
    user_attrs: Mapping[str, Any]


class JoinedStorage(RDBStorage):
    """Optuna's own storage inside one open transaction.

    It shares the state of an open storage: Optuna's constructor would connect a second time, and on
    SQLite wait for the transaction that it is to join.
    """

    def __init__(self, storage: RDBStorage, connection: Connection) -> None:
        vars(self).update(vars(storage))
        self.scoped_session = scoped_session(
            sessionmaker(bind=connection, join_transaction_mode="create_savepoint")
        )


class BatchedStorage(RDBStorage):
    """Be Optuna's storage for everyone, and write whole cohorts for us."""

    def __init__(self, url: str, *, write: bool) -> None:
        super().__init__(
            url,
            engine_kwargs=engine_arguments(write=write),
            # Both would open a second connection inside a transaction, and on SQLite wait for
            # themselves; database.py has done the work before.
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
        self.is_batched = True

    def lock_study(self, connection: Connection, study_id: int) -> bool:
        """Be the only writer of the study until the transaction ends; False if it is gone.

        Numbers are handed out under this lock: Optuna's cache relies on ids that only grow. On
        SQLite the lock is BEGIN IMMEDIATE.
        """
        query = sa.select(studies.c.study_id).where(studies.c.study_id == study_id)
        return connection.execute(query.with_for_update()).first() is not None

    def joined(self, connection: Connection) -> RDBStorage:
        """Return Optuna's own storage, whose methods all join the connection's transaction."""
        return JoinedStorage(self, connection)

    def create_trials(
        self, connection: Connection, study_id: int, templates: Sequence[FrozenTrial]
    ) -> list[tuple[int, int]]:
        """Insert unfinished trials and return the id and number of each, in order.

        A template brings state, params, user attributes and start; nothing else is written.
        """
        if not self.is_batched:
            storage = self.joined(connection)
            ids = [storage.create_new_trial(study_id, template) for template in templates]
            return [(trial_id, storage.get_trial(trial_id).number) for trial_id in ids]
        count = sa.select(sa.func.count()).where(trials.c.study_id == study_id)
        first = int(connection.scalar(count) or 0)
        rows: list[dict[str, Any]] = [
            {
                "number": first + index,
                "study_id": study_id,
                "state": template.state,
                "datetime_start": _to_utc(template.datetime_start),
            }
            for index, template in enumerate(templates)
        ]
        insert = sa.insert(trials).returning(trials.c.trial_id, trials.c.number)
        ids_by_number = {number: trial_id for trial_id, number in connection.execute(insert, rows)}
        numbered = [(ids_by_number[row["number"]], row["number"]) for row in rows]
        named = [(numbered[index][0], template) for index, template in enumerate(templates)]
        _insert(connection, trial_params, [row for item in named for row in _param_rows(*item)])
        attrs = [row for trial_id, template in named for row in _attr_rows(trial_id, template)]
        _upsert(connection, trial_user_attrs, ("trial_id", "key"), attrs)
        return numbered

    def locked_states(
        self, connection: Connection, trial_ids: Collection[int]
    ) -> dict[int, OptunaState]:
        """Return the state of each trial that is there, and hold it until the transaction ends."""
        query = sa.select(trials.c.trial_id, trials.c.state).where(trials.c.trial_id.in_(trial_ids))
        return {row.trial_id: row.state for row in connection.execute(query.with_for_update())}

    def restart_trials(self, connection: Connection, states: Mapping[int, OptunaState]) -> None:
        """Let unfinished trials, by their id and state, run again from now on."""
        if self.is_batched:
            now = datetime.now(UTC).replace(tzinfo=None)
            values = {"state": OptunaState.RUNNING, "datetime_start": now}
            update = sa.update(trials).where(trials.c.trial_id.in_(states)).values(values)
            connection.execute(update)
            return
        storage = self.joined(connection)
        for trial_id, state in states.items():
            # Optuna takes a trial up from WAITING only, and sets its start anew.
            if state is OptunaState.RUNNING:
                storage.set_trial_state_values(trial_id, OptunaState.WAITING)
            storage.set_trial_state_values(trial_id, OptunaState.RUNNING)

    def put_back_trials(self, connection: Connection, trial_ids: Collection[int]) -> None:
        """Let running trials wait until they are taken up again."""
        storage = self.joined(connection)
        for trial_id in trial_ids:
            storage.set_trial_state_values(trial_id, OptunaState.WAITING)

    def finish_trials(self, connection: Connection, endings: Sequence[Ending]) -> None:
        """Write how trials ended. The caller has seen, and holds, that they are running."""
        if not self.is_batched:
            self._finish_one_by_one(self.joined(connection), endings)
            return
        now = datetime.now(UTC).replace(tzinfo=None)
        update = (
            sa.update(trials)
            .where(trials.c.trial_id == sa.bindparam("id"))
            .where(trials.c.state == OptunaState.RUNNING)
            .values(state=sa.bindparam("ended"), datetime_complete=now)
        )
        ended = [{"id": ending.trial_id, "ended": ending.state} for ending in endings]
        count = connection.execute(update, ended).rowcount
        assert count == len(endings), "a trial ended twice"
        values = [row for ending in endings for row in _value_rows(ending)]
        _upsert(connection, trial_values, ("trial_id", "objective"), values)
        points = [row for ending in endings for row in _intermediate_rows(ending)]
        _upsert(connection, trial_intermediates, ("trial_id", "step"), points)
        attrs = [row for ending in endings for row in _attr_rows(ending.trial_id, ending)]
        _upsert(connection, trial_user_attrs, ("trial_id", "key"), attrs)

    @staticmethod
    def _finish_one_by_one(storage: RDBStorage, endings: Sequence[Ending]) -> None:
        for ending in endings:
            for step, value in ending.intermediate_values.items():
                storage.set_trial_intermediate_value(ending.trial_id, step, value)
            for key, attr in ending.user_attrs.items():
                storage.set_trial_user_attr(ending.trial_id, key, attr)
            values = None if ending.value is None else [ending.value]
            storage.set_trial_state_values(ending.trial_id, ending.state, values)

    def read_trials(
        self,
        connection: Connection,
        study_id: int,
        *,
        attr: str | None = None,
        numbers: Collection[int] | None = None,
    ) -> list[StoredTrial]:
        """Return every trial of the study, or those with certain numbers.

        Params and one user attribute come only if attr is named.
        """
        if not self.is_batched:
            frozen = self.joined(connection).get_all_trials(study_id, deepcopy=False)
            chosen = (trial for trial in frozen if numbers is None or trial.number in numbers)
            return [_from_frozen(trial) for trial in chosen]
        asked = trials.c.study_id == study_id
        if numbers is not None:
            asked &= trials.c.number.in_(numbers)
        params: dict[int, dict[str, Any]] = {}
        attrs: dict[int, dict[str, Any]] = {}
        if attr is not None:
            params = _read_params(connection, asked)
            attrs = _read_attr(connection, asked, attr)
        on_value = (trial_values.c.trial_id == trials.c.trial_id) & (trial_values.c.objective == 0)
        query = (
            sa.select(trials, trial_values.c.value, trial_values.c.value_type)
            .select_from(trials.outerjoin(trial_values, on_value))
            .where(asked)
            .order_by(trials.c.number)
        )
        return [
            StoredTrial(
                trial_id=row.trial_id,
                state=row.state,
                value=_external_value(row.value, row.value_type),
                started_at=_from_utc(row.datetime_start),
                completed_at=_from_utc(row.datetime_complete),
                params=params.get(row.trial_id, {}),
                user_attrs=attrs.get(row.trial_id, {}),
            )
            for row in connection.execute(query)
        ]


def make_optuna_tables(url: str) -> None:
    """Let Optuna make its own tables, as far as they are missing."""
    storage = RDBStorage(url, skip_compatibility_check=True)
    storage.remove_session()
    storage.engine.dispose()


def _to_utc(local: datetime | None) -> datetime | None:
    """Return Optuna's local time as its tables keep it: UTC without a zone."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def _from_utc(stored: datetime | None) -> datetime | None:
    return None if stored is None else stored.replace(tzinfo=UTC)


def _param_rows(trial_id: int, template: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in template.params.items():
        distribution = template.distributions[name]
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": _distribution_text(distribution),
        }


def _attr_rows(trial_id: int, source: FrozenTrial | Ending) -> Iterator[dict[str, Any]]:
    for key, value in source.user_attrs.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _value_rows(ending: Ending) -> Iterator[dict[str, Any]]:
    if ending.value is not None:
        value, kind = models.TrialValueModel.value_to_stored_repr(ending.value)
        yield {
            "trial_id": ending.trial_id,
            "objective": 0,
            "value": value,
            "value_type": kind,
        }


def _intermediate_rows(ending: Ending) -> Iterator[dict[str, Any]]:
    model = models.TrialIntermediateValueModel
    for step, point in ending.intermediate_values.items():
        value, kind = model.intermediate_value_to_stored_repr(point)
        yield {
            "trial_id": ending.trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": kind,
        }


def _insert(connection: Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _upsert(
    connection: Connection, table: sa.Table, key: tuple[str, ...], rows: list[dict[str, Any]]
) -> None:
    """Insert rows, or put them in the place of rows with the same key, as Optuna's setters do."""
    if not rows:
        return
    is_sqlite = connection.dialect.name == "sqlite"
    insert = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
    news = {name: insert.excluded[name] for name in rows[0] if name not in key}
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_=news), rows)


@cache
def _distribution_text(distribution: BaseDistribution) -> str:
    return distribution_to_json(distribution)


@cache
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _read_params(
    connection: Connection, asked: sa.ColumnElement[bool]
) -> dict[int, dict[str, Any]]:
    columns = (trial_params.c.trial_id, trial_params.c.param_name, trial_params.c.param_value)
    query = (
        sa.select(*columns, trial_params.c.distribution_json)
        .join(trials, trials.c.trial_id == trial_params.c.trial_id)
        .where(asked)
    )
    params: dict[int, dict[str, Any]] = {}
    for trial_id, name, value, text in connection.execute(query):
        params.setdefault(trial_id, {})[name] = _distribution(text).to_external_repr(value)
    return params


def _read_attr(
    connection: Connection, asked: sa.ColumnElement[bool], key: str
) -> dict[int, dict[str, Any]]:
    query = (
        sa.select(trial_user_attrs.c.trial_id, trial_user_attrs.c.value_json)
        .join(trials, trials.c.trial_id == trial_user_attrs.c.trial_id)
        .where(asked, trial_user_attrs.c.key == key)
    )
    return {trial_id: {key: json.loads(text)} for trial_id, text in connection.execute(query)}


def _external_value(value: float | None, kind: Any) -> float | None:
    return None if kind is None else models.TrialValueModel.stored_repr_to_value(value, kind)


def _from_frozen(trial: FrozenTrial) -> StoredTrial:
    return StoredTrial(
        trial_id=trial._trial_id,
        state=trial.state,
        value=None if not trial.values else trial.values[0],
        started_at=trial.datetime_start and trial.datetime_start.astimezone(UTC),
        completed_at=trial.datetime_complete and trial.datetime_complete.astimezone(UTC),
        params=trial.params,
        user_attrs=trial.user_attrs,
    )
