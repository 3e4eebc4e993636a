"""The doctor, on both databases: a sound record has no finding, and each error has its own."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from optuna.study import StudyDirection
from sqlalchemy.engine import Connection

from selection.errors import StudyStateError
from selection.store import ledger_chain
from selection.store.clock import database_now
from selection.store.codec import encode_fold
from selection.store.curve_points import CurvePoints
from selection.store.database import Database
from selection.store.doctor import Restored, diagnosis, examine, fix, repair, restore
from selection.store.doctor import checks as checks_module
from selection.store.doctor.findings import Finding
from selection.store.evidence import BaselineFold, Evidence, OuterFold, RowFacts, StoredModel
from selection.store.ledger import Ledger
from selection.store.ledger_chain import seal_evaluation
from selection.store.links import BrokenLinks
from selection.store.optuna_rows import studies, trials
from selection.store.process_identity import SEPARATOR, this_process
from selection.store.records import Records
from selection.store.repository import repository_of
from selection.store.seals import seal_study
from selection.store.study_record import StudyRecord
from selection.store.tables import (
    fold_table,
    lease_table,
    ledger_end_table,
    ledger_table,
    metadata,
    quarantine_table,
    study_table,
    trial_table,
)
from selection.store.trial_reader import own_rows
from selection.study.changes import Difference, RecordedChange
from selection.study.held_out_result import HeldOutResult
from selection.study.trial import CURVE_COLUMNS, TrialState
from tests.store.store_examples import (
    RESULT,
    begin_example,
    create_example,
    example_held_out,
    example_points,
    example_result,
    example_spec,
    finish_example,
    release_example,
    restart_example,
)

OURS = [table for table in metadata.sorted_tables if table.name.startswith("selection_")]
THEIRS = [table for table in BaseModel.metadata.sorted_tables if table.name != "version_info"]
EVIDENCE = {
    "rows": "targets",
    "baseline": "outputs",
    "nested": "params_json",
    "model": "weights",
    "curve": "curve",
}
# The trial of a number, as Optuna's tables know it.
TRIAL = "(SELECT optuna_trial_id FROM selection_trial WHERE study_uuid = :uuid AND number = {})"
FOLDS_OF = (
    "trial_uuid = (SELECT uuid FROM selection_trial WHERE study_uuid = :uuid AND number = {})"
)
Break = Callable[[Connection, StudyRecord], object]
Contents = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def _empty_tables(database: Database) -> Iterator[None]:
    """Empty our tables by hand: what belongs to nothing goes with nothing."""
    yield
    with without_foreign_keys(database) as connection:
        for table in OURS:
            connection.execute(sa.delete(table))


@contextmanager
def without_foreign_keys(database: Database) -> Iterator[Connection]:
    """Begin a transaction as another program does, to which our rules mean nothing."""
    engine = sa.create_engine(database.address.secret_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET session_replication_role = replica")
        yield connection


def contents(database: Database) -> Contents:
    """Return every row of every table, Optuna's too."""
    with database.reading() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in (*OURS, *THEIRS)
        }
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def changes(before: Contents, after: Contents) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the rows that went and the rows that came, by table."""
    return {
        name: (
            [row for row in rows if row not in after[name]],
            [row for row in after[name] if row not in rows],
        )
        for name, rows in before.items()
        if rows != after[name]
    }


def checks(found: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.where, finding.check) for finding in found]


def write_lease(
    connection: Connection, uuid: str, cohort: int, *, seconds: float, home: str = ""
) -> None:
    """Write the lease of a worker that may be silent for so many seconds more."""
    row = {"study_uuid": uuid, "cohort": cohort, "worker": "w" * 36, "place": "host:1"}
    row |= {"home": home, "attempt": 1, "lost": 0, "trials": 1}
    row |= {"members": 0, "epoch": 0, "epochs": 0}
    expires_at = database_now(connection) + timedelta(seconds=seconds)
    connection.execute(sa.insert(lease_table), {**row, "expires_at": expires_at})


def keep_evidence(database: Database, study: StudyRecord) -> None:
    evidence = Evidence(database)
    targets, folds = np.arange(4), np.array([[0, 1, 2, 0], [2, 1, 0, 0]])
    evidence.keep_rows(study, RowFacts(targets, folds, None))
    evidence.keep_held_out_rows(study, example_held_out(1, 2))
    outputs = np.ones((2, 3), dtype=np.float32)
    evidence.keep_baselines(study, [BaselineFold("majority", 0, 0, 0.5, "note", outputs)])
    evidence.keep_outer_fold(study, OuterFold(0, 3, {"width": (64,)}, 0.25, 0.75))
    evidence.keep_models(study, 3, [StoredModel(0, {"model": "refit"}, b"weights")])
    CurvePoints(database).keep(study, example_points(3)[:3])


@pytest.fixture
def study(database: Database, records: Records) -> StudyRecord:
    """A sound study among others, with everything that a record may hold.

    Its trials: 0 to 3 ended in every way, 4 and 5 wait, 6 and 7 run and are held; the next cohort
    is being proposed.
    """
    study = create_example(records)
    begin_example(records, study, 4)
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.COMPLETE)
    results = {
        number: example_result(number, state, layers=2) for number, state in enumerate(states)
    }
    results[1] = replace(results[1], folds=results[1].folds[:2])
    finish_example(records, study, results)
    release_example(records, study)
    begin_example(records, study, 2, cohort=1)
    begin_example(records, study, 2, cohort=2)
    release_example(records, study, cohort=1)
    keep_evidence(database, study)
    ledger = Ledger(database)
    for name in ("looked", "deleted"):
        other = create_example(records, example_spec(name))
        begin_example(records, other, 1)
        finish_example(records, other, {0: example_result(0)})
        assert ledger.claim(other, 0, "best", evaluation=1, reason="", finished=1)
        if name == "looked":
            assert ledger.claim(other, 0, "best", evaluation=2, reason="again", finished=1)
            ledger.finish(other, 2, RESULT, np.ones((2, 3), dtype=np.float32))
        else:
            database.storage.delete_study(other.optuna_study_id)
    database.storage.create_new_study([StudyDirection.MINIMIZE], "of another tool")
    with database.writing() as connection:
        write_lease(connection, study.uuid, 3, seconds=600)
        assert connection.scalar(sa.select(sa.func.count()).select_from(ledger_table)) == 3
    return study


def test_a_sound_record_has_no_finding_and_nothing_to_fix(
    database: Database, study: StudyRecord, records: Records
) -> None:
    found = {trial.state for trial in records.trials(study)}
    assert found == set(TrialState)
    before = contents(database)
    assert (examine(database), fix(database)) == ([], [])
    assert contents(database) == before


def test_an_empty_database_has_no_finding(database: Database) -> None:
    assert (examine(database), fix(database)) == ([], [])


def sql(*statements: str, **values: object) -> Break:
    """Return what runs statements that may speak of a study by :uuid and :id."""

    def run(connection: Connection, study: StudyRecord) -> None:
        known = {"uuid": study.uuid, "id": study.optuna_study_id, **values}
        for statement in statements:
            text = sa.text(statement)
            asked = {name: known[name] for name in text.compile().params}
            assert connection.execute(text, asked).rowcount > 0

    return run


def set_value(change: Callable[[float], float | None]) -> Break:
    """Return what changes the value of trial 0."""

    def run(connection: Connection, study: StudyRecord) -> None:
        where = f"WHERE trial_id = {TRIAL.format(0)}"
        old = connection.scalar(
            sa.text(f"SELECT value FROM trial_values {where}"), {"uuid": study.uuid}
        )
        sql(f"UPDATE trial_values SET value = :new {where}", new=change(old))(connection, study)

    return run


def add_member(number: int, fold: int, attempt: int) -> Break:
    """Return what adds a sound row of a member to a trial."""

    def run(connection: Connection, study: StudyRecord) -> None:
        is_it = (trial_table.c.study_uuid == study.uuid) & (trial_table.c.number == number)
        uuid = connection.scalar(sa.select(trial_table.c.uuid).where(is_it))
        row = encode_fold(str(uuid), attempt, replace(example_result(0).folds[0], fold=fold))
        connection.execute(sa.insert(fold_table), {**vars(row), "row_hash": row.row_hash})

    return run


def make_infinite(connection: Connection, study: StudyRecord) -> None:
    """Let a member of trial 0 have an infinite score, and the trial the mean of it."""
    is_it = (trial_table.c.study_uuid == study.uuid) & (trial_table.c.number == 0)
    uuid = connection.scalar(sa.select(trial_table.c.uuid).where(is_it))
    member = example_result(0).folds[0]
    member.curve.points[-1, CURVE_COLUMNS.index("validation_score")] = math.inf
    row = encode_fold(str(uuid), 1, member)
    is_row = (fold_table.c.trial_uuid == uuid) & (fold_table.c.repeat + fold_table.c.fold == 0)
    new = {**vars(row), "row_hash": row.row_hash}
    connection.execute(sa.update(fold_table).where(is_row).values(new))
    set_value(lambda _: math.inf)(connection, study)


def look_once_more(connection: Connection, _study: StudyRecord) -> None:
    """Claim the held-out rows of the other study, and die."""
    looked = (ledger_table.c.study_name == "looked") & (ledger_table.c.evaluation == 1)
    row = connection.execute(sa.select(ledger_table).where(looked)).one()
    # As versions before the chain of hashes wrote it.
    unsealed = dict.fromkeys(("position", "chain_hash", "row_hash"))
    connection.execute(sa.insert(ledger_table), {**row._mapping, "evaluation": 3, **unsealed})


def set_budget(connection: Connection, study: StudyRecord) -> None:
    spec = example_spec(trials=7)
    update = (
        "UPDATE selection_study SET spec_json = :spec, spec_fingerprint = :print WHERE uuid = :uuid"
    )
    sql(update, spec=json.dumps(spec.to_json()), print=spec.fingerprint)(connection, study)
    seal_study(connection, study.uuid)


def change_file(connection: Connection, study: StudyRecord) -> None:
    """Write another file, as if it had been the one of the study."""
    spec = json.dumps(example_spec(max_retries=5).to_json())
    sql("UPDATE selection_study SET spec_json = :spec WHERE uuid = :uuid", spec=spec)(
        connection, study
    )


def evaluation(change: Callable[[HeldOutResult], HeldOutResult], **others: object) -> Break:
    """Return what changes the result of an evaluation, and other columns of its row."""

    def run(connection: Connection, _study: StudyRecord) -> None:
        is_it = ledger_table.c.state == "evaluated"
        result = json.dumps(change(RESULT).to_json())
        update = sa.update(ledger_table).where(is_it).values(result_json=result, **others)
        assert connection.execute(update).rowcount == 1

    return run


CHANGE = RecordedChange(Difference("search.trials", 12, 13), datetime(2026, 1, 1, tzinfo=UTC), 4)
LOOKED = "study_name = 'looked'"
FORGED: dict[str, tuple[str, str, Break]] = {
    "a param of the winner": (
        "example",
        "trial",
        sql(
            f"UPDATE trial_params SET param_value = 1e-3 WHERE trial_id = {TRIAL.format(3)} "
            "AND param_name = 'weight_decay'"
        ),
    ),
    "a param that is gone": (
        "example",
        "trial",
        sql(
            f"DELETE FROM trial_params WHERE trial_id = {TRIAL.format(2)} "
            "AND param_name = 'weight_decay'"
        ),
    ),
    "what the params cannot express": (
        "example",
        "trial",
        sql(
            "UPDATE trial_user_attributes SET value_json = '{}' "
            f"WHERE trial_id = {TRIAL.format(0)} AND key = 'outside_space'"
        ),
    ),
    "complete to pruned": (
        "example",
        "trial",
        sql(f"UPDATE trials SET state = 'PRUNED' WHERE trial_id = {TRIAL.format(0)}"),
    ),
    "failed to pruned": (
        "example",
        "trial",
        sql(f"UPDATE trials SET state = 'PRUNED' WHERE trial_id = {TRIAL.format(2)}"),
    ),
    "the reason of a trial": (
        "example",
        "trial",
        sql("UPDATE selection_trial SET reason = 'other' WHERE study_uuid = :uuid AND number = 2"),
    ),
    "the file": ("example", "spec", change_file),
    "the fingerprint of the held-out rows": (
        "example",
        "damage",
        sql(
            "UPDATE selection_study SET held_out_fingerprint = :new WHERE uuid = :uuid",
            new="i" * 64,
        ),
    ),
    "the recorded changes": (
        "example",
        "damage",
        sql(
            "INSERT INTO study_user_attributes (study_id, key, value_json) "
            "VALUES (:id, 'selection_changes', :new)",
            new=json.dumps([CHANGE.to_json()]),
        ),
    ),
    "recorded changes that are none": (
        "example",
        "changes",
        sql(
            "INSERT INTO study_user_attributes (study_id, key, value_json) "
            "VALUES (:id, 'selection_changes', :new)",
            new=json.dumps("bogus"),
        ),
    ),
    "a score in the ledger": (
        "ledger of looked",
        "damage",
        evaluation(lambda result: replace(result, score=0.99)),
    ),
    "a score outside its interval, without a hash": (
        "ledger of looked",
        "score",
        evaluation(
            lambda result: replace(result, low=0.4, high=0.5, score=0.99),
            row_hash=None,
        ),
    ),
    "the trial of a claim": (
        "ledger of deleted",
        "damage",
        sql("UPDATE selection_ledger SET number = 5 WHERE study_name = 'deleted'"),
    ),
    "the first evaluation gone": (
        "ledger",
        "ledger",
        sql(f"DELETE FROM selection_ledger WHERE {LOOKED} AND evaluation = 1"),
    ),
    "the last evaluation gone": (
        "ledger",
        "ledger",
        sql("DELETE FROM selection_ledger WHERE study_name = 'deleted'"),
    ),
    "all evaluations gone": ("ledger", "ledger", sql("DELETE FROM selection_ledger")),
    "the end of the ledger gone": ("ledger", "ledger", sql("DELETE FROM selection_ledger_end")),
    "two evaluations exchanged": (
        "ledger",
        "ledger",
        lambda connection, _study: exchange(connection),
    ),
}


def exchange(connection: Connection) -> None:
    """Exchange the places of two claims in the chain, with hashes that fit their rows."""
    for name, evaluation, position in (("looked", 1, 3), ("deleted", 1, 1)):
        of_row = ledger_table.c.study_name == name, ledger_table.c.evaluation == evaluation
        connection.execute(sa.update(ledger_table).where(*of_row).values(position=position))
        seal_evaluation(connection, *of_row)


def damage(table: str, column: str) -> Break:
    """Return what writes changed bytes into the study's rows of a table of evidence."""
    new: str | bytes = "{}" if column == "params_json" else bytes(24)
    return sql(f"UPDATE {table} SET {column} = :new WHERE study_uuid = :uuid", new=new)


