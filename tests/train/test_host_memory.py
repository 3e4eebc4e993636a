"""Memory that is freed stays with the process, where the C library is glibc."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Takes and frees blocks as large as a layer's, and says how many pages came from the kernel.
CHURN = """
import resource, sys
import torch
if sys.argv[1] == "kept":
    from selection.train.host_memory import keep_memory
    assert keep_memory()
for _ in range(200):
    blocks = [torch.ones(1_500_000) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_blocks_of_a_step_are_not_taken_anew_from_the_kernel() -> None:
    faults = {}
    for name in ("kept", "usual"):
        command = [sys.executable, "-c", CHURN, name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        faults[name] = int(done.stdout)
    assert faults["kept"] < faults["usual"] / 3
