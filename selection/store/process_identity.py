"""The identity of a process, by which another on the same machine can see that it has ended.

It makes a dead worker known at once, without waiting for its lease to expire.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
SEPARATOR = "/"


def this_process() -> str:
    """Return the identity of this process: its machine since the boot, its pid and its start.

    Empty if the system does not provide these: then only the lease says when the process is dead.
    """
    machine, started = _machine(), _started(os.getpid())
    return SEPARATOR.join([machine, str(os.getpid()), started]) if machine and started else ""


def is_dead(process: str) -> bool:
    """Say whether a process is known to have ended; one on another machine never is."""
    machine, _, process = process.partition(SEPARATOR)
    if not machine or machine != _machine():
        return False
    pid, _, started = process.partition(SEPARATOR)
    try:
        # Works even where the processes of other users are hidden.
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _started(int(pid)) not in (started, None)


def _machine() -> str:
    """Return the boot and the pid namespace, which processes that see each other share."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat(PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return the start of a process in clock ticks since the boot; None if it is not known.

    Empty for a process that has ended and whose parent has not yet waited for it.
    """
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name of the program, in parentheses, may contain spaces.
    fields = text.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return "" if state in "ZX" else started
