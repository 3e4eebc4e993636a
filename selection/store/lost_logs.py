"""Puts away the logs that an SQLite database leaves beside its name when it has lost the name.

SQLite finds the write-ahead log of a file by the file's name, and does not ask whose it is: the log
of a lost file would be played onto the next file of that name, and damage it. SQLite itself leaves
the log there when a file was deleted or moved while it was open.
Source: https://sqlite.org/howtocorrupt.html, section 2.4, on files renamed while in use.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from selection.store.file_identity import FileIdentity, connection_to, free_name, identity_of

# What a connection of a pool notes of itself: the logs that it writes.
LOGS = "selection_logs"


@dataclass(frozen=True)
class Logs:
    """Hold the name that SQLite knows a database by, and which files its log and its index are."""

    path: Path
    log: FileIdentity | None
    index: FileIdentity | None

    @property
    def log_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    @property
    def index_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}-shm")


def logs_of(connection: sqlite3.Connection, path: Path) -> Logs:
    """Return the logs of a connection that was just made."""
    # The log is made by the first that reads or writes.
    connection.execute("PRAGMA schema_version").fetchall()
    found = Logs(path.resolve(), None, None)
    return Logs(found.path, identity_of(found.log_path), identity_of(found.index_path))


def put_logs_away(engine: Engine, file: FileIdentity) -> None:
    """Leave no log of a file that has lost its name beside that name; its content goes to the file.

    Files of the same names that another database has made are not touched. A log that the file
    cannot take is kept as FILE-wal.lost. To be called last, before the connections are closed.
    """
    with connection_to(engine, file) as raw:
        logs = None if raw is None else raw.info.get(LOGS)
        if logs is None or identity_of(logs.path) == file:
            return
        # The logs are open, so no other file can have their numbers.
        with suppress(OSError):
            if logs.log is not None and identity_of(logs.log_path) == logs.log:
                _put_away(raw, logs.log_path)
        with suppress(OSError):
            if logs.index is not None and identity_of(logs.index_path) == logs.index:
                logs.index_path.unlink()


def _put_away(connection: Any, log: Path) -> None:
    if _is_written_back(connection):
        log.unlink()
    else:
        log.rename(free_name(log, "lost"))


def _is_written_back(connection: Any) -> bool:
    """Write the log into its file, without waiting for readers; say whether that was all of it."""
    cursor = connection.cursor()
    try:
        busy, frames, written = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error:
        return False
    finally:
        cursor.close()
    return not busy and frames == written
