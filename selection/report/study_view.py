"""What is shown of a study at one moment, read once for pages, report and JSON alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from selection.report.values import count_states
from selection.stats.selection_rules import rank
from selection.store.leases import RunningCohort, is_training
from selection.store.ledger import Evaluation
from selection.store.other_trials import OtherTrial
from selection.store.repository import Repository
from selection.store.study_list import LATELY_SECONDS, rate, state_word
from selection.store.study_record import StudyRecord
from selection.study.budget import is_finished
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState


@dataclass(frozen=True, eq=False)
class StudyView:
    """Hold one study as it stands: trials by number, in any state.

    Units: seconds is the time that finished cohorts took; lately counts the trials that ended in
    the last LATELY_SECONDS; curve_folds counts the folds of stored curves; others are the settings
    in the queue, and what other programs put in.
    """

    study: StudyRecord
    spec: StudySpec
    trials: Sequence[Trial]
    running: Sequence[RunningCohort]
    evaluations: Sequence[Evaluation]
    evidence: tuple[int, ...]
    curve_folds: int
    openings_by_others: int
    seconds: float
    lately: int
    others: Sequence[OtherTrial] = ()

    @cached_property
    def counts(self) -> Mapping[TrialState, int]:
        return count_states(self.trials)

    @cached_property
    def finished(self) -> int:
        """The number of trials that have ended."""
        return sum(count for state, count in self.counts.items() if state.is_finished)

    @cached_property
    def ranked(self) -> Sequence[Trial]:
        """The complete trials, best observed mean first."""
        return rank(self.trials, is_minimised=self.spec.is_minimised)

    @cached_property
    def is_finished(self) -> bool:
        """Say whether the study takes no more trials."""
        return bool(self.evaluations) or is_finished(self.spec, self.trials, self.seconds)

    @property
    def is_training(self) -> bool:
        """Say whether a worker trains, or is between two cohorts."""
        return is_training(self.running, is_finished=self.is_finished)

    @property
    def state(self) -> str:
        """Say in a word what the study does now."""
        return state_word(is_training=self.is_training, is_finished=self.is_finished)

    @property
    def per_minute(self) -> float | None:
        """The trials that ended per minute lately; None where nobody trains."""
        return rate(self.lately, self.study.created_at) if self.is_training else None

    @property
    def version(self) -> tuple[int, ...]:
        """What a page or a chart depends on: it stays while nothing new is on record."""
        queued = sum(each.is_queued for each in self.others)
        ended = sum(each.state.is_finished for each in self.others)
        return (*self.verdict_version, self.curve_folds, len(self.others), queued, ended)

    @property
    def verdict_version(self) -> tuple[int, ...]:
        """What a verdict depends on: curves, which choose nothing, are no part of it."""
        results = sum(evaluation.result is not None for evaluation in self.evaluations)
        evaluations = (len(self.evaluations), results, self.openings_by_others)
        return (self.finished, *evaluations, *self.evidence, len(self.study.changes))


def count_evidence(study: StudyRecord, repository: Repository) -> tuple[int, ...]:
    """Return how much evidence beside the trials is stored, of each kind."""
    return (*repository.evidence.counts(study), repository.curves.count_audited(study))


def view_study(study: StudyRecord, repository: Repository) -> StudyView:
    """Read a study as it stands."""
    return StudyView(
        study=study,
        spec=study.spec(),
        trials=repository.records.trials(study, with_curves=False),
        running=repository.leases.running(study),
        evaluations=repository.ledger.evaluations(study),
        evidence=count_evidence(study, repository),
        curve_folds=repository.curves.count(study),
        openings_by_others=repository.ledger.count_openings_by_others(study),
        seconds=repository.records.elapsed_seconds(study),
        lately=repository.records.finished_within(study, LATELY_SECONDS),
        others=repository.records.others(study),
    )
