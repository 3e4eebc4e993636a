"""Runs workers as actors of a Ray cluster, one for each GPU or share of the cores.

Nothing else knows Ray. Ray retries nothing of ours: the record decides what is trained again. The
driver's process is given back as it was: Ray changes its signals, hooks and environment.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import ray._private.ray_constants as ray_constants
import ray._private.utils as ray_utils
import ray._private.worker as ray_internals
from ray.exceptions import (
    ActorDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
)

from selection.errors import ErrorDetail, SelectionError, StudyStateError, show
from selection.report.cells import count_of
from selection.study.fields import RunSection
from selection.train.fit import EpochNews
from selection.workers.launcher import (
    PROGRESS_SECONDS,
    Advanced,
    Died,
    Event,
    Ready,
    Refused,
    Said,
    Trained,
    WorkerFacts,
)
from selection.workers.ray_actor import RayWorker
from selection.workers.ray_address import probe
from selection.workers.ray_slots import Slots, plan_slots
from selection.workers.training import WorkerSetup
from selection.workflows.cohort import CohortTask
from selection.workflows.study_data import installed_versions

WHERE = "--address"
# What a result depends on; a build of the same version, such as 2.11.0+cpu, counts as the same.
SAME = ("selection", "torch", "numpy")
# After which a worker that has not started is spoken of.
LATE_SECONDS = 15.0


@dataclass
class _Actor:
    """Follow one actor: the answer it owes, to what, and what it was last asked for news."""

    handle: Any
    answer: Any
    asked: str
    started_at: float
    news: Any = None
    news_at: float = 0.0
    host: str = ""


class RayLauncher:
    """Run workers on the cluster that [run] names, or on one of this machine's own; a Launcher.

    Raises: StudyStateError if the cluster does not answer, or runs other versions.
    """

    def __init__(self, run: RunSection, setup: WorkerSetup) -> None:
        self._before = _Process()
        self._owns = not ray.is_initialized()
        if self._owns:
            _connect(run.address, self._before)
        list_nodes: Any = ray.nodes  # has no types
        nodes = [node["Resources"] for node in list_nodes() if node["Alive"]]
        self._slots = plan_slots(nodes, run.workers, run.gpus_per_worker, setup.device)
        self.workers = self._slots.workers
        # As an array: what is read from the object store is shared, and not to be written to.
        self._setup = np.frombuffer(pickle.dumps(setup, pickle.HIGHEST_PROTOCOL), dtype=np.uint8)
        self._stored: Any = ray.put(self._setup)
        self._actors: dict[int, _Actor] = {}
        self._said = [_about_room(self._slots)]
        self._has_said_late = False

    def start(self, slot: int) -> None:
        """Start a worker; Ready, Refused or Died follows."""
        options = {"num_cpus": self._slots.cpus, "num_gpus": self._slots.gpus}
        # The second thread answers for news while the first one trains.
        actor = ray.remote(RayWorker).options(
            **options, max_restarts=0, max_task_retries=0, max_concurrency=2
        )
        handle: Any = actor.remote()
        answer = handle.versions.remote()
        self._actors[slot] = _Actor(handle, answer, "versions", time.monotonic())

    def train(self, slot: int, task: CohortTask) -> None:
        """Give a worker a task; Trained, Refused or Died follows."""
        actor = self._actors[slot]
        actor.answer, actor.asked = actor.handle.train.remote(task), "train"
        actor.news_at = time.monotonic()

    def events(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting for it this long at most."""
        self._say_if_late()
        events: list[Event] = [Said(line) for line in self._said]
        self._said = []
        self._ask_for_news()
        waiting = {actor.answer: slot for slot, actor in self._actors.items() if actor.asked}
        news = {actor.news: slot for slot, actor in self._actors.items() if actor.news is not None}
        asked = [*waiting, *news]
        if not asked:
            time.sleep(0.0 if events else seconds)
            return events
        ray.wait(asked, num_returns=1, timeout=0.0 if events else seconds)
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=0.0)
        for reference in ready:
            if reference in news:
                events += self._news(news[reference])
        for reference in ready:
            if reference in waiting:
                events += self._answer(waiting[reference])
        return events

    def stop(self) -> None:
        """End all workers, whatever they do, and the cluster if it is of this launcher."""
        for actor in self._actors.values():
            _kill(actor)
        self._actors = {}
        self._stored = None
        if self._owns:
            ray.shutdown()
        self._before.restore()

    def _say_if_late(self) -> None:
        """Say once that workers wait that the cluster has room for: it may be busy for hours."""
        before = time.monotonic() - LATE_SECONDS
        late = sum(
            actor.asked == "versions" and actor.started_at < before
            for actor in self._actors.values()
        )
        if not self._has_said_late and late > max(self.workers - self._slots.room, 0):
            self._has_said_late = True
            self._said.append(
                f"{late} of {count_of(self.workers, 'worker')} did not start within "
                f"{LATE_SECONDS:g} seconds; ray status shows whether the cluster is busy"
            )

    def _ask_for_news(self) -> None:
        now = time.monotonic()
        for actor in self._actors.values():
            if (
                actor.asked == "train"
                and actor.news is None
                and now - actor.news_at >= PROGRESS_SECONDS
            ):
                actor.news, actor.news_at = actor.handle.news.remote(), now

    def _news(self, slot: int) -> list[Event]:
        actor = self._actors[slot]
        reference, actor.news = actor.news, None
        # Of an actor that died, its answer tells.
        with suppress(RayError):
            news: EpochNews | None = ray.get(reference)
            if news is not None and actor.asked == "train":
                return [Advanced(slot, news)]
        return []

    def _answer(self, slot: int) -> list[Event]:
        """Return what the answer of an actor means, and ask what comes next of one that starts."""
        actor = self._actors[slot]
        asked, actor.asked = actor.asked, ""
        try:
            answer = ray.get(actor.answer)
        except RayError as error:
            return self._lost(slot, error)
        finally:
            actor.answer = None
        match asked, answer:
            case _, SelectionError():
                return [Refused(slot, answer)]
            case "versions", _:
                if refused := _other_versions(slot, answer):
                    return [Refused(slot, refused)]
                actor.answer, actor.asked = actor.handle.set_up.remote(self._stored), "set_up"
                return []
            case "set_up", WorkerFacts():
                return [Ready(slot, answer)]
            case _:
                return [Trained(slot, answer)]

    def _lost(self, slot: int, error: RayError) -> list[Event]:
        # One that cannot be reached may train on; nobody waits for it any more.
        _kill(self._actors.pop(slot))
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            rule = "every node needs selection as the driver has it"
            hint = "Install the same version there, or name an image or a runtime_env that has it."
            detail = ErrorDetail(f"worker {slot}", rule, show(_last_line(error)), hint)
            return [Refused(slot, StudyStateError(detail))]
        if isinstance(error, ObjectLostError) or isinstance(
            getattr(error, "cause", None), ObjectLostError
        ):
            self._stored = ray.put(self._setup)
        return [Died(slot, _how(error))]


