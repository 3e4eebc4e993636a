"""The list of studies says what the trials say, in as many queries as it takes for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.many_studies import clone_study
from selection.store.clock import utc_now
from selection.store.database import Database
from selection.store.ledger import Ledger
from selection.store.records import Records
from selection.store.repository import repository_of
from selection.store.study_list import StudyList
from selection.store.study_record import StudyRecord
from selection.store.tables import study_table
from selection.study.budget import is_finished
from selection.study.spec import parse_study
from selection.study.trial import TrialState
from tests.store.store_examples import (
    begin_example,
    create_example,
    example_result,
    example_spec,
    finish_example,
)


@contextmanager
def counted_queries(database: Database) -> Iterator[list[str]]:
    """Collect the statements that the database is asked."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def make_study(records: Records, name: str, metric: str = "accuracy") -> StudyRecord:
    """Return a study with three trials that ended and one that trains."""
    study = create_example(records, example_spec(name, metric=metric))
    begin_example(records, study, 4)
    results = {0: example_result(0), 1: example_result(1, TrialState.FAILED), 2: example_result(2)}
    finish_example(records, study, results)
    return study


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
def test_a_line_says_what_the_trials_say(database: Database, metric: str) -> None:
    records, found = Records(database), StudyList(database)
    study = make_study(records, "first", metric)
    create_example(records, example_spec("without trials"))
    trials = records.trials(study, with_curves=False)
    values = [trial.value for trial in trials if trial.value is not None]
    empty, line = found.lines(0, 10)
    assert line.summary == found.summaries()[0] == records.list_studies()[0]
    assert line.summary.counts == {
        state: sum(trial.state is state for trial in trials) for state in TrialState
    }
    best = min if study.spec().is_minimised else max
    assert line.summary.best_value == best(values)
    assert (line.summary.budget, line.metric) == (study.spec().budget, metric)
    assert line.running == tuple(repository_of(database).leases.running(study))
    assert (line.finished, line.lately, line.held_out) == (3, 3, "")
    assert (line.state, line.is_training) == ("training", True)
    assert line.per_minute is not None
    assert (empty.state, empty.finished, empty.summary.best_value) == ("stopped", 0, None)
    assert empty.per_minute is None


def test_a_claim_of_the_held_out_rows_shows(database: Database) -> None:
    records, found = Records(database), StudyList(database)
    study = make_study(records, "claimed")
    assert Ledger(database).claim(study, 0, "best", evaluation=1, reason="", finished=3)
    (line,) = found.lines(0, 10)
    assert (line.held_out, line.state) == ("claimed", "finished")


@pytest.mark.parametrize("limit", [0.0, 1e-9, 1e9])
def test_a_study_whose_time_is_up_is_finished(database: Database, limit: float) -> None:
    records, found = Records(database), StudyList(database)
    spec = example_spec("timed", timeout_seconds=limit)
    study = create_example(records, spec)
    begin_example(records, study, 2)
    finish_example(records, study, {0: example_result(0), 1: example_result(1)})
    (line,) = found.lines(0, 10)
    trials = records.trials(study, with_curves=False)
    seconds = records.elapsed_seconds(study)
    assert line.is_finished is is_finished(study.spec(), trials, seconds) is (limit == 1e-9)


def test_a_grid_counts_its_points(database: Database) -> None:
    records = Records(database)
    content = example_spec().to_json()
    content["search"] |= {"sampler": "grid", "trials": 100, "default": {}}
    content["space"] = {"width": {"choices": [4, 8]}, "dropout": {"choices": [0.0, 0.5]}}
    study = create_example(records, parse_study(content, "grid.toml"))
    (line,) = StudyList(database).lines(0, 10)
    assert line.summary.budget == study.spec().budget < 100


def test_pages_hold_the_newest_first_and_names_the_oldest(database: Database) -> None:
    records, found = Records(database), StudyList(database)
    assert (found.count(), found.newest(), found.lines(0, 5), found.names()) == (0, None, [], [])
    for age, name in enumerate(["c", "b", "a"]):
        study = create_example(records, example_spec(name))
        with database.writing() as connection:
            begun = {"created_at": utc_now() - timedelta(days=age)}
            own = study_table.c.uuid == study.uuid
            connection.execute(sa.update(study_table).where(own).values(begun))
    assert [line.summary.name for line in found.lines(0, 2)] == ["c", "b"]
    assert [line.summary.name for line in found.lines(2, 2)] == ["a"]
    assert [each.name for each in found.names()] == ["a", "b", "c"]
    assert [each.name for each in found.summaries()] == ["a", "b", "c"]
    assert (found.newest(), found.count()) == ("c", 3)


def test_queries_do_not_grow_with_the_number_of_studies(database: Database) -> None:
    records, found = Records(database), StudyList(database)
    study = make_study(records, "first")

    def queries() -> int:
        with counted_queries(database) as statements:
            found.lines(0, 50), found.summaries(), found.names(), found.count(), found.newest()
            repository_of(database).newest_study()
        return len(statements)

    before = queries()
    clone_study(database, study, 60)
    assert found.count() == 61
    assert len(found.lines(0, 50)) == 50
    assert len(found.lines(50, 50)) == 11
    assert {line.summary.best_value for line in found.lines(0, 100)} == {
        records.list_studies()[0].best_value
    }
    assert queries() == before
