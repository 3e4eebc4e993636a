"""Renews leases from a background thread while their cohorts train."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from selection.errors import StorageError
from selection.store.leases import Lease, Leases, Progress, lost_cohort
from selection.store.study_record import StudyRecord

LONGEST_PAUSE_SECONDS = 2.0
RENEWALS_PER_LEASE = 4


class Heartbeat:
    """Keep leases alive, publish the progress of their cohorts, and notice which are lost."""

    def __init__(self, leases: Leases, study: StudyRecord, lease_seconds: float) -> None:
        self._leases = leases
        self._study = study
        self._pause = min(lease_seconds / RENEWALS_PER_LEASE, LONGEST_PAUSE_SECONDS)
        self._lock = threading.Lock()
        self._progress: dict[Lease, Progress] = {}
        self._lost: set[Lease] = set()
        self._done = threading.Event()

    def hold(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._progress[lease] = Progress()

    def let_go(self, lease: Lease) -> None:
        """Stop renewing a lease."""
        with self._lock:
            self._progress.pop(lease, None)
            self._lost.discard(lease)

    def report(self, lease: Lease, progress: Progress) -> None:
        """Set the progress that the next renewal publishes.

        Raises: LostCohortError if another worker has the cohort, so that training on is useless.
        """
        with self._lock:
            if lease in self._lost:
                raise lost_cohort(self._study, lease)
            if lease in self._progress:
                self._progress[lease] = progress

    def renew_until_done(self) -> None:
        """Renew what is held until the end.

        While the server does not respond, it tries again: whether a lease has outlived the outage
        is decided when its cohort is finished.
        """
        while not self._done.wait(self._pause):
            with self._lock:
                progress = dict(self._progress)
            if not progress:
                continue
            try:
                lost = self._leases.renew(self._study, progress)
            except StorageError:
                continue
            with self._lock:
                # A lease that was let go meanwhile is not lost: its cohort is finished.
                lost &= self._progress.keys()
                self._lost |= lost
                for lease in lost:
                    del self._progress[lease]

    def stop(self) -> None:
        self._done.set()


@contextmanager
def heartbeat(leases: Leases, study: StudyRecord, lease_seconds: float) -> Iterator[Heartbeat]:
    """Renew what is held from a background thread while the block runs.

    Units: lease_seconds is how long the leases last without a renewal.
    """
    beating = Heartbeat(leases, study, lease_seconds)
    thread = threading.Thread(target=beating.renew_until_done, name="lease", daemon=True)
    thread.start()
    try:
        yield beating
    finally:
        beating.stop()
        thread.join()
