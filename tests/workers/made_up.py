"""A launcher whose workers are made up: what ends first, and who dies when, is up to the test."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from selection.train.fit import EpochNews, Trainer
from selection.workers.launcher import Advanced, Died, Event, Ready, Trained, WorkerFacts
from selection.workflows.cohort import CohortTask


@dataclass
class MadeUpLauncher:
    """Train in this process; generator decides which worker is heard of next.

    deaths is the probability that a task ends with the death of its worker. What a worker is given
    and what it returns is pickled, as on its way to another process.
    """

    workers: int
    trainer: Trainer
    generator: random.Random
    deaths: float = 0.0
    asks_ahead: bool = False
    before: Callable[[], None] = lambda: None
    starting: list[int] = field(default_factory=list)
    training: dict[int, CohortTask] = field(default_factory=dict)
    given: list[CohortTask] = field(default_factory=list)
    most: int = 0
    has_stopped: bool = False

    def start(self, slot: int) -> None:
        assert slot not in self.training
        self.starting.append(slot)

    def train(self, slot: int, task: CohortTask) -> None:
        assert slot not in self.training
        self.training[slot] = pickle.loads(pickle.dumps(task))
        self.given.append(task)
        self.most = max(self.most, len(self.training))

    def events(self, seconds: float) -> list[Event]:
        self.before()
        if self.starting:
            slot = self.starting.pop(self.generator.randrange(len(self.starting)))
            facts = WorkerFacts(f"host:{slot}", {"device": "cpu", "threads": 1}, self.asks_ahead)
            return [Ready(slot, facts)]
        if not self.training:
            return []
        slot = self.generator.choice(sorted(self.training))
        task = self.training.pop(slot)
        if self.generator.random() < self.deaths:
            return [Died(slot, "by signal SIGKILL")]
        news: list[EpochNews] = []
        results = task.train(self.trainer, news.append)
        advanced = [Advanced(slot, each) for each in news]
        return [*advanced, Trained(slot, pickle.loads(pickle.dumps(results)))]

    def stop(self) -> None:
        self.has_stopped = True
