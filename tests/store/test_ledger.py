"""The held-out ledger, on both databases: one claim wins, and what was done stays to be seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from optuna.storages._rdb.models import BaseModel

from selection.errors import RefusedError, StudyStateError
from selection.store.copy_study import copy_study
from selection.store.database import Database, open_database
from selection.store.delete_study import delete_study
from selection.store.doctor import examine
from selection.store.evidence import Evidence
from selection.store.ledger import CLAIMED, EVALUATED, Evaluation, Ledger, refuse_opened
from selection.store.ledger_chain import chain_problems
from selection.store.records import Records
from selection.store.study_list import StudyList
from selection.store.study_record import StudyRecord
from selection.store.tables import ledger_table, metadata
from selection.store.trial_reader import ENDED
from selection.study.trial import TrialState
from tests.store.store_examples import (
    ENVIRONMENT,
    FACTS,
    RESULT,
    begin_example,
    create_example,
    example_held_out,
    example_result,
    example_spec,
    finish_example,
    release_example,
    restart_example,
)

RACERS, EVALUATIONS = 20, 10
# One child imports selection and splits into many, which is faster than many children. Each racer
# opens the database for itself, waits for the others before each evaluation, and claims it. Its
# number stands in its claim.
CHILD = """
import json, multiprocessing, sys
from selection.store.database import open_database
from selection.store.ledger import Ledger
from selection.store.ledger_chain import chain_problems
from selection.store.records import Records

url, racers, looks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open_database(url, create=False, write=False) as database:
    study = Records(database).find_study("example")

def race(number, gate, answers):
    with open_database(url, create=False, write=True) as database:
        ledger, reason = Ledger(database), f"racer {number}"
        for look in range(1, looks + 1):
            gate.wait(30)
            won = ledger.claim(study, number, "best", evaluation=look, reason=reason, finished=0)
            answers.put((look, number, won))

context = multiprocessing.get_context("fork")
gate, answers = context.Barrier(racers), context.SimpleQueue()
processes = [context.Process(target=race, args=(n, gate, answers)) for n in range(racers)]
for process in processes:
    process.start()
for process in processes:
    process.join()
codes = [process.exitcode for process in processes]
count = 0 if any(codes) else racers * looks
print(json.dumps({"codes": codes, "answers": [answers.get() for _ in range(count)]}))
"""


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """An empty ledger; emptied by hand afterwards, because it outlives every study."""
    yield Ledger(database)
    with database.writing() as connection:
        connection.execute(sa.delete(ledger_table))


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the local time be one that nobody can take for UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-05:45")
        time.tzset()
        yield
    time.tzset()


def study_of(
    records: Records, name: str, held_out: str | None = "h" * 64, data: str = "d" * 64
) -> StudyRecord:
    """Begin a study with held-out rows of one's own choice."""
    return records.create_study(example_spec(name), data, held_out, FACTS, ENVIRONMENT)


def example_outputs(rows: int = 5, columns: int = 3) -> NDArray[np.float32]:
    """Return outputs with every kind of number, not in the order in which bytes are stored."""
    outputs = np.random.default_rng(rows).normal(size=(columns, rows)).astype(np.float32)
    outputs[0, :4] = [-0.0, np.inf, 1e-45, np.nan]
    return outputs.T


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that Optuna's tables and ours hold."""
    ours = [table for table in metadata.sorted_tables if table.name.startswith("selection_")]
    with database.reading() as connection:
        rows = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in (*BaseModel.metadata.sorted_tables, *ours)
        }
    return {name: sorted(found, key=repr) for name, found in rows.items()}


def lines(evaluations: list[Evaluation]) -> list[dict[str, Any]]:
    """Return lines of the ledger such that they can be compared."""
    return [
        {**vars(line), "outputs": None if line.outputs is None else line.outputs.tobytes()}
        for line in evaluations
    ]