def rename(connection: Connection, study: StudyRecord) -> None:
    """Copy a study to new ids, as the dashboard does, and leave the old one."""
    sql(
        "INSERT INTO studies (study_id, study_name) VALUES (9999, 'renamed')",
        "INSERT INTO study_user_attributes (study_id, key, value_json) "
        "VALUES (9999, 'selection_uuid', :json)",
        json=json.dumps(study.uuid),
    )(connection, study)


LAST_MEMBER = f"{FOLDS_OF.format(0)} AND repeat = 1 AND fold = 2"
BROKEN: dict[str, tuple[str, str, Break]] = {
    "unmarked, and its trials have other values": (
        "example",
        "unmarked",
        sql(
            "DELETE FROM study_user_attributes WHERE study_id = :id AND key = 'selection_uuid'",
            f"UPDATE trial_values SET value = 0.5 WHERE trial_id = {TRIAL.format(0)}",
        ),
    ),
    "copy": ("renamed", "copy", rename),
    "file that is no JSON": (
        "example",
        "file",
        sql("UPDATE selection_study SET spec_json = '{' WHERE uuid = :uuid"),
    ),
    "file without sections": (
        "example",
        "file",
        sql("UPDATE selection_study SET spec_json = '{}' WHERE uuid = :uuid"),
    ),
    "foreign": (
        "example",
        "foreign",
        sql("INSERT INTO trials (number, study_id, state) VALUES (8, :id, 'WAITING')"),
    ),
    "early_folds, running": ("example", "early_folds", add_member(7, 0, 1)),
    "early_folds, waiting": ("example", "early_folds", add_member(4, 0, 1)),
    "attempt, complete": (
        "example",
        "attempt",
        sql("UPDATE selection_trial SET attempt = 2 WHERE study_uuid = :uuid AND number = 0"),
    ),
    "attempt, pruned": ("example", "attempt", add_member(1, 2, 2)),
    "folds, one less": ("example", "folds", sql(f"DELETE FROM selection_fold WHERE {LAST_MEMBER}")),
    "folds, one more": ("example", "folds", add_member(0, 3, 1)),
    "point, one fold less": (
        "example",
        "point",
        sql("DELETE FROM selection_curve WHERE study_uuid = :uuid AND repeat = 1 AND fold = 2"),
    ),
    "value, last bit": ("example", "value", set_value(lambda old: math.nextafter(old, 1.0))),
    "value, infinite": ("example", "value", set_value(lambda _: math.inf)),
    "value, infinite as its folds are": ("example", "value", make_infinite),
    "value, none": ("example", "value", set_value(lambda _: None)),
    "value, gone": (
        "example",
        "value",
        sql(f"DELETE FROM trial_values WHERE trial_id = {TRIAL.format(0)}"),
    ),
    "damage, number": (
        "example",
        "damage",
        sql(f"UPDATE selection_fold SET train_score = 2 WHERE {LAST_MEMBER}"),
    ),
    "damage, predictions": (
        "example",
        "damage",
        sql(f"UPDATE selection_fold SET outputs = :new WHERE {LAST_MEMBER}", new=bytes(60)),
    ),
    "damage, layers": (
        "example",
        "damage",
        sql(f"UPDATE selection_fold SET layers = :new WHERE {LAST_MEMBER}", new=bytes(336)),
    ),
    "damage, layers gone": (
        "example",
        "damage",
        sql(f"UPDATE selection_fold SET layers = NULL WHERE {LAST_MEMBER}"),
    ),
    "damage, reason of a point": (
        "example",
        "damage",
        sql("UPDATE selection_curve SET reason = 'other' WHERE study_uuid = :uuid AND fold = 0"),
    ),
    **{
        f"damage, {name}": ("example", "damage", damage(f"selection_{name}", column))
        for name, column in EVIDENCE.items()
    },
    "numbers, another": (
        "example",
        "numbers",
        sql(f"UPDATE trials SET number = 20 WHERE trial_id = {TRIAL.format(7)}"),
    ),
    "numbers, none": (
        "example",
        "numbers",
        sql(f"UPDATE trials SET number = NULL WHERE trial_id = {TRIAL.format(7)}"),
    ),
    "numbers, exchanged": (
        "example",
        "numbers",
        sql("UPDATE trials SET number = 13 - number WHERE study_id = :id AND number IN (6, 7)"),
    ),
    "numbers, a gap in both": (
        "example",
        "numbers",
        sql(
            f"UPDATE trials SET number = 20 WHERE trial_id = {TRIAL.format(7)}",
            "UPDATE selection_trial SET number = 20 WHERE study_uuid = :uuid AND number = 7",
        ),
    ),
    "claimed": ("looked", "claimed", look_once_more),
    "budget": ("example", "budget", set_budget),
    "cohort": (
        "example",
        "cohort",
        sql(
            f"UPDATE trials SET state = 'FAIL' WHERE trial_id = {TRIAL.format(4)}",
            f"UPDATE selection_trial SET reason = 'lost' WHERE optuna_trial_id = {TRIAL.format(4)}",
        ),
    ),
    "told by another program": (
        "example",
        "told",
        sql(f"UPDATE trials SET state = 'FAIL' WHERE trial_id = {TRIAL.format(4)}"),
    ),
}


