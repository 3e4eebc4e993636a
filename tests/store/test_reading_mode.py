"""An SQLite database that this process may read, in a folder where it may not write."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from selection.errors import StorageError
from selection.store.copy_study import copy_study
from selection.store.database import check_database, open_database, upgrade_database
from selection.store.doctor import examine
from selection.store.reading_mode import is_cut_off, reading_uri
from selection.store.records import Records
from tests.read_only import read_only
from tests.store.store_examples import create_example
from tests.store.study_case import StudyCase, someone


@pytest.fixture
def folder(sqlite_template: Path, tmp_path: Path) -> Path:
    """A folder with a database of one study, which nobody has open."""
    folder = tmp_path / "somebody's folder #1, 100% theirs"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "study.db")
    with open_database(url_of(folder), create=False, write=True) as database:
        case = StudyCase(database, create_example(Records(database)))
        case.finish(*case.train(someone()))
    return folder


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def count_trials(database: object) -> int:
    records = Records(database)  # type: ignore[arg-type]
    (study,) = records.all_studies()
    return len(records.trials(study))


def test_a_database_that_nobody_writes_is_read_checked_and_copied(
    folder: Path, made_sqlite_url: str
) -> None:
    before = contents(folder)
    with read_only(folder) as point:
        assert check_database(url_of(point)).is_ok
        with open_database(url_of(point), create=False, write=False) as database:
            assert examine(database) == []
            assert count_trials(database) == 2
            (study,) = Records(database).all_studies()
            with open_database(made_sqlite_url, create=True, write=True) as target:
                assert copy_study(database, study, target).trials == 2
    assert contents(folder) == before


def test_a_link_to_a_database_is_read_by_where_it_points(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    with read_only(folder) as point:
        link.symlink_to(point / "study.db")
        with open_database(f"sqlite:///{link}", create=False, write=False) as database:
            assert count_trials(database) == 2


def test_a_database_with_a_rollback_journal_is_read(folder: Path) -> None:
    """As on a network file system."""
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    with read_only(folder) as point:
        uri = reading_uri(point / "study.db")
        assert uri is not None
        assert "immutable" not in uri
        with open_database(url_of(point), create=False, write=False) as database:
            assert count_trials(database) == 2


WRITES: dict[str, Callable[[str], object]] = {
    "open": lambda url: open_database(url, create=False, write=True),
    "create": lambda url: open_database(url, create=True, write=True),
    "upgrade": upgrade_database,
}


@pytest.mark.parametrize("how", WRITES)
def test_it_is_not_written(folder: Path, how: str) -> None:
    before = contents(folder)
    with read_only(folder) as point:
        with pytest.raises(StorageError, match="the folder of the database must be") as error:
            WRITES[how](url_of(point))
        assert len(str(error.value).splitlines()) == 1
    assert contents(folder) == before


def test_what_somebody_else_writes_is_seen(folder: Path) -> None:
    """One reader is there before the writer comes, one after, and both after it has gone."""
    with (
        read_only(folder, by_mount=True) as point,
        open_database(url_of(point), create=False, write=False) as early,
    ):
        assert count_trials(early) == 2
        with open_database(url_of(folder), create=False, write=True) as writer:
            (study,) = Records(writer).all_studies()
            case = StudyCase(writer, study)
            lease, numbers = case.train(someone())
            assert count_trials(early) == 4
            with open_database(url_of(point), create=False, write=False) as late:
                assert count_trials(late) == 4
                case.finish(lease, numbers)
                case.train(someone())
                assert [count_trials(late), count_trials(early)] == [6, 6]
        assert count_trials(early) == 6
        with open_database(url_of(folder), create=False, write=True) as writer:
            case = StudyCase(writer, study)
            case.expire(2)
            claim = case.resume(someone())
            assert Records(early).finished_numbers(study) == [0, 1, 2, 3]
            case.finish(claim.lease, [trial.number for trial in claim.trials])
            assert Records(early).finished_numbers(study) == [0, 1, 2, 3, 4, 5]
        assert examine(early) == []


@pytest.fixture
def cut_off(folder: Path) -> Path:
    """A copy of a database and its log while it was open, without the index of the log."""
    copied = folder.with_name("copied")
    copied.mkdir()
    with open_database(url_of(folder), create=False, write=True) as writer:
        (study,) = Records(writer).all_studies()
        StudyCase(writer, study).train(someone())
        for suffix in ("", "-wal"):
            shutil.copy(folder / f"study.db{suffix}", copied)
    return copied


def test_a_log_that_cannot_be_read_is_named(cut_off: Path) -> None:
    assert not is_cut_off(cut_off / "study.db")
    before = contents(cut_off)
    with read_only(cut_off) as point:
        for act in (check_database, lambda url: open_database(url, create=False, write=False)):
            with pytest.raises(StorageError, match=r'its last changes in "study\.db-wal"'):
                act(url_of(point))
    assert contents(cut_off) == before
    with open_database(url_of(cut_off), create=False, write=False) as database:
        assert count_trials(database) == 4


def test_an_empty_log_that_was_left_behind_is_none(folder: Path) -> None:
    (folder / "study.db-wal").touch()
    with (
        read_only(folder) as point,
        open_database(url_of(point), create=False, write=False) as database,
    ):
        assert count_trials(database) == 2


def test_a_reader_goes_on_with_the_file_that_took_the_place(folder: Path, tmp_path: Path) -> None:
    path = folder / "study.db"
    shutil.copy(path, tmp_path / "other.db")
    with open_database(f"sqlite:///{tmp_path}/other.db", create=False, write=True) as database:
        (study,) = Records(database).all_studies()
        StudyCase(database, study).train(someone())
    with open_database(url_of(folder), create=False, write=False) as reader:
        assert count_trials(reader) == 2
        os.replace(tmp_path / "other.db", path)
        assert count_trials(reader) == 4
        path.rename(folder / "moved.db")
        with pytest.raises(StorageError, match="the database must exist, but got no such file"):
            count_trials(reader)
        assert not path.exists()
        (folder / "moved.db").rename(path)
        assert count_trials(reader) == 4


def test_where_files_can_be_made_nothing_is_special(folder: Path) -> None:
    assert reading_uri(folder / "study.db") is None
    assert reading_uri(folder / "none.db") is None
