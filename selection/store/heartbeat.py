"""Renews a lease from a background thread while its cohort trains."""

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
    """Keep a lease alive, publish the progress of its cohort, and notice when it is lost."""

    def __init__(self, leases: Leases, study: StudyRecord, lease: Lease) -> None:
        self._leases = leases
        self._study = study
        self._lease = lease
        self._progress = Progress()
        self._is_lost = False
        self._done = threading.Event()

    def report(self, progress: Progress) -> None:
        """Set the progress that the next renewal publishes.

        Raises: LostCohortError if another worker has the cohort and training on is useless.
        """
        self._progress = progress
        if self._is_lost:
            raise lost_cohort(self._study, self._lease)

    def renew_until_done(self) -> None:
        """Renew the lease until the cohort is done or lost.

        While the server does not respond, it tries again: whether the lease has outlived the outage
        is decided when the cohort is finished.
        """
        seconds = self._lease.worker.lease_seconds
        pause = min(seconds / RENEWALS_PER_LEASE, LONGEST_PAUSE_SECONDS)
        while not self._is_lost and not self._done.wait(pause):
            try:
                self._is_lost = not self._leases.renew(self._study, self._lease, self._progress)
            except StorageError:
                continue

    def stop(self) -> None:
        self._done.set()


@contextmanager
def heartbeat(leases: Leases, study: StudyRecord, lease: Lease) -> Iterator[Heartbeat]:
    """Renew a lease from a background thread while the block runs."""
    beating = Heartbeat(leases, study, lease)
    thread = threading.Thread(target=beating.renew_until_done, name="lease", daemon=True)
    thread.start()
    try:
        yield beating
    finally:
        beating.stop()
        thread.join()
