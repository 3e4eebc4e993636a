"""Opening, checking and upgrading a database, and every way in which it cannot be had."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from selection.errors import StorageError
from selection.store import database as database_module
from selection.store.database import (
    check_database,
    open_database,
    upgrade_database,
    writer_lock,
)
from selection.store.engine import build_engine
from selection.store.migrations import our_history
from selection.store.records import Records
from tests.store.store_examples import (
    begin_example,
    create_example,
    example_result,
    finish_example,
)


def path_of(url: str) -> Path:
    return Path(sa.make_url(url).database or "")


def refused(url: str, *, create: bool = True, write: bool = True) -> str:
    """Return the one line that says why a database cannot be opened."""
    with pytest.raises(StorageError) as caught:
        open_database(url, create=create, write=write)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def execute(url: str, *statements: str) -> None:
    engine = build_engine(url, write=True)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_database_is_made_once_and_found_again(new_url: str) -> None:
    with open_database(new_url, create=True, write=True) as database:
        study = create_example(Records(database))
        assert database.storage.is_batched
    for create, write in ((True, True), (False, True), (False, False)):
        with open_database(new_url, create=create, write=write) as database:
            found = Records(database).find_study(study.name)
            assert found is not None
            assert found.uuid == study.uuid
            assert optuna.load_study(study_name=study.name, storage=database.storage).trials == []
    check = check_database(new_url)
    assert check.is_ok
    assert (check.revision, check.optuna_revision) == (check.head, check.optuna_head)
    assert check.head == our_history()[0]


def test_reader_cannot_write(new_url: str) -> None:
    open_database(new_url, create=True, write=True).close()
    with open_database(new_url, create=False, write=False) as database:
        records = Records(database)
        with pytest.raises(StorageError, match="must be writable"):
            create_example(records)
        assert records.list_studies() == []


def test_optuna_database_is_extended_and_keeps_its_studies(new_url: str) -> None:
    plain = optuna.storages.RDBStorage(new_url)
    study = optuna.create_study(study_name="theirs", storage=plain)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    plain.engine.dispose()
    assert "only Optuna's tables" in refused(new_url, create=False)
    assert not check_database(new_url).is_ok
    with open_database(new_url, create=True, write=True) as database:
        theirs = optuna.load_study(study_name="theirs", storage=database.storage)
        assert theirs.best_value == 0.5
        create_example(Records(database))
    assert check_database(new_url).is_ok


def test_upgrade_lays_our_tables_in_an_existing_database(new_url: str) -> None:
    plain = optuna.storages.RDBStorage(new_url)
    plain.engine.dispose()
    upgrade_database(new_url)
    upgrade_database(new_url)
    assert check_database(new_url).is_ok


def test_newer_schema_is_refused(new_url: str) -> None:
    open_database(new_url, create=True, write=True).close()
    execute(new_url, "UPDATE selection_alembic_version SET version_num = '9999'")
    for write in (True, False):
        assert "newer version: update selection" in refused(new_url, write=write)
    with pytest.raises(StorageError, match="newer version"):
        upgrade_database(new_url)
    assert not check_database(new_url).is_ok


def test_older_schema_asks_for_an_upgrade(new_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(new_url, create=True, write=True).close()
    monkeypatch.setattr(database_module, "our_history", lambda: ("9998", *our_history()))
    assert "Run selection db upgrade --storage" in refused(new_url)
    assert check_database(new_url).head == "9998"
    assert not check_database(new_url).is_ok


def test_other_schema_of_optuna_is_refused(new_url: str) -> None:
    open_database(new_url, create=True, write=True).close()
    execute(new_url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert "optuna storage upgrade" in refused(new_url)
    with pytest.raises(StorageError, match="optuna storage upgrade"):
        upgrade_database(new_url)
    assert not check_database(new_url).is_ok


def test_unknown_schema_of_the_installed_optuna_takes_the_public_path(
    new_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(new_url, create=True, write=True).close()
    monkeypatch.setattr(database_module, "KNOWN_REVISION", "v3.1.0.a")
    with open_database(new_url, create=True, write=True) as database:
        assert not database.storage.is_batched


def test_absent_file_is_not_made_by_reading(sqlite_url: str) -> None:
    for write in (True, False):
        assert "no such file" in refused(sqlite_url, create=False, write=write)
    for evaluation in (check_database, upgrade_database):
        with pytest.raises(StorageError, match="must exist, but got no such file"):
            evaluation(sqlite_url)
    assert list(path_of(sqlite_url).parent.iterdir()) == []


def test_empty_database_has_no_study_to_read(new_url: str) -> None:
    if new_url.startswith("sqlite"):
        path_of(new_url).touch()
    assert "an empty database" in refused(new_url, create=False, write=False)
    check = check_database(new_url)
    assert (check.revision, check.optuna_revision, check.is_ok) == (None, None, False)


def test_absent_folder_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/absent/study.db"
    assert "folder of the database must exist" in refused(url)
    with pytest.raises(StorageError, match="must exist"), writer_lock(url):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folder_is_no_database(tmp_path: Path) -> None:
    assert "the database must be a file, but got a folder" in refused(f"sqlite:///{tmp_path}")


def test_braces_and_percents_in_a_url_are_taken_as_they_are(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/{{a}} 100%.db", create=True, write=True) as database:
        create_example(Records(database))
    assert (tmp_path / "{a} 100%.db").exists()


def test_other_file_is_refused_and_left_alone(sqlite_url: str) -> None:
    path_of(sqlite_url).write_text("name,target\n" * 200)
    before = path_of(sqlite_url).read_bytes()
    for write in (True, False):
        assert "must be an SQLite database" in refused(sqlite_url, write=write)
    with pytest.raises(StorageError, match="must be an SQLite database"):
        check_database(sqlite_url)
    assert path_of(sqlite_url).read_bytes() == before


def test_read_only_database_can_be_read_and_not_written(made_sqlite_url: str) -> None:
    with open_database(made_sqlite_url, create=True, write=True) as database:
        create_example(Records(database))
    path = path_of(made_sqlite_url)
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    before = path.read_bytes()
    with open_database(url, create=False, write=False) as database:
        assert len(Records(database).list_studies()) == 1
    assert "must be writable, but got attempt to write a readonly database" in refused(url)
    assert path.read_bytes() == before


def test_damaged_file_is_seen(made_sqlite_url: str) -> None:
    with open_database(made_sqlite_url, create=True, write=True) as database:
        records = Records(database)
        study = create_example(records)
        begin_example(records, study, 20)
        # So many that the middle of the file is theirs.
        results = {number: example_result(number, rows=500) for number in range(20)}
        finish_example(records, study, results)
    path = path_of(made_sqlite_url)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60_000] = b"\xff" * 60_000
    path.write_bytes(content)
    with pytest.raises(StorageError, match="must be undamaged"):
        check_database(made_sqlite_url)
    with open_database(made_sqlite_url, create=False, write=False) as database:
        records = Records(database)
        with pytest.raises(StorageError, match=r"undamaged|must match the hash"):
            [records.curves(study, number) for number in range(20)]


def test_cut_file_is_seen(made_sqlite_url: str) -> None:
    open_database(made_sqlite_url, create=True, write=True).close()
    os.truncate(path_of(made_sqlite_url), 5000)
    assert "must be undamaged" in refused(made_sqlite_url)


def test_full_disk_is_named_and_nothing_is_lost(made_sqlite_url: str) -> None:
    with open_database(made_sqlite_url, create=True, write=True) as database:
        records = Records(database)
        study = create_example(records)
        begin_example(records, study, 2)

        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA max_page_count=1")

        database.engine.dispose()
        sa.event.listen(database.engine, "connect", limit)
        results = {number: example_result(number, rows=20_000) for number in range(2)}
        with pytest.raises(StorageError, match="the disk must have room"):
            finish_example(records, study, results)
        sa.event.remove(database.engine, "connect", limit)
        database.engine.dispose()
        assert [trial.epochs for trial in records.trials(study)] == [0, 0]
        finish_example(records, study, results)


def test_busy_database_is_named(made_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.store.engine.BUSY_MILLISECONDS", 50)
    with open_database(made_sqlite_url, create=True, write=True) as database:
        other = sqlite3.connect(path_of(made_sqlite_url))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="use PostgreSQL for several workers"):
            create_example(Records(database))
        other.rollback()
        other.close()
        create_example(Records(database))


def test_absent_server_is_named(tmp_path: Path) -> None:
    text = refused(f"postgresql+psycopg://user@/name?host={tmp_path}")
    assert "the server must be reachable" in text


def test_absent_database_on_the_server_is_named(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(database="absent")
    assert 'database "absent" does not exist' in refused(url.render_as_string(hide_password=False))


def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'selection-sweep[postgres]'" in refused(
        "postgresql+psycopg://user@host/name"
    )


def test_broken_constraint_is_our_mistake_and_keeps_its_stack(made_sqlite_url: str) -> None:
    with open_database(made_sqlite_url, create=True, write=True) as database:
        statement = "INSERT INTO selection_alembic_version SELECT * FROM selection_alembic_version"
        with pytest.raises(sa.exc.IntegrityError), database.writing() as connection:
            connection.exec_driver_sql(statement)


def test_second_writer_is_refused_and_pointed_to_postgresql(made_sqlite_url: str) -> None:
    with writer_lock(made_sqlite_url):
        with (
            pytest.raises(StorageError, match=f"process {os.getpid()} .* use PostgreSQL"),
            writer_lock(made_sqlite_url),
        ):
            pass
        open_database(made_sqlite_url, create=True, write=True).close()
    with writer_lock(made_sqlite_url):
        pass


def test_lock_of_a_killed_writer_is_free(sqlite_url: str) -> None:
    # Nothing but the lock, so that the child starts fast: the kernel is what is tested.
    script = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, f"{path_of(sqlite_url)}.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(StorageError, match="writing to it"), writer_lock(sqlite_url):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    with writer_lock(sqlite_url):
        pass


def test_lock_says_who_holds_it(made_sqlite_url: str) -> None:
    lock = Path(f"{path_of(made_sqlite_url)}.lock")
    lock.write_text("a longer text of an earlier process")
    with writer_lock(made_sqlite_url):
        assert lock.read_text() == f" {os.getpid()}"
    assert lock.exists()


def test_server_needs_no_writer_lock() -> None:
    url = "postgresql+psycopg://user@host/name"
    with writer_lock(url), writer_lock(url):
        pass


def test_copy_of_a_closed_database_is_whole(made_sqlite_url: str, tmp_path: Path) -> None:
    with open_database(made_sqlite_url, create=True, write=True) as database:
        records = Records(database)
        study = create_example(records)
        begin_example(records, study, 1)
        finish_example(records, study, {0: example_result(0)})
    shutil.copy(path_of(made_sqlite_url), tmp_path / "copy.db")
    with open_database(f"sqlite:///{tmp_path}/copy.db", create=False, write=False) as copy:
        (trial,) = Records(copy).trials(study)
        assert trial.value == example_result(0).value
