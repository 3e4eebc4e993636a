"""Storage URLs: what is refused, in one line, and never with a password in it."""

from __future__ import annotations

import pickle
import sqlite3
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from selection.errors import StorageError
from selection.store.address import errors_at, read_address
from selection.store.database import open_database

CANARY = "c4n{a}ry"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "must be a database URL"),
        ("study.db", 'must be a database URL, but got "study.db"'),
        ("sqlite://", "outlives the process"),
        ("sqlite:///:memory:", "outlives the process"),
        ("mysql+pymysql://host/name", "must be SQLite, or PostgreSQL through psycopg"),
        ("postgres://host/name", "Write sqlite:///FILE.db or postgresql+psycopg://"),
        ("postgresql://host/name", "Write sqlite:///FILE.db or postgresql+psycopg://"),
        ("postgresql+psycopg2://host/name", 'got "postgresql+psycopg2"'),
        ("postgresql+psycopg://host:port/name", "must be a database URL"),
    ],
)
def test_unfit_url_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(StorageError) as caught:
        read_address(url)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://user:{CANARY}@nowhere.invalid/name",
        f"postgresql+psycopg://user:{CANARY}@/name?host=/nowhere",
        f"postgresql+psycopg://user:{CANARY}@host:port/name",
        f"postgresql+psycopg://host/name?password={CANARY}",
        f"postgresql+psycopg://host/name?sslpassword={CANARY}",
        f"postgresql://user:{CANARY}@host/name",
        f"mysql://user:{CANARY}@host/name",
        f"user:{CANARY}@host/name",
        f"host=nowhere password={CANARY}",
    ],
)
def test_password_is_in_no_error(
    url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(StorageError) as caught:
        open_database(url, create=True, write=True)
    printed = capsys.readouterr()
    texts = ["".join(traceback.format_exception(caught.value)), caplog.text, *printed]
    texts += [str(caught.value), repr(caught.value)]
    assert CANARY not in "".join(texts)
    assert len(str(caught.value).splitlines()) == 1


def test_address_hides_its_password_and_still_knows_it() -> None:
    url = "postgresql+psycopg://user:p%40ss@host/name"
    address = read_address(url)
    assert "p%40ss" not in str(address) + repr(address)
    assert "p@ss" not in str(address) + repr(address)
    assert address.secret_url == url
    assert address.path is None


def test_password_that_a_driver_repeats_is_taken_out() -> None:
    address = read_address(f"postgresql+psycopg://user:{CANARY}@host/name")
    said = sa.exc.OperationalError("SELECT", {}, Exception(f"bad: {CANARY}\nand more"))
    with pytest.raises(StorageError, match=r"got bad: \*\*\*\."), errors_at(address):
        raise said


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("SQLITE_NOTADB", "must be an SQLite database"),
        ("SQLITE_CORRUPT_VTAB", "must be undamaged"),
        ("SQLITE_CANTOPEN_ISDIR", "must be readable"),
        ("SQLITE_READONLY_DBMOVED", "must be writable"),
        ("SQLITE_BUSY_SNAPSHOT", "one process writes an SQLite database at a time"),
        ("SQLITE_FULL", "the disk must have room"),
        ("SQLITE_IOERR_READ", "must carry out what it is asked to do"),
    ],
)
def test_what_sqlite_refuses_is_told_by_its_error_name(code: str, rule: str) -> None:
    cause = sqlite3.OperationalError("in words that any version may change")
    cause.sqlite_errorname = code
    with pytest.raises(StorageError, match=rule), errors_at(read_address("sqlite:///study.db")):
        raise sa.exc.OperationalError("SELECT", {}, cause)


def test_folder_of_others_is_named() -> None:
    address = read_address("sqlite:///study.db")
    denied = PermissionError(13, "Permission denied", "/secret/place")
    with (
        pytest.raises(StorageError, match="must be accessible, but got Permission denied"),
        errors_at(address),
    ):
        raise denied


def test_our_own_mistakes_keep_their_stack() -> None:
    for mistake in (ImportError("no module named selection.x"), ValueError("a bug")):
        with pytest.raises(type(mistake)), errors_at(read_address("sqlite:///study.db")):
            raise mistake


def test_path_of_a_file_is_found_in_both_spellings() -> None:
    assert read_address("sqlite:///a/b.db").path == Path("a/b.db")
    assert read_address("sqlite:////a/b.db").path == Path("/a/b.db")
    assert read_address("sqlite:///file:/a/b%20c.db?mode=ro&uri=true").path == Path("/a/b c.db")


def test_errors_travel_between_processes() -> None:
    with pytest.raises(StorageError) as caught:
        read_address("study.db")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
