"""What the driver of a study asks of its workers: start, train, report, stop.

Each launcher runs workers its own way: as processes of this machine, or on a Ray cluster. What a
worker reports comes back as an event; it writes nothing and may be killed at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from selection.errors import SelectionError
from selection.study.trial import TrialResult
from selection.train.fit import EpochNews
from selection.workflows.cohort import CohortTask

# A worker reports its progress at most this often.
PROGRESS_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerFacts:
    """Describe a worker that is ready to train.

    hardware is as in the record of a study. One that asks ahead wants its next cohort proposed
    while it trains.
    """

    host: str
    hardware: Mapping[str, str | int]
    asks_ahead: bool


@dataclass(frozen=True)
class Ready:
    """A worker has started, and waits for a task."""

    slot: int
    facts: WorkerFacts


@dataclass(frozen=True)
class Advanced:
    """A worker has trained another epoch."""

    slot: int
    news: EpochNews


@dataclass(frozen=True, eq=False)
class Trained:
    """A worker has finished its task, and waits for the next one."""

    slot: int
    results: Mapping[int, TrialResult]


@dataclass(frozen=True)
class Refused:
    """A worker says why nobody can train this study until somebody fixes it."""

    slot: int
    error: SelectionError


@dataclass(frozen=True)
class Died:
    """A worker is gone, and its task with it; how it ended reads like "by signal SIGKILL"."""

    slot: int
    how: str


@dataclass(frozen=True)
class Said:
    """A worker or its launcher has a line for the user."""

    line: str


Event = Ready | Advanced | Trained | Refused | Died | Said


class Launcher(Protocol):
    """Run workers, each in a slot that is numbered from 0.

    A slot whose worker has died may be started again. start() and train() return at once.
    """

    workers: int
    """How many slots there are."""

    def start(self, slot: int) -> None:
        """Start a worker; Ready, Refused or Died follows."""

    def train(self, slot: int, task: CohortTask) -> None:
        """Give a worker a task; Trained, Refused or Died follows."""

    def events(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting for it this long at most."""

    def stop(self) -> None:
        """End all workers, whatever they do."""
