"""A hidden folder to write into before anything is put in place; a kill leaves it behind.

Its owner holds a lock on it, which the kernel takes back however the process ends. Whoever makes
the next one beside it removes those that nobody holds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".selection-work-"
ATTEMPTS = 5


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for the time of the block, unless the block moves it away.

    Raises: OSError.
    """
    _remove_left_behind(parent)
    folder, lock = _make_locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _close(lock)


def _make_locked(parent: Path) -> tuple[Path, int | None]:
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
    for _ in range(ATTEMPTS):
        lock = _try_lock(folder)
        if lock is not None:
            return folder, lock
        if folder.is_dir():
            # Locks are unknown here, and so nobody removes what somebody else made.
            return folder, None
        # Another process took it for one that was left behind, before it was locked.
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
    return folder, None


def _remove_left_behind(parent: Path) -> None:
    if not _has_locks():
        return
    with suppress(OSError):
        for folder in parent.glob(f"{PREFIX}*"):
            if folder.is_symlink() or (lock := _try_lock(folder)) is None:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            _close(lock)


def _has_locks() -> bool:
    """Say whether folders can be locked; Windows has no such locks."""
    return os.name == "posix"


def _try_lock(folder: Path) -> int | None:
    """Return a handle that holds the lock of a folder; None if another process does."""
    if not _has_locks():
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_there = os.path.samestat(os.fstat(handle), os.stat(folder))
    except OSError:
        is_there = False
    if not is_there:
        os.close(handle)
        return None
    return handle


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)
