"""The small columns of one study's rows, read once for all checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.store.leases import is_alive, read_leases
from selection.store.optuna_rows import (
    FIXED_PARAMS,
    trial_params,
    trial_system_attrs,
    trial_values,
    trials,
)
from selection.store.study_record import StudyRecord
from selection.store.tables import fold_table, trial_table
from selection.store.trial_reader import own_rows


@dataclass(frozen=True, eq=False)
class StudyRows:
    """Hold the small columns of one study's rows.

    own are our rows of trials that Optuna has, with Optuna's number, state and value, by number;
    lost is the number of our other rows. theirs are Optuna's trial numbers by id; without_setting
    are the numbers of trials that wait and that nobody can train; members are the rows of each
    trial's folds, by its uuid.
    """

    study: StudyRecord
    own: Sequence[Any]
    lost: int
    theirs: Mapping[int, int]
    without_setting: Sequence[int]
    members: Mapping[str, Sequence[Any]]
    leases: Mapping[int, Any]
    now: datetime


def read_rows(connection: Connection, study: StudyRecord, now: datetime) -> StudyRows:
    theirs = trials.c.study_id == study.optuna_study_id
    ours = (trials.c.trial_id == trial_table.c.optuna_trial_id) & theirs
    on_value = (trial_values.c.trial_id == trials.c.trial_id) & (trial_values.c.objective == 0)
    query = (
        own_rows(study)
        .add_columns(trials.c.number.label("their_number"), trials.c.state, trial_values.c.value)
        .select_from(trial_table.outerjoin(trials, ours).outerjoin(trial_values, on_value))
    )
    found = connection.execute(query).all()
    own = [row for row in found if row.state is not None]
    number = sa.func.coalesce(trials.c.number, -1)
    numbers = connection.execute(sa.select(trials.c.trial_id, number).where(theirs))
    columns = (fold_table.c.repeat, fold_table.c.fold, fold_table.c.attempt, fold_table.c.score)
    members = connection.execute(
        sa.select(fold_table.c.trial_uuid, *columns)
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid)
        .order_by(fold_table.c.trial_uuid, fold_table.c.repeat, fold_table.c.fold)
    )
    return StudyRows(
        study=study,
        own=own,
        lost=len(found) - len(own),
        theirs={row[0]: row[1] for row in numbers},
        without_setting=_without_setting(connection, study, {row.optuna_trial_id for row in own}),
        members={uuid: list(group) for uuid, group in groupby(members, attrgetter("trial_uuid"))},
        leases=read_leases(connection, study),
        now=now,
    )


def _without_setting(connection: Connection, study: StudyRecord, own: Collection[int]) -> list[int]:
    of_trial = trial_params.c.trial_id == trials.c.trial_id
    is_fixed = trial_system_attrs.c.trial_id == trials.c.trial_id
    is_fixed &= trial_system_attrs.c.key == FIXED_PARAMS
    query = (
        sa.select(trials.c.trial_id, sa.func.coalesce(trials.c.number, -1).label("number"))
        .where(trials.c.study_id == study.optuna_study_id, trials.c.state == OptunaState.WAITING)
        .where(~sa.exists().where(of_trial), ~sa.exists().where(is_fixed))
        .order_by(trials.c.number)
    )
    return [row.number for row in connection.execute(query) if row.trial_id not in own]


def unheld_trials(rows: StudyRows) -> list[Any]:
    """Return the running trials of cohorts without a lease, or with one of a dead worker."""
    running = [row for row in rows.own if row.state is OptunaState.RUNNING]
    cohorts = {row.cohort for row in running} & set(rows.leases)
    leases = [rows.leases[cohort] for cohort in cohorts]
    held = {row.cohort for row in leases if is_alive(row, rows.now)}
    return [row for row in running if row.cohort not in held]


def is_lost(study: StudyRecord) -> sa.ColumnElement[bool]:
    """Return the condition for our rows of trials that Optuna's study does not have."""
    known = sa.select(trials.c.trial_id).where(trials.c.study_id == study.optuna_study_id)
    return of_study(trial_table, study) & trial_table.c.optuna_trial_id.not_in(known)


def of_study(table: sa.Table, study: StudyRecord) -> sa.ColumnElement[bool]:
    return table.c.study_uuid == study.uuid
