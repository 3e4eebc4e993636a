"""Trains one cohort by several processes of this machine, in lockstep: a process has one Python.

Packs of one process are threads, and between short calls they wait for Python's lock. Where that
leaves cores idle, the trials of a cohort are dealt to processes. After each epoch all of them say
their means, the caller decides once, and each hears which of its trials to prune.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from selection.errors import DeviceError, ErrorDetail, SelectionError
from selection.study.setting import Setting
from selection.study.trial import TrialResult
from selection.train.device import choose_device, share_of_machine
from selection.train.fit import Decide, EpochNews, Trainer, Watch
from selection.train.plan import deal
from selection.workers.local import ChildProcess
from selection.workers.training import WorkerSetup


@dataclass(frozen=True)
class EpochMeans:
    """Hold what a process says after an epoch: the means of its trials that go on, by index."""

    epoch: int
    means: Mapping[int, float]


@dataclass(frozen=True)
class CohortShare:
    """Hold the settings that one process trains; others train the rest of the cohort."""

    settings: Sequence[Setting]

    def train(
        self, trainer: Trainer, ask: Callable[[EpochMeans], Collection[int]]
    ) -> list[TrialResult]:
        """Train them; ask returns which to prune after an epoch, when all processes have it."""
        return trainer.train(self.settings, lambda epoch, means: ask(EpochMeans(epoch, means)))


class SharedTrainer:
    """Train a cohort in this process, or by several where that is faster; trains like a Trainer."""

    def __init__(self, trainer: Trainer, setup: WorkerSetup, say: Callable[[str], None]) -> None:
        self._trainer = trainer
        self._setup = setup
        self._say = say
        self._said: deque[str] = deque()
        self._children: list[ChildProcess] = []

    @property
    def asks_ahead(self) -> bool:
        return self._trainer.asks_ahead

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def train(
        self,
        settings: Sequence[Setting],
        decide: Decide = lambda epoch, means: (),
        watch: Watch = lambda news: None,
    ) -> list[TrialResult]:
        """Train all settings on all folds; see Trainer.train.

        Raises: DeviceError if one of the processes ends too soon.
        """
        shares = deal(settings, self._trainer.rows, self._trainer.max_members, self._trainer.cores)
        if len(shares) == 1 or os.name != "posix":
            return self._trainer.train(settings, decide, watch)
        try:
            self._start(len(shares))
            return self._in_lockstep(settings, shares, decide, watch)
        except BaseException:
            # They may be anywhere in their epochs.
            self._stop()
            raise

    def _in_lockstep(
        self,
        settings: Sequence[Setting],
        shares: Sequence[Sequence[int]],
        decide: Decide,
        watch: Watch,
    ) -> list[TrialResult]:
        for slot, share in enumerate(shares):
            self._children[slot].connection.send(CohortShare([settings[trial] for trial in share]))
        results: dict[int, TrialResult] = {}
        folds, epochs = len(self._trainer.rows.folds), max(each.kind.epochs for each in settings)
        epoch, living, trained = 0, len(settings), 0
        while len(results) < len(settings):
            epoch += 1
            trained += folds * living
            means: dict[int, float] = {}
            asked = []
            for slot, share in enumerate(shares):
                if share[0] in results:
                    continue
                message = self._receive(slot)
                if isinstance(message, EpochMeans):
                    asked.append(slot)
                    means |= {share[index]: mean for index, mean in message.means.items()}
                else:
                    results |= dict(zip(share, message, strict=True))
            pruned = frozenset(decide(epoch, means)) if means else frozenset()
            for slot in asked:
                own = [index for index, trial in enumerate(shares[slot]) if trial in pruned]
                self._children[slot].connection.send(own)
            living = len(means) - len(pruned)
            watch(EpochNews(epoch, epochs, living, living * folds, trained))
        return [results[trial] for trial in range(len(settings))]

    def _start(self, count: int) -> None:
        """Start processes until there are so many, and wait until they have the rows."""
        if len(self._children) >= count:
            return
        setup = pickle.dumps(self._setup, protocol=pickle.HIGHEST_PROTOCOL)
        first = len(self._children)
        device = choose_device("cpu")
        for slot, environment in enumerate(share_of_machine(count, device)[first:], start=first):
            try:
                self._children.append(ChildProcess(slot, environment, setup, self._said))
            except OSError as error:
                raise _ended(str(error)) from error
        for slot in range(first, count):
            self._receive(slot)

    def _receive(self, slot: int) -> Any:
        child = self._children[slot]
        try:
            message: Any = child.connection.recv()
        except (EOFError, OSError):
            ending = child.end()
            self._repeat_what_was_said()
            raise _ended(f"one that ended {ending}") from None
        if isinstance(message, SelectionError):
            raise message
        return message

    def _stop(self) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.end()
        self._children = []
        self._repeat_what_was_said()

    def _repeat_what_was_said(self) -> None:
        while self._said:
            self._say(self._said.popleft())


def _ended(what: str) -> DeviceError:
    rule = "the processes that share a cohort must run until it ends"
    hint = "Nothing on record is lost: the same command goes on."
    return DeviceError(ErrorDetail("training", rule, what, hint))
