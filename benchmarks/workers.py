"""How much faster are two workers than one? The same study of digits, on a real PostgreSQL.

One worker with one thread against two workers with one thread each, by turns: the same trials,
folds and epochs, no pruning. The clock runs from the start of the first trial to the end of the
last, so that proposing, storing and waiting count, and starting Python does not. Writes Markdown.
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
from tests.postgres_server import throw_away_server

STUDY = """
name = "{name}"
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
[search]
metric = "accuracy"
trials = {trials}
cohort = 8
pruner = "none"
"""
GOAL = 1.6


def rates(rounds: int, trials: int) -> Iterator[tuple[float, float]]:
    """Yield the member-epochs per second of one worker and of two, round by round."""
    with throw_away_server() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            url = server.new_database()
            yield tuple(  # type: ignore[misc]
                _rate(Path(folder), url, f"digits-{number}-{workers}", workers, trials)
                for workers in (1, 2)
            )


def _rate(folder: Path, url: str, name: str, workers: int, trials: int) -> float:
    file = folder / f"{name}.toml"
    file.write_text(STUDY.format(name=name, trials=trials))
    command = [sys.executable, "-m", "selection", "run", str(file), f"--workers={workers}"]
    environment = {"SELECTION_STORAGE": url, "OMP_NUM_THREADS": str(workers)}
    subprocess.run(
        command, check=True, env={**os.environ, **environment}, cwd=folder, capture_output=True
    )
    with open_repository(url) as repository:
        study = repository.study(name)
        found = repository.records.trials(study, with_curves=False)
        assert len(found) == trials, "both do the same work"
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
    rounds, trials = (1, 48) if is_quick else (5, 96)
    measured = list(rates(rounds, trials))
    ratios = [two / one for one, two in measured]
    print(f"""
## Two workers

`make bench`: member-epochs per second of one worker with one thread and of two workers with one
thread each, by turns; medians of {rounds} rounds. Digits, 64-64-64-10 with dropout, batch 64,
20 epochs, 5 folds, {trials} trials in cohorts of 8, no pruning, PostgreSQL on the same cores.

On {processor()}, {os.cpu_count()} cores; Python {platform.python_version()},
torch {version("torch")}; load average {os.getloadavg()[1]:.1f} over the last five minutes.

| workers | member-epochs per second |
| ---: | ---: |
| 1 | {statistics.median(one for one, _ in measured):.0f} |
| 2 | {statistics.median(two for _, two in measured):.0f} |

Ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); goal {GOAL}.""")


if __name__ == "__main__":
    main()
