"""The settings of every connection to SQLite and PostgreSQL.

They are attached to the engine that Optuna builds, by SQLAlchemy's documented plugin hook, and so
are set again when Optuna rebuilds the engine in another process. Other engines are not changed.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import URL, Connection, CreateEnginePlugin, Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from selection.store.address import sqlite_path
from selection.store.file_identity import FILE, identity_of
from selection.store.lost_logs import LOGS, logs_of
from selection.store.reading_mode import UNCHANGED, reading_uri, stamp

PLUGIN = "selection"
BUSY_MILLISECONDS = 30_000
SERVER_SETTINGS = {
    "timezone": "UTC",
    "lock_timeout": "30s",
    "statement_timeout": "120s",
    "idle_in_transaction_session_timeout": "60s",
}
# Without these, a client waits for hours for a server that has vanished.
CONNECT_SETTINGS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
DURABLE = "selection_durable"
# What a connection notes that reads a file which nobody is to write.
STAMP = "selection_stamp"
# Write-ahead logging needs shared memory, which these file systems do not offer.
NETWORK_FILE_SYSTEMS = re.compile(r"nfs|cifs|smb|9p|afs|ceph|lustre|gpfs|beegfs|vboxsf|fuse\.")


def engine_arguments(*, write: bool) -> dict[str, Any]:
    """Return the arguments of create_engine that apply our settings."""
    return {"plugins": [PLUGIN], "selection_write": write}


class EngineSettings(CreateEnginePlugin):
    """Set up every connection of one engine, and the BEGIN of its transactions."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self._write = bool(kwargs.pop("selection_write"))
        kwargs["hide_parameters"] = True
        if url.get_backend_name() == "postgresql":
            # Without a ping, the first call after a restart of the server would fail.
            kwargs["pool_pre_ping"] = True
            # What is read under the lock of a study must be newer than the lock.
            kwargs["isolation_level"] = "READ COMMITTED"
            kwargs["connect_args"] = {
                name: value for name, value in CONNECT_SETTINGS.items() if name not in url.query
            }

    def update_url(self, url: URL) -> URL:
        return url

    def engine_created(self, engine: Engine) -> None:
        if engine.dialect.name == "sqlite":
            self._path = sqlite_path(engine.url)
            event.listen(engine, "connect", self._on_sqlite_connect)
            event.listen(engine, "begin", self._on_sqlite_begin)
            if not self._write:
                event.listen(engine, "do_connect", self._before_sqlite_connect)
                event.listen(engine, "checkout", self._on_sqlite_checkout)
            self._journal = "DELETE" if is_on_network(self._path) else "WAL"
        else:
            event.listen(engine, "connect", self._on_server_connect)

    def _before_sqlite_connect(
        self, _dialect: object, record: Any, arguments: list[Any], options: dict[str, Any]
    ) -> None:
        if uri := reading_uri(self._path):
            arguments[0] = uri
            options["uri"] = True
            if UNCHANGED in uri:
                record.info[STAMP] = stamp(self._path)

    def _on_sqlite_checkout(
        self, _connection: object, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        """Let a reader open the file again that was replaced, or that somebody writes after all."""
        is_other = record.info.get(FILE) != identity_of(self._path)
        if is_other or (STAMP in record.info and record.info[STAMP] != stamp(self._path)):
            raise DisconnectionError

    def _on_sqlite_connect(self, connection: SqliteConnection, record: ConnectionPoolEntry) -> None:
        record.info[FILE] = identity_of(self._path)
        # The driver must not begin transactions by itself: _on_sqlite_begin does.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        connection.execute("PRAGMA foreign_keys=ON")
        if self._write:
            _set_journal(connection, self._journal)
            record.info[LOGS] = logs_of(connection, self._path)
        else:
            connection.execute("PRAGMA query_only=ON")

    def _on_sqlite_begin(self, connection: Connection) -> None:
        if self._write:
            # Without a write-ahead log, a power cut could damage the file.
            is_relaxed = self._journal == "WAL" and not is_durable(connection)
            level = "NORMAL" if is_relaxed else "FULL"
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
        # A transaction that reads first and writes later can fail because of another writer; one
        # that takes the write lock at once can only have to wait.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self._write else "BEGIN")

    def _on_server_connect(self, connection: Any, _record: object) -> None:
        settings = dict(SERVER_SETTINGS)
        if not self._write:
            settings["default_transaction_read_only"] = "on"
        # Inside a transaction, a rollback would undo the settings.
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.autocommit = False


def is_durable(connection: Connection) -> bool:
    """Say whether the transaction must survive a power cut once it is committed."""
    return bool(connection.get_execution_options().get(DURABLE, True))


plugins.register(PLUGIN, __name__, EngineSettings.__name__)


def build_engine(url: str, *, write: bool) -> Engine:
    """Return a separate engine with our settings, to inspect a database before Optuna opens it."""
    return sa.create_engine(url, **engine_arguments(write=write))


def _set_journal(connection: SqliteConnection, mode: str) -> None:
    """Set the journal mode; SQLite keeps the old one if the new one is not possible."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={mode}")
        except OperationalError as error:
            # SQLite itself does not wait while another process changes the mode.
            is_busy = error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def is_on_network(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Say whether the file is on a network file system; False if mounts cannot be listed."""
    if not mounts.exists():
        return False
    resolved = path.resolve()
    best, kind = Path(), ""
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split(" ")
        root = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), point))
        if resolved.is_relative_to(root) and len(root.parts) >= len(best.parts):
            best, kind = root, name
    return NETWORK_FILE_SYSTEMS.match(kind) is not None
