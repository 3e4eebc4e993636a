"""Prints by how many MiB training one case grows the memory of a fresh process.

Run: python -m benchmarks.peak_memory ours|a NUMBER [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cases import cases, part_of
from benchmarks.ours import Ours
from benchmarks.peers import optuna_with_loader


def main() -> None:
    """Load the case, then train it once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["ours", "a"])
    parser.add_argument("number", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    case = cases(is_quick=options.quick)[options.number]
    ours = Ours(case)
    before = kibibytes("VmRSS")
    if options.side == "ours":
        ours.engine()
    else:
        optuna_with_loader(part_of(ours.work, case.peer_trials, case.peer_epochs))
    print((kibibytes("VmHWM") - before) / 1024)


def kibibytes(name: str) -> int:
    """Return what the kernel says of this process; getrusage would count its parent's peak too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main()
