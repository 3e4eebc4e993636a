"""An SQLite file that is deleted, moved or replaced while it is written."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selection.errors import MovedFileError
from selection.store.database import open_database
from selection.store.doctor import examine
from selection.store.file_identity import free_name
from selection.store.leases import Progress
from selection.store.records import Records
from tests.store.store_examples import create_example
from tests.store.study_case import StudyCase, results, someone


def delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        os.remove(f"{path}{suffix}")


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def move_with_its_log(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        os.rename(f"{path}{suffix}", path.with_name(f"moved.db{suffix}"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)


def logs(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]


HOW = (delete, move, move_with_its_log, replace)


@pytest.fixture
def written(made_sqlite_url: str) -> Iterator[tuple[StudyCase, Path]]:
    """A study that is written, and the file of its database."""
    with open_database(made_sqlite_url, create=False, write=True) as database:
        path = database.address.path
        assert path is not None
        yield StudyCase(database, create_example(Records(database))), path


@pytest.mark.parametrize("lose", HOW)
def test_every_event_stops_at_a_file_that_lost_its_name(
    written: tuple[StudyCase, Path], lose: Callable[[Path], None]
) -> None:
    case, path = written
    lease, numbers = case.train(someone())
    lose(path)
    there = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    for act in (
        lambda: case.claim(someone()),
        lambda: case.begin(lease),
        lambda: case.finish(lease, numbers),
        lambda: case.renew(lease, Progress()),
        lambda: case.release(lease),
        case.trials,
    ):
        with pytest.raises(MovedFileError, match="its file must stay where it is") as error:
            act()
        assert len(str(error.value).splitlines()) == 1
    # Nothing was written into another file, and none was made.
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == there


@pytest.mark.parametrize("lose", HOW)
def test_what_was_on_record_can_be_saved_beside_it(
    written: tuple[StudyCase, Path], lose: Callable[[Path], None]
) -> None:
    case, path = written
    case.finish(*case.train(someone()))
    lease, numbers = case.train(someone())
    lose(path)
    saved = case.database.save_file()
    assert saved == path.with_name(f"{path.name}.saved")
    assert case.database.save_file() == path.with_name(f"{path.name}.saved-2")
    with open_database(f"sqlite:///{saved}", create=False, write=True) as database:
        again = StudyCase(database, case.study)
        assert [trial.value for trial in again.trials()] == [
            *(result.value for result in results([0, 1]).values()),
            None,
            None,
        ]
        again.finish(lease, numbers)
        assert examine(database) == []


@pytest.mark.parametrize("lose", HOW)
def test_a_lost_file_leaves_no_log_for_the_next_of_its_name(
    written: tuple[StudyCase, Path], lose: Callable[[Path], None]
) -> None:
    case, path = written
    case.finish(*case.train(someone()))
    lose(path)
    there = path.read_bytes() if path.exists() else None
    saved = case.database.save_file()
    assert saved is not None
    case.database.close()
    assert not any(log.exists() for log in logs(path))
    assert (path.read_bytes() if path.exists() else None) == there
    saved.rename(path)
    with open_database(f"sqlite:///{path}", create=False, write=True) as database:
        again = StudyCase(database, case.study)
        again.finish(*again.train(someone()))
        assert len(again.trials()) == 4
        assert examine(database) == []


def test_a_moved_file_that_was_not_saved_has_all_that_was_in_its_log(
    written: tuple[StudyCase, Path],
) -> None:
    case, path = written
    case.finish(*case.train(someone()))
    move(path)
    case.database.close()
    assert not any(log.exists() for log in logs(path))
    path.with_name("moved.db").rename(path)
    with open_database(f"sqlite:///{path}", create=False, write=False) as database:
        assert len(StudyCase(database, case.study).trials()) == 2
        assert examine(database) == []


def test_a_log_that_its_file_cannot_take_is_kept_under_another_name(
    written: tuple[StudyCase, Path],
) -> None:
    case, path = written
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        # What it sees must not be overwritten.
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM studies").fetchall()
        case.finish(*case.train(someone()))
        move(path)
        case.database.close()
    assert not any(log.exists() for log in logs(path))
    path.with_name("moved.db").rename(path)
    path.with_name(f"{path.name}-wal.lost").rename(logs(path)[0])
    with open_database(f"sqlite:///{path}", create=False, write=False) as database:
        assert len(StudyCase(database, case.study).trials()) == 2


def test_the_logs_of_another_database_in_the_place_of_a_lost_one_stay(
    written: tuple[StudyCase, Path],
) -> None:
    case, path = written
    move_with_its_log(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE mine (x)")
        other.execute("INSERT INTO mine VALUES (1)")
        case.database.close()
        assert all(log.exists() for log in logs(path))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT x FROM mine").fetchall() == [(1,)]


def test_a_database_behind_a_link_that_points_elsewhere_now_keeps_its_log(
    made_sqlite_url: str, tmp_path: Path
) -> None:
    file, link = Path(made_sqlite_url.removeprefix("sqlite:///")), tmp_path / "link.db"
    link.symlink_to(file)
    with open_database(f"sqlite:///{link}", create=False, write=True) as database:
        case = StudyCase(database, create_example(Records(database)))
        case.finish(*case.train(someone()))
        link.unlink()
        link.touch()
    with open_database(f"sqlite:///{file}", create=False, write=False) as database:
        assert len(StudyCase(database, case.study).trials()) == 2
    assert not any(log.exists() for log in logs(link))


def test_a_file_lost_in_mid_transaction_is_noticed(written: tuple[StudyCase, Path]) -> None:
    case, path = written
    with pytest.raises(MovedFileError), case.database.writing():
        move(path)


def test_without_a_connection_to_the_file_nothing_is_saved(
    written: tuple[StudyCase, Path],
) -> None:
    case, path = written
    case.database.engine.dispose()
    move(path)
    assert case.database.save_file() is None
    assert not path.exists()


def test_what_cannot_be_saved_leaves_nothing(written: tuple[StudyCase, Path]) -> None:
    case, path = written
    shutil.rmtree(path.parent)
    assert case.database.save_file() is None
    assert not path.parent.exists()
    path.parent.mkdir()


def test_a_file_that_comes_back_is_written_again(written: tuple[StudyCase, Path]) -> None:
    case, path = written
    lease, numbers = case.train(someone())
    move(path)
    with pytest.raises(MovedFileError):
        case.finish(lease, numbers)
    path.with_name("moved.db").rename(path)
    case.finish(lease, numbers)
    assert examine(case.database) == []


def test_a_checkpoint_or_a_vacuum_keeps_the_file(written: tuple[StudyCase, Path]) -> None:
    case, path = written
    other = sqlite3.connect(path)
    other.execute("VACUUM")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    case.finish(*case.train(someone()))


def test_a_free_name_is_that_of_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert free_name(path, "saved").name == "a.db.saved"
    (tmp_path / "a.db.saved").touch()
    (tmp_path / "a.db.saved-2").touch()
    assert free_name(path, "saved").name == "a.db.saved-3"
