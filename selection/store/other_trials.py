"""Trials of a study in Optuna's tables that no cohort has: settings in the queue, and foreign ones.

The queue are waiting trials with a setting, put there by `selection enqueue`, a warm start or
Optuna's `enqueue_trial`; a new cohort takes them first. Foreign trials are those that another
program began or finished: they are shown, and never rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import StudyStateError
from selection.store.optuna_rows import FIXED_PARAMS, StoredTrial, trials
from selection.store.optuna_storage import BatchedStorage
from selection.store.study_record import StudyRecord
from selection.store.tables import trial_table
from selection.store.trial_reader import ASKED_ATTR, STATES, own_count
from selection.study.asked import ENQUEUED, AskedSetting, asked_setting
from selection.study.optuna_names import to_optuna
from selection.study.space import SearchSpace, nearest_inside, value_to_json
from selection.study.trial import Params, TrialState

# The user attribute of a trial that says why its setting was refused.
REFUSED_ATTR = "refused"


@dataclass(frozen=True)
class OtherTrial:
    """Hold a trial that no cohort has.

    A waiting one with a setting is in the queue: params are whole, asked_for says who asked. For
    any other, params are what its program has written. reason says why it was refused, or will be.
    """

    trial_id: int
    number: int
    state: TrialState
    value: float | None
    params: Mapping[str, Any]
    asked_for: str
    reason: str

    @property
    def is_queued(self) -> bool:
        """Say whether a cohort will train it."""
        return self.state is TrialState.WAITING and not self.reason


@dataclass(frozen=True)
class Enqueued:
    """Hold a setting that was put into the queue, and the number of its trial.

    from_default are the hyperparameters that were left out. budget_left counts the trials that the
    study may begin beside those asked for earlier; with none left, the setting waits.
    """

    number: int
    params: Params
    from_default: tuple[str, ...]
    budget_left: int


def other_ids(study: StudyRecord) -> sa.Select[Any]:
    """Return the query for the ids and numbers of Optuna's trials that no cohort has."""
    ours = trial_table.c.optuna_trial_id == trials.c.trial_id
    return (
        sa.select(trials.c.trial_id, trials.c.number)
        .outerjoin(trial_table, ours & (trial_table.c.study_uuid == study.uuid))
        .where(trials.c.study_id == study.optuna_study_id, trial_table.c.uuid.is_(None))
        # Optuna has not numbered it yet.
        .where(trials.c.number.is_not(None))
        .order_by(trials.c.number)
    )


def read_others(
    connection: Connection, storage: BatchedStorage, study: StudyRecord
) -> list[OtherTrial]:
    """Return the trials that no cohort has, by number."""
    numbers = {row.trial_id: row.number for row in connection.execute(other_ids(study))}
    if not numbers:
        return []
    found = storage.read_trials(
        connection,
        study.optuna_study_id,
        attrs=(ASKED_ATTR, REFUSED_ATTR),
        numbers=numbers.values(),
        with_fixed_params=True,
    )
    return [
        _other(study, each, numbers[each.trial_id]) for each in found if each.trial_id in numbers
    ]


def _other(study: StudyRecord, stored: StoredTrial, number: int) -> OtherTrial:
    params: Mapping[str, Any] = stored.params
    asked_for, reason = "", str(stored.user_attrs.get(REFUSED_ATTR, ""))
    # Another program may have written anything there.
    if isinstance(stored.fixed_params, Mapping):
        params = {**params, **stored.fixed_params}
    if stored.state is OptunaState.WAITING:
        asked_for = str(stored.user_attrs.get(ASKED_ATTR, ENQUEUED))
        try:
            params = asked_setting(study.spec(), params).params
        except StudyStateError as error:
            reason = "; ".join(f"{each.rule}, but got {each.got}" for each in error.details)
    return OtherTrial(
        stored.trial_id, number, STATES[stored.state], stored.value, params, asked_for, reason
    )


def refuse(connection: Connection, storage: BatchedStorage, others: Iterable[OtherTrial]) -> None:
    """End waiting trials whose setting the search space does not have."""
    joined = storage.joined(connection)
    for each in others:
        joined.set_trial_user_attr(each.trial_id, REFUSED_ATTR, each.reason)
        joined.set_trial_state_values(each.trial_id, OptunaState.FAIL)


def add_to_queue(
    connection: Connection,
    storage: BatchedStorage,
    study: StudyRecord,
    asked: Iterable[AskedSetting],
) -> list[Enqueued]:
    """Put settings at the end of the queue, as Optuna does; the caller holds the study's lock."""
    joined = storage.joined(connection)
    begun = own_count(connection, study)
    # The default comes first, and gets number 0.
    shift = int(begun == 0)
    waiting = other_ids(study).where(trials.c.state == OptunaState.WAITING).order_by(None)
    queued = connection.scalar(sa.select(sa.func.count()).select_from(waiting.subquery())) or 0
    left = study.spec().budget - max(begun, 1) - queued
    found: list[Enqueued] = []
    for each in asked:
        trial_id = joined.create_new_trial(study.optuna_study_id, _queued(each, study.space))
        number = joined.get_trial(trial_id).number + shift
        found.append(Enqueued(number, each.params, each.from_default, max(left - len(found), 0)))
    return found


def _queued(asked: AskedSetting, space: SearchSpace) -> FrozenTrial:
    return create_trial(
        state=OptunaState.WAITING,
        user_attrs={ASKED_ATTR: asked.asked_for},
        system_attrs={FIXED_PARAMS: _as_optuna(asked.params, space)},
    )


def _as_optuna(params: Params, space: SearchSpace) -> dict[str, Any]:
    """Return a setting as Optuna's tools show it; a value outside the space as it is."""
    inside = nearest_inside(space, params)
    return {
        name: to_optuna(space[name], value) if value == inside[name] else value_to_json(value)
        for name, value in params.items()
    }
