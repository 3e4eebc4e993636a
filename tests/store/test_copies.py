"""A study in another database: the same to the last bit, once, and gone without a trace but one."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState as OptunaState

from selection.errors import RefusedError, StorageError, StudyStateError
from selection.store import copy_study as copy_module
from selection.store.clock import utc_now
from selection.store.copy_study import StudyCopy, copy_study
from selection.store.curve_points import CurvePoints
from selection.store.database import Database, open_database
from selection.store.delete_study import delete_study
from selection.store.doctor import examine
from selection.store.evidence import BaselineFold, Evidence, OuterFold, RowFacts, StoredModel
from selection.store.ledger import EVALUATED, Ledger
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.study_tables import StudySize, study_size
from selection.store.tables import (
    fold_table,
    lease_table,
    ledger_table,
    metadata,
    model_table,
    study_table,
    trial_table,
)
from selection.study.trial import TrialState
from tests.store.store_examples import (
    RESULT,
    begin_example,
    create_example,
    example_held_out,
    example_points,
    example_result,
    example_spec,
    finish_example,
    point_bits,
    release_example,
    restart_example,
    same_members,
)

KINDS = ("sqlite", "postgres")
PAIRS = [(here, there) for here in KINDS for there in KINDS]
UNCOPIED = (
    "version_info",
    "trial_heartbeats",
    "selection_lease",
    "selection_ledger_end",
    "selection_quarantine",
)
TABLES = [
    *BaseModel.metadata.sorted_tables,
    *(table for table in metadata.sorted_tables if table.name.startswith("selection_")),
]
MEMBERS = 6
Contents = dict[str, list[str]]


@pytest.fixture(scope="module")
def all_databases(
    new_sqlite: Callable[[], str],
    new_postgres: Callable[[], str],
    _module_databases: dict[str, Database],
) -> Callable[[str], Database]:
    """A function that opens a database by a kind and a place, once for all tests."""

    def get(name: str) -> Database:
        if name not in _module_databases:
            url = new_sqlite() if name.startswith("sqlite") else new_postgres()
            _module_databases[name] = open_database(url, create=True, write=True)
        return _module_databases[name]

    return get


@pytest.fixture(scope="module")
def _module_databases() -> Iterator[dict[str, Database]]:
    databases: dict[str, Database] = {}
    yield databases
    for database in databases.values():
        database.close()


@pytest.fixture
def get_database(
    all_databases: Callable[[str], Database], _module_databases: dict[str, Database]
) -> Iterator[Callable[[str], Database]]:
    """A function that returns an empty database, by a kind and a place."""
    yield all_databases
    for database in _module_databases.values():
        with database.writing() as connection:
            for table in reversed(TABLES):
                if table.name != "version_info":
                    connection.execute(sa.delete(table))


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(
    request: pytest.FixtureRequest, get_database: Callable[[str], Database]
) -> tuple[Database, Database]:
    """Two empty databases, of every kind beside every kind."""
    here, there = request.param
    return get_database(f"{here} here"), get_database(f"{there} there")


@pytest.fixture(params=KINDS)
def one(request: pytest.FixtureRequest, get_database: Callable[[str], Database]) -> Database:
    """An empty database of either kind."""
    return get_database(f"{request.param} here")


def contents(database: Database) -> Contents:
    """Return all that Optuna's tables and ours hold."""
    with database.reading() as connection:
        return {
            table.name: sorted(repr(tuple(row)) for row in connection.execute(sa.select(table)))
            for table in TABLES
        }


