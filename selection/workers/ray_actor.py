"""What an actor of Ray runs. It is loaded on a node before anything else is, so it imports little.

Its methods return errors instead of raising them: Ray wraps what is raised into errors of its own.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selection.errors import SelectionError
    from selection.study.trial import TrialResult
    from selection.train.fit import EpochNews
    from selection.workers.launcher import WorkerFacts
    from selection.workers.training import TrainingWorker
    from selection.workflows.cohort import CohortTask


class RayWorker:
    """Train for a driver elsewhere; news() may be asked while train() runs."""

    def __init__(self) -> None:
        # Threads that spin while they wait make a busy machine several times slower. OpenMP reads
        # this when torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._worker: TrainingWorker | None = None
        self._news: EpochNews | None = None

    def versions(self) -> dict[str, str]:
        """Return the versions that this node has installed."""
        from selection.workflows.study_data import installed_versions

        return installed_versions()

    def set_up(self, setup: Any) -> WorkerFacts | SelectionError:
        """Prepare the rows of a study; setup is a pickled WorkerSetup, as an array of bytes."""
        from selection.errors import SelectionError
        from selection.workers.training import TrainingWorker

        try:
            self._worker = TrainingWorker(pickle.loads(memoryview(setup)))
        except SelectionError as error:
            return error
        return self._worker.facts

    def train(self, task: CohortTask) -> Mapping[int, TrialResult] | SelectionError:
        """Train a task."""
        from selection.errors import SelectionError

        assert self._worker is not None, "a worker is set up before it trains"
        self._news = None
        try:
            return self._worker.train(task, self._keep)
        except SelectionError as error:
            return error

    def news(self) -> EpochNews | None:
        """Return the last news of the task that trains."""
        return self._news

    def _keep(self, news: EpochNews) -> None:
        self._news = news