@pytest.mark.parametrize(
    ("where", "check", "break_it"), [*BROKEN.values(), *FORGED.values()], ids=[*BROKEN, *FORGED]
)
def test_what_cannot_be_fixed_is_found_and_left_alone(
    database: Database, study: StudyRecord, where: str, check: str, break_it: Break
) -> None:
    with without_foreign_keys(database) as connection:
        break_it(connection, study)
    before = contents(database)
    found = examine(database)
    if check == "trial" and not database.storage.is_batched:
        # Trials in tables that nobody knows have no hash.
        assert found == []
        return
    assert checks(found) == [(where, check)]
    assert not found[0].is_fixable
    assert fix(database) == []
    assert contents(database) == before
    assert examine(database) == found


def test_a_trial_of_another_tool_may_have_no_number(database: Database, study: StudyRecord) -> None:
    with without_foreign_keys(database) as connection:
        sql("INSERT INTO trials (study_id, state) VALUES (:id, 'WAITING')")(connection, study)
    assert checks(examine(database)) == [("example", "foreign"), ("example", "numbers")]


def test_a_finding_reads_as_every_error_does(database: Database, study: StudyRecord) -> None:
    with without_foreign_keys(database) as connection:
        BROKEN["value, last bit"][2](connection, study)
        BROKEN["attempt, pruned"][2](connection, study)
        look_once_more(connection, study)
    assert [str(finding) for finding in examine(database)] == [
        "example: the folds of a finished trial must be of its last attempt, but got folds "
        "of another attempt in trials [1]. Restore the database from a backup.",
        "example: the value of a complete trial must be finite and the mean over its folds, but "
        "got another value in trials [0]. Restore the database from a backup.",
        "looked: a claim on the held-out set must end with a result, but got evaluation 3 "
        "without one. selection evaluate looked --again --reason TEXT records another "
        "evaluation.",
    ]


