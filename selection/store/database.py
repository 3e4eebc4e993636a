"""Opens a database: creates it, checks it, or says in one line why it cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.engine import URL, Connection, Engine

from selection.errors import ErrorDetail, MovedFileError, show
from selection.store import ledger_chain, seals
from selection.store.address import Address, errors_at, read_address, require_file
from selection.store.engine import DURABLE, build_engine
from selection.store.file_identity import (
    FileIdentity,
    identity_of,
    save_file,
)
from selection.store.lost_logs import put_logs_away
from selection.store.migrations import (
    Revisions,
    exclusive,
    optuna_head,
    our_history,
    read_revisions,
    upgrade_to_head,
)
from selection.store.new_file import is_unused, moved_into_place
from selection.store.optuna_storage import KNOWN_REVISION, BatchedStorage, make_optuna_tables
from selection.store.reading_mode import is_cut_off
from selection.store.schema_parts import MissingPart, add_missing, missing_parts
from selection.store.tables import VERSION_TABLE
from selection.study.commands import command_text


@dataclass(frozen=True, eq=False)
class Database:
    """Hold an open database: its address, and the storage whose engine all parts share."""

    address: Address
    storage: BatchedStorage
    # Of an SQLite database that is written.
    file: FileIdentity | None = None

    @property
    def engine(self) -> Engine:
        return self.storage.engine

    @property
    def url(self) -> str:
        """The URL without its password, safe to print."""
        return str(self.address)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that reads one snapshot of the database.

        Raises: StorageError.
        """
        self.check_file()
        with errors_at(self.address), self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self, *, is_durable: bool = True) -> Iterator[Connection]:
        """Begin a transaction that writes.

        One that is not durable does not wait for the disk: a power cut may undo it and all that
        came after, but never a part of it.

        Raises: StorageError; MovedFileError, which may come after the transaction.
        """
        self.check_file()
        with errors_at(self.address), self.engine.connect() as connection:
            connection.execution_options(**{DURABLE: is_durable})
            with connection.begin():
                if not is_durable and self.engine.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
        self.check_file()

    def check_file(self) -> None:
        """Refuse to go on with an SQLite database whose file has lost its name.

        A reader goes on with the file that has the name now.

        Raises: MovedFileError; StorageError if there is none to read.
        """
        if self.file is None:
            require_file(self.address, create=False)
            return
        if (now := identity_of(self.address.path)) == self.file:
            return
        rule = "its file must stay where it is while it is written"
        got = "no file of that name any more" if now is None else "another file in its place"
        hint = "Put it back and run the same command again."
        raise MovedFileError(ErrorDetail(self.url, rule, got, hint))

    def save_file(self) -> Path | None:
        """Write a database whose file has lost its name into a new one; None if that fails."""
        path = self.address.path
        if path is None or self.file is None:
            return None
        return save_file(self.engine, path, self.file)

    def close(self) -> None:
        """Close all connections; a file that has lost its name leaves no log beside it."""
        self.storage.remove_session()
        if self.file is not None:
            put_logs_away(self.engine, self.file)
        self.engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class DatabaseCheck:
    """Hold what `selection db check` prints."""

    url: str
    revision: str | None
    head: str
    optuna_revision: str | None
    optuna_head: str | None
    missing: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        is_newest = self.revision == self.head and self.optuna_revision == self.optuna_head
        return is_newest and not self.missing


def open_database(url: str, *, create: bool, write: bool) -> Database:
    """Open a database; with create, create missing tables, but never upgrade old ones.

    Raises: StorageError.
    """
    address = read_address(url)
    require_file(address, create=create)
    with errors_at(address):
        _refuse_cut_off(address)
        if write:
            _refuse_read_only_folder(address)
        with _probe(address, write=False) as engine:
            revisions = read_revisions(engine)
            is_partial = revisions.ours is None or revisions.optuna is None
            if create and (is_partial or _lacks_parts(engine, revisions)):
                _build(address, engine)
                revisions = read_revisions(engine)
        _refuse_unusable(address, revisions)
        storage = BatchedStorage(address.secret_url, write=write)
        storage.is_batched = revisions.optuna == KNOWN_REVISION
        database = Database(address, storage, identity_of(address.path) if write else None)
        try:
            if write:
                _refuse_read_only(database.engine)
        except BaseException:
            database.close()
            raise
        return database


def upgrade_database(url: str) -> None:
    """Upgrade an existing database to our newest revision.

    Raises: StorageError.
    """
    address = read_address(url)
    require_file(address, create=False)
    with errors_at(address), _probe(address, write=False) as engine:
        _build(address, engine)


def check_database(url: str) -> DatabaseCheck:
    """Return the revisions of an existing database; an SQLite file is checked for damage.

    Raises: StorageError.
    """
    address = read_address(url)
    require_file(address, create=False)
    with errors_at(address), _probe(address, write=False) as engine:
        _refuse_cut_off(address)
        if address.path is not None:
            _refuse_damage(address, engine)
        revisions = read_revisions(engine)
        missing = _missing(engine, revisions)
    head, names = our_history()[0], tuple(str(each) for each in missing)
    return DatabaseCheck(str(address), revisions.ours, head, revisions.optuna, optuna_head(), names)


def _missing(engine: Engine, revisions: Revisions) -> list[MissingPart]:
    """Return what is missing in a database of our revision and Optuna's."""
    if (revisions.ours, revisions.optuna) != (our_history()[0], optuna_head()):
        return []
    with engine.connect() as connection:
        return missing_parts(connection)


