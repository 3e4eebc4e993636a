"""Renews a lease from a thread of its own while its cohort trains."""

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
    """Hold a lease: hear how far the cohort is, and say when it was lost."""

    def __init__(self, leases: Leases, study: StudyRecord, lease: Lease) -> None:
        self._leases = leases
        self._study = study
        self._lease = lease
        self._progress = Progress()
        self._is_lost = False
        self._done = threading.Event()

    def tell(self, progress: Progress) -> None:
        """Note how far the cohort is, for the next renewal.

        Raises: LostCohortError where another worker has the cohort: training on is in vain.
        """
        self._progress = progress
        if self._is_lost:
            raise lost_cohort(self._study, self._lease)

    def renew_until_done(self) -> None:
        """Renew the lease until the cohort is done or lost.

        A server that does not answer is asked again: whether the lease outlived it is decided when
        the cohort is finished.
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
    """Renew a lease from a thread of its own as long as the block runs."""
    held = Heartbeat(leases, study, lease)
    thread = threading.Thread(target=held.renew_until_done, name="lease", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        held.stop()
        thread.join()
