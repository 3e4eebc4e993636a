"""Keeps the memory of a step for the next one, where the C library is glibc.

glibc learns from what a process frees how large a block it keeps. Training frees and takes the same
blocks at every step; until glibc has learned that, it gives them back and gets them anew from the
kernel, filled with zeros, which takes up to two fifths of the time.
Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

# The parameters of mallopt, with the environment variables by which a user sets them.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": (MMAP_THRESHOLD, 2**25),
    "MALLOC_TRIM_THRESHOLD_": (TRIM_THRESHOLD, 2**28),
}


@cache
def keep_memory() -> bool:
    """Let this process keep what it frees, up to 256 MiB; return whether it could be told.

    What the user says of it in the environment stays.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    taken = [mallopt(*value) for name, value in KEPT.items() if name not in os.environ]
    return all(taken)