def test_claim_is_read_back_without_a_result(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    assert ledger.evaluations(study) == []
    assert ledger.claim(study, 7, "one_standard_error", evaluation=1, reason="", finished=0) is True
    (line,) = ledger.evaluations(study)
    assert (line.study_uuid, line.study_name) == (study.uuid, study.name)
    assert (line.evaluation, line.number, line.rule) == (1, 7, "one_standard_error")
    assert (line.state, line.reason) == (CLAIMED, "")
    assert CLAIMED == "claimed"
    assert (line.evaluated_at, line.result, line.outputs) == (None, None, None)


def test_claim_is_won_once(records: Records, ledger: Ledger, database: Database) -> None:
    study = create_example(records)
    assert ledger.claim(study, 7, "best", evaluation=1, reason="first", finished=0)
    before = contents(database)
    assert (
        ledger.claim(study, 8, "one_standard_error", evaluation=1, reason="second", finished=0)
        is False
    )
    assert ledger.claim(study, 7, "best", evaluation=1, reason="first", finished=0) is False
    assert contents(database) == before
    assert [row[5] for row in before["selection_ledger"]] == [7]


def test_finished_evaluation_cannot_be_claimed_again(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    ledger.finish(study, 1, RESULT, example_outputs())
    before = lines(ledger.evaluations(study))
    assert not ledger.claim(study, 8, "best", evaluation=1, reason="", finished=0)
    assert lines(ledger.evaluations(study)) == before


def test_claims_of_two_studies_do_not_meet(records: Records, ledger: Ledger) -> None:
    first, second = study_of(records, "first"), study_of(records, "second")
    assert ledger.claim(first, 1, "best", evaluation=1, reason="", finished=0)
    assert ledger.claim(second, 2, "best", evaluation=1, reason="", finished=0)
    assert [line.number for line in ledger.evaluations(first)] == [1]
    assert [line.number for line in ledger.evaluations(second)] == [2]


@pytest.mark.slow
def test_of_many_processes_one_wins_the_claim(new_url: str) -> None:
    with open_database(new_url, create=True, write=True) as database:
        study = create_example(Records(database))
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, new_url, str(RACERS), str(EVALUATIONS)],
        # Only a process without threads may split without fear.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
        check=True,
    )
    finished = json.loads(child.stdout)
    assert finished["codes"] == [0] * RACERS
    assert len(finished["answers"]) == RACERS * EVALUATIONS
    winners = sorted((evaluation, number) for evaluation, number, won in finished["answers"] if won)
    assert [evaluation for evaluation, _ in winners] == list(range(1, EVALUATIONS + 1))
    with open_database(new_url, create=False, write=False) as database:
        found = Ledger(database).evaluations(study)
        with database.reading() as connection:
            assert list(chain_problems(connection)) == []
    assert [(line.evaluation, line.number) for line in found] == winners
    assert [line.reason for line in found] == [f"racer {number}" for _, number in winners]
    assert {line.state for line in found} == {CLAIMED}


def test_claims_of_many_studies_at_once_make_one_chain(
    database: Database, records: Records, ledger: Ledger
) -> None:
    studies = [study_of(records, f"study {index}") for index in range(8)]
    gate = threading.Barrier(len(studies))

    def claim(study: StudyRecord) -> None:
        gate.wait(30)
        assert ledger.claim(study, 0, "best", evaluation=1, reason="", finished=0)

    with ThreadPoolExecutor(len(studies)) as pool:
        list(pool.map(claim, studies))
    with database.reading() as connection:
        positions = connection.scalars(sa.select(ledger_table.c.position)).all()
        assert sorted(positions) == list(range(1, 9))
        assert list(chain_problems(connection)) == []


