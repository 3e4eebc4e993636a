"""Optuna's tables, and trials as rows of them and back.

Source: optuna/storages/_rdb/models.py, version 5.0.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

studies: sa.Table = models.StudyModel.__table__
study_user_attrs: sa.Table = models.StudyUserAttributeModel.__table__
trials: sa.Table = models.TrialModel.__table__
trial_params: sa.Table = models.TrialParamModel.__table__
trial_values: sa.Table = models.TrialValueModel.__table__
trial_intermediates: sa.Table = models.TrialIntermediateValueModel.__table__
trial_user_attrs: sa.Table = models.TrialUserAttributeModel.__table__
trial_system_attrs: sa.Table = models.TrialSystemAttributeModel.__table__
# Where Optuna keeps the setting of a trial that was enqueued.
FIXED_PARAMS = "fixed_params"


@dataclass(frozen=True)
class Ending:
    """Hold what Optuna's tables store about a trial that ends."""

    trial_id: int
    state: OptunaState
    value: float | None
    intermediate_values: Mapping[int, float]
    user_attrs: Mapping[str, Any]


@dataclass(frozen=True)
class StoredTrial:
    """Hold one trial as stored in Optuna's tables.

    fixed_params is the setting that it was enqueued with, None if it was not.

    Units: times are UTC, with their zone.
    """

    trial_id: int
    state: OptunaState
    value: float | None
    started_at: datetime | None
    completed_at: datetime | None
    params: Mapping[str, Any]
    user_attrs: Mapping[str, Any]
    fixed_params: Mapping[str, Any] | None = None


def to_utc(local: datetime | None) -> datetime | None:
    """Return Optuna's local time as its tables store it: UTC without a zone."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def from_utc(stored: datetime | None) -> datetime | None:
    return None if stored is None else stored.replace(tzinfo=UTC)


def param_rows(trial_id: int, template: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in template.params.items():
        distribution = template.distributions[name]
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": _distribution_text(distribution),
        }


def attr_rows(trial_id: int, source: FrozenTrial | Ending) -> Iterator[dict[str, Any]]:
    for key, value in source.user_attrs.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def value_rows(ending: Ending) -> Iterator[dict[str, Any]]:
    if ending.value is not None:
        value, kind = models.TrialValueModel.value_to_stored_repr(ending.value)
        yield {
            "trial_id": ending.trial_id,
            "objective": 0,
            "value": value,
            "value_type": kind,
        }


def intermediate_rows(ending: Ending) -> Iterator[dict[str, Any]]:
    model = models.TrialIntermediateValueModel
    for step, point in ending.intermediate_values.items():
        value, kind = model.intermediate_value_to_stored_repr(point)
        yield {
            "trial_id": ending.trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": kind,
        }


def insert(connection: Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def upsert(
    connection: Connection, table: sa.Table, key: tuple[str, ...], rows: list[dict[str, Any]]
) -> None:
    """Insert rows, replacing those with the same key, as Optuna's setters do."""
    if not rows:
        return
    is_sqlite = connection.dialect.name == "sqlite"
    statement = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
    news = {name: statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=news), rows)


@cache
def _distribution_text(distribution: BaseDistribution) -> str:
    return distribution_to_json(distribution)


@cache
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def read_params(connection: Connection, asked: sa.ColumnElement[bool]) -> dict[int, dict[str, Any]]:
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


def read_attrs(
    connection: Connection, table: sa.Table, asked: sa.ColumnElement[bool], keys: Collection[str]
) -> dict[int, dict[str, Any]]:
    """Return the attributes of these keys by the id of their trial."""
    query = (
        sa.select(table.c.trial_id, table.c.key, table.c.value_json)
        .join(trials, trials.c.trial_id == table.c.trial_id)
        .where(asked, table.c.key.in_(keys))
    )
    attrs: dict[int, dict[str, Any]] = {}
    for trial_id, key, text in connection.execute(query):
        attrs.setdefault(trial_id, {})[key] = json.loads(text)
    return attrs


def external_value(value: float | None, kind: Any) -> float | None:
    return None if kind is None else models.TrialValueModel.stored_repr_to_value(value, kind)


def from_frozen(trial: FrozenTrial) -> StoredTrial:
    return StoredTrial(
        trial_id=trial._trial_id,
        state=trial.state,
        value=None if not trial.values else trial.values[0],
        started_at=trial.datetime_start and trial.datetime_start.astimezone(UTC),
        completed_at=trial.datetime_complete and trial.datetime_complete.astimezone(UTC),
        params=trial.params,
        user_attrs=trial.user_attrs,
        fixed_params=trial.system_attrs.get(FIXED_PARAMS),
    )
