"""The record of a study, on both databases and on both paths to Optuna's tables."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState as OptunaState

from selection.errors import LostCohortError, StorageError, StudyStateError
from selection.store.database import Database, open_database
from selection.store.optuna_rows import trials as optuna_trials
from selection.store.quarantine import kept_rows
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.tables import fold_table, metadata, trial_table
from selection.study.spec import parse_study
from selection.study.trial import FoldResult, LearningCurve, TrialState
from tests.store.store_examples import (
    ENVIRONMENT,
    FACTS,
    FOLDS,
    REPEATS,
    begin_example,
    create_example,
    example_params,
    example_result,
    example_spec,
    finish_example,
    release_example,
    restart_example,
    same_members,
)

OURS = tuple(table for table in metadata.sorted_tables if table.name.startswith("selection_"))


def count_rows(database: Database) -> dict[str, int]:
    """Return the number of rows of each table, Optuna's too."""
    tables = [*BaseModel.metadata.sorted_tables, *OURS]
    with database.reading() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in tables
        }


def test_study_is_read_back_as_it_was_written(records: Records) -> None:
    spec = example_spec()
    written = create_example(records, spec)
    read = records.find_study(spec.name)
    assert read is not None
    for each in dataclasses.fields(read):
        assert getattr(read, each.name) == getattr(written, each.name), each.name
    assert (read.facts, read.environment) == (FACTS, ENVIRONMENT)
    assert (read.data_fingerprint, read.held_out_fingerprint) == ("d" * 64, "h" * 64)
    assert read.spec().fingerprint == read.spec_fingerprint == spec.fingerprint
    assert list(read.space.items()) == list(spec.space.items())
    assert dict(read.spec().default) == dict(spec.default)
    assert read.members_per_trial == FOLDS * REPEATS


def test_a_new_study_logs_nothing(records: Records, optuna_log: io.StringIO) -> None:
    create_example(records)
    assert optuna_log.getvalue() == ""
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_unknown_study_is_none(records: Records) -> None:
    create_example(records)
    assert records.find_study("another") is None


def test_name_is_taken_by_our_study(records: Records) -> None:
    create_example(records)
    with pytest.raises(StudyStateError, match="got a study of that name\\."):
        create_example(records)
    assert len(records.list_studies()) == 1


def test_name_is_taken_by_a_study_that_only_optuna_knows(
    records: Records, database: Database
) -> None:
    optuna.create_study(storage=database.storage, study_name="example")
    before = count_rows(database)
    with pytest.raises(StudyStateError, match="that selection did not create"):
        create_example(records)
    assert records.find_study("example") is None
    assert records.list_studies() == []
    assert count_rows(database) == before


def test_trials_are_read_back_as_they_were_asked(records: Records) -> None:
    study = create_example(records)
    params = example_params(study.spec(), 9)
    assert begin_example(records, study, 4, params=params[:4]) == [0, 1, 2, 3]
    assert begin_example(records, study, 5, 1, params=params[4:]) == [4, 5, 6, 7, 8]
    trials = records.trials(study)
    assert [trial.number for trial in trials] == list(range(9))
    assert [trial.cohort for trial in trials] == [0] * 4 + [1] * 5
    assert {trial.state for trial in trials} == {TrialState.RUNNING}
    for trial, setting in zip(trials, params, strict=True):
        assert list(trial.params.items()) == list(setting.items())
        kinds = [type(value) for value in setting.values()]
        assert [type(value) for value in trial.params.values()] == kinds


def test_default_outside_the_space_is_kept_beside_its_nearest_point(
    records: Records, database: Database
) -> None:
    study = create_example(records)
    begin_example(records, study, 2)
    default, inside = optuna.load_study(study_name=study.name, storage=database.storage).trials
    assert default.params == {
        "width": "[64]",
        "weight_decay": 1e-6,
        "dropout": 0.2,
        "batch_size": 16,
        "activation": "relu",
        "nesterov": False,
    }
    assert default.user_attrs == {
        "outside_space": {
            "width": [128],
            "weight_decay": 0.0,
            "dropout": 0.25,
            "batch_size": 4,
        }
    }
    assert inside.user_attrs == {}