def _connect(address: str | None, before: _Process) -> None:
    """Connect to a cluster, or start one on this machine that nobody else can reach.

    Raises: StudyStateError.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"address": address, "log_to_driver": False}
    if address == "local":
        options |= {"include_dashboard": False}
        _listen_on_loopback()
        # Without a token of its own Ray writes one into the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    elif address != "auto":
        _require_answer(address)
    _forget_token()
    try:
        with _discreet(), _interrupted_later():
            ray.init(**options, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        before.restore()
        raise StudyStateError(_why_not(address, error)) from None
    except BaseException:
        ray.shutdown()
        before.restore()
        raise
    before.restore_signals()


def _forget_token() -> None:
    """Let Ray read its token again: it keeps the first one that it sees."""
    internals: Any = ray._raylet  # has no types for it
    internals.AuthenticationTokenLoader.instance().reset_cache()


def _listen_on_loopback() -> None:
    """Let a Ray that starts, and the processes it starts, listen on this machine alone."""
    os.environ.setdefault(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0")
    # It was read from there when Ray was imported.
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] != "0"


def _require_answer(address: str) -> None:
    rule = "a Ray cluster must answer"
    if address.startswith("ray://"):
        hint = "Run it on a node with --address auto, or submit it: ray job submit."
        raise StudyStateError(
            ErrorDetail(WHERE, "the driver must be part of the cluster", show(address), hint)
        )
    if not address.rpartition(":")[2].isdigit():
        rule, hint = "an address must be auto, local or HOST:PORT", "Ray's usual port is 6379."
        raise StudyStateError(ErrorDetail(WHERE, rule, show(address), hint))
    found = probe(address)
    if found.wants_token:
        rule = "the Ray cluster must know this driver's token"
        hint = (
            "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as on its nodes."
        )
        raise StudyStateError(ErrorDetail(WHERE, rule, f"another or none at {address}", hint))
    if not found.is_there:
        hint = "Check host and port, and that the cluster runs: ray status."
        raise StudyStateError(ErrorDetail(WHERE, rule, f"no answer from {address}", hint))


def _why_not(address: str, error: Exception) -> ErrorDetail:
    """Say in one line why Ray did not connect."""
    text = " ".join(str(error).split())
    if "Version mismatch" in text:
        rule = "the cluster and this process must run the same Ray and Python"
        hint = "Install the versions of the cluster here, or run the driver on one of its nodes."
        return ErrorDetail(WHERE, rule, text.partition(": ")[2], hint)
    if address == "auto":
        hint = "Name it, HOST:PORT, or leave it out to start one here."
        return ErrorDetail(WHERE, "auto needs a Ray cluster on this machine", "none", hint)
    return ErrorDetail(
        WHERE, f"Ray must start or answer ({show(address)})", text, "See the logs in /tmp/ray."
    )


def _about_room(slots: Slots) -> str:
    each = f"{slots.gpus:g} GPU" if slots.gpus else f"{slots.cpus} CPU"
    if slots.workers <= slots.room:
        return f"Ray starts {count_of(slots.workers, 'worker')} with {each} each"
    return (
        f"Ray has room for {slots.room} of {count_of(slots.workers, 'worker')} with {each} each; "
        "the others start when nodes join"
    )


def _other_versions(slot: int, there: dict[str, str]) -> SelectionError | None:
    """Return the error of a node with other versions than the driver's."""
    here = installed_versions()
    differ = [name for name in SAME if _release(here[name]) != _release(there[name])]
    if not differ:
        return None
    got = ", ".join(f"{name} {there[name]} there and {here[name]} here" for name in differ)
    rule, hint = "a node must have the versions of the driver", "Install the same on both."
    return StudyStateError(ErrorDetail(f"worker {slot}", rule, got, hint))


