"""Memory that is freed stays with the process, where the C library is glibc."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Frees 80 MB and says how many MB the process has lost.
FREE = """
import os, sys
import torch
from selection.train.device import make_workers

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

if sys.argv[1] == "trains":
    make_workers(1)
blocks = [torch.ones(5_000_000) for _ in range(4)]
before = resident()
del blocks
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_a_process_that_trains_frees_is_not_given_back_to_the_kernel() -> None:
    lost = {}
    own = {name: each for name, each in os.environ.items() if not name.startswith("MALLOC_")}
    for name in ("trains", "does not"):
        command = [sys.executable, "-c", FREE, name]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)
        lost[name] = float(done.stdout)
    assert lost["trains"] < 10.0
    assert lost["does not"] > 70.0
