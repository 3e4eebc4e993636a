"""Turns params and results into rows of trials, and writes the results that are complete."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.store.codec import encode_fold
from selection.store.optuna_rows import Ending
from selection.store.optuna_storage import BatchedStorage
from selection.store.seals import seal_trials
from selection.store.study_record import StudyRecord
from selection.store.study_transaction import state_error
from selection.store.tables import fold_table, trial_table
from selection.store.trial_reader import ASKED_ATTR, KNOWN_ATTR, OPTUNA_STATES, OUTSIDE_ATTR
from selection.study.optuna_names import distribution_json, from_optuna, to_optuna
from selection.study.space import SearchSpace, nearest_inside, value_to_json
from selection.study.trial import Params, Trial, TrialResult, TrialState

MAX_POINTS = 20


def templates(
    cohort: Sequence[Params],
    space: SearchSpace,
    asked_for: Sequence[str] = (),
    known: int | None = None,
) -> list[FrozenTrial]:
    """Return running trials for Optuna; what its params cannot express is in user attributes.

    asked_for says of each who asked for it; without it, nobody did. known is Trial.known_cohorts.
    """
    lagging = {} if known is None else {KNOWN_ATTR: known}
    distributions = {
        name: json_to_distribution(distribution_json(dimension))
        for name, dimension in space.items()
    }
    return [
        _template(params, space, distributions, {**lagging, **({ASKED_ATTR: who} if who else {})})
        for params, who in zip(cohort, asked_for or [""] * len(cohort), strict=True)
    ]


def _template(
    params: Params,
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
    attrs: Mapping[str, str | int],
) -> FrozenTrial:
    inside = nearest_inside(space, params)
    shown = {name: to_optuna(dimension, inside[name]) for name, dimension in space.items()}
    outside = {
        name: value_to_json(params[name])
        for name, dimension in space.items()
        if from_optuna(dimension, shown[name]) != params[name]
    }
    return create_trial(
        state=OptunaState.RUNNING,
        params=dict(shown),
        distributions=dict(distributions),
        user_attrs={**attrs, **({OUTSIDE_ATTR: outside} if outside else {})},
    )


def sound_results(study: StudyRecord, results: Mapping[int, TrialResult]) -> dict[int, TrialResult]:
    """Return results without the members that ended before their first epoch.

    Raises: StudyStateError if a result is incomplete.
    """
    sound = {
        number: replace(result, folds=tuple(f for f in result.folds if len(f.curve.points)))
        for number, result in results.items()
    }
    for number, result in sound.items():
        _refuse_unsound(study, number, result)
    return sound


def _refuse_unsound(study: StudyRecord, number: int, result: TrialResult) -> None:
    pairs = [(fold.repeat, fold.fold) for fold in result.folds]
    assert pairs == sorted(set(pairs)), "members are ordered by repeat and fold, each once"
    if not result.state.is_finished:
        rule = f"trial {number} must end as complete, pruned or failed"
        raise state_error(study, rule, result.state)
    if result.state is not TrialState.COMPLETE:
        return
    if len(pairs) != study.members_per_trial:
        rule = f"trial {number} must have {study.members_per_trial} folds to be complete"
        raise state_error(study, rule, f"{len(pairs)} folds")
    if result.value is None or not math.isfinite(result.value):
        raise state_error(study, f"trial {number} must have a finite score", str(result.value))


def write_endings(
    connection: Connection,
    storage: BatchedStorage,
    rows: Mapping[int, Any],
    results: Mapping[int, TrialResult],
) -> None:
    """Write how trials ended to Optuna's tables and ours; rows are our rows by number."""
    ends = [ending(rows[n].optuna_trial_id, result) for n, result in results.items()]
    storage.finish_trials(connection, ends)
    names = ("reason", "epochs", "seconds", "best_epoch")
    update = (
        sa.update(trial_table)
        .where(trial_table.c.uuid == sa.bindparam("key"))
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    own = [_own_ending(rows[n].uuid, result) for n, result in results.items()]
    connection.execute(update, own)
    members = [
        member
        for n, result in results.items()
        for member in _member_rows(rows[n].uuid, rows[n].attempt, result)
    ]
    if members:
        connection.execute(sa.insert(fold_table), members)
    seal_trials(connection, storage, [rows[n].uuid for n in results])


def ending(trial_id: int, result: TrialResult) -> Ending:
    """Return what Optuna's tables store of a result."""
    return Ending(
        trial_id=trial_id,
        state=OPTUNA_STATES[result.state],
        value=result.value,
        intermediate_values=thinned_points(result.fold_means),
        user_attrs=shown_attrs(result),
    )


def thinned_points(means: tuple[float, ...]) -> dict[int, float]:
    """Return at most MAX_POINTS fold means by epoch, from 1, always the first and the last."""
    last = len(means) - 1
    count = min(len(means), MAX_POINTS)
    indices = [round(index * last / (count - 1)) if count > 1 else 0 for index in range(count)]
    return {index + 1: means[index] for index in indices}


def shown_attrs(result: TrialResult) -> dict[str, Any]:
    """Return the numbers of a finished trial that Optuna's tools show as user attributes.

    Those that are not finite are left out: JSON cannot express them.
    """
    scores = tuple(fold.score for fold in result.folds)
    summary = Trial(number=0, state=result.state, params={}, cohort=0, fold_scores=scores)
    numbers: dict[str, float | None] = {
        f"fold_{index}": score for index, score in enumerate(scores)
    }
    numbers["cv_standard_error"] = summary.standard_error
    if result.folds:
        numbers["train_score"] = float(np.mean([fold.train_score for fold in result.folds]))
    finite = {
        name: number
        for name, number in numbers.items()
        if number is not None and math.isfinite(number)
    }
    best = {} if result.best_epoch is None else {"best_epoch": result.best_epoch}
    return {**finite, "epochs": result.epochs, **best}


def _own_ending(uuid: str, result: TrialResult) -> dict[str, Any]:
    """Return what our row of a trial stores of a result, named for an UPDATE."""
    return {
        "key": uuid,
        "new_reason": result.reason,
        "new_epochs": result.epochs,
        "new_seconds": result.seconds,
        "new_best_epoch": result.best_epoch,
    }


def _member_rows(uuid: str, attempt: int, result: TrialResult) -> list[dict[str, Any]]:
    """Return the rows of a trial's members."""
    rows = [encode_fold(uuid, attempt, fold) for fold in result.folds]
    return [{**vars(row), "row_hash": row.row_hash} for row in rows]