def _lacks_parts(engine: Engine, revisions: Revisions) -> bool:
    return any(not each.twice for each in _missing(engine, revisions))


@contextmanager
def writer_lock(url: str) -> Iterator[None]:
    """Be the only process that writes to an SQLite database; a server needs no such lock.

    The kernel gives the lock back however the process ends. Its file stays: removing it would let
    two processes lock two different files.

    Raises: StorageError.
    """
    address = read_address(url)
    require_file(address, create=True)
    if address.path is None:
        yield
        return
    # By whatever name the file is known, it has one lock.
    path = Path(f"{address.path.resolve()}.lock")
    lock = FileLock(path, timeout=0, thread_local=False, preserve_lock_file=True, on_acquired=_sign)
    try:
        lock.acquire()
    except Timeout:
        got = f"process {_holder(path)} writing to it"
        rule = "one process writes an SQLite database at a time"
        hint = "Wait for it, or use PostgreSQL for several workers."
        raise address.error(rule, got, hint) from None
    except OSError as error:
        rule = "the folder of the database must be writable"
        hint = "Name a database in a folder of yours."
        raise address.error(rule, error.strerror or "no access", hint) from None
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    """Write into the file of a lock which process holds it; Windows hides the first byte."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, f" {os.getpid()}".encode())


def _holder(path: Path) -> str:
    """Return the process that holds a lock, as its file says."""
    for start in (0, 1):
        with suppress(OSError), path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(32).decode(errors="replace").strip() or "unknown"
    return "unknown"


@contextmanager
def _probe(address: Address, *, write: bool) -> Iterator[Engine]:
    engine = build_engine(address.secret_url, write=write)
    try:
        yield engine
    finally:
        engine.dispose()


def _build(address: Address, engine: Engine) -> None:
    """Create Optuna's tables if they are missing, then upgrade ours to the newest revision."""
    with exclusive(engine):
        if address.path is not None:
            # A connection from before the lock may be to a file that another process has replaced.
            engine.dispose()
        if address.path is None or not is_unused(address.path):
            _make_tables(address, read_revisions(engine))
            return
        with moved_into_place(address.path) as path:
            _make_tables(Address(URL.create("sqlite", database=str(path))), Revisions())


def _make_tables(address: Address, revisions: Revisions) -> None:
    if revisions.optuna is not None:
        _refuse_other_optuna(address, revisions.optuna)
    if revisions.ours is not None:
        _refuse_newer(address, revisions.ours)
    make_optuna_tables(address.secret_url)
    with _probe(address, write=True) as writer:
        upgrade_to_head(writer)
        with writer.begin() as connection:
            add_missing(connection)
    if revisions.ours not in (None, our_history()[0]):
        _seal_earlier(address)


def _seal_earlier(address: Address) -> None:
    """Hash what earlier versions wrote without a hash."""
    storage = BatchedStorage(address.secret_url, write=True)
    storage.is_batched = optuna_head() == KNOWN_REVISION
    with Database(address, storage) as database, database.writing() as connection:
        seals.seal_earlier(connection, storage)
        ledger_chain.seal_earlier(connection)


def _refuse_unusable(address: Address, revisions: Revisions) -> None:
    if revisions.ours is None or revisions.optuna is None:
        raise address.error(
            "the database must have selection's tables",
            "only Optuna's tables" if revisions.optuna else "an empty database",
            "Run a study first: selection run FILE.",
        )
    _refuse_other_optuna(address, revisions.optuna)
    _refuse_newer(address, revisions.ours)
    head = our_history()[0]
    if revisions.ours != head:
        rule = f"its tables must be of revision {head}"
        upgrade = command_text("db", "upgrade", "--storage", str(address))
        raise address.error(rule, revisions.ours, f"Run {upgrade}")


def _refuse_newer(address: Address, revision: str) -> None:
    if revision not in our_history():
        rule = f"its tables must be of a revision up to {our_history()[0]}"
        raise address.error(rule, revision, "It was made by a newer version: update selection.")


def _refuse_other_optuna(address: Address, revision: str) -> None:
    if revision != optuna_head():
        rule = f"Optuna's tables must be of revision {optuna_head()}"
        hint = (
            "Run optuna storage upgrade --storage URL, or install the version of Optuna that made "
            "them."
        )
        raise address.error(rule, revision, hint)


def _refuse_cut_off(address: Address) -> None:
    """Refuse a file whose last changes SQLite could only read by writing beside it."""
    if address.path is not None and is_cut_off(address.path):
        rule = "a database in a folder that cannot be written must be whole in one file"
        got = f"its last changes in {show(address.path.name + '-wal')}"
        raise address.error(rule, got, "Copy both files to a folder of yours, and name the copy.")


def _refuse_read_only_folder(address: Address) -> None:
    """Refuse to write where SQLite cannot make its own files beside the database."""
    path = address.path
    if path is not None and not os.access(path.resolve().parent, os.W_OK):
        rule = "the folder of the database must be writable"
        hint = "Copy the study to a database of yours: selection copy NAME --to sqlite:///FILE.db."
        raise address.error(rule, show(str(path.resolve().parent)), hint)


def _refuse_read_only(engine: Engine) -> None:
    """Try a write that changes nothing, so that nobody trains for hours in vain."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {VERSION_TABLE} WHERE 1 = 0")


def _refuse_damage(address: Address, engine: Engine) -> None:
    with engine.connect() as connection:
        found = str(connection.execute(sa.text("PRAGMA quick_check(1)")).scalar())
    if found != "ok":
        raise address.error(
            "the database must be undamaged", found, "Restore the file from a backup."
        )