@pytest.mark.parametrize("columns", [1, 3])
def test_finish_keeps_result_and_outputs_bit_for_bit(
    records: Records, ledger: Ledger, columns: int
) -> None:
    study = create_example(records)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    (claimed,) = ledger.evaluations(study)
    outputs = example_outputs(columns=columns)
    ledger.finish(study, 1, RESULT, outputs)
    (line,) = ledger.evaluations(study)
    assert line.state == EVALUATED == "evaluated"
    assert repr(line.result) == repr(RESULT)
    assert line.outputs is not None
    assert (line.outputs.dtype, line.outputs.shape) == (np.dtype(np.float32), (5, columns))
    assert line.outputs.tobytes() == outputs.tobytes()
    changed = {"state", "evaluated_at", "result", "outputs"}
    (left,), (right,) = lines([claimed]), lines([line])
    assert {name for name in left if left[name] != right[name]} == changed


def test_evaluation_is_finished_once(records: Records, ledger: Ledger, database: Database) -> None:
    study = create_example(records)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    ledger.finish(study, 1, RESULT, example_outputs())
    before = contents(database)
    with pytest.raises(AssertionError, match="a claim is finished once"):
        ledger.finish(study, 1, replace(RESULT, score=1.0), np.ones((2, 2), np.float32))
    assert contents(database) == before


def test_only_a_claim_is_finished(records: Records, ledger: Ledger, database: Database) -> None:
    study, other = study_of(records, "first"), study_of(records, "second")
    ledger.claim(other, 7, "best", evaluation=1, reason="", finished=0)
    ledger.claim(study, 7, "best", evaluation=2, reason="", finished=0)
    before = contents(database)
    with pytest.raises(AssertionError, match="a claim is finished once"):
        ledger.finish(study, 1, RESULT, example_outputs())
    assert contents(database) == before


