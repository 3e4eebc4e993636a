"""The workers of a study as a team: who is ready, who trains what, who is replaced and when.

It knows nothing of cohorts or of the record.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from selection.errors import ErrorDetail, StudyStateError
from selection.study.setting import Setting
from selection.study.trial import TrialResult
from selection.train.fit import EpochNews
from selection.workers.launcher import (
    Advanced,
    Died,
    Event,
    Launcher,
    Ready,
    Refused,
    Said,
    Trained,
    WorkerFacts,
)
from selection.workflows.cohort import CohortTask

POLL_SECONDS = 0.5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
MAX_FAILURES = 10
# Where no worker of the study has ever been ready.
MAX_STARTS = 3

TeamEvent = Ready | Advanced | Trained | Died


@dataclass
class _Slot:
    """Follow one worker and those that replace it."""

    number: int
    facts: WorkerFacts | None = None
    task: CohortTask | None = None
    news: EpochNews | None = None
    # When the next worker starts, None if there is one.
    start_at: float | None = 0.0
    # Since it last finished a task.
    failures: int = 0
    is_given_up: bool = False

    @property
    def is_idle(self) -> bool:
        return self.facts is not None and self.task is None

    @property
    def name(self) -> str:
        return f"worker {self.number}" if self.facts is None else self.facts.host


class Team:
    """Hold the workers of a study, started when they are first needed, until stop().

    A worker that fails too often in a row is given up. Every method raises the error of a worker
    that says why nobody can train, and StudyStateError once all are given up.
    """

    def __init__(self, launch: Callable[[], Launcher], say: Callable[[str], None]) -> None:
        self._launch = launch
        self._say = say
        self._events: deque[Event] = deque()
        # Of the first worker.
        self._hardware: Mapping[str, str | int] = {}
        self._has_said_unequal = False

    @cached_property
    def _launcher(self) -> Launcher:
        return self._launch()

    @cached_property
    def _slots(self) -> list[_Slot]:
        return [_Slot(number) for number in range(self._launcher.workers)]

    @property
    def workers(self) -> int:
        """The number of workers."""
        return len(self._slots)

    def facts(self) -> WorkerFacts:
        """Return the facts of the first worker that is ready, when there is one."""
        while True:
            for slot in self._slots:
                if slot.facts is not None:
                    return slot.facts
            self.advance()

    def idle(self) -> list[int]:
        """Return the slots whose workers wait for a task, those that failed least first."""
        idle = [slot for slot in self._slots if slot.is_idle]
        return [slot.number for slot in sorted(idle, key=attrgetter("failures"))]

    def ready(self) -> set[int]:
        """Return the slots whose workers wait for a task or train."""
        return {slot.number for slot in self._slots if slot.facts is not None}

    def give(self, slot: int, task: CohortTask) -> None:
        """Give an idle worker a task."""
        self._slots[slot].task, self._slots[slot].news = task, None
        self._launcher.train(slot, task)

    def advance(self, seconds: float = POLL_SECONDS) -> list[TeamEvent]:
        """Start what is to be started, and return the next that has happened, if anything has.

        Where several things have, the others follow with the next calls. Waits this long at most.
        """
        for slot in self._slots:
            if slot.start_at is not None and time.monotonic() >= slot.start_at:
                slot.start_at = None
                self._launcher.start(slot.number)
        if not self._events:
            self._events.extend(self._launcher.events(seconds))
        if not self._events:
            return []
        event = self._handle(self._events.popleft())
        return [] if event is None else [event]

    def news(self, slot: int) -> tuple[str, EpochNews | None]:
        """Return the name of a worker, and the last that it reported of its task."""
        return self._slots[slot].name, self._slots[slot].news

    def train(self, settings: Sequence[Setting]) -> list[TrialResult]:
        """Train settings beside the sweep, on all folds and without pruning, in this order."""
        task = CohortTask(-1, dict(enumerate(settings)), None)
        while True:
            idle = self.idle()
            if not idle:
                self.advance()
                continue
            self.give(idle[0], task)
            while self._slots[idle[0]].task is not None:
                for event in self.advance():
                    if isinstance(event, Trained) and event.slot == idle[0]:
                        return [event.results[index] for index in range(len(settings))]

    def stop(self) -> None:
        """End all workers."""
        if "_launcher" in self.__dict__:
            self._launcher.stop()

    def _handle(self, event: Event) -> TeamEvent | None:
        if isinstance(event, Said):
            self._say(event.line)
            return None
        slot = self._slots[event.slot]
        match event:
            case Refused(_, error):
                raise error
            case Ready(_, facts):
                slot.facts = facts
                self._say_if_unequal(facts)
            case Advanced(_, news):
                slot.news = news
            case Trained():
                slot.task, slot.news, slot.failures = None, None, 0
            case Died(_, how):
                self._restart_later(slot, how)
        return event

    def _say_if_unequal(self, facts: WorkerFacts) -> None:
        """Say once that the bits of a result depend on who trained it."""
        self._hardware = self._hardware or facts.hardware
        if facts.hardware != self._hardware and not self._has_said_unequal:
            self._has_said_unequal = True
            one, other = (
                ", ".join(map(str, each.values())) for each in (self._hardware, facts.hardware)
            )
            self._say(
                f"workers are unequal ({one} threads; {other} threads): results repeat to the bit "
                "only on equal devices"
            )

    def _restart_later(self, slot: _Slot, how: str) -> None:
        name = f"worker {slot.number}"
        slot.facts = slot.task = slot.news = None
        slot.failures += 1
        most = MAX_FAILURES if self._hardware else MAX_STARTS
        if slot.failures > most:
            slot.is_given_up = True
            if all(each.is_given_up for each in self._slots):
                rule = f"a worker may fail at most {most} times in a row"
                got = f"{slot.failures} failures, the last {how}"
                hint = "Fix the cause and run the same command again; finished trials are kept."
                raise StudyStateError(ErrorDetail(name, rule, got, hint))
            self._say(
                f"{name} ended {how}, and is given up after {slot.failures} failures in a row"
            )
            return
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (slot.failures - 1), LONGEST_PAUSE_SECONDS)
        slot.start_at = time.monotonic() + pause
        self._say(f"{name} ended {how}; restarting it in {pause:g} seconds")
