"""The settings of a connection: asked back from the database itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from selection.store import engine as engine_module
from selection.store.engine import build_engine, is_on_network


def pragmas(engine: Engine) -> dict[str, object]:
    names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "query_only")
    with engine.connect() as connection:
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}


def test_sqlite_writer_is_durable_and_reader_cannot_write(sqlite_url: str) -> None:
    writer, reader = build_engine(sqlite_url, write=True), build_engine(sqlite_url, write=False)
    durable = {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 30_000,
        "foreign_keys": 1,
    }
    assert pragmas(writer) == {**durable, "query_only": 0}
    assert pragmas(reader) == {**durable, "query_only": 1}
    with pytest.raises(OperationalError, match="readonly"), reader.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE x (a INTEGER)")
    writer.dispose()
    reader.dispose()


def test_writer_takes_the_lock_when_it_begins_and_readers_go_on(sqlite_url: str) -> None:
    writer, reader = build_engine(sqlite_url, write=True), build_engine(sqlite_url, write=False)
    with writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE x (a INTEGER)")
    other = sqlite3.connect(sa.make_url(sqlite_url).database or "", timeout=0)
    with writer.begin() as connection:
        # Nothing is written yet, and still nobody else may.
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        connection.exec_driver_sql("INSERT INTO x VALUES (1)")
        with reader.connect() as reading:
            assert reading.exec_driver_sql("SELECT count(*) FROM x").scalar() == 0
    with reader.connect() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM x").scalar() == 1
    other.close()
    writer.dispose()
    reader.dispose()


def test_reader_sees_one_moment(sqlite_url: str) -> None:
    writer, reader = build_engine(sqlite_url, write=True), build_engine(sqlite_url, write=False)
    with writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE x (a INTEGER)")
    with reader.connect() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM x").scalar() == 0
        with writer.begin() as connection:
            connection.exec_driver_sql("INSERT INTO x VALUES (1)")
        assert reading.exec_driver_sql("SELECT count(*) FROM x").scalar() == 0
    writer.dispose()
    reader.dispose()


def test_other_engines_are_left_alone(sqlite_url: str) -> None:
    build_engine(sqlite_url, write=True).dispose()
    plain = sa.create_engine(sqlite_url)
    with plain.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
    plain.dispose()


def test_network_file_system_gets_the_old_journal(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_engine(sqlite_url, write=True).dispose()
    monkeypatch.setattr(engine_module, "is_on_network", lambda path: True)
    engine = build_engine(sqlite_url, write=True)
    assert pragmas(engine)["journal_mode"] == "delete"
    engine.dispose()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/ann/study.db", True),
        ("/home/ann/local/study.db", False),
        ("/home/annette/study.db", False),
        ("/mnt/a share/study.db", True),
        ("/mnt/remote/study.db", True),
        ("/mnt/disk/study.db", False),
        ("/study.db", False),
    ],
)
def test_network_file_systems_are_known(tmp_path: Path, path: str, expected: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        "server:/ann /home/ann nfs4 rw 0 0\n"
        "/dev/vdb /home/ann/local xfs rw 0 0\n"
        "//server/share /mnt/a\\040share cifs rw 0 0\n"
        "sshfs#host /mnt/remote fuse.sshfs rw 0 0\n"
        "/dev/sdc /mnt/disk fuseblk rw 0 0\n"
    )
    assert is_on_network(Path(path), mounts) is expected


def test_without_a_list_of_mounts_nothing_is_on_a_network(tmp_path: Path) -> None:
    assert not is_on_network(Path("/study.db"), tmp_path / "absent")


def test_server_keeps_our_settings_after_a_rollback(postgres_url: str) -> None:
    url = postgres_url
    wanted = {
        "timezone": "UTC",
        "lock_timeout": "30s",
        "statement_timeout": "2min",
        "idle_in_transaction_session_timeout": "1min",
    }
    for write in (True, False):
        engine = build_engine(url, write=write)
        for _ in range(2):
            with engine.connect() as connection:
                shown = {
                    name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in wanted
                }
                only_reads = connection.exec_driver_sql("SHOW transaction_read_only").scalar()
                connection.rollback()
            assert shown == wanted
            assert only_reads == ("off" if write else "on")
        engine.dispose()


def test_first_call_after_the_server_dropped_us_succeeds(
    postgres_url: str,
) -> None:
    url = postgres_url
    engine, other = build_engine(url, write=True), build_engine(url, write=True)
    with engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    with other.connect() as connection:
        # It returns when the other has ended.
        assert connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 60000)").scalar()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() != pid
    engine.dispose()
    other.dispose()
