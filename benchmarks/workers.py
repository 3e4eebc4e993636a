"""How much faster are two workers than one, and what does Ray cost? The same study of digits.

One process with one thread, two local workers, and one and two workers on Ray, with one thread
each, one after the other: the same folds and epochs, no pruning. The clock runs from the start of
the first trial to the end of the last, so that proposing, sending, storing and waiting count, and
starting Python or Ray does not. Writes Markdown.
Run: make bench
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from benchmarks.machine import processor
from selection.store.optuna_rows import trials as trials_table
from selection.store.repository import open_repository

STUDY = """
name = "{name}"
recipe = "book"
[data]
dataset = "digits"
prepare = "scale"
[cv]
folds = 5
[model]
hidden_layers = 2
[training]
optimizer = "sgd"
batch_size = 64
epochs = 20
[space]
width = 64
dropout = {{ low = 0.0, high = 0.5 }}
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
[assessment]
baselines = ["majority"]
[search]
metric = "accuracy"
trials = {trials}
cohort = 8
pruner = "none"
"""
RAY = ("--on=ray", "--address=local")
# The options of each, and the threads of the whole: local workers share them.
KINDS = {
    "this process": ((), 1),
    "2 local workers": (("--workers=2",), 2),
    "1 worker on Ray": ((*RAY, "--workers=1"), 1),
    "2 workers on Ray": ((*RAY, "--workers=2"), 1),
}
# What, compared with what, and the least that we want.
RATIOS = (
    ("2 local workers", "this process", 1.6),
    ("1 worker on Ray", "this process", 0.95),
    ("2 workers on Ray", "1 worker on Ray", 1.6),
)


def rates(rounds: int, trials: int) -> Iterator[dict[str, float]]:
    """Yield the member-epochs per second of each kind, round by round."""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            yield {kind: _rate(Path(folder), kind, trials) for kind in KINDS}


def _rate(folder: Path, kind: str, trials: int) -> float:
    options, threads = KINDS[kind]
    name = kind.replace(" ", "-")
    (folder / f"{name}.toml").write_text(STUDY.format(name=name, trials=trials))
    url = f"sqlite:///{folder}/{name}.db"
    command = [sys.executable, "-m", "selection", "run", f"{name}.toml", *options]
    environment = {**os.environ, "SELECTION_STORAGE": url, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, cwd=folder, capture_output=True)
    with open_repository(url) as repository:
        study = repository.study(name)
        found = repository.records.trials(study, with_curves=False)
        assert len(found) == trials, "all do the same work"
        with repository.database.reading() as connection:
            columns = trials_table.c
            span = sa.select(
                sa.func.min(columns.datetime_start), sa.func.max(columns.datetime_complete)
            ).where(columns.study_id == study.optuna_study_id)
            start, end = connection.execute(span).one()
    member_epochs = sum(trial.epochs * len(trial.fold_scores) for trial in found)
    return float(member_epochs / (end - start).total_seconds())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and trials")
    is_quick = parser.parse_args().quick
    rounds, trials = (1, 48) if is_quick else (5, 192)
    measured = list(rates(rounds, trials))
    print(f"""
## Workers

`make bench`: member-epochs per second of one process with one thread, and of workers with one
thread each, one after the other; medians of {rounds} rounds. Digits, 64-64-64-10 with dropout,
batch 64, 20 epochs, 5 folds, {trials} trials in cohorts of 8, no pruning, SQLite, all on the same
cores. The time to start Python, workers and Ray is left out.

On {processor()}, {os.cpu_count()} cores; Python {platform.python_version()},
torch {version("torch")}, Ray {version("ray")}; load average {os.getloadavg()[1]:.1f} over the last
five minutes.

| trained by | member-epochs per second |
| :--- | ---: |""")
    for kind in KINDS:
        print(f"| {kind} | {statistics.median(each[kind] for each in measured):.0f} |")
    print("\n| compared | ratio | goal |\n| :--- | ---: | ---: |")
    for kind, other, goal in RATIOS:
        ratios = [each[kind] / each[other] for each in measured]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {kind} / {other} | {statistics.median(ratios):.2f} {spread} | {goal} |")


if __name__ == "__main__":
    main()
