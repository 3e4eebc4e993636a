"""The folder of a study of arrays that nobody asked to keep."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path


class TemporaryFolder:
    """A new folder that is removed with this object, by the process that made it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="selection-"))
        weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    # A forked child has a copy of the object, and must leave the folder to its parent.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
