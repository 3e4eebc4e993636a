"""Runs the workers of a study as processes of this machine until the study is spent.

A worker that fails is replaced. Signals are passed on. A worker whose supervisor is gone notices
that its standard input has ended, and stops.
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
MAX_FAILURES = 10
STOP_SECONDS = 30.0
READER_SECONDS = 5.0


class TeamView(Protocol):
    """Show the progress of all workers of a study together."""

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Team:
    """Hold the workers to start: the arguments of their command, and the environment of each."""

    arguments: Sequence[str]
    environments: Sequence[Mapping[str, str]]


def supervise(
    team: Team, budget: int, study: StudyRecord, repository: Repository, view: TeamView
) -> None:
    """Keep the workers of a study running until each of them has nothing left to do.

    Raises: StudyStateError or RefusedError if a worker reports that it cannot go on;
    StudyStateError after too many failures in a row. Finished trials are kept.
    """
    slots = [
        _WorkerSlot(f"worker {index}", team.arguments, environment, view.say)
        for index, environment in enumerate(team.environments)
    ]
    progress = _Progress(budget, study, repository, view)
    try:
        while not all(slot.is_done for slot in slots):
            finished = progress.show()
            for slot in slots:
                slot.update(finished)
            time.sleep(POLL_SECONDS)
        progress.show()
    finally:
        # After an error or an interrupt, too, so that workers release their cohorts.
        _stop(slots)


def _stop(slots: Sequence[_WorkerSlot]) -> None:
    for slot in slots:
        slot.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for slot in slots:
        slot.wait(deadline)


class _Progress:
    """Read the record and the leases, and show them as one view of all workers."""

    def __init__(
        self, budget: int, study: StudyRecord, repository: Repository, view: TeamView
    ) -> None:
        self._budget = budget
        self._study = study
        self._repository = repository
        self._view = view
        self._finished: list[Trial] = []

    def show(self) -> int:
        """Show the progress if the database responds; return the number of finished trials."""
        records = self._repository.records
        with suppress(UnreachableError):
            if len(records.finished_numbers(self._study)) != len(self._finished):
                trials = records.trials(self._study, with_curves=False)
                self._finished = [trial for trial in trials if trial.state.is_finished]
            # Read after the finished trials: one that ends in between counts once, not twice.
            running = self._repository.leases.running(self._study)
            self._view.show_team(self._budget, self._finished, running)
        return len(self._finished)


class _WorkerSlot:
    """Hold one worker's process and, each time it fails, start another after a pause."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._name = name
        self._arguments = arguments
        self._environment = environment
        self._say = say
        self._failures = 0
        self._finished_at_failure = 0
        self._start_at = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._last_line = ""
        self._reader: threading.Thread | None = None
        self.is_done = False

    def update(self, finished: int) -> None:
        """Start the worker if it is time to, or handle its exit.

        finished is the number of finished trials of the study. If it has grown since the last
        failure, the next one is the first in a row again.

        Raises: StudyStateError or RefusedError if the study must stop.
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
            self._restart_later(code, finished)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, deadline: float) -> None:
        """Wait until the worker has ended; kill it at the deadline."""
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
            [sys.executable, "-m", "selection", *self._arguments],
            env={**os.environ, **self._environment, SUPERVISED_VARIABLE: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C in the terminal reaches only the supervisor, which passes it on once.
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
            # Not for ever: a process that inherited the pipe may keep it open.
            self._reader.join(READER_SECONDS)
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def _restart_later(self, code: int, finished: int) -> None:
        has_progressed = finished > self._finished_at_failure
        self._failures = 1 if has_progressed else self._failures + 1
        self._finished_at_failure = finished
        ending = _ending(code)
        if self._failures > MAX_FAILURES:
            rule = f"a worker may fail at most {MAX_FAILURES} times in a row"
            got = f"{self._failures} failures, the last {ending}"
            hint = "Fix the cause and run the same command again; finished trials are kept."
            raise StudyStateError(ErrorDetail(self._name, rule, got, hint))
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
        self._start_at = time.monotonic() + pause
        self._say(f"{self._name} ended {ending}; restarting it in {pause:g} seconds")

    def _error(self, code: int) -> SelectionError:
        kind = RefusedError if code == RefusedError.exit_code else StudyStateError
        rule = "a worker must train until the study is spent"
        hint = "Fix this and run the same command again; finished trials are kept."
        got = self._last_line or f"one that ended {_ending(code)}"
        return kind(ErrorDetail(self._name, rule, got, hint))


def _ending(code: int) -> str:
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
