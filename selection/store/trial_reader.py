"""Reads trials from Optuna's rows and ours, joined, in a few queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.store.codec import FoldRow, decode_curve, score_from_row
from selection.store.optuna_rows import StoredTrial, trials
from selection.store.optuna_storage import BatchedStorage
from selection.store.study_record import StudyRecord
from selection.store.tables import content_of, fold_table, trial_table
from selection.study.optuna_names import from_optuna, to_optuna
from selection.study.space import Dimension, value_from_json
from selection.study.trial import Params, Trial, TrialState, fold_means

OUTSIDE_ATTR = "outside_space"
ASKED_ATTR = "asked_for"
KNOWN_ATTR = "known_cohorts"
ENDED = "the study was ended by an evaluation of its held-out set"
# The second is what versions before 0.2 wrote.
ENDINGS = (ENDED, "the study was ended by a look at its held-out set")
STATES: Mapping[OptunaState, TrialState] = {
    OptunaState.WAITING: TrialState.WAITING,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
UNFINISHED = (OptunaState.WAITING, OptunaState.RUNNING)
OPTUNA_STATES = {state: name for name, state in STATES.items()}
# A trial of ours has ended once selection itself has written how. Another program may set the state
# of a trial that trains, and that ends nothing.
HAS_ENDED = sa.or_(trial_table.c.seconds.is_not(None), trial_table.c.reason != "")
IS_UNFINISHED = sa.or_(trials.c.state.in_(UNFINISHED), sa.not_(HAS_ENDED))

Scores = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def read_trials(
    connection: Connection,
    storage: BatchedStorage,
    study: StudyRecord,
    *,
    with_curves: bool,
    numbers: Collection[int] | None = None,
) -> list[Trial]:
    """Return the trials of a study, or those with the given numbers, by number.

    Without curves, their fold_means stay empty.
    """
    if numbers is not None and not numbers:
        return []
    found = storage.read_trials(
        connection,
        study.optuna_study_id,
        attrs=(OUTSIDE_ATTR, ASKED_ATTR, KNOWN_ATTR),
        numbers=numbers,
    )
    stored = {trial.trial_id: trial for trial in found}
    asked = sa.true() if numbers is None else trial_table.c.number.in_(numbers)
    scores = dict(_read_scores(connection, study, asked, with_curves=with_curves))
    return [
        _trial(row, stored[row.optuna_trial_id], study, scores.get(row.uuid, ((), (), ())))
        for row in connection.execute(own_rows(study).where(asked))
        if row.optuna_trial_id in stored
    ]


def own_rows(study: StudyRecord) -> sa.Select[Any]:
    """Return the query for our rows of a study's trials, by number."""
    query = sa.select(*content_of(trial_table)).where(trial_table.c.study_uuid == study.uuid)
    return query.order_by(trial_table.c.number)


def unfinished_rows(
    connection: Connection, study: StudyRecord, condition: sa.ColumnElement[bool]
) -> Sequence[Any]:
    """Return our rows of the unfinished trials that meet a condition, with state, by number."""
    query = (
        own_rows(study)
        .add_columns(trials.c.state)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(IS_UNFINISHED, condition)
    )
    return connection.execute(query).all()


def unfinished_cohorts(connection: Connection, study: StudyRecord, first: int) -> set[int]:
    """Return which cohorts, from the first on, have unfinished trials."""
    query = (
        sa.select(trial_table.c.cohort)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(trial_table.c.study_uuid == study.uuid)
        .where(IS_UNFINISHED, trial_table.c.cohort >= first)
        .distinct()
    )
    return set(connection.scalars(query))


def has_ended(row: Any) -> bool:
    """Say whether selection itself wrote how the trial of this row of ours ended."""
    return row.seconds is not None or row.reason != ""


def greatest(connection: Connection, study: StudyRecord, column: sa.Column[int]) -> int | None:
    """Return the greatest number or cohort of a study's trials, which an index finds at once."""
    query = sa.select(sa.func.max(column)).where(trial_table.c.study_uuid == study.uuid)
    return connection.scalar(query)


def own_count(connection: Connection, study: StudyRecord) -> int:
    """Return how many trials all cohorts have together; foreign ones do not count."""
    query = sa.select(sa.func.count()).where(trial_table.c.study_uuid == study.uuid)
    return int(connection.scalar(query) or 0)


