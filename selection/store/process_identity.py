"""Tells this process from every other, and whether another on this machine has ended.

A lease says when a worker is taken for dead; on the same machine one need not wait for that.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
SEPARATOR = "/"


def this_process() -> str:
    """Return what names this process for good: its machine since it booted, its number, its start.

    Empty where the system does not tell: such a process is taken for dead by its lease alone.
    """
    machine, started = _machine(), _started(os.getpid())
    return SEPARATOR.join([machine, str(os.getpid()), started]) if machine and started else ""


def is_dead(process: str) -> bool:
    """Say whether a process is known to have ended; one of another machine never is."""
    machine, _, process = process.partition(SEPARATOR)
    if not machine or machine != _machine():
        return False
    pid, _, started = process.partition(SEPARATOR)
    try:
        # Where the processes of other users are hidden, this still says that there is one.
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _started(int(pid)) not in (started, None)


def _machine() -> str:
    """Return what processes that see each other share: boot and namespace of process numbers."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat(PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return the start of a process in clock ticks since the boot; None where it is not told.

    One that has ended, and is not yet buried by its parent, has no start.
    """
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name of the program, in parentheses, may hold spaces.
    fields = text.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return "" if state in "ZX" else started