def of_study(database: Database, study: StudyRecord) -> Contents:
    """Return every row of a study without its integer ids: a trial goes by its number.

    Optuna's rows stand in the order of their ids, which is that of params, say.
    """
    with database.reading() as connection:
        trials = BaseModel.metadata.tables["trials"]
        of_it = sa.select(trials.c.trial_id, trials.c.number).where(
            trials.c.study_id == study.optuna_study_id
        )
        numbers = {row.trial_id: row.number for row in connection.execute(of_it)}
        ours = sa.select(trial_table.c.uuid).where(trial_table.c.study_uuid == study.uuid)
        uuids = set(connection.execute(ours).scalars())
        found: Contents = {}
        for table in TABLES:
            if table.name in UNCOPIED:
                continue
            rows = [
                dict(row._mapping)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            mine = [row for row in rows if _is_of(row, study, numbers, uuids)]
            shown = [repr(_without_ids(table, row, numbers)) for row in mine]
            is_optunas = not table.name.startswith("selection_")
            found[table.name] = shown if is_optunas else sorted(shown)
    return found


def _is_of(
    row: dict[str, Any], study: StudyRecord, numbers: dict[int, int], uuids: set[str]
) -> bool:
    if "study_id" in row:
        return bool(row["study_id"] == study.optuna_study_id)
    if "trial_id" in row:
        return row["trial_id"] in numbers
    if "trial_uuid" in row:
        return row["trial_uuid"] in uuids
    return bool(row.get("study_uuid", row.get("uuid")) == study.uuid)


def _without_ids(table: sa.Table, row: dict[str, Any], numbers: dict[int, int]) -> dict[str, Any]:
    is_optunas = not table.name.startswith("selection_")
    dropped = {column.name for column in table.primary_key} if is_optunas else set()
    dropped |= {"study_id", "optuna_study_id"}
    if table is ledger_table:
        # Each database has a chain of its own.
        dropped |= {"position", "chain_hash", "row_hash"}
    shown = {name: value for name, value in row.items() if name not in dropped}
    for name in ("trial_id", "optuna_trial_id"):
        if name in row:
            shown[name] = numbers[row[name]]
    return shown


def put_back(found: Contents) -> Contents:
    """Return rows of a study as they are when nobody holds a trial."""
    running, waiting = repr(OptunaState.RUNNING), repr(OptunaState.WAITING)
    return {**found, "trials": [row.replace(running, waiting) for row in found["trials"]]}


def keep_evidence(database: Database, study: StudyRecord) -> None:
    """Keep a piece of every kind."""
    evidence = Evidence(database)
    outputs = np.array([[0.5, -0.0, np.inf], [np.nan, 1e-45, -1.0]], dtype=np.float32)
    evidence.keep_rows(
        study,
        RowFacts(np.array([2, 0, 2**40]), np.array([[-1, 0, 1], [1, 0, 1]]), np.array([3, -1, 3])),
    )
    evidence.keep_held_out_rows(study, example_held_out(1, 2**62))
    names = ("linear", "majority")
    folds = [
        BaselineFold(name, 0, fold, 1 / 3, "größe", outputs) for name in names for fold in (0, 1)
    ]
    evidence.keep_baselines(study, folds)
    evidence.keep_outer_fold(study, OuterFold(0, 3, {"dropout": 0.1 + 0.2}, 0.1, 5e-324))
    models = [StoredModel(seed, {"mean": [0.1 + 0.2]}, bytes(range(256))) for seed in (0, 1)]
    evidence.keep_models(study, 0, models)
    CurvePoints(database).keep(study, example_points())


def full_study(database: Database, name: str = "example") -> StudyRecord:
    """Begin a study with everything that a study can have before its held-out set is opened."""
    records = Records(database)
    study = create_example(records, example_spec(name))
    begin_example(records, study, 3)
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
    results = {n: example_result(n, state, layers=2) for n, state in enumerate(states)}
    finish_example(records, study, results)
    begin_example(records, study, 2, cohort=1)
    begin_example(records, study, 1, cohort=2)
    release_example(records, study, cohort=2)
    keep_evidence(database, study)
    seen = optuna.load_study(study_name=name, storage=database.storage)
    seen.set_user_attr("team", {"größe": [1, None, "é"]})
    database.storage.set_study_system_attr(study.optuna_study_id, "dashboard:note:0", "a note")
    running = seen.trials[3]._trial_id
    database.storage.set_trial_user_attr(running, "seen by", "a person")
    database.storage.set_trial_system_attr(running, "dashboard:note:1", "another note")
    endless = {0: np.inf, 1: -np.inf, 2: np.nan, 3: 0.1 + 0.2}
    seen.add_trial(optuna.create_trial(value=np.inf, intermediate_values=endless))
    seen.add_trial(optuna.create_trial(value=-np.inf))
    seen.add_trial(optuna.create_trial(state=OptunaState.PRUNED, intermediate_values=endless))
    return study


def evaluated_study(database: Database, name: str = "example", number: int = 0) -> StudyRecord:
    """Begin a study whose held-out set was opened twice; the second evaluation came to nothing."""
    study = full_study(database, name)
    ledger, finished = Ledger(database), len(Records(database).finished_numbers(study))
    assert ledger.claim(study, number, "best", evaluation=1, reason="", finished=finished)
    ledger.finish(study, 1, RESULT, np.full((4, 3), 1 / 3, dtype=np.float32))
    reason = "a label was wrong"
    assert ledger.claim(study, 1, "best", evaluation=2, reason=reason, finished=finished + 3)
    return study


def found_in(database: Database, study: StudyRecord) -> StudyRecord:
    found = Records(database).find_study(study.name)
    assert found is not None
    return found


def seen_by_optuna(database: Database, name: str) -> list[str]:
    """Return all that Optuna sees of a study and its trials.

    The order of attributes is the database's own.
    """
    study = optuna.load_study(study_name=name, storage=database.storage)
    attrs = database.storage.get_study_system_attrs(study._study_id)
    seen = [{"directions": study.directions}, study.user_attrs, attrs]
    for trial in study.trials:
        facts = {key: value for key, value in vars(trial).items() if key != "_trial_id"}
        seen += [facts | {"_user_attrs": None, "_system_attrs": None}]
        seen += [trial.user_attrs, trial.system_attrs]
    return [repr(sorted(facts.items())) for facts in seen]


@contextmanager
def before(database: Database, start: str, act: Callable[[Any], None]) -> Iterator[None]:
    """Do something, with the cursor in hand, before each statement that starts in some way."""

    def listen(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith(start):
            act(cursor)

    sa.event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", listen)


def change(database: Database, statement: str) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql(statement)


def test_copy_has_every_row(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    monkeypatch.setattr(copy_module, "CHUNK_ROWS", 2)
    monkeypatch.setattr(copy_module, "CHUNK_ROWS_WITH_BYTES", 4)
    # Ids of the target are not those of the source.
    full_study(target, "another")
    study = full_study(source)
    there = put_back(of_study(source, study))
    before_copy = contents(source)
    size = study_size(source, study)
    copy = copy_study(source, study, target)
    assert copy == StudyCopy(
        trials=9, fold_rows=3 * MEMBERS, final_models=2, ledger_rows=0, waiting=2
    )
    assert all(
        there[table.name] for table in TABLES if table.name in there and table is not ledger_table
    )
    found = found_in(target, study)
    assert found.uuid == study.uuid
    assert found.optuna_study_id != study.optuna_study_id
    assert of_study(target, found) == there
    assert study_size(target, found) == size
    assert contents(source) == before_copy


def test_copy_comes_back_unchanged(get_database: Callable[[str], Database]) -> None:
    indices = [get_database(name) for name in ("sqlite here", "postgres here", "sqlite there")]
    first = evaluated_study(indices[0])
    rows = of_study(indices[0], first)
    assert len(rows["selection_ledger"]) == 2
    for source, target in itertools.pairwise(indices):
        copy = copy_study(source, found_in(source, first), target)
        assert (copy.ledger_rows, copy.waiting) == (2, 0)
    assert of_study(indices[1], found_in(indices[1], first)) == rows
    assert of_study(indices[2], found_in(indices[2], first)) == rows


def test_optuna_sees_the_same_study(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = evaluated_study(source)
    copy_study(source, study, target)
    seen = seen_by_optuna(target, study.name)
    assert seen == seen_by_optuna(source, study.name)
    assert any("inf" in trial and "nan" in trial for trial in seen)
    assert any("a note" in attrs for attrs in seen)


def test_selection_reads_the_same_study(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = evaluated_study(source)
    copy_study(source, study, target)
    found = found_in(target, study)
    assert asdict(found) == {**asdict(study), "optuna_study_id": found.optuna_study_id}
    here, there = Records(source), Records(target)
    assert repr(there.trials(found)) == repr(here.trials(study))
    members = [records.curves(study, 0, outputs=True) for records in (here, there)]
    assert same_members(*members)
    assert members[0][0].outputs is not None
    assert members[0][0].layers is not None
    assert point_bits(CurvePoints(target).points(found)) == point_bits(example_points())
    models = Evidence(target).models(found, 0)
    assert [vars(model) for model in models] == [
        vars(model) for model in Evidence(source).models(study, 0)
    ]


def test_copy_allows_no_second_evaluation(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = evaluated_study(source)
    copy_study(source, study, target)
    found = found_in(target, study)
    with pytest.raises(RefusedError, match="the held-out set may be opened only once"):
        Ledger(target).check_first_evaluation(found)
    assert Ledger(target).claim(found, 0, "best", evaluation=1, reason="", finished=9) is False


def test_copied_study_goes_on(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = full_study(source)
    copy_study(source, study, target)
    with target.reading() as connection:
        assert connection.execute(sa.select(lease_table)).all() == []
    found, records = found_in(target, study), Records(target)
    assert [trial.number for trial in records.pending(found)] == [3, 4, 5]
    assert [number for number, _ in restart_example(records, found)] == [3, 4]
    finish_example(records, found, {n: example_result(n) for n in (3, 4)}, cohort=1)
    assert [trial.number for trial in records.pending(found)] == [5]
    # The worker that holds them in the source knows nothing of it.
    finish_example(Records(source), study, {n: example_result(n) for n in (3, 4)}, cohort=1)


def test_trial_ids_grow_with_numbers(
    pair: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    monkeypatch.setattr(copy_module, "CHUNK_ROWS", 4)
    study = full_study(source)
    # Rows of a table come in any order.
    change(source, "UPDATE trials SET number = 8 - number")
    copy_study(source, study, target)
    trials = BaseModel.metadata.tables["trials"]
    with target.reading() as connection:
        query = sa.select(trials.c.number).order_by(trials.c.trial_id)
        assert list(connection.execute(query).scalars()) == list(range(9))


@pytest.mark.parametrize("kind", KINDS)
def test_copy_is_of_one_moment(kind: str, get_database: Callable[[str], Database]) -> None:
    writer, target = get_database(f"{kind} here"), get_database("sqlite there")
    study = full_study(writer)
    rows = put_back(of_study(writer, study))
    results = {n: example_result(n) for n in (3, 4)}

    def go_on(_cursor: Any) -> None:
        if Records(writer).pending(study)[0].number == 3:
            finish_example(Records(writer), study, results, cohort=1)

    url = writer.address.secret_url
    with (
        open_database(url, create=False, write=False) as source,
        before(target, "INSERT INTO trials ", go_on),
    ):
        copy_study(source, study, target)
    assert of_study(target, found_in(target, study)) == rows
    assert put_back(of_study(writer, study)) != rows


@pytest.mark.slow
def test_big_rows_are_held_a_few_at_a_time(pair: tuple[Database, Database]) -> None:
    source, target = pair
    records = Records(source)
    study = create_example(records)
    trials = 8
    begin_example(records, study, trials)
    rows = 50_000
    result = example_result(0, rows=rows)
    finish_example(records, study, dict.fromkeys(range(trials), result))
    bytes_of_row = rows * 3 * 4
    tracemalloc.start()
    try:
        copy = copy_study(source, study, target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert copy.fold_rows == trials * MEMBERS
    assert peak < 3 * copy_module.CHUNK_ROWS_WITH_BYTES * bytes_of_row


def test_server_sends_a_few_rows_at_a_time(get_database: Callable[[str], Database]) -> None:
    source, target = get_database("postgres here"), get_database("sqlite there")
    study = full_study(source)
    names: list[str | None] = []
    with before(source, "SELECT selection_fold", lambda cursor: names.append(cursor.name)):
        copy_study(source, study, target)
    assert names
    assert all(names), "only a cursor with a name leaves its rows on the server"


def refuse(
    source: Database, study: StudyRecord, target: Database, match: str, kind: type = StudyStateError
) -> str:
    """Check that a copy is refused with nothing written; return why."""
    there = contents(target)
    with pytest.raises(kind, match=match) as caught:
        copy_study(source, study, target)
    assert contents(target) == there
    return str(caught.value)


def test_name_of_ours_is_refused(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = full_study(source)
    create_example(Records(target))
    text = refuse(
        source, study, target, "the name of a copy must be free in .*, but got a study of that"
    )
    assert "did not create" not in text


def test_name_of_optunas_is_refused(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = full_study(source)
    optuna.create_study(study_name=study.name, storage=target.storage)
    refuse(source, study, target, "but got a study of that name that selection did not create")


def test_same_study_is_refused(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = full_study(source)
    copy_study(source, study, target)
    refuse(source, study, target, "but got the same study")
    # Under another name too: a study is known by its uuid.
    change(target, "UPDATE studies SET study_name = 'renamed'")
    refuse(source, study, target, "but got the same study")


def test_same_database_is_refused(one: Database) -> None:
    study = full_study(one)
    rule = "a study must be copied into another database, but got .* twice"
    refuse(one, study, one, rule)
    url = one.address.secret_url
    with open_database(url, create=False, write=True) as again:
        refuse(one, study, again, rule)


def test_same_server_under_another_spelling_is_refused(
    get_database: Callable[[str], Database],
) -> None:
    source = get_database("postgres here")
    study = full_study(source)
    url = source.address.url.update_query_dict({"application_name": "other"})
    with open_database(url.render_as_string(False), create=False, write=True) as again:
        refuse(source, study, again, "but got the same study")


def test_same_file_under_another_spelling_is_refused(
    get_database: Callable[[str], Database], tmp_path: Path
) -> None:
    source = get_database("sqlite here")
    study = full_study(source)
    assert source.address.path is not None
    (tmp_path / "link").symlink_to(source.address.path.parent)
    url = f"sqlite:///{tmp_path / 'link' / source.address.path.name}"
    with open_database(url, create=False, write=True) as again:
        refuse(source, study, again, "a study must be copied into another database")


def test_deleted_study_is_refused(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = create_example(Records(source))
    optuna.delete_study(study_name=study.name, storage=source.storage)
    refuse(source, study, target, "the study must still exist, but got a deleted study")


def test_unknown_tables_are_refused(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = full_study(source)
    for database in pair:
        database.storage.is_batched = False
        rule = f"{database.url}: only Optuna's tables of revision v3.2.0.a can be copied"
        try:
            assert rule in refuse(source, study, target, "only Optuna's tables", StorageError)
        finally:
            database.storage.is_batched = True


def test_value_that_a_server_cannot_hold_is_refused(
    get_database: Callable[[str], Database],
) -> None:
    source, target = get_database("sqlite here"), get_database("postgres there")
    study = full_study(source)
    seen = optuna.load_study(study_name=study.name, storage=source.storage)
    seen.set_user_attr("long " * 200, 1)
    text = refuse(source, study, target, "too long", StorageError)
    assert text.startswith(f"{target.url}: every value of the study must fit into the database")
    assert "\n" not in text


@pytest.mark.parametrize(
    "table", [table.name for table in TABLES if table.name not in UNCOPIED], ids=str
)
def test_failure_in_mid_copy_leaves_nothing(
    table: str, get_database: Callable[[str], Database]
) -> None:
    source = get_database("sqlite here")
    study = evaluated_study(source)

    def fail(_cursor: Any) -> None:
        raise KeyboardInterrupt

    for kind in KINDS:
        target = get_database(f"{kind} there")
        full_study(target, "another")
        there = contents(target)
        with before(target, f"INSERT INTO {table} ", fail), pytest.raises(KeyboardInterrupt):
            copy_study(source, study, target)
        assert contents(target) == there
        assert copy_study(source, study, target).trials == 9


def test_error_names_the_database_that_has_it(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = full_study(source)

    def fail(cursor: Any) -> None:
        cursor.execute("SELECT no_such_function()")

    with before(target, "INSERT INTO selection_fold ", fail):
        text = refuse(source, study, target, "no_such_function", StorageError)
    assert text.startswith(f"{target.url}: ")
    with before(source, "SELECT selection_fold", fail):
        text = refuse(source, study, target, "no_such_function", StorageError)
    assert text.startswith(f"{source.url}: ")


@pytest.mark.parametrize("table", ["fold", "rows", "baseline", "nested", "model", "curve"])
def test_damage_in_the_source_is_refused(
    table: str, get_database: Callable[[str], Database]
) -> None:
    source, target = get_database("sqlite here"), get_database("postgres there")
    study = full_study(source)
    change(source, f"UPDATE selection_{table} SET row_hash = 'x' || substr(row_hash, 2)")
    text = refuse(source, study, target, f"changed bytes in selection_{table}", StorageError)
    assert text.startswith(f"{source.url}: a row must match the hash stored with it")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("fold", "outputs = x'00'"),
        ("fold", "score = 0.25"),
        ("fold", "layers = NULL"),
        ("rows", "folds = x'00'"),
        ("baseline", "outputs = x'00'"),
        ("nested", "inner_score = 0.25"),
        ("model", "weights = x'00'"),
        ("curve", "curve = x'00'"),
    ],
)
def test_damage_in_the_target_is_seen_before_the_end(
    table: str, column: str, get_database: Callable[[str], Database]
) -> None:
    source, target = get_database("postgres here"), get_database("sqlite there")
    study = full_study(source)
    change(
        target,
        f"CREATE TRIGGER damage AFTER INSERT ON selection_{table} BEGIN "
        f"UPDATE selection_{table} SET {column} WHERE rowid = new.rowid; END",
    )
    try:
        text = refuse(source, study, target, f"changed bytes in selection_{table}", StorageError)
    finally:
        change(target, "DROP TRIGGER damage")
    assert text.startswith(f"{target.url}: ")


@pytest.mark.parametrize(
    "table",
    ["trial_system_attributes", "study_directions", "selection_fold", "selection_curve"],
)
def test_missing_rows_are_seen_before_the_end(
    table: str, get_database: Callable[[str], Database]
) -> None:
    source, target = get_database("postgres here"), get_database("sqlite there")
    study = full_study(source)
    change(
        target,
        f"CREATE TRIGGER lose AFTER INSERT ON {table} BEGIN "
        f"DELETE FROM {table} WHERE rowid = new.rowid; END",
    )
    try:
        refuse(source, study, target, rf"rows of {table}, but got 0 read back", StorageError)
    finally:
        change(target, "DROP TRIGGER lose")


def test_of_two_copies_at_once_one_wins(get_database: Callable[[str], Database]) -> None:
    source, target = get_database("sqlite here"), get_database("postgres there")
    study = full_study(source)
    gate = threading.Barrier(2)
    assessments: list[str] = []

    def copy() -> None:
        url = source.address.secret_url
        with open_database(url, create=False, write=False) as own:
            try:
                assessments.append(str(copy_study(own, study, target).trials))
            except StudyStateError as error:
                assessments.append(str(error))

    def meet(_cursor: Any) -> None:
        gate.wait(30)

    threads = [threading.Thread(target=copy) for _ in range(2)]
    with before(target, "INSERT INTO studies ", meet):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    won, lost = sorted(assessments, key=len)
    assert won == "9"
    assert "the name of a copy must be free" in lost
    assert of_study(target, found_in(target, study)) == put_back(of_study(source, study))


@pytest.mark.parametrize("is_id_given_again", [False, True])
def test_what_optuna_left_behind_is_in_nobodys_way(
    get_database: Callable[[str], Database], *, is_id_given_again: bool
) -> None:
    source, target = get_database("postgres here"), get_database("sqlite there")
    study = full_study(source)
    copy_study(source, study, target)
    delete_without_foreign_keys(target, study.name)
    if is_id_given_again:
        optuna.create_study(study_name="another", storage=target.storage)
    copy_study(source, study, target)
    assert of_study(target, found_in(target, study)) == put_back(of_study(source, study))


@pytest.mark.parametrize("is_newest", [False, True])
def test_what_optuna_left_behind_of_another_study_is_in_nobodys_way(
    get_database: Callable[[str], Database], *, is_newest: bool
) -> None:
    source, target = get_database("postgres here"), get_database("sqlite there")
    gone = create_example(Records(target), example_spec("gone"))
    begin_example(Records(target), gone, 3)
    if not is_newest:
        # The id of the trials is given again, but not that of the study.
        create_example(Records(target), example_spec("another"))
    delete_without_foreign_keys(target, "gone")
    study = full_study(source)
    copy_study(source, study, target)
    assert of_study(target, found_in(target, study)) == put_back(of_study(source, study))


def delete_without_foreign_keys(database: Database, name: str) -> None:
    """Delete a study as Optuna's own tools do."""
    plain = RDBStorage(database.address.secret_url)
    optuna.delete_study(study_name=name, storage=plain)
    plain.remove_session()
    plain.engine.dispose()
    with database.reading() as connection:
        assert connection.execute(sa.select(study_table)).first() is not None


@pytest.fixture
def with_ledger(pair: tuple[Database, Database]) -> tuple[Database, StudyRecord, Database]:
    """A study, and a database that knows no more of it than its evaluations."""
    source, target = pair
    study = evaluated_study(source)
    copy_study(source, study, target)
    delete_study(target, found_in(target, study))
    return source, study, target


Met = tuple[Database, StudyRecord, Database]


def test_ledgers_that_agree_are_one(with_ledger: Met) -> None:
    source, study, target = with_ledger
    assert copy_study(source, study, target).ledger_rows == 2
    assert of_study(target, found_in(target, study)) == of_study(source, study)
    # The second evaluation of each study was claimed and never finished.
    assert {finding.check for finding in examine(target)} == {"claimed"}


def test_evaluations_of_a_copy_follow_those_that_are_there(
    pair: tuple[Database, Database],
) -> None:
    source, target = pair
    study = evaluated_study(source)
    evaluated_study(target, "another")
    copy_study(source, study, target)
    with target.reading() as connection:
        query = sa.select(ledger_table.c.study_name).order_by(ledger_table.c.position)
        assert connection.scalars(query).all() == ["another", "another", study.name, study.name]
    # The second evaluation of each study was claimed and never finished.
    assert {finding.check for finding in examine(target)} == {"claimed"}


def test_a_changed_evaluation_is_not_copied(pair: tuple[Database, Database]) -> None:
    source, target = pair
    study = evaluated_study(source)
    change(source, "UPDATE selection_ledger SET reason = 'other' WHERE evaluation = 1")
    with pytest.raises(StorageError, match="changed bytes in selection_ledger"):
        copy_study(source, study, target)
    assert Records(target).find_study(study.name) is None


def test_source_that_knows_more_of_an_evaluation_is_heard(with_ledger: Met) -> None:
    source, study, target = with_ledger
    change(
        target,
        "UPDATE selection_ledger SET state = 'claimed', evaluated_at = NULL, result_json = NULL, "
        "outputs = NULL, outputs_columns = NULL, row_hash = NULL",
    )
    copy_study(source, study, target)
    assert of_study(target, found_in(target, study)) == of_study(source, study)


def test_target_that_knows_more_of_an_evaluation_is_heard(with_ledger: Met) -> None:
    source, study, target = with_ledger
    rows = of_study(source, study)["selection_ledger"]
    change(
        source,
        "UPDATE selection_ledger SET state = 'claimed', evaluated_at = NULL, result_json = NULL, "
        "outputs = NULL, outputs_columns = NULL, row_hash = NULL",
    )
    copy_study(source, study, target)
    found = found_in(target, study)
    assert of_study(target, found)["selection_ledger"] == rows
    assert Ledger(target).evaluations(found)[0].state == EVALUATED


def test_evaluation_that_only_the_target_knows_stays(with_ledger: Met) -> None:
    source, study, target = with_ledger
    change(source, "DELETE FROM selection_ledger")
    assert copy_study(source, study, target).ledger_rows == 0
    found = found_in(target, study)
    assert len(Ledger(target).evaluations(found)) == 2
    with pytest.raises(RefusedError, match="the held-out set may be opened only once"):
        Ledger(target).check_first_evaluation(found)


@pytest.mark.parametrize(
    "column",
    [
        "study_name = 'other'",
        "number = 1",
        "rule = 'one_standard_error'",
        "reason = 'other'",
        "claimed_at = '2020-01-01 00:00:00.000000'",
        "evaluated_at = '2020-01-01 00:00:00.000000'",
        "result_json = '{}'",
        "outputs = NULL",
    ],
)
def test_ledgers_that_contradict_each_other_are_refused(column: str, with_ledger: Met) -> None:
    source, study, target = with_ledger
    change(target, f"UPDATE selection_ledger SET {column} WHERE evaluation = 1")
    refuse(
        source,
        study,
        target,
        "both ledgers must agree .* but got evaluation 1 of trial 0 at",
    )


def test_deletion_leaves_nothing_but_the_ledger(one: Database) -> None:
    other = evaluated_study(one, "another")
    clean = contents(one)
    study = evaluated_study(one)
    one.storage.record_heartbeat(
        optuna.load_study(study_name=study.name, storage=one.storage).trials[0]._trial_id
    )
    evaluations = of_study(one, study)["selection_ledger"]
    size = study_size(one, study)
    assert size == StudySize(trials=9, fold_rows=3 * MEMBERS, final_models=2, ledger_rows=2)
    assert delete_study(one, study) == size
    left = contents(one)
    assert left.pop("selection_ledger_end") != clean.pop("selection_ledger_end")
    assert left.pop("selection_ledger") == sorted(
        [*clean.pop("selection_ledger"), *ledger_of(one, study)]
    )
    assert of_study(one, study)["selection_ledger"] == evaluations
    assert left == clean
    assert Records(one).find_study(study.name) is None
    assert Records(one).find_study(other.name) is not None


def ledger_of(database: Database, study: StudyRecord) -> list[str]:
    query = sa.select(ledger_table).where(ledger_table.c.study_uuid == study.uuid)
    with database.reading() as connection:
        return [repr(tuple(row)) for row in connection.execute(query)]


def test_deletion_where_optunas_tables_are_unknown(one: Database) -> None:
    full_study(one, "another")
    clean = contents(one)
    study = evaluated_study(one)
    evaluations = ledger_of(one, study)

    def fail(_cursor: Any) -> None:
        raise AssertionError("only Optuna knows how to delete these rows")

    one.storage.is_batched = False
    try:
        with before(one, "DELETE FROM trials WHERE trials.study_id", fail):
            assert delete_study(one, study).trials == 9
    finally:
        one.storage.is_batched = True
    left = contents(one)
    assert len(left.pop("selection_ledger_end")) == 1
    del clean["selection_ledger_end"]
    assert left == {**clean, "selection_ledger": sorted(evaluations)}


def test_counting_writes_nothing(one: Database) -> None:
    study = full_study(one)
    there = contents(one)
    study_size(one, study)
    with open_database(one.address.secret_url, create=False, write=False) as reader:
        assert study_size(reader, study).trials == 9
    assert contents(one) == there


def test_held_study_is_not_deleted(one: Database) -> None:
    study = full_study(one)
    there = contents(one)
    with one.reading() as connection:
        host = connection.scalar(sa.select(lease_table.c.place))
    with pytest.raises(StudyStateError) as caught:
        delete_study(one, study)
    assert str(caught.value) == (
        f"example: a study may only be deleted while nobody trains it, but got a worker at {host}. "
        "Stop the worker, or wait until its lease expires."
    )
    assert contents(one) == there


def test_study_whose_leases_ended_is_deleted(one: Database) -> None:
    study, other = full_study(one), full_study(one, "another")
    end_leases(one, study)
    assert delete_study(one, study).trials == 9
    with pytest.raises(StudyStateError, match="while nobody trains it"):
        delete_study(one, other)


def end_leases(database: Database, study: StudyRecord) -> None:
    ended = sa.update(lease_table).where(lease_table.c.study_uuid == study.uuid)
    with database.writing() as connection:
        connection.execute(ended.values(expires_at=utc_now() - timedelta(seconds=1)))


def test_lease_cannot_be_renewed_while_its_study_is_deleted(
    get_database: Callable[[str], Database],
) -> None:
    database = get_database("postgres here")
    study = full_study(database)
    end_leases(database, study)
    assessments: list[str] = []

    def renew(_cursor: Any) -> None:
        with database.engine.connect() as connection:
            try:
                connection.exec_driver_sql("SELECT 1 FROM selection_lease FOR UPDATE NOWAIT")
            except sa.exc.OperationalError as error:
                assessments.append(str(error.orig))

    with before(database, "DELETE FROM selection_study", renew):
        delete_study(database, study)
    assert len(assessments) == 1
    assert "could not obtain lock" in assessments[0]


@pytest.mark.parametrize("act", [study_size, delete_study])
def test_study_that_is_gone_is_not_deleted_again(
    act: Callable[[Database, StudyRecord], StudySize], one: Database
) -> None:
    study = evaluated_study(one)
    delete_study(one, study)
    there = contents(one)
    with pytest.raises(StudyStateError, match="the study must still exist, but got a deleted"):
        act(one, study)
    assert contents(one) == there


def test_failed_deletion_leaves_the_study(one: Database) -> None:
    study = evaluated_study(one)
    there = contents(one)

    def fail(_cursor: Any) -> None:
        raise KeyboardInterrupt

    with before(one, "DELETE FROM studies", fail), pytest.raises(KeyboardInterrupt):
        delete_study(one, study)
    assert contents(one) == there


def test_name_of_a_deleted_study_is_free(one: Database) -> None:
    study = evaluated_study(one)
    delete_study(one, study)
    again = create_example(Records(one))
    assert again.uuid != study.uuid
    with one.reading() as connection:
        assert connection.execute(sa.select(fold_table)).first() is None
        assert connection.execute(sa.select(model_table)).first() is None
