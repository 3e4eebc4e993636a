"""The newest assessment of each study, computed in the background, one study at a time.

An assessment resamples every prediction. While a sweep trains on this machine it would take a core
from the sweep and be out of date within seconds, so pages show none until training ends; only a
request for the assessment itself has it computed.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from selection.errors import SelectionError
from selection.report.study_view import StudyView
from selection.store.repository import Repository
from selection.workflows.assess import Assessment, assess_study

Key = tuple[int, ...]
MOST_KEPT = 64
# A database that was away comes back: an open page asks for a new try after this pause, a request
# for the assessment itself at once.
RETRY_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class KnownAssessment:
    """Hold an assessment, or why there is none yet."""

    assessment: Assessment | None
    waiting: str = ""


class _Attempt:
    """Compute one assessment of a study as it stood, and remember when that failed."""

    def __init__(self, key: Key, future: Future[Assessment]) -> None:
        self.key = key
        self.future = future
        self._failed_at = math.inf
        future.add_done_callback(self._end)

    def _end(self, future: Future[Assessment]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._failed_at = time.monotonic()

    def failed_before(self, moment: float) -> bool:
        return self._failed_at <= moment


class AssessmentCache:
    """Compute and keep the newest assessment of each study."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="assessment")
        self._lock = threading.Lock()
        self._newest: dict[str, _Attempt] = {}

    def get(self, view: StudyView) -> KnownAssessment:
        """Return the assessment of a study as it stands, without waiting for one."""
        if not view.ranked:
            return KnownAssessment(None, "no trial is complete yet")
        if view.is_training:
            return KnownAssessment(None, "computed when training ends")
        future = self._submit(view, RETRY_SECONDS)
        if not future.done():
            return KnownAssessment(None, "being computed")
        error = future.exception()
        if isinstance(error, SelectionError):
            return KnownAssessment(None, str(error))
        return KnownAssessment(future.result())

    def require(self, view: StudyView) -> Assessment:
        """Return the assessment of a study as it stands, and wait for it.

        Raises: StorageError.
        """
        return self._submit(view, 0.0).result()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, view: StudyView, pause: float) -> Future[Assessment]:
        """Return the newest attempt; one that failed longer ago than the pause is made again."""
        key, now = view.verdict_version, time.monotonic()
        with self._lock:
            newest = self._newest.get(view.study.uuid)
            if newest is None or newest.key != key or newest.failed_before(now - pause):
                newest = _Attempt(
                    key, self._pool.submit(assess_study, view.study, self._repository)
                )
                self._newest[view.study.uuid] = newest
                if len(self._newest) > MOST_KEPT:
                    del self._newest[next(iter(self._newest))]
            return newest.future
