"""How long does a user wait for the command line? Writes Markdown. Run: make bench"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import where_it_ran
from benchmarks.ratios import verdict

STUDY = """
name = "startup"
recipe = "book"
[data]
dataset = "iris"
[cv]
folds = 3
[training]
epochs = 2
[space]
width = { low = 2, high = 8 }
[search]
trials = 4
cohort = 4
"""
GOALS = {"--help": 0.5, "status": 1.5, "status startup": 1.5, "best startup": None}
SELECTION = [sys.executable, "-m", "selection"]


def seconds(words: Sequence[str], folder: Path, rounds: int) -> float:
    """Return the median time that one command takes."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run([*SELECTION, *words], cwd=folder, check=True, capture_output=True)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    """Print one line for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    rounds = 1 if parser.parse_args().quick else 7
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "s.toml").write_text(STUDY)
        run = [*SELECTION, "run", "s.toml"]
        subprocess.run(run, cwd=folder, check=True, capture_output=True)
        print(f"""
## Start-up

`make bench`: seconds from the start of a command to its end, with a study of four trials in the
database; medians of {rounds} rounds.

{where_it_ran("torch")}

| command | seconds | goal |
| --- | ---: | --- |""")
        for command, goal in GOALS.items():
            taken = seconds(command.split(), folder, rounds)
            words = f"{goal}: {verdict(1 / taken, 1 / goal)}" if goal else ""
            print(f"| `selection {command}` | {taken:.2f} | {words} |", flush=True)


if __name__ == "__main__":
    main()
