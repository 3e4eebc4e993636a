"""Big tables: how long reading takes, how much memory it needs, what a trial takes in the database.

Each table is made, and read in a process of its own. Writes Markdown. Run: make bench
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from benchmarks.peak_memory import kibibytes

COLUMNS = 50
SIZES = (200_000, 1_000_000)
QUICK_SIZES = (2_000, 10_000)
FORMATS = ("csv", "parquet")
MEBI = 2**20
CHUNK = 50_000


@dataclass(frozen=True)
class Reading:
    """Hold what reading one table took; peak is above the memory of the process before it."""

    seconds: float
    peak: int
    matrix: int


def main() -> None:
    """Print a line for each table, or read one where --read names it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="read small tables")
    parser.add_argument("--read", type=Path, help="read this table and print what it took")
    parser.add_argument("--pandas", action="store_true", help="read it as a data frame")
    words = parser.parse_args()
    if words.read is not None:
        print(json.dumps(vars((read_with_pandas if words.pandas else read)(words.read))))
        return
    sizes = QUICK_SIZES if words.quick else SIZES
    print(f"""
## Big tables

`make bench`: {COLUMNS} features of random numbers, as pandas writes them, and two classes. Each
table is read in a process of its own; pandas reads the same file in another. Memory is the peak
above that of the process before, in units of the features as one float32 matrix. The last column is
what a trial of two folds keeps in the database: its outputs, curves and predictions at rungs.

| rows | format | size of the file | read in | pandas | memory | pandas | bytes per trial and row |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |""")
    with TemporaryDirectory() as folder:
        for rows in sizes:
            for form in FORMATS:
                path = Path(folder, f"t.{form}")
                make_table(path, rows)
                print(_line(rows, path, stored=rows == sizes[0]))
                path.unlink()


def make_table(path: Path, rows: int) -> None:
    """Write a table of random numbers and two classes."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(rows, COLUMNS)).astype(np.float32)
    frame = pd.DataFrame(values, columns=[f"x{index}" for index in range(COLUMNS)])
    frame["y"] = np.where(values[:, 0] > 0, "yes", "no")
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)


def read(path: Path) -> Reading:
    """Read a table as a study does."""
    from selection.data.dataset import load_development
    from selection.study.spec import parse_study

    with TemporaryDirectory() as folder:  # what libraries need of memory is not the table's
        small = Path(folder, f"small{path.suffix}")
        make_table(small, 100)
        load_development(parse_study(content_of(small), "small"), Path())
    spec = parse_study(content_of(path), "scale")
    before = kibibytes("VmRSS")
    start = time.perf_counter()
    dataset = load_development(spec, Path())
    seconds = time.perf_counter() - start
    rows = len(dataset) + dataset.held_out_rows
    return Reading(seconds, 1024 * (kibibytes("VmHWM") - before), rows * COLUMNS * 4)


def content_of(path: Path) -> dict[str, Any]:
    """Return a study of a table."""
    return {
        "name": "scale",
        "recipe": "book",
        "data": {"path": str(path), "target": "y"},
        "cv": {"folds": 2},
        "training": {"epochs": 1, "batch_size": 4096},
        "space": {"width": {"choices": [4, 8]}},
        "search": {"trials": 2, "cohort": 2, "pruner": "none"},
        "assessment": {"baselines": [], "bootstraps": 100},
    }


def read_with_pandas(path: Path) -> Reading:
    """Read a table as a data frame."""
    reader = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    with TemporaryDirectory() as folder:
        small = Path(folder, f"small{path.suffix}")
        make_table(small, 100)
        reader(small)
    before = kibibytes("VmRSS")
    start = time.perf_counter()
    frame = reader(path)
    seconds = time.perf_counter() - start
    return Reading(seconds, 1024 * (kibibytes("VmHWM") - before), len(frame) * COLUMNS * 4)


def _line(rows: int, path: Path, *, stored: bool) -> str:
    ours, pandas = run_reading(path), run_reading(path, "--pandas")
    cells = [
        f"{rows:,}",
        path.suffix[1:],
        f"{path.stat().st_size / MEBI:,.0f} MiB",
        f"{ours.seconds:.1f} s",
        f"{ours.seconds / pandas.seconds:.1f}x",
        f"{ours.peak / ours.matrix:.1f}",
        f"{pandas.peak / pandas.matrix:.1f}",
        f"{bytes_per_row(path, rows):.2f}" if stored else "",
    ]
    return f"| {' | '.join(cells)} |"


def bytes_per_row(path: Path, rows: int) -> float:
    """Return what a trial keeps in the database, divided by the rows of the table."""
    from selection.api.run import run
    from selection.store.tables import fold_table, trial_table

    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/s.db"
        run(content_of(path), storage=url, progress=False)
        engine = sa.create_engine(url)
        kept = (fold_table.c.outputs, fold_table.c.curve, fold_table.c.rungs)
        size = sa.func.sum(sum(sa.func.coalesce(sa.func.length(each), 0) for each in kept))
        with engine.connect() as connection:
            total = connection.scalar(sa.select(size)) or 0
            trials = connection.scalar(sa.select(sa.func.count()).select_from(trial_table)) or 1
        engine.dispose()
    return float(total) / trials / rows


def run_reading(path: Path, *words: str) -> Reading:
    """Read a table in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--read", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Reading(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
