"""A new SQLite file is whole or not there, whenever its maker is killed; what it lacks is seen."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection

from selection.errors import StorageError
from selection.store.copy_study import copy_study
from selection.store.database import Database, check_database, open_database
from selection.store.doctor import examine, fix
from selection.store.new_file import moved_into_place
from selection.store.records import Records
from tests.store.store_examples import create_example

# Imports selection once and splits into one process for each table or index before which one dies.
CHILD = """
import json, os, signal, sys
import sqlalchemy as sa
from selection.store.database import open_database

def die_at(url, last):
    count = 0

    def note(*given):
        nonlocal count
        count += given[2].lstrip().startswith("CREATE")
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    open_database(url, create=True, write=True).close()

codes = []
for last, url in enumerate(sys.argv[1:], 1):
    child = os.fork()
    if not child:
        die_at(url, last if last < len(sys.argv) - 1 else 1000)
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""
INDEX = "ix_studies_study_name"


def test_a_file_whose_maker_was_killed_is_whole_or_unused(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.db" for index in range(21)]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *(f"sqlite:///{path}" for path in paths)],
        # Only a process without threads may split without fear.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
        check=True,
    )
    assert json.loads(child.stdout) == [9] * 20 + [0]
    for path in paths:
        assert not path.exists() or path.stat().st_size == 0 or is_whole(path)
        open_database(f"sqlite:///{path}", create=True, write=True).close()
        assert is_whole(path)
        names = {each.name for each in tmp_path.iterdir() if each.name.startswith(path.name)}
        assert names == {path.name}


def is_whole(path: Path) -> bool:
    with open_database(f"sqlite:///{path}", create=False, write=True) as database:
        return check_database(f"sqlite:///{path}").is_ok and examine(database) == []


def test_what_a_killed_maker_left_is_no_part_of_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    for name in ("study.db.new", "study.db.new-wal", "study.db-wal", "study.db-journal"):
        (tmp_path / name).write_bytes(b"of another time")
    open_database(f"sqlite:///{path}", create=True, write=True).close()
    assert [each.name for each in tmp_path.iterdir()] == ["study.db"]
    assert is_whole(path)


def test_a_new_file_goes_where_a_link_points_and_keeps_its_mode(tmp_path: Path) -> None:
    real = tmp_path / "real" / "study.db"
    real.parent.mkdir()
    real.touch(mode=0o600)
    link = tmp_path / "link.db"
    link.symlink_to(real)
    open_database(f"sqlite:///{link}", create=True, write=True).close()
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert is_whole(real)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.touch()

    def stop(new: Path) -> None:
        new.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), moved_into_place(path) as new:
        stop(new)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_an_earlier_version_left_half_made_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    open_database(f"sqlite:///{path}", create=True, write=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        (table,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'studies'")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(table[0])
    open_database(f"sqlite:///{path}", create=True, write=True).close()
    assert is_whole(path)
    check_names(f"sqlite:///{path}")


def check_names(url: str) -> None:
    """Check that a name is taken once, as Optuna relies on."""
    storage = optuna.storages.RDBStorage(url)
    first = optuna.create_study(study_name="twice", storage=storage, load_if_exists=True)
    second = optuna.create_study(study_name="twice", storage=storage, load_if_exists=True)
    assert first._study_id == second._study_id
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize(
    ("statement", "part", "check"),
    [
        (f"DROP INDEX {INDEX}", f"unique index {INDEX} of studies", "index"),
        (
            "DROP INDEX ix_selection_trial_study_uuid_cohort",
            "index ix_selection_trial_study_uuid_cohort of selection_trial",
            "index",
        ),
        ("DROP TABLE trial_heartbeats", "table trial_heartbeats", "table"),
    ],
)
def test_what_is_missing_is_seen_and_made(
    new_url: str, statement: str, part: str, check: str
) -> None:
    with open_database(new_url, create=True, write=True) as database:
        study = create_example(Records(database))
        with database.writing() as connection:
            connection.exec_driver_sql(statement)
    found = check_database(new_url)
    assert (found.is_ok, found.missing) == (False, (part,))
    with open_database(new_url, create=False, write=True) as database:
        (finding,) = examine(database)
        assert (finding.check, finding.got) == (check, f"no {part}")
        assert fix(database, dry_run=True) == [finding] == examine(database)
        assert fix(database) == [finding]
        assert examine(database) == []
        assert Records(database).find_study(study.name) is not None
    assert check_database(new_url).is_ok
    check_names(new_url)


def test_an_index_that_is_not_unique_is_made_anew(new_url: str) -> None:
    with open_database(new_url, create=True, write=True) as database:
        with database.writing() as connection:
            connection.exec_driver_sql(f"DROP INDEX {INDEX}")
            connection.exec_driver_sql(f"CREATE INDEX {INDEX} ON studies (study_name)")
        assert [finding.check for finding in fix(database)] == ["index"]
        assert examine(database) == []


def test_two_studies_of_one_name_are_left_to_a_person(new_url: str) -> None:
    with open_database(new_url, create=True, write=True) as database:
        database.storage.create_new_study([StudyDirection.MINIMIZE], "twice")
        with database.writing() as connection:
            connection.exec_driver_sql(f"DROP INDEX {INDEX}")
            connection.execute(sa.text("INSERT INTO studies (study_name) VALUES ('twice')"))
        (finding,) = examine(database)
        assert finding.got == f'no unique index {INDEX} of studies, and ["twice"] more than once'
        assert not finding.is_fixable
        assert fix(database) == []
    # Nobody is kept from the other studies.
    open_database(new_url, create=True, write=True).close()


def test_a_copy_goes_into_a_database_that_lacks_an_index(
    database: Database, records: Records, new_url: str
) -> None:
    database.storage.is_batched = True  # the other path cannot copy
    study = create_example(records)
    with open_database(new_url, create=True, write=True) as target, target.writing() as connection:
        connection.exec_driver_sql(f"DROP INDEX {INDEX}")
    with open_database(new_url, create=True, write=True) as target:
        copy_study(database, study, target)
        assert examine(target) == []


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("no database at all")
    with pytest.raises(StorageError):
        open_database(f"sqlite:///{path}", create=True, write=True)
    assert path.read_text() == "no database at all"