def test_study_without_a_space_has_one_trial_without_params(records: Records) -> None:
    content = example_spec().to_json()
    content["space"], content["search"]["default"], content["search"]["trials"] = {}, {}, 1
    study = create_example(records, parse_study(content, "constants.toml"))
    assert begin_example(records, study, 1, params=[{}]) == [0]
    finish_example(records, study, {0: example_result(0)})
    (trial,) = records.trials(study)
    assert dict(trial.params) == {}
    assert trial.value == example_result(0).value


def test_finished_trials_are_read_back_bit_for_bit(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 4)
    results = {
        0: example_result(0, epochs=31),
        1: example_result(1, TrialState.PRUNED, epochs=2),
        2: example_result(2, TrialState.FAILED, epochs=1),
        3: example_result(3, TrialState.FAILED, epochs=0, folds=0),
    }
    finish_example(records, study, results)
    for trial in records.trials(study):
        result = results[trial.number]
        assert (trial.state, trial.reason) == (result.state, result.reason)
        assert (trial.epochs, trial.seconds) == (result.epochs, result.seconds)
        assert trial.value == result.value
        assert trial.fold_means == result.fold_means
        assert trial.fold_scores == tuple(fold.score for fold in result.folds)
        assert trial.train_scores == tuple(fold.train_score for fold in result.folds)
        assert same_members(records.curves(study, trial.number, outputs=True), result.folds)
    cheap = records.trials(study, with_curves=False)
    assert [trial.fold_scores for trial in cheap] == [
        trial.fold_scores for trial in records.trials(study)
    ]
    assert {trial.fold_means for trial in cheap} == {()}