def test_result_that_json_cannot_hold_leaves_the_claim(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    before = lines(ledger.evaluations(study))
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.finish(study, 1, replace(RESULT, score=float("nan")), example_outputs())
    assert lines(ledger.evaluations(study)) == before
    ledger.finish(study, 1, RESULT, example_outputs())


def test_evaluations_are_numbered_and_keep_their_reasons(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    ledger.finish(study, 1, RESULT, example_outputs(5))
    first = lines(ledger.evaluations(study))
    reason = "the first rows were mislabelled; größer, 'quoted' and\non two lines"
    assert ledger.claim(study, 3, "one_standard_error", evaluation=2, reason=reason, finished=0)
    assert [line.state for line in ledger.evaluations(study)] == [EVALUATED, CLAIMED]
    ledger.finish(study, 2, replace(RESULT, score=0.5), example_outputs(9))
    found = ledger.evaluations(study)
    assert lines(found[:1]) == first
    assert [line.evaluation for line in found] == [1, 2]
    assert (found[1].number, found[1].rule) == (3, "one_standard_error")
    assert (found[1].reason, found[1].result) == (reason, replace(RESULT, score=0.5))
    assert found[1].outputs is not None
    assert found[1].outputs.tobytes() == example_outputs(9).tobytes()


def test_evaluations_are_listed_in_order_whatever_their_order_of_writing(
    records: Records, ledger: Ledger
) -> None:
    study = create_example(records)
    for evaluation in (10, 2, 1):
        assert ledger.claim(study, 0, "best", evaluation=evaluation, reason="", finished=0)
    assert [line.evaluation for line in ledger.evaluations(study)] == [1, 2, 10]


def test_first_evaluation_is_free(records: Records, ledger: Ledger) -> None:
    study, other = study_of(records, "first"), study_of(records, "second")
    ledger.check_first_evaluation(study)
    ledger.claim(other, 7, "best", evaluation=1, reason="", finished=0)
    ledger.check_first_evaluation(study)


def test_second_evaluation_is_refused_with_trial_and_time_of_the_first(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = create_example(records)
    ledger.claim(study, 41, "best", evaluation=1, reason="", finished=0)
    with database.writing() as connection:
        moment = datetime(2026, 3, 4, 15, 6, 7)
        connection.execute(sa.update(ledger_table).values(claimed_at=moment))
    with pytest.raises(RefusedError) as caught:
        ledger.check_first_evaluation(study)
    assert caught.value.exit_code == 3
    first = "trial 41 at 2026-03-04 15:06 UTC"
    assert f"but got a claim without a result for {first}." in str(caught.value)
    assert "study example: the held-out set may be opened only once" in str(caught.value)
    ledger.finish(study, 1, RESULT, example_outputs())
    ledger.claim(study, 5, "best", evaluation=2, reason="again", finished=0)
    with pytest.raises(RefusedError) as caught:
        ledger.check_first_evaluation(study)
    assert f"but got an evaluation for {first}." in str(caught.value)
    assert "--again --reason" in str(caught.value)


def test_ledger_outlives_its_study_and_warns_the_next(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = study_of(records, "deleted")
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    ledger.finish(study, 1, RESULT, example_outputs())
    ledger.claim(study, 8, "best", evaluation=2, reason="again", finished=0)
    written = lines(ledger.evaluations(study))
    assert ledger.openings_by_others(study) == []
    optuna.delete_study(study_name=study.name, storage=database.storage)
    assert records.find_study(study.name) is None
    assert lines(ledger.evaluations(study)) == written

    again = study_of(records, "deleted", data="e" * 64)
    assert ledger.evaluations(again) == []
    assert lines(ledger.openings_by_others(again)) == written
    assert ledger.openings_by_others(study_of(records, "elsewhere", "i" * 64)) == []
    ledger.claim(again, 9, "best", evaluation=1, reason="", finished=0)
    assert lines(ledger.openings_by_others(again)) == written
    assert [line.number for line in ledger.openings_by_others(study)] == [9]


def test_openings_by_others_are_listed_in_order_of_time(
    records: Records, ledger: Ledger, database: Database
) -> None:
    studies = [study_of(records, name) for name in ("late", "middle", "early")]
    for index, study in enumerate(studies):
        ledger.claim(study, index, "best", evaluation=1, reason="", finished=0)
        with database.writing() as connection:
            update = sa.update(ledger_table).where(ledger_table.c.study_uuid == study.uuid)
            moment = datetime(2026, 1, 1) - timedelta(days=index)
            connection.execute(update.values(claimed_at=moment))
    finished = ledger.openings_by_others(study_of(records, "new"))
    assert [line.study_name for line in finished] == ["early", "middle", "late"]


def test_studies_without_held_out_rows_have_nothing_in_common(
    records: Records, ledger: Ledger
) -> None:
    ledger.claim(study_of(records, "first"), 1, "best", evaluation=1, reason="", finished=0)
    without = study_of(records, "without", None)
    study_of(records, "without too", None)
    assert ledger.evaluations(without) == []
    assert ledger.openings_by_others(without) == []
    ledger.check_first_evaluation(without)


def test_openings_of_some_of_the_rows_are_counted(
    records: Records, ledger: Ledger, database: Database
) -> None:
    evidence = Evidence(database)
    names = ("some", "none", "other_table", "all", "returned", "unknown")
    some, none, other_table, whole, returned, unknown = (
        study_of(records, name, held_out=None if name == "unknown" else f"{name:h<64}")
        for name in names
    )
    opened = {
        some: example_held_out(2, 3, 9, 10),
        none: example_held_out(7, 8),
        other_table: example_held_out(7, table="u" * 64),
        whole: example_held_out(3, 2, 1),
        returned: example_held_out(1, 2, 3),
    }
    for study, rows in opened.items():
        assert ledger.claim(study, 0, "best", evaluation=1, reason="", finished=0, rows=rows)
    ledger.give_back(returned, 1, "nothing was scored")
    own = study_of(records, "own", held_out="o" * 64)
    assert ledger.openings_by_others(own) == []
    evidence.keep_held_out_rows(own, example_held_out(1, 2, 3))
    found = {each.study_name: each.shared_rows for each in ledger.openings_by_others(own)}
    assert found == {"some": 2, "none": 0, "all": 3}
    assert ledger.count_openings_by_others(own) == 3
    ledger.give_back(whole, 1, "nothing was scored")
    assert ledger.count_openings_by_others(own) == 2
    assert ledger.openings_by_others(unknown) == []


def test_a_claim_that_is_given_back_stays_and_does_not_count(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = create_example(records)
    assert ledger.claim(study, 3, "best", evaluation=1, reason="first", finished=0)
    ledger.give_back(study, 1, "held-out rows must fit the model")
    assert ledger.evaluations(study) == []
    ledger.check_first_evaluation(study)
    (line,) = ledger.returned_claims(study)
    assert (line.number, line.reason, line.state) == (3, "first", "returned")
    assert line.note == "held-out rows must fit the model"
    with database.reading() as connection:
        refuse_opened(connection, study)
        assert list(chain_problems(connection)) == []
    assert ledger.claim(study, 3, "best", evaluation=2, reason="", finished=0)
    ledger.finish(study, 2, RESULT, example_outputs())
    assert [each.evaluation for each in ledger.evaluations(study)] == [2]
    with database.reading() as connection, pytest.raises(RefusedError):
        refuse_opened(connection, study)


def test_a_result_is_never_given_back(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    assert ledger.claim(study, 3, "best", evaluation=1, reason="", finished=0)
    ledger.finish(study, 1, RESULT, example_outputs())
    ledger.give_back(study, 1, "too late")
    assert [each.state for each in ledger.evaluations(study)] == ["evaluated"]


def test_evaluation_goes_on_record_although_its_study_was_deleted_meanwhile(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = create_example(records)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    optuna.delete_study(study_name=study.name, storage=database.storage)
    ledger.finish(study, 1, RESULT, example_outputs())
    (line,) = ledger.evaluations(study)
    assert (line.state, line.result) == (EVALUATED, RESULT)


def test_deleted_study_cannot_be_claimed(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = create_example(records)
    optuna.delete_study(study_name=study.name, storage=database.storage)
    with pytest.raises(StudyStateError, match="a deleted study"):
        ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    # Not under the name and the ids of a new study either.
    new = create_example(records)
    with pytest.raises(StudyStateError, match="a deleted study"):
        ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    assert contents(database)["selection_ledger"] == []
    assert ledger.claim(new, 7, "best", evaluation=1, reason="", finished=0)


def test_no_cohort_begins_after_a_claim(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study, other = study_of(records, "opened"), study_of(records, "free")
    for owner in (study, other):
        begin_example(records, owner, 3, cohort=0)
        finish_example(records, owner, {0: example_result(0)})
    ledger.claim(study, 0, "best", evaluation=1, reason="", finished=1)
    before = contents(database)
    rule = "opened: a study takes no trials after its held-out set was opened"
    for cohort in (0, 1):
        with pytest.raises(RefusedError, match=rule) as caught:
            begin_example(records, study, 2, cohort)
        assert caught.value.exit_code == 3
        with pytest.raises(RefusedError, match=rule):
            restart_example(records, study)
        with pytest.raises(RefusedError, match=rule):
            finish_example(records, study, {1: example_result(1), 2: example_result(2)})
    assert contents(database) == before
    # Nor once the evaluation has ended; another study of the same rows is free to go on.
    ledger.finish(study, 1, RESULT, example_outputs())
    before = contents(database)
    with pytest.raises(RefusedError, match=rule):
        begin_example(records, study, 2, cohort=1)
    assert contents(database) == before
    assert begin_example(records, other, 2, cohort=1) == [3, 4]


def test_a_claim_ends_the_trials_that_are_not_finished(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    begin_example(records, study, 2)
    finish_example(records, study, {0: example_result(0)})
    begin_example(records, study, 1, cohort=1)
    begin_example(records, study, 1, cohort=2)
    for cohort in (0, 1):
        release_example(records, study, cohort)
    states = [trial.state for trial in records.trials(study)]
    waiting, running = TrialState.WAITING, TrialState.RUNNING
    assert states == [TrialState.COMPLETE, waiting, waiting, running]
    assert ledger.claim(study, 0, "best", evaluation=1, reason="", finished=1)
    trials = records.trials(study)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, *[TrialState.FAILED] * 3]
    assert [trial.reason for trial in trials] == ["", *[ENDED] * 3]
    assert trials[0].value == example_result(0).value
    with pytest.raises(RefusedError, match="a study takes no trials after"):
        finish_example(records, study, {3: example_result(3)}, cohort=2)


def test_trials_that_a_returned_claim_has_ended_go_on(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    finish_example(records, study, {0: example_result(0)})
    begin_example(records, study, 2, cohort=1)
    for cohort in (0, 1):
        release_example(records, study, cohort)
    assert ledger.claim(study, 0, "best", evaluation=1, reason="", finished=1)
    ledger.give_back(study, 1, "nothing was scored")
    trials = records.trials(study)
    complete, waiting = TrialState.COMPLETE, TrialState.WAITING
    assert [(trial.state, trial.reason) for trial in trials] == [
        (complete, ""),
        (waiting, ""),
        (waiting, ""),
    ]
    assert examine(database) == []
    (line,) = StudyList(database).lines(0, 9)
    assert (line.held_out, line.is_finished) == ("", False)
    # A claim that stands has ended them for good.
    assert ledger.claim(study, 0, "best", evaluation=2, reason="", finished=1)
    assert ledger.claim(study, 0, "best", evaluation=3, reason="", finished=3)
    ledger.give_back(study, 3, "nothing was scored")
    assert [trial.state for trial in records.trials(study)] == [complete, *[TrialState.FAILED] * 2]


def test_a_copy_learns_that_a_claim_was_given_back(
    records: Records, ledger: Ledger, database: Database, new_sqlite: Callable[[], str]
) -> None:
    if not database.storage.is_batched:
        pytest.skip("a study is copied from Optuna's tables as they are known")
    study = create_example(records)
    assert ledger.claim(study, 0, "best", evaluation=1, reason="", finished=0)
    with open_database(new_sqlite(), create=True, write=True) as target:
        copy_study(database, study, target)
        there = Records(target).find_study(study.name)
        assert there is not None
        assert [each.state for each in Ledger(target).evaluations(there)] == [CLAIMED]
        delete_study(target, there)
        ledger.give_back(study, 1, "nothing was scored")
        copy_study(database, study, target)
        there = Records(target).find_study(study.name)
        assert there is not None
        assert Ledger(target).evaluations(there) == []
        (line,) = Ledger(target).returned_claims(there)
        assert line.note == "nothing was scored"
        assert examine(target) == []


def test_a_claim_on_another_record_than_was_assessed_is_refused(
    records: Records, ledger: Ledger, database: Database
) -> None:
    study = create_example(records)
    begin_example(records, study, 3)
    finish_example(records, study, {number: example_result(number) for number in range(2)})
    before = contents(database)
    with pytest.raises(StudyStateError, match="the 1 finished trials of its assessment, but got 2"):
        ledger.claim(study, 0, "best", evaluation=1, reason="", finished=1)
    assert contents(database) == before, "trial 2 still runs"


@pytest.mark.usefixtures("_far_from_greenwich")
def test_times_are_utc_with_their_zone(records: Records, ledger: Ledger) -> None:
    study = create_example(records)
    begun = datetime.now(UTC)
    ledger.claim(study, 7, "best", evaluation=1, reason="", finished=0)
    between = datetime.now(UTC)
    ledger.finish(study, 1, RESULT, example_outputs())
    ended = datetime.now(UTC)
    (line,) = ledger.evaluations(study)
    assert line.evaluated_at is not None
    assert line.claimed_at.tzinfo is UTC
    assert line.evaluated_at.tzinfo is UTC
    assert begun <= line.claimed_at <= between <= line.evaluated_at <= ended
