"""The list of all studies, in a fixed number of queries however many there are.

It reads counts and no trials: a list of thousands of studies is asked for every few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.metrics import METRICS
from selection.store.clock import utc_now
from selection.store.database import Database
from selection.store.leases import RunningCohort, is_training, running_by_study
from selection.store.ledger import RETURNED
from selection.store.optuna_rows import studies, trial_values, trials
from selection.store.study_record import StudySummary
from selection.store.study_transaction import our_studies
from selection.store.tables import ledger_table, study_table, trial_table
from selection.store.trial_reader import ENDINGS, HAS_ENDED, STATES, length_of_union
from selection.study.budget import is_spent
from selection.study.spec import parse_study
from selection.study.trial import TrialState

# The rate of a study is taken over so many seconds.
LATELY_SECONDS = 120.0
FINISHED = tuple(state for state in OptunaState if state.is_finished())


@dataclass(frozen=True)
class StudyName:
    """Hold what names a study, and what its score is."""

    uuid: str
    name: str
    optuna_study_id: int
    metric: str


@dataclass(frozen=True)
class StudyLine:
    """Hold one study as a page lists it.

    Units: lately counts the trials that ended in the last LATELY_SECONDS. held_out is the state of
    the newest evaluation, "" if there is none.
    """

    uuid: str
    summary: StudySummary
    metric: str
    running: Sequence[RunningCohort]
    lately: int
    held_out: str
    is_finished: bool

    @property
    def finished(self) -> int:
        """The number of trials that have ended."""
        return sum(count for state, count in self.summary.counts.items() if state.is_finished)

    @property
    def is_training(self) -> bool:
        return is_training(self.running, is_finished=self.is_finished)

    @property
    def state(self) -> str:
        return state_word(is_training=self.is_training, is_finished=self.is_finished)

    @property
    def per_minute(self) -> float | None:
        """The trials that ended per minute lately; None where nobody trains."""
        return rate(self.lately, self.summary.created_at) if self.is_training else None


def state_word(*, is_training: bool, is_finished: bool) -> str:
    """Say in a word what a study does now."""
    if is_training:
        return "training"
    return "finished" if is_finished else "stopped"


def rate(lately: int, created_at: datetime) -> float:
    """Return the trials per minute where so many have ended in the last LATELY_SECONDS."""
    age = (datetime.now(UTC) - created_at).total_seconds()
    return 60.0 * lately / min(LATELY_SECONDS, max(age, 1.0))


class StudyList:
    """List the studies of one database. Every method raises StorageError if the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> list[StudyName]:
        """Return what names each study, oldest first."""
        with self._database.reading() as connection:
            return [
                StudyName(row.uuid, row.study_name, row.optuna_study_id, _metric(row))
                for row in connection.execute(_listed())
            ]

    def newest(self) -> str | None:
        """Return the name of the study that began last; None if there is none."""
        query = _listed(newest_first=True).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else str(row.study_name)

    def summaries(self) -> list[StudySummary]:
        """Return a summary of each study, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(_listed()).all()
            tallies = _read_tallies(connection, sa.true())
        return [_summary(row, tallies.get(row.uuid, {})) for row in rows]

    def count(self) -> int:
        """Return the number of studies."""
        query = sa.select(sa.func.count()).select_from(our_studies().subquery())
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def lines(self, first: int, count: int) -> list[StudyLine]:
        """Return so many studies as a page lists them, newest first, without the first ones."""
        query = _listed(newest_first=True).offset(first).limit(count)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            uuids = [row.uuid for row in rows]
            tallies = _read_tallies(connection, trial_table.c.study_uuid.in_(uuids))
            running = running_by_study(connection, uuids)
            held_out = _read_held_out(connection, uuids)
            lately = _count_lately(connection, list(running))
            summaries = {row.uuid: _summary(row, tallies.get(row.uuid, {})) for row in rows}
            limits = {row.uuid: limit for row in rows if (limit := _limit(row)) > 0}
            seconds = _read_seconds(connection, list(limits))
        return [
            StudyLine(
                uuid=row.uuid,
                summary=summaries[row.uuid],
                metric=_metric(row),
                running=tuple(running.get(row.uuid, ())),
                lately=lately.get(row.uuid, 0),
                held_out=held_out.get(row.uuid, ""),
                is_finished=row.uuid in held_out
                or _is_spent(
                    summaries[row.uuid], limits.get(row.uuid, 0.0), seconds.get(row.uuid, 0.0)
                ),
            )
            for row in rows
        ]


@dataclass(frozen=True)
class _Tally:
    """Count the trials of a study in one state, with the least and the greatest value."""

    count: int
    least: float | None
    greatest: float | None


def _listed(*, newest_first: bool = False) -> sa.Select[Any]:
    """Return the query for what a list needs of each study, without its large columns."""
    columns = our_studies().with_only_columns(
        study_table.c.uuid,
        study_table.c.optuna_study_id,
        study_table.c.spec_json,
        study_table.c.created_at,
        studies.c.study_name,
    )
    order = (study_table.c.created_at, studies.c.study_name)
    return columns.order_by(*(sa.desc(each) for each in order) if newest_first else order)


def _read_tallies(
    connection: Connection, asked: sa.ColumnElement[bool]
) -> dict[str, dict[OptunaState, _Tally]]:
    """Return the tally of each state by the uuid of the study."""
    on_value = (trial_values.c.trial_id == trials.c.trial_id) & (trial_values.c.objective == 0)
    kinds = models.TrialValueModel.TrialValueType
    value = sa.case(
        (trial_values.c.value_type == kinds.INF_POS, sa.literal(float("inf"), sa.Double)),
        (trial_values.c.value_type == kinds.INF_NEG, sa.literal(float("-inf"), sa.Double)),
        else_=trial_values.c.value,
    )
    # What another program has ended goes on: only selection says how a trial of ours ended.
    is_ended_outside = trials.c.state.in_(FINISHED) & sa.not_(HAS_ENDED)
    running = sa.literal(OptunaState.RUNNING, trials.c.state.type)
    state = sa.case((is_ended_outside, running), else_=trials.c.state).label("state")
    own = (
        sa.select(trial_table.c.study_uuid, state, value.label("value"))
        .select_from(
            trial_table.join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id).outerjoin(
                trial_values, on_value
            )
        )
        .where(asked)
        .subquery()
    )
    least, greatest = sa.func.min(own.c.value), sa.func.max(own.c.value)
    query = sa.select(own.c.study_uuid, own.c.state, sa.func.count(), least, greatest).group_by(
        own.c.study_uuid, own.c.state
    )
    found: dict[str, dict[OptunaState, _Tally]] = {}
    for uuid, state, *tally in connection.execute(query):
        found.setdefault(uuid, {})[state] = _Tally(*tally)
    return found


def _summary(row: Any, tallies: Mapping[OptunaState, _Tally]) -> StudySummary:
    states = {STATES[state]: tally.count for state, tally in tallies.items()}
    complete = tallies.get(OptunaState.COMPLETE, _Tally(0, None, None))
    is_minimised = METRICS[_metric(row)].is_minimised
    return StudySummary(
        name=row.study_name,
        created_at=row.created_at.replace(tzinfo=UTC),
        counts={state: states.get(state, 0) for state in TrialState},
        best_value=complete.least if is_minimised else complete.greatest,
        budget=_budget(row),
    )


def _read_held_out(connection: Connection, uuids: Sequence[str]) -> dict[str, str]:
    """Return the state of the newest evaluation of each study that has one."""
    query = (
        sa.select(ledger_table.c.study_uuid, ledger_table.c.state)
        .join(
            study_table,
            (study_table.c.uuid == ledger_table.c.study_uuid)
            & (study_table.c.data_fingerprint == ledger_table.c.data_fingerprint)
            & (study_table.c.held_out_fingerprint == ledger_table.c.held_out_fingerprint),
        )
        .where(ledger_table.c.study_uuid.in_(uuids), ledger_table.c.state != RETURNED)
        .order_by(ledger_table.c.evaluation)
    )
    return {row.study_uuid: row.state for row in connection.execute(query)}


def _count_lately(connection: Connection, uuids: Sequence[str]) -> dict[str, int]:
    """Return how many trials of each study ended lately, by this machine's clock."""
    since = utc_now() - timedelta(seconds=LATELY_SECONDS)
    query = (
        sa.select(trial_table.c.study_uuid, sa.func.count())
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(trial_table.c.study_uuid.in_(uuids), trials.c.datetime_complete >= since, HAS_ENDED)
        .group_by(trial_table.c.study_uuid)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _read_seconds(connection: Connection, uuids: Sequence[str]) -> dict[str, float]:
    """Return how long the finished cohorts of each study were training."""
    query = (
        sa.select(
            trial_table.c.study_uuid,
            sa.func.min(trials.c.datetime_start),
            sa.func.max(trials.c.datetime_complete),
        )
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .where(
            trial_table.c.study_uuid.in_(uuids),
            trial_table.c.reason.not_in(ENDINGS),
            HAS_ENDED,
        )
        .group_by(trial_table.c.study_uuid, trial_table.c.cohort)
    )
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    for uuid, start, end in connection.execute(query):
        if start is not None and end is not None:
            spans.setdefault(uuid, []).append((start, end))
    return {uuid: length_of_union(found) for uuid, found in spans.items()}


def _is_spent(summary: StudySummary, limit: float, seconds: float) -> bool:
    finished = sum(count for state, count in summary.counts.items() if state.is_finished)
    begun = sum(summary.counts.values())
    return is_spent(finished, begun, summary.budget, limit, seconds)


def _search(row: Any) -> dict[str, Any]:
    search: dict[str, Any] = json.loads(row.spec_json)["search"]
    return search


def _metric(row: Any) -> str:
    return str(_search(row)["metric"])


def _limit(row: Any) -> float:
    return float(_search(row).get("timeout_seconds", 0.0))


def _budget(row: Any) -> int:
    """Return the number of trials; that of a grid depends on its search space."""
    search = _search(row)
    if search["sampler"] == "grid":
        return parse_study(json.loads(row.spec_json), row.study_name).budget
    return int(search["trials"])
