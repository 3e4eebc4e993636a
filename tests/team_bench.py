"""What tests of several workers share: a study that trains for seconds, and a look from outside.

The look from outside asks the database by plain SQL and the system for its processes, so that it
depends on nothing that it tests.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import sqlalchemy as sa

from tests.command_line import start

TRIALS, COHORT = 8, 2
# Cohorts that train for seconds, under leases that outlast a slow start.
STUDY = f"""
name = "team"
recipe = "book"
[data]
dataset = "digits"
prepare = "scale"
held_out = 0.2
[cv]
folds = 3
[training]
epochs = 120
batch_size = 8
[space]
width = {{ low = 8, high = 64, log = true }}
learning_rate = {{ low = 0.05, high = 1.0, log = true }}
[assessment]
baselines = ["majority", "linear"]
[search]
trials = {TRIALS}
cohort = {COHORT}
pruner = "none"
"""
LEASE = "--lease=120"
RUN = ("run", "team.toml", LEASE)
TEAM = (*RUN, "--workers=2")
# Only what hangs takes so long.
MOST_SECONDS = 120.0

Value = TypeVar("Value")


def wait_for(evaluation: Callable[[], Value], seconds: float = MOST_SECONDS) -> Value:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen := evaluation():
            return seen
        time.sleep(0.05)
    raise TimeoutError(f"nothing to see after {seconds:g} seconds")


class Watch:
    """Look at a study and its workers from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def rows(self, query: str) -> list[Any]:
        """Return what a query finds; nothing where there is no database or no table yet."""
        try:
            with self._engine.connect() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(query)]
        except (sa.exc.ProgrammingError, sa.exc.OperationalError):
            return []

    def states(self) -> Counter[str]:
        """Count the trials by their state."""
        return Counter(state for (state,) in self.rows("SELECT state FROM trials"))

    def training(self) -> int:
        """Return how many cohorts are held whose trials run."""
        query = (
            "SELECT DISTINCT cohort FROM selection_lease "
            "JOIN selection_trial USING (study_uuid, cohort) "
            "JOIN trials ON trial_id = optuna_trial_id WHERE state = 'RUNNING'"
        )
        return len(self.rows(query))

    def stop_outside_of_transactions(self, pid: int) -> None:
        """Let a process stand still where it holds no lock, which others could not wait for."""
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND xact_start "
            "IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

        def is_outside() -> bool:
            os.kill(pid, signal.SIGSTOP)
            wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
            if not self.rows(query):
                return True
            os.kill(pid, signal.SIGCONT)
            return False

        wait_for(is_outside)

    def is_whole(self) -> bool:
        """Say whether the budget is spent exactly and nothing is held any more."""
        numbers = self.rows("SELECT number FROM trials ORDER BY number")
        return (
            [number for (number,) in numbers] == list(range(TRIALS))
            and self.states() == {"COMPLETE": TRIALS}
            and not self.rows("SELECT cohort FROM selection_lease")
        )


class Team:
    """Hold a real driver in a folder of its own, and its workers."""

    def __init__(self, folder: Path, watch: Watch, *words: str) -> None:
        self.watch = watch
        self.process = start(folder, *words)
        self._seen: dict[int, psutil.Process] = {}

    def workers(self) -> list[int]:
        """Return the processes of the workers that are alive."""
        for child in psutil.Process(self.process.pid).children():
            self._seen[child.pid] = child
        return [pid for pid in self._seen if is_alive(pid)]

    def train(self, listen: Callable[[], None] = lambda: None) -> list[int]:
        """Wait until two workers train at once, and return their process ids.

        listen is called at each look.
        """

        def are_training() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            listen()
            return self.watch.training() == 2

        wait_for(are_training)
        workers = self.workers()
        assert len(workers) == 2
        return workers

    def end(self, seconds: float = MOST_SECONDS) -> tuple[int, str]:
        """Wait until the driver has ended, and return its exit code and what it said."""
        _, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, err

    def are_gone(self) -> bool:
        """Say whether every worker that was seen has ended."""
        return not any(map(is_alive, self._seen))


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be asked how it ended does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