def copy_to_nothing(table: sa.Table) -> Break:
    """Return what copies a row of a table, whose copy belongs to nothing."""
    strange = str(uuid4())
    if table is study_table:
        news: dict[str, object] = {"uuid": strange, "optuna_study_id": 9999}
    elif table is trial_table:
        news = {"uuid": strange, "study_uuid": str(uuid4()), "optuna_trial_id": 9999}
    elif table is fold_table:
        news = {"trial_uuid": strange}
    else:
        news = {"study_uuid": strange}

    def run(connection: Connection, _study: StudyRecord) -> None:
        row = connection.execute(sa.select(table)).first()
        assert row is not None
        connection.execute(sa.insert(table), {**row._mapping, **news})

    return run


def apart(found: Contents) -> tuple[Contents, int]:
    """Return contents without the quarantine, and the number of rows in it."""
    rest = dict(found)
    return rest, len(rest.pop("selection_quarantine"))


def check_none_restored(database: Database) -> None:
    """Check that what was moved into the quarantine stays there while its owner is gone."""
    before = contents(database)
    assert restore(database) == Restored({}, apart(before)[1])
    assert contents(database) == before


@pytest.mark.parametrize(
    "table",
    [each for each in OURS if each not in (ledger_table, ledger_end_table, quarantine_table)],
    ids=lambda table: table.name,
)
def test_a_row_that_points_at_nothing_goes_into_the_quarantine(
    database: Database, study: StudyRecord, table: sa.Table
) -> None:
    before = contents(database)
    with without_foreign_keys(database) as connection:
        copy_to_nothing(table)(connection, study)
    broken = contents(database)
    found = examine(database)
    assert checks(found) == [("database", "orphan")]
    assert found[0].is_fixable
    assert found[0].got == f"rows of {table.name} without one, 1 in all"
    assert fix(database, dry_run=True) == found
    assert contents(database) == broken
    assert fix(database) == found
    assert apart(contents(database)) == (apart(before)[0], 1)
    assert (examine(database), fix(database)) == ([], [])
    check_none_restored(database)


