"""Runs workers as processes of this machine, each with its share of the cores and one of the GPUs.

They talk to the driver over pipes, and end with it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from selection.errors import ErrorDetail, SelectionError, StudyStateError
from selection.train.fit import EpochNews
from selection.workers.launcher import (
    Advanced,
    Died,
    Event,
    Ready,
    Refused,
    Said,
    Trained,
    WorkerFacts,
)
from selection.workers.training import WorkerSetup
from selection.workflows.cohort import CohortTask

STOP_SECONDS = 10.0
READER_SECONDS = 5.0


class LocalLauncher:
    """Run one worker for each of these environments; a Launcher."""

    def __init__(self, setup: WorkerSetup, environments: Sequence[Mapping[str, str]]) -> None:
        # Once for all workers: the rows may be large.
        self._setup = to_bytes(setup)
        self._environments = environments
        self.workers = len(environments)
        self._workers: dict[int, ChildProcess] = {}
        self._said: deque[str] = deque()

    def start(self, slot: int) -> None:
        """Start a worker; Ready, Refused or Died follows.

        Raises: StudyStateError if the system cannot start another process.
        """
        try:
            worker = ChildProcess(slot, self._environments[slot], self._setup, self._said)
        except OSError as error:
            rule, hint = "the system must be able to start every worker", "Ask for fewer workers."
            raise StudyStateError(ErrorDetail(f"worker {slot}", rule, str(error), hint)) from error
        self._workers[slot] = worker

    def train(self, slot: int, task: CohortTask) -> None:
        """Give a worker a task; Trained, Refused or Died follows."""
        self._workers[slot].send(to_bytes(task))

    def events(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting for it this long at most."""
        slots = {worker.connection: slot for slot, worker in self._workers.items()}
        ready = wait(list(slots), timeout=seconds)
        events = [self._read(slots[each]) for each in ready if isinstance(each, Connection)]
        lines = [Said(self._said.popleft()) for _ in range(len(self._said))]
        return [*lines, *events]

    def stop(self) -> None:
        """End all workers, whatever they do."""
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.end()
        self._workers = {}

    def _read(self, slot: int) -> Event:
        worker = self._workers[slot]
        try:
            message: Any = worker.connection.recv()
        except (EOFError, OSError):
            # Also in the middle of a message.
            del self._workers[slot]
            return Died(slot, worker.end())
        match message:
            case WorkerFacts():
                return Ready(slot, message)
            case EpochNews():
                return Advanced(slot, message)
            case SelectionError():
                return Refused(slot, message)
            case _:
                return Trained(slot, message)


def to_bytes(message: object) -> bytes:
    """Return a message as a child receives it."""
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


class ChildProcess:
    """Hold a process that trains for this one, and the connection to it."""

    def __init__(
        self, slot: int, environment: Mapping[str, str], setup: bytes, said: deque[str]
    ) -> None:
        self._slot = slot
        self._said = said
        self.connection, other = Pipe()
        with other:
            self._process = subprocess.Popen(
                # Modules are found where the driver finds them, and no others: -P keeps the current
                # folder out, which may hold a file of the name of one of them.
                [sys.executable, "-P", "-m", "selection.workers.child", str(other.fileno())],
                env={**os.environ, **environment, "PYTHONPATH": _module_path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                pass_fds=[other.fileno()],
                # A Ctrl-C in the terminal reaches only the driver.
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send(setup)

    def send(self, message: bytes) -> None:
        """Send a pickled message; the worker has received the one before."""
        # In a thread: a message may be more than a pipe holds, while its worker does not read: it
        # starts for seconds, or somebody has stopped it.
        self._sender = threading.Thread(target=self._send, args=(message,), daemon=True)
        self._sender.start()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str:
        """Wait until the process has ended, and return how."""
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        # Not forever: a process that inherited a pipe may keep it open.
        for thread in (self._sender, self._reader):
            thread.join(READER_SECONDS)
        for pipe in (self._process.stdin, self._process.stderr, self.connection):
            if pipe is not None:
                pipe.close()
        return _ending(code)

    def _send(self, message: bytes) -> None:
        # If the worker has just died, its closed connection says so.
        with suppress(OSError):
            self.connection.send_bytes(message)

    def _read(self) -> None:
        assert self._process.stderr is not None, "the worker's stderr is a pipe"
        for line in self._process.stderr:
            if line.strip():
                self._said.append(f"worker {self._slot}: {line.rstrip()}")


def _module_path() -> str:
    return os.pathsep.join(os.path.abspath(folder) for folder in sys.path)


def _ending(code: int) -> str:
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
