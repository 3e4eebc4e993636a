"""The first settings of a study survive an interrupt: none of them is another than it should be."""

from __future__ import annotations

import subprocess
import sys


def test_an_interrupt_while_scipy_reads_its_numbers_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False
    )
    assert done.stdout == "interrupted\n"
    assert "ignored" not in done.stderr


# SciPy reads them once in a process.
INTERRUPTED = """
import os, signal
import numpy
from selection.search.sobol import sobol_points
from tests.sweep_bench import make_spec

load = numpy.load

def interrupted(*words, **options):
    os.kill(os.getpid(), signal.SIGINT)
    return load(*words, **options)

numpy.load = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
try:
    print(next(sobol_points(make_spec(), 0)))
except KeyboardInterrupt:
    print("interrupted")
"""
