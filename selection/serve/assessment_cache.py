"""Assesses studies in the background, one at a time, and keeps what it found.

An assessment resamples every prediction. While a sweep trains on this machine it would take a core
from it, and its answer would be old within seconds: a page waits for the end, and only who asks for
the verdict itself has it computed.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from selection.errors import SelectionError
from selection.report.study_view import StudyView
from selection.store.repository import Repository
from selection.workflows.assess import Assessment, assess_study

Key = tuple[int, ...]
MOST_KEPT = 64


@dataclass(frozen=True, eq=False)
class Answer:
    """Hold an assessment, or say why there is none yet."""

    assessment: Assessment | None
    waiting: str = ""


class AssessmentCache:
    """Hold the newest assessment of each study."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="assessment")
        self._lock = threading.Lock()
        self._found: dict[str, tuple[Key, Future[Assessment]]] = {}

    def get(self, view: StudyView) -> Answer:
        """Return the assessment of a study as it stands, without waiting for one."""
        if not view.ranked:
            return Answer(None, "no trial is complete yet")
        if view.is_training:
            return Answer(None, "computed when no worker trains")
        future = self._ask(view)
        if not future.done():
            return Answer(None, "being computed ...")
        error = future.exception()
        if isinstance(error, SelectionError):
            return Answer(None, str(error))
        return Answer(future.result())

    def require(self, view: StudyView) -> Assessment:
        """Return the assessment of a study as it stands, and wait for it.

        Raises: StorageError.
        """
        return self._ask(view).result()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, view: StudyView) -> Future[Assessment]:
        with self._lock:
            key, future = self._found.get(view.study.uuid, (None, None))
            if future is None or key != view.verdict_version:
                future = self._pool.submit(assess_study, view.study, self._repository)
                self._found[view.study.uuid] = (view.verdict_version, future)
                if len(self._found) > MOST_KEPT:
                    del self._found[next(iter(self._found))]
            return future
