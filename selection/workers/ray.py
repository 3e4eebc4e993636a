"""Runs workers as actors of a Ray cluster, one for each GPU or share of the cores.

Ray retries nothing of ours: the record decides what is trained again.
"""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import (
    ActorDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
)

from selection.errors import ErrorDetail, SelectionError, StudyStateError, show
from selection.report.cells import count_of
from selection.study.run_section import RunSection
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
from selection.workers.ray_connection import WHERE, RayConnection
from selection.workers.ray_slots import Slots, plan_slots
from selection.workers.training import WorkerSetup
from selection.workflows.cohort import CohortTask
from selection.workflows.study_data import installed_versions

# Results depend on these; builds of one version, such as 2.11.0 and 2.11.0+cpu, count as equal.
MUST_MATCH = ("selection", "torch", "numpy")
# A worker that has not started after so long is spoken of.
LATE_SECONDS = 15.0


@dataclass
class _Actor:
    """Follow one actor: the answer it owes and to which call, and the news asked of it and when."""

    handle: Any
    answer: Any
    asked: str
    started_at: float
    news: Any = None
    news_at: float = 0.0


class RayLauncher:
    """Run workers on the cluster that [run] names, or on one of this machine's own; a Launcher.

    Raises: StudyStateError if the cluster does not answer, or runs other versions.
    """

    def __init__(self, run: RunSection, setup: WorkerSetup) -> None:
        self._connection = RayConnection(run.address)
        try:
            self._use(run, setup)
        except BaseException:
            self._connection.close()
            raise

    def _use(self, run: RunSection, setup: WorkerSetup) -> None:
        list_nodes: Any = ray.nodes  # has no types
        nodes = [node["Resources"] for node in list_nodes() if node["Alive"]]
        self._slots = plan_slots(nodes, run.workers, run.gpus_per_worker, setup.device)
        self.workers = self._slots.workers
        # Pickled into one array: Ray shares the arrays of its object store, and they are read-only.
        self._setup = np.frombuffer(pickle.dumps(setup, pickle.HIGHEST_PROTOCOL), dtype=np.uint8)
        self._stored = self._store()
        self._actors: dict[int, _Actor] = {}
        self._said = [_about_slots(self._slots)]
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
        """End all workers, whatever they do, and the cluster if this launcher started it."""
        for actor in self._actors.values():
            _kill(actor)
        self._actors = {}
        self._stored = None
        self._connection.close()

    def _store(self) -> Any:
        """Put the setup into the object store once, for all nodes."""
        try:
            return ray.put(self._setup)
        except RayError as error:
            rule = "Ray's object store must hold the rows"
            got = f"{self._setup.nbytes / 2**20:.0f} MiB and {type(error).__name__}"
            hint = "Give it more: ray start --object-store-memory=BYTES."
            raise StudyStateError(ErrorDetail(WHERE, rule, got, hint)) from None

    def _say_if_late(self) -> None:
        """Say once that workers wait that the cluster has room for: it may be busy for hours."""
        before = time.monotonic() - LATE_SECONDS
        late = sum(
            actor.asked == "versions" and actor.started_at < before
            for actor in self._actors.values()
        )
        if not self._has_said_late and late > max(self.workers - self._slots.fitting, 0):
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
        # If the actor has died, its answer says so.
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
        # An actor that cannot be reached may train on, but nobody waits for it any more.
        _kill(self._actors.pop(slot))
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            rule = "every node needs selection as the driver has it"
            hint = "Install the same version there, or use an image that has it."
            detail = ErrorDetail(f"worker {slot}", rule, show(_last_line(error)), hint)
            return [Refused(slot, StudyStateError(detail))]
        if isinstance(error, ObjectLostError) or isinstance(
            getattr(error, "cause", None), ObjectLostError
        ):
            self._stored = self._store()
        return [Died(slot, _how(error))]


def _about_slots(slots: Slots) -> str:
    each = f"{slots.gpus:g} GPU" if slots.gpus else f"{slots.cpus} CPU"
    workers = count_of(slots.workers, "worker")
    if slots.workers <= slots.fitting:
        return f"Ray starts {workers} with {each} each"
    return (
        f"Ray has room for {slots.fitting} of {workers} with {each} each; "
        "the others start when nodes join"
    )


def _other_versions(slot: int, there: dict[str, str]) -> SelectionError | None:
    """Return the error of a node with other versions than the driver's."""
    here = installed_versions()
    differ = [name for name in MUST_MATCH if _release(here[name]) != _release(there[name])]
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