def gone_study(database: Database, records: Records) -> StudyRecord:
    """Begin one more study, with trials and evidence, that shall go."""
    study = create_example(records, example_spec("gone"))
    begin_example(records, study, 2)
    finish_example(records, study, {number: example_result(number) for number in range(2)})
    begin_example(records, study, 1, cohort=1)
    keep_evidence(database, study)
    return study


@pytest.mark.usefixtures("study")
def test_a_study_that_another_tool_deleted_goes_into_the_quarantine_with_all_its_rows(
    database: Database, records: Records
) -> None:
    before = contents(database)
    gone = gone_study(database, records)
    delete_as_another_tool(database, gone)
    broken = contents(database)
    moved = sum(len(rows) - len(before[name]) for name, rows in broken.items())
    found = examine(database)
    assert checks(found) == [("database", "orphan")]
    assert found[0].got == "rows of selection_study without one, 1 in all"
    assert f"moves {moved} rows into the quarantine" in found[0].hint
    assert fix(database) == found
    assert apart(contents(database)) == (apart(before)[0], moved)
    assert examine(database) == []
    check_none_restored(database)


@pytest.mark.usefixtures("study")
def test_what_went_into_the_quarantine_comes_back_once_its_owner_is_there_again(
    database: Database, records: Records
) -> None:
    gone = gone_study(database, records)
    before = contents(database)
    delete_as_another_tool(database, gone)
    after = contents(database)
    assert fix(database) != []
    with without_foreign_keys(database) as connection:
        for table in THEIRS:
            lost = [row for row in before[table.name] if row not in after[table.name]]
            names = table.columns.keys()
            for row in lost:
                connection.execute(sa.insert(table), dict(zip(names, row, strict=True)))
    restored = restore(database)
    assert restored.left == 0
    assert restored.back["selection_study"] == 1
    assert (contents(database), examine(database)) == (before, [])


