"""Which file an SQLite database is, whatever happens to its name while it is open.

A database that is deleted or moved stays open under no name: what is then written is lost with the
process. So its file is compared with the one of its name at each event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

# What a connection of a pool notes of itself: the file that it is to.
FILE = "selection_file"


@dataclass(frozen=True)
class FileIdentity:
    """Name a file for as long as it exists: by its file system and its number there."""

    device: int
    inode: int


def identity_of(path: Path | None) -> FileIdentity | None:
    """Return the identity of the file of this name; None if there is none."""
    if path is None:
        return None
    with suppress(OSError):
        found = path.stat()
        return FileIdentity(found.st_dev, found.st_ino)
    return None


@contextmanager
def connection_to(engine: Engine, file: FileIdentity) -> Iterator[Any]:
    """Yield a waiting connection to a file, or None: a new one would be to another, or make one.

    It is not in a transaction, as one of Engine.connect would be.
    """
    waiting = getattr(engine.pool, "checkedin", lambda: 0)()
    with ExitStack() as stack:
        found = None
        with suppress(SQLAlchemyError):
            for _ in range(waiting):
                raw = engine.raw_connection()
                stack.callback(raw.close)
                if raw.info.get(FILE) == file:
                    found = raw
                    break
        yield found


def save_file(engine: Engine, path: Path, file: FileIdentity) -> Path | None:
    """Write a database that has lost its name into a new file beside it, and return that file.

    None if no connection to it is left, or the new file cannot be written.
    """
    with connection_to(engine, file) as raw:
        return None if raw is None else _vacuum(raw, free_name(path, "saved"))


def free_name(path: Path, kind: str) -> Path:
    """Return the first name beside a file that no file has: FILE.kind, FILE.kind-2 and so on."""
    names = (path.with_name(f"{path.name}.{kind}{f'-{n}' if n > 1 else ''}") for n in count(1))
    return next(name for name in names if not name.exists())


def _vacuum(connection: Any, target: Path) -> Path | None:
    cursor = connection.cursor()
    try:
        cursor.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error:
        with suppress(OSError):
            target.unlink()
        return None
    finally:
        cursor.close()
    return target