def read_fold_rows(
    connection: Connection, study: StudyRecord, number: int
) -> list[tuple[FoldRow, str]]:
    """Return the members of one trial, each with its stored hash."""
    names = list(FoldRow.__dataclass_fields__)
    query = (
        sa.select(*(fold_table.c[name] for name in names), fold_table.c.row_hash)
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid, trial_table.c.number == number)
        .order_by(fold_table.c.repeat, fold_table.c.fold)
    )
    return [(FoldRow(*row[:-1]), row[-1]) for row in connection.execute(query)]


def training_seconds(connection: Connection, storage: BatchedStorage, study: StudyRecord) -> float:
    """Return how long finished cohorts were training; time that several share counts once.

    A cohort trains from its first start to its last end.
    """
    stored = {
        trial.trial_id: trial for trial in storage.read_trials(connection, study.optuna_study_id)
    }
    spans: list[tuple[datetime, datetime]] = []
    rows = sorted(
        (row.cohort, row.optuna_trial_id)
        for row in connection.execute(own_rows(study))
        if has_ended(row) and row.reason not in ENDINGS  # ended by training
    )
    for _, group in groupby(rows, key=itemgetter(0)):
        cohort = [stored[trial_id] for _, trial_id in group if trial_id in stored]
        starts = [trial.started_at for trial in cohort if trial.started_at is not None]
        ends = [trial.completed_at for trial in cohort if trial.completed_at is not None]
        if starts and ends:
            spans.append((min(starts), max(ends)))
    return length_of_union(spans)


def length_of_union(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Return the seconds that spans cover together; where several overlap, they count once."""
    seconds = 0.0
    last: datetime | None = None
    for start, end in sorted(spans):
        start = start if last is None else max(start, last)
        if end > start:
            seconds += (end - start).total_seconds()
        last = end if last is None else max(end, last)
    return seconds


def _read_scores(
    connection: Connection,
    study: StudyRecord,
    asked: sa.ColumnElement[bool],
    *,
    with_curves: bool,
) -> Iterator[tuple[str, Scores]]:
    """Yield each trial's uuid with its scores, training scores and fold means."""
    columns = [fold_table.c.trial_uuid, fold_table.c.score, fold_table.c.train_score]
    query = (
        sa.select(*columns, *([fold_table.c.curve] if with_curves else []))
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid, asked)
        .order_by(trial_table.c.number, fold_table.c.repeat, fold_table.c.fold)
    )
    for uuid, group in groupby(connection.execute(query), key=itemgetter(0)):
        rows = list(group)
        curves = [decode_curve(row.curve) for row in rows] if with_curves else []
        yield (
            uuid,
            (
                tuple(score_from_row(row.score) for row in rows),
                tuple(score_from_row(row.train_score) for row in rows),
                fold_means(curves),
            ),
        )


def _trial(row: Any, stored: StoredTrial, study: StudyRecord, scores: Scores) -> Trial:
    state = STATES[stored.state]
    if state.is_finished and not has_ended(row):
        # Another program has ended it; the cohort takes it back.
        state = TrialState.RUNNING
    return Trial(
        number=row.number,
        state=state,
        params=_params(stored, study),
        cohort=row.cohort,
        reason=row.reason,
        value=stored.value if state is TrialState.COMPLETE else None,
        fold_scores=scores[0],
        train_scores=scores[1],
        fold_means=scores[2],
        epochs=row.epochs,
        seconds=row.seconds,
        asked_for=str(stored.user_attrs.get(ASKED_ATTR, "")),
        known_cohorts=_known(stored.user_attrs.get(KNOWN_ATTR)),
        best_epoch=row.best_epoch,
    )


def _known(value: Any) -> int | None:
    # Overwritten by another program, it says nothing.
    return value if isinstance(value, int) else None


def _params(stored: StoredTrial, study: StudyRecord) -> Params:
    """Return the params as they were proposed, in the order of the study file."""
    outside = stored.user_attrs.get(OUTSIDE_ATTR, {})
    if not isinstance(outside, dict):
        # Overwritten by another program; its cohort writes it again.
        outside = {}
    return {
        name: value_from_json(outside[name])
        if name in outside and _is_shown_as(dimension, outside[name], stored.params[name])
        else from_optuna(dimension, stored.params[name])
        for name, dimension in study.space.items()
    }


def _is_shown_as(dimension: Dimension, value: Any, shown: Any) -> bool:
    """Say whether Optuna's tools show this value, as JSON, by that point of the space."""
    try:
        return bool(to_optuna(dimension, dimension.nearest(value_from_json(value))) == shown)
    except (TypeError, ValueError, AssertionError):
        return False