def test_a_study_whose_id_another_has_stays_in_the_quarantine(
    database: Database, records: Records
) -> None:
    gone = gone_study(database, records)
    with database.reading() as connection:
        ids = [row.optuna_trial_id for row in connection.execute(own_rows(gone))]
    delete_as_another_tool(database, gone)
    assert fix(database) != []
    with without_foreign_keys(database) as connection:
        values = {"study_id": gone.optuna_study_id}
        connection.execute(sa.insert(studies), {**values, "study_name": "of Optuna alone"})
        for number, key in enumerate(ids):
            trial = {"trial_id": key, "number": number, "state": "WAITING"}
            connection.execute(sa.insert(trials), {**values, **trial})
    check_none_restored(database)
    assert (examine(database), fix(database)) == ([], [])


def delete_as_another_tool(database: Database, gone: StudyRecord) -> None:
    """Delete Optuna's part of a study, and leave ours."""
    with without_foreign_keys(database) as connection:
        ids = "(SELECT trial_id FROM trials WHERE study_id = :id)"
        trial_tables = [table.name for table in THEIRS if "trial_id" in table.c]
        parts = [name for name in trial_tables if name != "trials"]
        values = {"id": gone.optuna_study_id}
        for name in parts:
            connection.execute(sa.text(f"DELETE FROM {name} WHERE trial_id IN {ids}"), values)
        for table in reversed(THEIRS):
            if "study_id" in table.c:
                text = f"DELETE FROM {table.name} WHERE study_id = :id"
                connection.execute(sa.text(text), values)


@pytest.mark.usefixtures("study")
def test_a_study_whose_id_was_given_again_goes_into_the_quarantine_and_the_new_one_stays(
    database: Database, records: Records
) -> None:
    before = contents(database)
    gone = gone_study(database, records)
    with database.reading() as connection:
        ids = [row.optuna_trial_id for row in connection.execute(own_rows(gone))]
    delete_as_another_tool(database, gone)
    with without_foreign_keys(database) as connection:
        sql("INSERT INTO studies (study_id, study_name) VALUES (:id, 'another')")(connection, gone)
        for number, trial_id in enumerate(ids):
            sql(
                "INSERT INTO trials (trial_id, number, study_id, state) "
                "VALUES (:trial, :number, :id, 'COMPLETE')",
                "INSERT INTO trial_values (trial_id, objective, value, value_type) "
                "VALUES (:trial, 0, 0.125, 'FINITE')",
                trial=trial_id,
                number=number,
            )(connection, gone)
        sql(
            "INSERT INTO study_user_attributes (study_id, key, value_json) "
            "VALUES (:id, 'selection_uuid', :json)",
            json=json.dumps(str(uuid4())),
        )(connection, gone)
    broken = contents(database)
    found = examine(database)
    assert checks(found) == [("database", "orphan"), ("another", "copy")]
    assert fix(database) == found[:1]
    after = contents(database)
    ours = {table.name for table in OURS} - {"selection_quarantine"}
    assert {name: after[name] for name in ours} == {name: before[name] for name in ours}
    assert set(changes(broken, after)) <= {table.name for table in OURS}
    assert examine(database) == found[1:]


@pytest.mark.parametrize("mark", ["bogus", "of another of our studies", "none"])
def test_a_study_with_another_mark_is_linked_again(
    database: Database, study: StudyRecord, records: Records, mark: str
) -> None:
    other = create_example(records, example_spec("other"))
    trials = records.trials(study)
    before = contents(database)
    of_it = "WHERE study_id = :id AND key = 'selection_uuid'"
    with without_foreign_keys(database) as connection:
        if mark == "none":
            sql(f"DELETE FROM study_user_attributes {of_it}")(connection, study)
        else:
            value = "bogus" if mark == "bogus" else other.uuid
            update = f"UPDATE study_user_attributes SET value_json = :json {of_it}"
            sql(update, json=json.dumps(value))(connection, study)
    broken = contents(database)
    assert records.find_study("example") is None
    with pytest.raises(StudyStateError, match=r"example: .* Run selection doctor --fix"):
        repository_of(database).study("example")
    with pytest.raises(StudyStateError, match="Run selection doctor --fix"):
        create_example(records)
    found = examine(database)
    assert checks(found) == [("example", "link")]
    assert found[0].is_fixable
    assert fix(database, dry_run=True) == found
    assert contents(database) == broken
    assert fix(database) == found
    after = contents(database)
    keys = {row[1:] for row in after["study_user_attributes"]}
    assert keys == {row[1:] for row in before["study_user_attributes"]}
    assert set(changes(before, after)) <= {"study_user_attributes"}
    assert (examine(database), records.trials(study)) == ([], trials)


