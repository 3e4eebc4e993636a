"""Hashes of what a study and a finished trial are, in our tables and in Optuna's, to see changes.

They are computed from what the database returns, in the transaction that writes it. Optuna's ids
are left out: a copy, and a study that was linked again, keep their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.store.digest import json_hash, row_hash, without_later
from selection.store.optuna_rows import (
    study_user_attrs,
    trial_params,
    trial_user_attrs,
    trial_values,
    trials,
)
from selection.store.optuna_storage import BatchedStorage
from selection.store.study_record import CHANGES_ATTR
from selection.store.tables import content_of, study_table, trial_table
from selection.store.trial_reader import ASKED_ATTR, OUTSIDE_ATTR, UNFINISHED

# How many trials are sealed by one statement.
CHUNK = 500


def study_hash(connection: Connection, uuid: str) -> str:
    """Return the hash of a study's file, facts, fingerprints and recorded changes."""
    own = connection.execute(sa.select(*content_of(study_table)).where(study_table.c.uuid == uuid))
    row = dict(own.one()._mapping)
    attrs = study_user_attrs.c
    changes = connection.scalar(
        sa.select(attrs.value_json).where(
            attrs.study_id == row.pop("optuna_study_id"), attrs.key == CHANGES_ATTR
        )
    )
    return row_hash({**row, "changes": json_hash(json.loads(changes or "[]"))})


def seal_study(connection: Connection, uuid: str) -> None:
    """Write the hash of a study after a change of it."""
    sealed = study_hash(connection, uuid)
    update = sa.update(study_table).where(study_table.c.uuid == uuid)
    connection.execute(update.values(row_hash=sealed))


def seal_trials(connection: Connection, storage: BatchedStorage, uuids: Collection[str]) -> None:
    """Write the hashes of trials that have just ended.

    Where Optuna's tables are not those we know, trials have none.
    """
    if not storage.is_batched:
        return
    update = (
        sa.update(trial_table)
        .where(trial_table.c.uuid == sa.bindparam("key"))
        .values(row_hash=sa.bindparam("new"))
    )
    keys = list(uuids)
    for first in range(0, len(keys), CHUNK):
        chunk = trial_table.c.uuid.in_(keys[first : first + CHUNK])
        hashes = trial_hashes(connection, chunk)
        if hashes:
            connection.execute(update, [{"key": key, "new": new} for key, new in hashes.items()])


def seal_earlier(connection: Connection, storage: BatchedStorage) -> None:
    """Seal the studies and finished trials that earlier versions wrote."""
    unsealed = sa.select(study_table.c.uuid).where(study_table.c.row_hash.is_(None))
    for uuid in connection.scalars(unsealed).all():
        seal_study(connection, uuid)
    ended = (
        sa.select(trial_table.c.uuid)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(trials.c.state.not_in(UNFINISHED), trial_table.c.row_hash.is_(None))
    )
    seal_trials(connection, storage, connection.scalars(ended).all())


def trial_hashes(connection: Connection, condition: sa.ColumnElement[bool]) -> dict[str, str]:
    """Return by uuid the hashes of the trials of ours that meet a condition.

    Hashed are our row, and of Optuna's the state, the value, the params, and what its params
    cannot express.
    """
    params, attrs = _params(connection, condition), _attrs(connection, condition)
    on_value = (trial_values.c.trial_id == trials.c.trial_id) & (trial_values.c.objective == 0)
    query = (
        sa.select(*content_of(trial_table), trials.c.state)
        .add_columns(trial_values.c.value, trial_values.c.value_type)
        .select_from(trial_table)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .outerjoin(trial_values, on_value)
        .where(condition)
    )
    hashes = {}
    for found in connection.execute(query):
        row = without_later(dict(found._mapping))
        trial_id = row.pop("optuna_trial_id")
        for name in ("value", "seconds"):
            row[name] = _number(row[name])
        for name in ("state", "value_type"):
            row[name] = getattr(row[name], "name", None)
        row |= {"params": sorted(params.get(trial_id, ())), "attrs": attrs.get(trial_id, {})}
        hashes[found.uuid] = json_hash(row)
    return hashes


def _params(
    connection: Connection, condition: sa.ColumnElement[bool]
) -> dict[int, list[tuple[str, float | None, str]]]:
    columns = trial_params.c
    query = (
        sa.select(
            columns.trial_id, columns.param_name, columns.param_value, columns.distribution_json
        )
        .join(trial_table, trial_table.c.optuna_trial_id == columns.trial_id)
        .where(condition)
    )
    params: dict[int, list[tuple[str, float | None, str]]] = {}
    for trial_id, name, value, distribution in connection.execute(query):
        params.setdefault(trial_id, []).append((name, _number(value), distribution))
    return params


def _attrs(connection: Connection, condition: sa.ColumnElement[bool]) -> dict[int, dict[str, Any]]:
    columns = trial_user_attrs.c
    query = (
        sa.select(columns.trial_id, columns.key, columns.value_json)
        .join(trial_table, trial_table.c.optuna_trial_id == columns.trial_id)
        .where(condition, columns.key.in_((OUTSIDE_ATTR, ASKED_ATTR)))
    )
    attrs: dict[int, dict[str, Any]] = {}
    for trial_id, key, text in connection.execute(query):
        attrs.setdefault(trial_id, {})[key] = json.loads(text)
    return attrs


def _number(value: float | None) -> float | None:
    # SQLite stores -0.0 as 0.0, which would be a change.
    return None if value is None else float(value) + 0.0