def test_curves_come_without_predictions_unless_asked(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    finish_example(records, study, {0: example_result(0)})
    assert all(fold.outputs is None for fold in records.curves(study, 0))
    assert all(fold.outputs is not None for fold in records.curves(study, 0, outputs=True))


def test_curves_of_an_unknown_trial_are_refused(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    assert records.curves(study, 0) == ()
    with pytest.raises(StudyStateError, match="trial 7 must exist"):
        records.curves(study, 7)


@pytest.mark.parametrize("column", ["curve", "outputs", "score"])
def test_damaged_row_is_seen(records: Records, database: Database, column: str) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    finish_example(records, study, {0: example_result(0)})
    damage = 0.5 if column == "score" else b"\0" * (7 * 48 if column == "curve" else 60)
    with database.writing() as connection:
        is_row = (fold_table.c.repeat == 1) & (fold_table.c.fold == 2)
        connection.execute(sa.update(fold_table).where(is_row).values({column: damage}))
    with pytest.raises(StorageError, match="trial 0, repeat 1, fold 2"):
        records.curves(study, 0)


def test_diverged_trial_keeps_what_is_not_a_number(records: Records, database: Database) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    result = example_result(0, TrialState.FAILED, epochs=3)
    result.folds[1].curve.points[2] = [math.nan, math.inf, math.nan, math.nan, -math.inf, math.nan]
    result.folds[0].curve.points[1, 5] = math.inf
    finish_example(records, study, {0: replace(result, reason="diverged: not a number")})
    (trial,) = records.trials(study)
    assert trial.reason == "diverged: not a number"
    assert math.isnan(trial.fold_scores[1])
    assert np.array_equal(trial.fold_means, result.fold_means, equal_nan=True)
    assert same_members(records.curves(study, 0), result.folds)
    (shown,) = optuna.load_study(study_name=study.name, storage=database.storage).trials
    assert shown.state is OptunaState.FAIL
    assert shown.intermediate_values[2] == math.inf
    assert math.isnan(shown.intermediate_values[3])
    assert "fold_1" not in shown.user_attrs
    json.dumps(shown.user_attrs, allow_nan=False)


def test_optuna_reads_what_we_wrote(records: Records, database: Database) -> None:
    study = create_example(records)
    begin_example(records, study, 3)
    results = {
        0: example_result(0, epochs=50),
        1: example_result(1, TrialState.PRUNED, epochs=4),
        2: example_result(2, epochs=50),
    }
    finish_example(records, study, results)
    shown = optuna.load_study(study_name=study.name, storage=database.address.secret_url)
    states = [OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.COMPLETE]
    assert [trial.state for trial in shown.trials] == states
    assert shown.user_attrs == {"selection_uuid": study.uuid}
    assert shown.best_value == max(results[0].fold_means[-1], results[2].fold_means[-1])
    for trial in shown.trials:
        result = results[trial.number]
        means = result.fold_means
        assert trial.value == result.value
        assert len(trial.intermediate_values) == min(len(means), 20)
        assert {1, len(means)} <= set(trial.intermediate_values)
        assert all(means[step - 1] == mean for step, mean in trial.intermediate_values.items())
        scores = [fold.score for fold in result.folds]
        assert [trial.user_attrs[f"fold_{index}"] for index in range(6)] == scores
        error = np.std(scores, ddof=1) / math.sqrt(6)
        assert trial.user_attrs["cv_standard_error"] == pytest.approx(error, rel=1e-12)
        train = np.mean([fold.train_score for fold in result.folds])
        assert trial.user_attrs["train_score"] == pytest.approx(train, rel=1e-12)
        assert trial.user_attrs["epochs"] == result.epochs
    storage: Any = shown._storage
    storage._backend.engine.dispose()


def test_minimised_metric_gives_optuna_its_direction(records: Records, database: Database) -> None:
    study = create_example(records, example_spec(metric="cross_entropy"))
    begin_example(records, study, 2)
    finish_example(records, study, {0: example_result(0), 1: example_result(1)})
    shown = optuna.load_study(study_name=study.name, storage=database.storage)
    values = [example_result(number).fold_means[-1] for number in (0, 1)]
    assert shown.best_value == min(values) == records.list_studies()[0].best_value


def test_list_of_studies_counts_states(records: Records) -> None:
    first, second = create_example(records), create_example(records, example_spec("second"))
    begin_example(records, first, 4)
    begin_example(records, second, 2)
    results = {0: example_result(0), 1: example_result(1, TrialState.FAILED)}
    finish_example(records, first, {**results, 2: example_result(2)})
    release_example(records, second)
    one, two = records.list_studies()
    assert (one.name, two.name) == ("example", "second")
    assert one.created_at == first.created_at
    assert {state: count for state, count in one.counts.items() if count} == {
        TrialState.RUNNING: 1,
        TrialState.COMPLETE: 2,
        TrialState.FAILED: 1,
    }
    assert one.best_value == max(example_result(number).fold_means[-1] for number in (0, 2))
    assert two.counts[TrialState.WAITING] == 2
    assert two.best_value is None
    assert two.budget == 12


def test_killed_cohort_is_taken_up_again(records: Records, database: Database) -> None:
    study = create_example(records)
    begin_example(records, study, 3)
    finish_example(records, study, {1: example_result(1)})
    resumed = Records(database)
    again = restart_example(resumed, study)
    asked = example_params(study.spec(), 3)
    assert [(number, dict(params)) for number, params in again] == [
        (0, dict(asked[0])),
        (2, dict(asked[2])),
    ]
    finish_example(resumed, study, {0: example_result(0), 2: example_result(2)})
    with database.reading() as connection:
        attempts = connection.execute(
            sa.select(trial_table.c.number, trial_table.c.attempt, fold_table.c.attempt)
            .join(fold_table, fold_table.c.trial_uuid == trial_table.c.uuid)
            .distinct()
            .order_by(trial_table.c.number)
        ).all()
    assert [tuple(row) for row in attempts] == [(0, 2, 2), (1, 1, 1), (2, 2, 2)]
    assert restart_example(resumed, study) == []


def test_released_cohort_waits_and_is_taken_up_again(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 2)
    finish_example(records, study, {0: example_result(0)})
    release_example(records, study)
    states = [trial.state for trial in records.trials(study)]
    assert states == [TrialState.COMPLETE, TrialState.WAITING]
    with pytest.raises(LostCohortError, match="cohort 0 given to another worker meanwhile"):
        finish_example(records, study, {1: example_result(1)})
    assert [number for number, _ in restart_example(records, study)] == [1]
    finish_example(records, study, {1: example_result(1)})
    assert records.trials(study)[1].value == example_result(1).value


def test_finishing_twice_is_refused_and_writes_nothing(
    records: Records, database: Database
) -> None:
    study = create_example(records)
    begin_example(records, study, 2)
    finish_example(records, study, {0: example_result(0)})
    before = count_rows(database)
    results = {0: example_result(5), 1: example_result(1)}
    with pytest.raises(StudyStateError, match=r"trial 0 must be running.*got a complete trial"):
        finish_example(records, study, results)
    assert count_rows(database) == before
    first, second = records.trials(study)
    assert (first.value, second.state) == (example_result(0).value, TrialState.RUNNING)


def test_unknown_trial_cannot_be_finished(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    with pytest.raises(StudyStateError, match=r"trial 3 must be running.*no such trial"):
        finish_example(records, study, {0: example_result(0), 3: example_result(3)})
    assert records.trials(study)[0].state is TrialState.RUNNING


def test_complete_trial_needs_every_fold_and_a_finite_score(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    with pytest.raises(StudyStateError, match="must have 6 folds to be complete, but got 5 folds"):
        finish_example(records, study, {0: example_result(0, folds=5)})
    bad = example_result(0)
    bad.folds[3].curve.points[-1, 5] = math.nan
    with pytest.raises(StudyStateError, match="must have a finite score, but got nan"):
        finish_example(records, study, {0: bad})
    with pytest.raises(StudyStateError, match="must end as complete, pruned or failed"):
        finish_example(records, study, {0: example_result(0, TrialState.RUNNING)})
    assert records.trials(study)[0].state is TrialState.RUNNING


def test_members_must_stand_in_order(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    result = example_result(0)
    with pytest.raises(AssertionError, match="by repeat and fold"):
        finish_example(records, study, {0: replace(result, folds=result.folds[::-1])})


@pytest.mark.parametrize("broken", ["selection_fold", "selection_trial", "trial_user_attributes"])
def test_event_that_fails_half_way_leaves_no_trace(
    records: Records, database: Database, broken: str
) -> None:
    study = create_example(records)
    begin_example(records, study, 2)
    before = count_rows(database)

    def fail(*arguments: object) -> None:
        statement = str(arguments[2])
        if broken in statement and statement.startswith(("INSERT", "UPDATE")):
            raise RuntimeError("half way")

    sa.event.listen(database.engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(RuntimeError, match="half way"):
            finish_example(records, study, {0: example_result(0), 1: example_result(1)})
        if broken == "selection_trial":
            with pytest.raises(RuntimeError, match="half way"):
                begin_example(records, study, 2, cohort=1)
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", fail)
    assert count_rows(database) == before
    assert {trial.state for trial in records.trials(study)} == {TrialState.RUNNING}
    finish_example(records, study, {0: example_result(0), 1: example_result(1)})


def test_deleting_through_optuna_takes_our_rows_too(records: Records, database: Database) -> None:
    kept, study = create_example(records, example_spec("kept")), create_example(records)
    for owner in (kept, study):
        begin_example(records, owner, 2)
        finish_example(records, owner, {n: example_result(n) for n in range(2)})
    optuna.delete_study(study_name=study.name, storage=database.storage)
    assert records.find_study(study.name) is None
    counts = count_rows(database)
    named = ("selection_study", "selection_trial", "selection_fold")
    assert [counts[name] for name in named] == [1, 2, 12]
    with pytest.raises(StudyStateError, match="a deleted study"):
        begin_example(records, study, 1, cohort=1)
    assert [trial.value for trial in records.trials(kept)] == [
        example_result(n).value for n in range(2)
    ]


@pytest.fixture
def left_behind(
    made_sqlite_url: str,
) -> Iterator[tuple[Records, StudyRecord, optuna.storages.RDBStorage]]:
    """A study deleted as Optuna's command line does it: on SQLite without foreign keys."""
    with open_database(made_sqlite_url, create=True, write=True) as database:
        records = Records(database)
        study = create_example(records)
        begin_example(records, study, 2)
        finish_example(records, study, {n: example_result(n) for n in range(2)})
        plain = optuna.storages.RDBStorage(made_sqlite_url)
        optuna.delete_study(study_name=study.name, storage=plain)
        assert count_rows(database)["selection_fold"] == 12
        yield records, study, plain
        plain.engine.dispose()


def test_rows_left_behind_are_not_taken_for_a_study(
    left_behind: tuple[Records, StudyRecord, optuna.storages.RDBStorage],
) -> None:
    records, study, plain = left_behind
    assert records.find_study(study.name) is None
    foreign = optuna.create_study(study_name=study.name, storage=plain)
    foreign.set_user_attr("selection_uuid", "another")
    assert foreign._study_id == study.optuna_study_id
    assert records.find_study(study.name) is None
    assert records.list_studies() == []
    with pytest.raises(StudyStateError, match="a deleted study"):
        release_example(records, study)


@pytest.mark.parametrize("foreign_first", [False, True])
def test_rows_left_behind_make_room_when_their_ids_are_given_again(
    left_behind: tuple[Records, StudyRecord, optuna.storages.RDBStorage], foreign_first: bool
) -> None:
    records, study, plain = left_behind
    if foreign_first:
        optuna.create_study(study_name="foreign", storage=plain)
    new = create_example(records)
    assert (new.optuna_study_id == study.optuna_study_id) is not foreign_first
    begin_example(records, new, 2)
    finish_example(records, new, {n: example_result(n + 5) for n in range(2)})
    values = [example_result(n + 5).value for n in range(2)]
    assert [trial.value for trial in records.trials(new)] == values
    # Two trials with six folds each are kept, whatever else is.
    assert kept_rows(records._database) >= 14
    with pytest.raises(StudyStateError, match="a deleted study"):
        release_example(records, study)


def test_elapsed_time_is_summed_over_cohorts(records: Records, database: Database) -> None:
    study = create_example(records)
    for cohort in range(3):
        begin_example(records, study, 2, cohort)
    for cohort, numbers in enumerate(((0, 1), (2,))):
        finish_example(records, study, {n: example_result(n) for n in numbers}, cohort)
    with database.writing() as connection:
        for number, start, end in ((0, 0, 10), (1, 2, 9), (2, 30, 35), (3, 30, None)):
            update = sa.update(optuna_trials).where(optuna_trials.c.number == number)
            times = {
                "datetime_start": datetime(2026, 1, 1, 0, 0, start),
                "datetime_complete": end and datetime(2026, 1, 1, 0, 0, end),
            }
            connection.execute(update.values(times))
    assert records.elapsed_seconds(study) == pytest.approx(15.0)


def test_number_of_statements_does_not_grow_with_the_cohort(
    records: Records, database: Database
) -> None:
    database.storage.is_batched = True  # the other path writes trial by trial
    study = create_example(records)
    counts = []
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    for cohort, size in enumerate((1, 30)):
        statements.clear()
        numbers = begin_example(records, study, size, cohort)
        begun = len(statements)
        results = {n: example_result(n, epochs=30) for n in numbers}
        finish_example(records, study, results, cohort)
        finished = len(statements) - begun
        records.trials(study)
        counts.append((begun, finished, len(statements) - begun - finished))
    sa.event.remove(database.engine, "before_cursor_execute", note)
    assert counts[0] == counts[1]


def test_no_trials_are_read_without_reading_those_of_the_study(
    records: Records, database: Database
) -> None:
    study = create_example(records)
    finish_example(records, study, {n: example_result(n) for n in begin_example(records, study, 3)})
    statements: list[str] = []

    def note(*arguments: object) -> None:
        if " FROM " in str(arguments[2]).replace("\n", " "):
            statements.append(str(arguments[2]))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    assert records.trials(study, numbers=[]) == []
    assert statements == []
    assert records.pending(study) == []
    sa.event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) == 1


def test_pending_trials_that_are_known_are_not_read_again(records: Records) -> None:
    study = create_example(records)
    numbers = begin_example(records, study, 3)
    first, *others = records.pending(study)
    known = replace(first, asked_for="known")
    assert records.pending(study, known={first.number: known}) == [known, *others]
    ended = {numbers[0]: example_result(numbers[0])}
    finish_example(records, study, ended)
    assert records.pending(study, known={first.number: known}) == others


def test_fold_means_follow_one_formula(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 1)
    curve = LearningCurve(np.full((4, 6), 0.1))
    folds = tuple(FoldResult(index // FOLDS, index % FOLDS, curve) for index in range(6))
    finish_example(records, study, {0: replace(example_result(0), folds=folds, epochs=4)})
    (trial,) = records.trials(study)
    assert trial.fold_means == tuple(float(np.mean([0.1] * 6)) for _ in range(4))
    assert trial.value == trial.fold_means[-1]


def test_metadata_holds_our_tables_only() -> None:
    assert {table.name for table in OURS} == {
        f"selection_{name}"
        for name in (
            "study",
            "trial",
            "fold",
            "rows",
            "held_out",
            "baseline",
            "nested",
            "model",
            "curve",
            "ledger",
            "ledger_end",
            "quarantine",
            "lease",
        )
    }
    assert set(metadata.tables) - {table.name for table in OURS} == {"studies", "trials"}
