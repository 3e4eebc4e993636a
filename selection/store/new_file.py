"""Makes a new SQLite file beside its place and moves it there whole.

Optuna makes its tables in several transactions. A process that is killed between two of them would
leave a file that looks like a database and lacks an index.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What SQLite keeps beside a file.
COMPANIONS = ("-wal", "-shm", "-journal")


def is_unused(path: Path) -> bool:
    """Say whether there is no database in a file yet; connecting makes an empty one."""
    return not path.exists() or path.stat().st_size == 0


@contextmanager
def moved_into_place(path: Path) -> Iterator[Path]:
    """Yield the path to make a database at, which takes the place of an unused file at the end.

    The caller holds the lock of `exclusive`: what an earlier process left at that path is removed.
    If the block fails, nothing is left.
    """
    place = path.resolve()
    new = Path(f"{place}.new")
    _remove(new, *(Path(f"{new}{name}") for name in COMPANIONS))
    try:
        yield new
        for name in COMPANIONS:
            assert not Path(f"{new}{name}").exists(), "a closed database is one file"
        if place.exists():
            shutil.copymode(place, new)
        # They would be of a database that is gone, and SQLite would believe them.
        _remove(*(Path(f"{place}{name}") for name in COMPANIONS))
        os.replace(new, place)
    except BaseException:
        _remove(new, *(Path(f"{new}{name}") for name in COMPANIONS))
        if is_unused(place):
            _remove(place)
        raise
    _sync(place.parent)


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _sync(folder: Path) -> None:
    """Let a power cut not undo the move; Windows cannot open a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
