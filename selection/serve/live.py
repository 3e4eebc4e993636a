"""Each study as it stands, kept between requests so that a finished trial is read only once."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Sequence
from operator import attrgetter

from selection.report.study_view import StudyView, count_evidence
from selection.store.repository import Repository
from selection.store.study_list import LATELY_SECONDS
from selection.store.study_record import StudyRecord
from selection.study.spec import StudySpec
from selection.study.trial import Trial

# Requests that come together share one reading of the database.
FRESH_SECONDS = 0.5
MOST_KEPT = 64


class LiveStudies:
    """Read the studies of a database again and again, each by its own LiveStudy.

    Those that were asked for last are kept.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._studies: dict[str, LiveStudy] = {}

    def find(self, name: str) -> StudyView:
        """Return a study by name, or by uuid where no study has that name.

        Raises: StudyStateError with the nearest name.
        """
        # PostgreSQL has no text with this character, and no study has it in its name.
        records, is_text = self._repository.records, "\0" not in name
        found = records.find_study(name) if is_text else None
        if found is None and is_text:
            found = records.find_uuid(name)
        return self.view(found or self._repository.study(name.replace("\0", "?")))

    def view(self, study: StudyRecord) -> StudyView:
        """Return a study as it stands."""
        with self._lock:
            live = self._studies.pop(study.uuid, None) or LiveStudy(self._repository)
            self._studies[study.uuid] = live
            if len(self._studies) > MOST_KEPT:
                del self._studies[next(iter(self._studies))]
        return live.view(study)


class LiveStudy:
    """Read one study again and again; each time only what is new is read."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._finished: list[Trial] = []
        # Every trial of a cohort before this one has ended and has been read.
        self._first_open = 0
        self._seconds = 0.0
        self._view: StudyView | None = None
        self._read_at = 0.0

    def view(self, study: StudyRecord) -> StudyView:
        """Return the study as it stands now."""
        with self._lock:
            if self._view is None or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._view = self._read(study)
                self._read_at = time.monotonic()
            return self._view

    def _read(self, study: StudyRecord) -> StudyView:
        records = self._repository.records
        # Read before the finished ones, so that a trial that ends in between is in both lists and
        # not in neither.
        pending = records.pending(study, since=self._first_open)
        self._read_finished(study)
        known = {trial.number for trial in self._finished}
        pending = [trial for trial in pending if trial.number not in known]
        running = self._repository.leases.running(study)
        newest = max((trial.cohort for trial in self._finished), default=-1)
        self._first_open = min((trial.cohort for trial in pending), default=newest + 1)
        return StudyView(
            study=study,
            spec=self._spec(study),
            trials=_merged(self._finished, pending),
            running=running,
            evaluations=self._repository.ledger.evaluations(study),
            evidence=count_evidence(study, self._repository),
            curve_folds=self._repository.curves.count(study),
            openings_by_others=self._repository.ledger.count_openings_by_others(study),
            seconds=self._seconds,
            lately=records.finished_within(study, LATELY_SECONDS) if running else 0,
            others=records.others(study),
        )

    def _spec(self, study: StudyRecord) -> StudySpec:
        """Return the study file, parsed again only where it was changed."""
        known = self._view
        if known is not None and known.study.spec_fingerprint == study.spec_fingerprint:
            return known.spec
        return study.spec()

    def _read_finished(self, study: StudyRecord) -> None:
        """Read the trials that have ended since the last reading, and the seconds of training."""
        records = self._repository.records
        known = {trial.number for trial in self._finished}
        numbers = records.finished_numbers(study, since=self._first_open)
        new = [number for number in numbers if number not in known]
        if not new:
            return
        # All trials are asked for without their numbers: a long list of numbers would be slow.
        wanted = new if known else None
        found = records.trials(study, with_curves=False, numbers=wanted)
        seconds = records.elapsed_seconds(study)
        for trial in found:
            if trial.state.is_finished:
                insort(self._finished, trial, key=attrgetter("number"))
        self._seconds = seconds


def _merged(finished: Sequence[Trial], pending: Sequence[Trial]) -> list[Trial]:
    return sorted([*finished, *pending], key=attrgetter("number"))