def test_a_study_that_another_tool_renamed_is_linked_again(
    database: Database, study: StudyRecord, records: Records
) -> None:
    changed = [Difference("search.trials", 12, 20)]
    study = records.keep_file(study, example_spec(trials=20), changed)
    trials = records.trials(study)
    rename_as_the_dashboard(database, study, "renamed")
    for name in ("example", "renamed"):
        with pytest.raises(
            StudyStateError, match=r"the copy \"renamed\", .* Run selection doctor --fix"
        ):
            repository_of(database).study(name)
    with pytest.raises(StudyStateError, match="Run selection doctor --fix"):
        create_example(records)
    found = examine(database)
    assert checks(found) == [("renamed", "link")]
    assert fix(database, dry_run=True) == found == examine(database)
    assert fix(database) == found
    again = repository_of(database).study("renamed")
    assert (again.uuid, again.spec().sections.name) == (study.uuid, "renamed")
    assert (again.changes, len(again.changes)) == (study.changes, 1)
    assert again.spec().fingerprint == again.spec_fingerprint
    assert records.trials(again) == trials
    assert (examine(database), fix(database)) == ([], [])
    assert restart_example(records, again)


def test_a_study_renamed_onto_the_ids_of_one_that_is_gone_is_linked_again(
    database: Database, study: StudyRecord, records: Records
) -> None:
    gone = gone_study(database, records)
    with database.reading() as connection:
        ids = [row.optuna_trial_id for row in connection.execute(own_rows(gone))]
    delete_as_another_tool(database, gone)
    trials = records.trials(study)
    rename_as_the_dashboard(database, study, "renamed", first_id=ids[0])
    found = examine(database)
    assert checks(found) == [("database", "orphan"), ("renamed", "link")]
    assert fix(database) == found
    assert records.trials(repository_of(database).study("renamed")) == trials
    assert (examine(database), fix(database)) == ([], [])


def rename_as_the_dashboard(
    database: Database, study: StudyRecord, name: str, first_id: int | None = None
) -> None:
    """Copy a study through Optuna, and delete the first without foreign keys."""
    storage = database.storage
    source = optuna.load_study(storage=storage, study_name=study.name)
    copy = optuna.create_study(storage=storage, study_name=name, directions=source.directions)
    copy.add_trials(source.get_trials(deepcopy=False))
    for key, value in source.user_attrs.items():
        copy.set_user_attr(key, value)
    delete_as_another_tool(database, study)
    if first_id is not None:
        with without_foreign_keys(database) as connection:
            move_ids(connection, copy._study_id, first_id)


def move_ids(connection: Connection, study_id: int, first: int) -> None:
    """Give the trials of a study other ids, from first on."""
    of_it = {"id": study_id}
    query = sa.text("SELECT trial_id FROM trials WHERE study_id = :id ORDER BY trial_id")
    for index, old in enumerate(connection.scalars(query, of_it).all()):
        for table in THEIRS:
            if "trial_id" in table.c:
                text = f"UPDATE {table.name} SET trial_id = :new WHERE trial_id = :old"
                connection.execute(sa.text(text), {"new": first + index, "old": old})


def test_two_copies_of_a_study_are_left_to_a_person(database: Database, study: StudyRecord) -> None:
    for name in ("first", "second"):
        source = optuna.load_study(storage=database.storage, study_name=study.name)
        optuna.copy_study(
            from_study_name=source.study_name,
            from_storage=database.storage,
            to_storage=database.storage,
            to_study_name=name,
        )
    delete_as_another_tool(database, study)
    broken = contents(database)
    (found,) = examine(database)
    assert (found.check, found.is_fixable) == ("link", False)
    assert found.got == 'the copies ["first", "second"]'
    assert fix(database) == []
    assert contents(database) == broken


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM trials WHERE trial_id = {TRIAL.format(7)}",
        "UPDATE trials SET number = 0, study_id = "
        "(SELECT study_id FROM studies WHERE study_name = 'of another tool') "
        f"WHERE trial_id = {TRIAL.format(7)}",
    ],
    ids=["gone", "of another study"],
)
def test_a_row_whose_trial_is_gone_goes_into_the_quarantine(
    database: Database, study: StudyRecord, statement: str
) -> None:
    row = next(row for row in contents(database)["selection_trial"] if row[3:5] == (7, 2))
    with without_foreign_keys(database) as connection:
        sql(statement)(connection, study)
    broken = contents(database)
    found = examine(database)
    assert checks(found) == [("example", "orphan")]
    assert found[0].got == "rows of selection_trial without one, 1 in all"
    assert fix(database) == found
    made = changes(broken, contents(database))
    assert made.pop("selection_trial") == ([row], [])
    assert [len(rows) for rows in made.pop("selection_quarantine")] == [0, 1]
    assert made == {}
    assert (examine(database), fix(database)) == ([], [])
    check_none_restored(database)


def home_of_the_dead() -> str:
    """Return what told a process of this machine from others that has ended."""
    machine, _, _ = this_process().partition(SEPARATOR)
    return SEPARATOR.join([machine, str(2**22 + 1), "1"])


