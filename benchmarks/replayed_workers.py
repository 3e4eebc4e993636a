"""Simulated workers on a virtual clock, for the real driver of a team.

The clock shows the seconds that the driver itself has spent; where the driver would wait, it jumps
to the next worker that is done. So hours of many workers replay in the time that the driver works.
What goes to a worker and comes back is pickled, its bytes are counted, and what the driver does of
it is charged to the driver.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from selection.study.setting import Setting
from selection.study.trial import (
    CURVE_COLUMNS,
    FoldResult,
    LearningCurve,
    TrialResult,
    TrialState,
    mean_over_folds,
)
from selection.train.fit import EpochNews
from selection.workers.launcher import Event, Ready, Trained, WorkerFacts
from selection.workflows.cohort import CohortTask

Results = Mapping[int, TrialResult]


class VirtualClock:
    """Advance by the real seconds that pass, and by jumps; uncharged, by jumps alone."""

    def __init__(self, *, is_charged: bool = True) -> None:
        self.now = 0.0
        # The real seconds that were counted.
        self.spent = 0.0
        self._is_charged = is_charged
        self._last = time.perf_counter()

    def charge(self) -> None:
        """Count what has passed since the last call."""
        now = time.perf_counter()
        self.spent += now - self._last
        if self._is_charged:
            self.now += now - self._last
        self._last = now

    def jump(self, to: float) -> None:
        """Go on to a later time, or stay."""
        self.now = max(self.now, to)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count the time of this block: a worker spends it, or nobody does."""
        self.charge()
        yield
        self._last = time.perf_counter()


@dataclass
class Work:
    """Hold one task of a worker by the virtual clock. Units: seconds.

    idle is how long the worker waited for it, None for its first.
    """

    slot: int
    cohort: int
    seconds: float
    idle: float | None


@dataclass
class ReplayLauncher:
    """Be a Launcher whose workers take as long as seconds says.

    train returns what a worker answers; seconds says how long that takes in this slot.
    """

    workers: int
    train_task: Callable[[CohortTask], Results]
    seconds: Callable[[int, CohortTask, Results], float]
    clock: VirtualClock
    asks_ahead: bool = False
    done: list[Work] = field(default_factory=list)
    bytes_sent: int = 0
    bytes_returned: int = 0
    _starting: list[int] = field(default_factory=list)
    # By slot: when it is done, and its answer.
    _training: dict[int, tuple[float, Results]] = field(default_factory=dict)
    _idle_since: dict[int, float] = field(default_factory=dict)

    def start(self, slot: int) -> None:
        self._starting.append(slot)

    def train(self, slot: int, task: CohortTask) -> None:
        sent = pickle.dumps(task)
        self.bytes_sent += len(sent)
        with self.clock.stopped():
            results = self.train_task(pickle.loads(sent))
            seconds = self.seconds(slot, task, results)
            since = self._idle_since.pop(slot, None)
            idle = None if since is None else self.clock.now - since
            self.done.append(Work(slot, task.cohort, seconds, idle))
            self._training[slot] = self.clock.now + seconds, results

    def events(self, seconds: float) -> list[Event]:
        """Return who is done by now; if nobody is, who is done next."""
        self.clock.charge()
        if self._starting:
            facts = WorkerFacts("replayed", {"device": "cpu", "threads": 1}, self.asks_ahead)
            started, self._starting = self._starting, []
            return [Ready(slot, facts) for slot in started]
        if not self._training:
            self.clock.jump(self.clock.now + seconds)
            return []
        self.clock.jump(min(end for end, _ in self._training.values()))
        ended = sorted((end, slot) for slot, (end, _) in self._training.items())
        return [self._trained(slot, end) for end, slot in ended if end <= self.clock.now]

    def stop(self) -> None:
        """Nothing runs."""

    def _trained(self, slot: int, end: float) -> Trained:
        results = self._training.pop(slot)[1]
        self._idle_since[slot] = end
        with self.clock.stopped():
            returned = pickle.dumps(results)
        self.bytes_returned += len(returned)
        return Trained(slot, pickle.loads(returned))


def idle_share(done: Sequence[Work]) -> float:
    """Return the share of their time that workers waited, from the end of their first task on."""
    later = [work for work in done if work.idle is not None]
    waited = sum(work.idle or 0.0 for work in later)
    return waited / max(waited + sum(work.seconds for work in later), 1e-12)


@dataclass
class MadeUpTrainer:
    """Be a Trainer that draws curves and hits at rungs; predictions are made once for all.

    Shape: rows validation rows per fold, classes.
    """

    folds: int
    epochs: int
    rows: int
    classes: int
    generator: np.random.Generator
    asks_ahead: bool = False

    def __post_init__(self) -> None:
        self._outputs = self.generator.random((self.rows, self.classes), np.float32)
        self._hits = self._outputs[:, 0] < 0.5

    def train(
        self,
        settings: Sequence[Setting],
        decide: Callable[[int, Mapping[int, float]], Collection[int]],
        watch: Callable[[EpochNews], None],
    ) -> list[TrialResult]:
        """Return how the trials end; the pruner that came with the task judges them."""
        shape = (len(settings), self.folds, self.epochs, len(CURVE_COLUMNS))
        points = self.generator.random(shape)
        scores = points[..., CURVE_COLUMNS.index("validation_score")]
        living = list(range(len(settings)))
        ends = dict.fromkeys(living, self.epochs)
        rungs: dict[int, list[int]] = {index: [] for index in living}
        for epoch in range(1, self.epochs):
            means = {index: mean_over_folds(scores[index, :, epoch - 1]) for index in living}
            out = set(decide(epoch, means))
            ends |= dict.fromkeys(out, epoch)
            for index in living if out else ():
                rungs[index].append(epoch)
            living = [index for index in living if index not in out]
        return [self._result(points[index], ends[index], rungs[index]) for index in ends]

    def _result(self, points: np.ndarray, epochs: int, rungs: Sequence[int]) -> TrialResult:
        is_whole = epochs == self.epochs
        folds = tuple(
            FoldResult(
                repeat=0,
                fold=fold,
                curve=LearningCurve(points[fold, :epochs]),
                # Views, which pickle takes for arrays of their own.
                outputs=self._outputs.view() if is_whole else None,
                rungs={epoch: self._hits.view() for epoch in rungs},
            )
            for fold in range(self.folds)
        )
        state = TrialState.COMPLETE if is_whole else TrialState.PRUNED
        return TrialResult(state, "", folds, epochs, seconds=1.0)
