"""A folder that can be read and not written, as on a read-only mount or in somebody else's home."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(folder: Path, *, by_mount: bool = False) -> Iterator[Path]:
    """Yield a path by which the folder can be read only.

    Permissions do not bind root, who can mount it instead: then it can still be written by its
    own path, as by somebody else. Elsewhere its permissions are taken away; by_mount skips the
    test there.
    """
    if os.geteuid() == 0:
        with _mounted(folder) as point:
            yield point
        return
    if by_mount:
        pytest.skip("only root can mount a folder")
    before = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        yield folder
    finally:
        folder.chmod(before)


@contextmanager
def _mounted(folder: Path) -> Iterator[Path]:
    point = folder.with_name(f"{folder.name}-read-only")
    point.mkdir()
    try:
        if not _runs("mount", "--bind", str(folder), str(point)):
            pytest.skip("this system lets nobody mount a folder")
        try:
            if not _runs("mount", "-o", "remount,ro,bind", str(point)):
                pytest.skip("this system mounts nothing read-only")
            yield point
        finally:
            assert _runs("umount", "--lazy", str(point))
    finally:
        point.rmdir()


def _runs(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