@pytest.mark.parametrize("death", ["by its silence", "seen on this machine", "without a lease"])
def test_running_trials_of_a_dead_worker_wait_again(
    database: Database, study: StudyRecord, records: Records, death: str
) -> None:
    with without_foreign_keys(database) as connection:
        sql("DELETE FROM selection_lease WHERE study_uuid = :uuid AND cohort = 2")(
            connection, study
        )
        if death == "by its silence":
            write_lease(connection, study.uuid, 2, seconds=-1)
        elif death == "seen on this machine":
            write_lease(connection, study.uuid, 2, seconds=600, home=home_of_the_dead())
    lease = [row for row in contents(database)["selection_lease"] if row[1] == 2]
    broken = contents(database)
    found = examine(database)
    assert checks(found) == [("example", "no_lease")]
    assert found[0].got == "no live worker for trials [6, 7]"
    assert found[0].is_fixable
    assert fix(database) == found
    made = changes(broken, contents(database))
    assert made.pop("selection_lease", ([], [])) == (lease, [])
    went, came = made.pop("trials")
    assert made == {}
    # PostgreSQL gives rows that were rewritten in any order.
    assert sorted(row[1] for row in came) == sorted(row[1] for row in went) == [6, 7]
    states = {trial.number: trial.state for trial in records.trials(study)}
    assert {states[number] for number in range(4, 8)} == {TrialState.WAITING}
    assert (examine(database), fix(database)) == ([], [])


@pytest.mark.parametrize("seconds", [-1, 600])
def test_a_lease_of_a_finished_cohort_is_no_finding(
    database: Database, study: StudyRecord, seconds: float
) -> None:
    with without_foreign_keys(database) as connection:
        write_lease(connection, study.uuid, 0, seconds=seconds)
    assert (examine(database), fix(database)) == ([], [])


def test_a_dead_lease_of_waiting_trials_or_of_none_is_no_finding(
    database: Database, study: StudyRecord
) -> None:
    with without_foreign_keys(database) as connection:
        write_lease(connection, study.uuid, 1, seconds=-1)
        sql("DELETE FROM selection_lease WHERE study_uuid = :uuid AND cohort = 3")(
            connection, study
        )
        write_lease(connection, study.uuid, 3, seconds=-1)
    assert (examine(database), fix(database)) == ([], [])


def test_a_lease_that_is_renewed_meanwhile_is_left(database: Database, study: StudyRecord) -> None:
    of_cohort = (lease_table.c.study_uuid == study.uuid) & (lease_table.c.cohort == 2)
    with database.writing() as connection:
        now = database_now(connection)
        dead = sa.update(lease_table).where(of_cohort).values(expires_at=now - timedelta(seconds=1))
        connection.execute(dead)
    fixed: list[Finding] = []
    doctor_thread = threading.Thread(target=lambda: fixed.extend(fix(database)))
    with database.writing() as connection:
        later = sa.update(lease_table).where(of_cohort)
        connection.execute(later.values(expires_at=now + timedelta(seconds=600)))
        if database.engine.dialect.name == "postgresql":
            doctor_thread.start()
            doctor_thread.join(0.5)
            assert doctor_thread.is_alive(), "the doctor waits for the worker"
        renewed = connection.execute(sa.select(lease_table).where(of_cohort)).all()
    if database.engine.dialect.name == "sqlite":
        doctor_thread.start()
    doctor_thread.join(30)
    assert fixed == []
    with database.reading() as connection:
        assert connection.execute(sa.select(lease_table).where(of_cohort)).all() == renewed
    assert examine(database) == []


def test_a_study_deleted_meanwhile_does_not_stop_the_others(
    database: Database, study: StudyRecord, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create_example(records, example_spec("a study before the other"))
    with database.writing() as connection:
        sql("DELETE FROM selection_lease WHERE study_uuid = :uuid AND cohort = 2")(
            connection, study
        )

    def delete(connection: Connection, _broken: BrokenLinks) -> list[Finding]:
        database.storage.joined(connection).delete_study(first.optuna_study_id)
        return []

    monkeypatch.setattr(repair, "fix_orphans", delete)
    assert checks(fix(database)) == [("example", "no_lease")]
    assert records.find_study(first.name) is None


@pytest.mark.usefixtures("study")
def test_no_lease_ends_while_rows_are_hashed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = iter(range(10))

    def much_later(connection: Connection) -> datetime:
        return database_now(connection) + timedelta(hours=next(hours))

    monkeypatch.setattr(diagnosis, "database_now", much_later)
    assert examine(database) == []


def test_queries_do_not_grow_with_the_trials_and_predictions_come_in_chunks(
    database: Database, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (checks_module, ledger_chain):
        monkeypatch.setattr(module, "CHUNK", 7)
    study = create_example(records, example_spec(trials=100))
    counts = []
    for cohort, size in enumerate((1, 30)):
        numbers = begin_example(records, study, size, cohort)
        results = {number: example_result(number) for number in numbers}
        finish_example(records, study, results, cohort)
        statements: list[str] = []

        def note(*args: Any, statements: list[str] = statements) -> None:
            statements.append(args[2])
            if "outputs" in args[2]:
                assert args[4].execution_options["yield_per"] == 7, "predictions come in chunks"

        sa.event.listen(database.engine, "before_cursor_execute", note)
        assert examine(database) == []
        sa.event.remove(database.engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1] < 45
    with database.writing() as connection:
        sql("UPDATE selection_fold SET train_score = 2")(connection, study)
    assert [finding.got for finding in examine(database)] == [
        "changed bytes in rows of selection_fold, 186 in all"
    ]
