"""What a worker does, wherever it runs: prepare the rows once, then train task after task."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from selection.study.spec import StudySpec
from selection.study.trial import TrialResult
from selection.train.device import DeviceName, choose_device, describe_device
from selection.train.fit import EpochNews
from selection.workers.launcher import PROGRESS_SECONDS, WorkerFacts
from selection.workflows.cohort import CohortTask
from selection.workflows.study_data import StudyData, make_trainer


@dataclass(frozen=True, eq=False)
class WorkerSetup:
    """Hold what a worker needs before its first task: the study, its development rows, the device.

    Units: pack_members is the number of members a pack has at most, 0 to size packs by memory.
    """

    spec: StudySpec
    data: StudyData
    device: DeviceName
    pack_members: int


def setup_of(
    spec: StudySpec, data: StudyData, device: DeviceName, pack_members: int
) -> WorkerSetup:
    """Return the setup of the workers of a study; nothing of its held-out rows is in it."""
    dataset = replace(data.dataset, held_out_identities=None)
    return WorkerSetup(spec, replace(data, dataset=dataset, frame=None), device, pack_members)


class TrainingWorker:
    """Keep the rows of a study on the device of this process, and train tasks on them.

    Raises: DeviceError if the device is not there.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        device = choose_device(setup.device)
        self.trainer = make_trainer(setup.spec, setup.data, device, setup.pack_members)
        host = f"{socket.gethostname()}:{os.getpid()}"
        self.facts = WorkerFacts(host, describe_device(device), self.trainer.asks_ahead)

    def train(
        self, task: CohortTask, report: Callable[[EpochNews], None]
    ) -> Mapping[int, TrialResult]:
        """Train a task; report hears of its first epoch, and then once a second at most."""
        last = -PROGRESS_SECONDS

        def watch(news: EpochNews) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_SECONDS:
                last = now
                report(news)

        return task.train(self.trainer, watch)