def _release(version: str) -> str:
    return version.partition("+")[0]


def _how(error: RayError) -> str:
    if isinstance(error, OutOfMemoryError):
        return "because its node ran low on memory"
    if isinstance(error, RayTaskError):
        cause = error.cause
        return f"with {type(cause).__name__}: {' '.join(str(cause).split())}"
    return "with its process or its node"


def _last_line(error: RayError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _kill(actor: _Actor) -> None:
    with suppress(RayError, ValueError):
        ray.kill(actor.handle)


@contextmanager
def _discreet() -> Iterator[None]:
    """Let a Ray that starts print nothing among our results, and hear of no command line.

    It prints deaths of workers. And it shows the command line of a driver to all who use the
    cluster, with the password if the address of a database has one.
    """
    listen, entrypoint = ray_internals.listen_error_messages, ray_utils.get_entrypoint_name
    ray_internals.listen_error_messages = lambda *_: None
    ray_utils.get_entrypoint_name = lambda: "selection"
    try:
        yield
    finally:
        ray_internals.listen_error_messages = listen
        ray_utils.get_entrypoint_name = entrypoint


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Hold a Ctrl-C back to the end of the block, unless a second one comes.

    Nothing ends the processes of a Ray that has started in part, until this process ends.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    is_interrupted = False

    def hold_back(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        signal.signal(signal.SIGINT, handler)

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if is_interrupted:
        handler(signal.SIGINT, None)


class _Process:
    """Remember what Ray changes of this process."""

    def __init__(self) -> None:
        self._environment = _ray_variables()
        self._excepthook = sys.excepthook
        self._is_main = threading.current_thread() is threading.main_thread()
        self._handler = signal.getsignal(signal.SIGTERM)
        self._is_cluster = ray_constants.ENABLE_RAY_CLUSTER

    def restore_signals(self) -> None:
        sys.excepthook = self._excepthook
        if self._is_main and self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def restore(self) -> None:
        self.restore_signals()
        for name in _ray_variables().keys() - self._environment.keys():
            del os.environ[name]
        os.environ.update(self._environment)
        _forget_token()
        ray_constants.ENABLE_RAY_CLUSTER = self._is_cluster


def _ray_variables() -> dict[str, str]:
    names = [name for name in os.environ if name.startswith("RAY_") or name == "PYTHONBREAKPOINT"]
    return {name: os.environ[name] for name in names}
