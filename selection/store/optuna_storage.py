"""Writes Optuna's tables in batches: many trials in a few statements.

Everything joins the caller's transaction, so that Optuna's rows and ours are committed together or
not at all. If Optuna's schema is not KNOWN_REVISION, the same work is done by Optuna's public
methods, in the same transaction.
Source: optuna/storages/_rdb/storage.py, version 5.0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection
from sqlalchemy.orm import scoped_session, sessionmaker

from selection.store.engine import engine_arguments
from selection.store.optuna_rows import (
    FIXED_PARAMS,
    Ending,
    StoredTrial,
    attr_rows,
    external_value,
    from_frozen,
    from_utc,
    insert,
    intermediate_rows,
    param_rows,
    read_attrs,
    read_params,
    studies,
    to_utc,
    trial_intermediates,
    trial_params,
    trial_system_attrs,
    trial_user_attrs,
    trial_values,
    trials,
    upsert,
    value_rows,
)

KNOWN_REVISION = "v3.2.0.a"


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
    """Optuna's storage, with methods that write and read many trials at once."""

    def __init__(self, url: str, *, write: bool) -> None:
        super().__init__(
            url,
            engine_kwargs=engine_arguments(write=write),
            # Both would open a second connection inside a transaction, and on SQLite wait for its
            # own lock; database.py has already done this work.
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
        self.is_batched = True

    def lock_study(self, connection: Connection, study_id: int) -> bool:
        """Lock the study for writing until the transaction ends; False if it is gone.

        Trial numbers are assigned under this lock: Optuna's cache relies on ids that only grow. On
        SQLite, BEGIN IMMEDIATE already holds the lock of the whole file.
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

        Of a template, the state, params, user attributes and start are written.
        """
        if not templates:
            return []
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
                "datetime_start": to_utc(template.datetime_start),
            }
            for index, template in enumerate(templates)
        ]
        returning = sa.insert(trials).returning(trials.c.trial_id, trials.c.number)
        inserted = connection.execute(returning, rows)
        ids_by_number = {number: trial_id for trial_id, number in inserted}
        numbered = [(ids_by_number[row["number"]], row["number"]) for row in rows]
        named = [(numbered[index][0], template) for index, template in enumerate(templates)]
        insert(connection, trial_params, [row for item in named for row in param_rows(*item)])
        attrs = [row for trial_id, template in named for row in attr_rows(trial_id, template)]
        upsert(connection, trial_user_attrs, ("trial_id", "key"), attrs)
        return numbered

    def take_up_trials(self, connection: Connection, templates: Mapping[int, FrozenTrial]) -> None:
        """Start waiting trials, given by id, with the params and attributes of their templates.

        The caller has checked, under the lock, that they wait.
        """
        self.restart_trials(connection, dict.fromkeys(templates, OptunaState.WAITING))
        self.write_params(connection, templates)

    def write_params(
        self,
        connection: Connection,
        templates: Mapping[int, FrozenTrial],
        attrs: Collection[str] = (),
    ) -> None:
        """Write params and attributes of templates, given by id, in place of those that are there.

        attrs are the keys of attributes that are removed where a template has none.
        """
        if not templates:
            return
        # Those of another program may be of another distribution, which Optuna would not replace.
        connection.execute(sa.delete(trial_params).where(trial_params.c.trial_id.in_(templates)))
        stale = trial_user_attrs.c.trial_id.in_(templates) & trial_user_attrs.c.key.in_(attrs)
        connection.execute(sa.delete(trial_user_attrs).where(stale))
        if self.is_batched:
            named = templates.items()
            insert(connection, trial_params, [row for item in named for row in param_rows(*item)])
            rows = [row for item in named for row in attr_rows(*item)]
            upsert(connection, trial_user_attrs, ("trial_id", "key"), rows)
            return
        storage = self.joined(connection)
        for trial_id, template in templates.items():
            for name, distribution in template.distributions.items():
                internal = distribution.to_internal_repr(template.params[name])
                storage.set_trial_param(trial_id, name, internal, distribution)
            for key, value in template.user_attrs.items():
                storage.set_trial_user_attr(trial_id, key, value)

    def number_first(self, connection: Connection, study_id: int, trial_id: int) -> dict[int, int]:
        """Number this trial 0 and those before it one higher; return all numbers by id."""
        own = sa.select(trials.c.number).where(trials.c.trial_id == trial_id).scalar_subquery()
        number = sa.case((trials.c.trial_id == trial_id, 0), else_=trials.c.number + 1)
        before = (trials.c.study_id == study_id) & (trials.c.number <= own)
        connection.execute(sa.update(trials).where(before).values(number=number))
        every = sa.select(trials.c.trial_id, trials.c.number).where(trials.c.study_id == study_id)
        return {row.trial_id: row.number for row in connection.execute(every)}

    def locked_states(
        self, connection: Connection, trial_ids: Collection[int]
    ) -> dict[int, OptunaState]:
        """Return the state of each trial that exists, locked until the transaction ends."""
        query = sa.select(trials.c.trial_id, trials.c.state).where(trials.c.trial_id.in_(trial_ids))
        return {row.trial_id: row.state for row in connection.execute(query.with_for_update())}

    def reopen_trials(self, connection: Connection, trial_ids: Collection[int]) -> None:
        """Set trials to running, without the ends that another program wrote.

        Optuna's public methods never change a trial that has ended.
        """
        if not trial_ids:
            return
        for table in (trial_values, trial_intermediates):
            connection.execute(sa.delete(table).where(table.c.trial_id.in_(trial_ids)))
        update = sa.update(trials).where(trials.c.trial_id.in_(trial_ids))
        connection.execute(update.values(state=OptunaState.RUNNING, datetime_complete=None))

    def restart_trials(self, connection: Connection, states: Mapping[int, OptunaState]) -> None:
        """Set trials that are to be trained, given as state by id, to running, started now."""
        ended = [trial_id for trial_id, state in states.items() if state.is_finished()]
        self.reopen_trials(connection, ended)
        states = {**states, **dict.fromkeys(ended, OptunaState.RUNNING)}
        if self.is_batched:
            now = datetime.now(UTC).replace(tzinfo=None)
            values = {"state": OptunaState.RUNNING, "datetime_start": now}
            update = sa.update(trials).where(trials.c.trial_id.in_(states)).values(values)
            connection.execute(update)
            return
        storage = self.joined(connection)
        for trial_id, state in states.items():
            # Optuna starts a trial only from WAITING, and sets its start again.
            if state is OptunaState.RUNNING:
                storage.set_trial_state_values(trial_id, OptunaState.WAITING)
            storage.set_trial_state_values(trial_id, OptunaState.RUNNING)

    def put_back_trials(self, connection: Connection, trial_ids: Collection[int]) -> None:
        """Set running trials back to waiting."""
        storage = self.joined(connection)
        for trial_id in trial_ids:
            storage.set_trial_state_values(trial_id, OptunaState.WAITING)

    def finish_trials(self, connection: Connection, endings: Sequence[Ending]) -> None:
        """Write how trials ended. The caller has checked, under the lock, that they are running."""
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
        values = [row for ending in endings for row in value_rows(ending)]
        upsert(connection, trial_values, ("trial_id", "objective"), values)
        points = [row for ending in endings for row in intermediate_rows(ending)]
        upsert(connection, trial_intermediates, ("trial_id", "step"), points)
        attrs = [row for ending in endings for row in attr_rows(ending.trial_id, ending)]
        upsert(connection, trial_user_attrs, ("trial_id", "key"), attrs)

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
        attrs: Collection[str] = (),
        numbers: Collection[int] | None = None,
        with_fixed_params: bool = False,
    ) -> list[StoredTrial]:
        """Return all trials of the study, or those with the given numbers.

        Params are read only if user attributes are asked for by their keys.
        """
        if not self.is_batched:
            frozen = self.joined(connection).get_all_trials(study_id, deepcopy=False)
            chosen = (trial for trial in frozen if numbers is None or trial.number in numbers)
            return [from_frozen(trial) for trial in chosen]
        asked = trials.c.study_id == study_id
        if numbers is not None:
            asked &= trials.c.number.in_(numbers)
        params: dict[int, dict[str, Any]] = {}
        user_attrs: dict[int, dict[str, Any]] = {}
        fixed: dict[int, dict[str, Any]] = {}
        if attrs:
            params = read_params(connection, asked)
            user_attrs = read_attrs(connection, trial_user_attrs, asked, attrs)
        if with_fixed_params:
            fixed = read_attrs(connection, trial_system_attrs, asked, [FIXED_PARAMS])
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
                value=external_value(row.value, row.value_type),
                started_at=from_utc(row.datetime_start),
                completed_at=from_utc(row.datetime_complete),
                params=params.get(row.trial_id, {}),
                user_attrs=user_attrs.get(row.trial_id, {}),
                fixed_params=fixed.get(row.trial_id, {}).get(FIXED_PARAMS),
            )
            for row in connection.execute(query)
        ]


def make_optuna_tables(url: str) -> None:
    """Create those of Optuna's tables that are missing."""
    storage = RDBStorage(url, skip_compatibility_check=True)
    storage.remove_session()
    storage.engine.dispose()
