"""Starts worker processes on this machine and watches them until the study is spent.

A worker that dies is replaced. Signals are passed on. A worker whose supervisor is gone sees its
standard input end, and stops.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from selection.errors import (
    ErrorDetail,
    RefusedError,
    SelectionError,
    StudyStateError,
    UnreachableError,
)
from selection.store.leases import RunningCohort
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.trial import Trial
from selection.workers import SUPERVISED_VARIABLE

POLL_SECONDS = 0.5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
MOST_DEATHS = 10
STOP_SECONDS = 30.0
READ_SECONDS = 5.0


class TeamView(Protocol):
    """Show how far the workers of a study are together."""

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Team:
    """Say which workers to start: the words of their command, and the environment of each."""

    words: Sequence[str]
    environments: Sequence[Mapping[str, str]]


def supervise(
    team: Team, budget: int, study: StudyRecord, repository: Repository, view: TeamView
) -> None:
    """Keep the workers of a study running until each of them has nothing left to do.

    Raises: StudyStateError or RefusedError where a worker says that it cannot go on, or dies again
    and again; what is finished is kept.
    """
    slots = [
        _WorkerSlot(f"worker {index}", team.words, environment, view.say)
        for index, environment in enumerate(team.environments)
    ]
    progress = _Progress(budget, study, repository, view)
    try:
        while not all(slot.is_done for slot in slots):
            finished = progress.show()
            for slot in slots:
                slot.tend(finished)
            time.sleep(POLL_SECONDS)
        progress.show()
    finally:
        # After an error as after an interrupt: they give back what they hold.
        _stop(slots)


def _stop(slots: Sequence[_WorkerSlot]) -> None:
    for slot in slots:
        slot.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for slot in slots:
        slot.wait(deadline)


class _Progress:
    """Show the record and the leases as one view of all workers."""

    def __init__(
        self, budget: int, study: StudyRecord, repository: Repository, view: TeamView
    ) -> None:
        self._budget = budget
        self._study = study
        self._repository = repository
        self._view = view
        self._finished: list[Trial] = []

    def show(self) -> int:
        """Show how far the study is, if the database answers; return its finished trials."""
        records = self._repository.records
        with suppress(UnreachableError):
            if len(records.finished_numbers(self._study)) != len(self._finished):
                trials = records.trials(self._study, with_curves=False)
                self._finished = [trial for trial in trials if trial.state.is_finished]
            # After the finished ones: a trial that ends in between then counts once, not twice.
            running = self._repository.leases.running(self._study)
            self._view.show_team(self._budget, self._finished, running)
        return len(self._finished)


class _WorkerSlot:
    """Hold the place of one worker: the process that has it now, and how often it died."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._name = name
        self._words = words
        self._environment = environment
        self._say = say
        self._deaths = 0
        self._finished = 0
        self._start_at = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._last_line = ""
        self._reader: threading.Thread | None = None
        self.is_done = False

    def tend(self, finished: int) -> None:
        """Start the worker if it is due, or see how it ended.

        finished counts the trials of the study: where they grow, a death is not one in a row.
        """
        if self._process is None:
            if not self.is_done and time.monotonic() >= self._start_at:
                self._start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._end_reading()
        self._process = None
        self.is_done = code == 0
        if code in (1, 2, RefusedError.exit_code):
            raise self._error(code)
        if code:
            self._on_exit(code, finished)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, deadline: float) -> None:
        """Wait until the worker has ended; end it at the deadline."""
        if self._process is None:
            return
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_reading()
        self._process = None

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "selection", *self._words],
            env={**os.environ, **self._environment, SUPERVISED_VARIABLE: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C of the terminal is for the supervisor, which passes it on once.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None, "the worker's stderr is a pipe"
        for line in process.stderr:
            self._last_line = line.strip() or self._last_line
            self._say(f"{self._name}: {line.rstrip()}")

    def _end_reading(self) -> None:
        if self._reader is not None:
            # Whoever has inherited the pipe may keep it open.
            self._reader.join(READ_SECONDS)
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def _on_exit(self, code: int, finished: int) -> None:
        self._deaths = 1 if finished > self._finished else self._deaths + 1
        self._finished = finished
        how = _how_it_ended(code)
        if self._deaths > MOST_DEATHS:
            rule = f"a worker may die {MOST_DEATHS} times in a row"
            hint = "Fix the cause and run the same command again; what is finished is kept."
            raise StudyStateError(ErrorDetail(self._name, rule, f"one more, {how}", hint))
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (self._deaths - 1), LONGEST_PAUSE_SECONDS)
        self._start_at = time.monotonic() + pause
        self._say(f"{self._name} ended {how}; another starts in {pause:g} seconds")

    def _error(self, code: int) -> SelectionError:
        kind = RefusedError if code == RefusedError.exit_code else StudyStateError
        hint = "What is finished is kept; then run the same command again."
        got = self._last_line or _how_it_ended(code)
        return kind(
            ErrorDetail(self._name, "a worker must train until the study is spent", got, hint)
        )


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
