"""Two studies beside each other: their winners, their search spaces and their costs.

The winners are tested against each other only where both studies scored the same rows by the same
metric on the same folds. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selection.stats.paired_tests import (
    Comparison,
    corrected_resampled_t,
    paired_differences,
    validation_ratio,
)
from selection.study.trial import Trial
from selection.workflows.assess import Assessment, require_winner


@dataclass(frozen=True, eq=False)
class ComparedStudy:
    """Hold one of two studies, its winner and what its sweep cost.

    epochs counts those of all trials that were trained.
    Units: seconds is the time that its cohorts took.
    """

    assessment: Assessment
    winner: Trial
    epochs: int
    seconds: float

    @property
    def name(self) -> str:
        return self.assessment.study.name


@dataclass(frozen=True, eq=False)
class StudyComparison:
    """Hold two studies and, where their folds are paired, the test of their winners.

    difference is the observed score of the first winner minus that of the second, over paired
    folds; None where why_unpaired says why there is no test.
    Units: those of the metric; the interval of difference has this level.
    """

    first: ComparedStudy
    second: ComparedStudy
    difference: Comparison | None
    why_unpaired: str
    level: float

    @property
    def is_paired(self) -> bool:
        return self.difference is not None

    @property
    def is_clear(self) -> bool:
        """Say whether the test tells the two winners apart."""
        found = self.difference
        return found is not None and found.p is not None and found.p <= 1 - self.level

    @property
    def better(self) -> ComparedStudy | None:
        """The study whose winner scores better on the paired folds; None if neither does."""
        if self.difference is None or self.difference.mean == 0:
            return None
        is_first = (self.difference.mean < 0) == self.first.assessment.spec.is_minimised
        return self.first if is_first else self.second


def compare_studies(first: ComparedStudy, second: ComparedStudy) -> StudyComparison:
    """Test the winners by the corrected resampled t over paired folds, at the first study's level.

    The winner of each study is that of its own rule.
    """
    spec = first.assessment.spec
    level = spec.sections.assessment.level
    if why := _why_unpaired(first.assessment, second.assessment):
        return StudyComparison(first, second, None, why, level)
    differences = paired_differences(first.winner.fold_scores, second.winner.fold_scores)
    cv = spec.sections.cv
    ratio = validation_ratio(cv.folds, is_time_series=cv.kind == "time_series")
    found = corrected_resampled_t(differences, ratio, level)
    return StudyComparison(first, second, found, "", level)


def compared_study(assessment: Assessment, seconds: float) -> ComparedStudy:
    """Return a study with its winner and its costs; seconds is the time that its cohorts took.

    Raises: StudyStateError if no trial is complete.
    """
    winner = require_winner(assessment)
    return ComparedStudy(assessment, winner, epochs_trained(assessment.trials), seconds)


def epochs_trained(trials: Sequence[Trial]) -> int:
    """Return the epochs of all trials, without those that repeat the setting of another."""
    # A setting that was seen before takes the scores of the earlier trial, in no time.
    return sum(trial.epochs for trial in trials if trial.seconds != 0.0)


def _why_unpaired(first: Assessment, second: Assessment) -> str:
    """Return why the folds of two studies are not paired; empty where they are."""
    metrics = (first.spec.metric, second.spec.metric)
    if metrics[0] != metrics[1]:
        return f"one is scored by {metrics[0]}, the other by {metrics[1]}"
    if first.study.data_fingerprint != second.study.data_fingerprint:
        return "their development rows differ"
    if first.study.facts.folds != second.study.facts.folds:
        return "their folds differ"
    return ""
