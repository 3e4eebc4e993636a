"""How an SQLite file is read where this process cannot write beside it.

SQLite reads a file with a write-ahead log through a second file beside it, which every reader may
have to make. Where it cannot, as on a read-only mount or in somebody else's folder, it must be told
that nobody writes.
Source: https://sqlite.org/wal.html, section 4, "Read-only databases".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# The bytes of a database's header that say whether it has a write-ahead log.
LOG_BYTES, WITH_LOG = slice(18, 20), b"\x02\x02"
UNCHANGED = "immutable=1"


@dataclass(frozen=True)
class Stamp:
    """Tell two contents of a file apart."""

    size: int
    changed_ns: int
    has_log: bool


def reading_uri(path: Path) -> str | None:
    """Return the URI by which to read a file; None where SQLite needs no help."""
    path = path.resolve()
    if not path.is_file() or os.access(path.parent, os.W_OK):
        return None
    # Without a log, nobody has it open for writing.
    mode = "mode=ro" if _has_log(path) or not _is_logged(path) else f"mode=ro&{UNCHANGED}"
    return f"{path.as_uri()}?{mode}"


def is_cut_off(path: Path) -> bool:
    """Say whether a log holds a part of a file, and SQLite cannot make the index to read it."""
    path = path.resolve()
    log, index = _beside(path)
    is_needed = log.exists() and log.stat().st_size > 0 and not index.exists()
    return is_needed and not os.access(path.parent, os.W_OK)


def stamp(path: Path) -> Stamp | None:
    """Return what changes when somebody writes a file after all; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, _has_log(path))


def _has_log(path: Path) -> bool:
    """Say whether a database has a log with content, or a reader or writer that has it open."""
    log, index = _beside(path.resolve())
    return index.exists() or (log.exists() and log.stat().st_size > 0)


def _beside(path: Path) -> tuple[Path, Path]:
    """Return the names of the log of a file and of the log's index."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _is_logged(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(LOG_BYTES.stop)[LOG_BYTES] == WITH_LOG
    except OSError:
        return False
