"""A winner that is several trials: their mean prediction, each by how often it was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selection.study.trial import Trial, mean_over_folds


@dataclass(frozen=True)
class CountedTrial:
    """Hold a complete trial of an ensemble, and how often it counts in the mean."""

    trial: Trial
    count: int


@dataclass(frozen=True)
class Ensemble(Trial):
    """Stand where a trial stands that has won.

    value and fold_scores are those of the mean prediction. number, params and epochs are those of
    the leading trial, the one that counts most often and, of equals, the first.
    """

    counted: tuple[CountedTrial, ...] = ()

    @property
    def counts(self) -> dict[int, int]:
        """How often each trial counts, by its number; the most frequent first."""
        return {each.trial.number: each.count for each in self.counted}


def make_ensemble(
    trials: Sequence[Trial], counts: Sequence[int], fold_scores: Sequence[float]
) -> Trial:
    """Return the mean of trials, as often as each counts; a trial itself where it is alone."""
    chosen = [
        CountedTrial(trial, count) for trial, count in zip(trials, counts, strict=True) if count
    ]
    chosen.sort(key=lambda each: (-each.count, each.trial.number))
    first = chosen[0].trial
    if len(chosen) == 1:
        return first
    return Ensemble(
        number=first.number,
        state=first.state,
        params=first.params,
        cohort=first.cohort,
        value=mean_over_folds(np.asarray(fold_scores)),
        fold_scores=tuple(fold_scores),
        epochs=first.epochs,
        counted=tuple(chosen),
    )


def leading(winner: Trial | None) -> Trial | None:
    """Return the trial of an ensemble that counts most often; a trial itself."""
    return winner.counted[0].trial if isinstance(winner, Ensemble) else winner


def trials_of(winner: Trial) -> list[Trial]:
    """Return the trials that an ensemble is made of; a trial itself."""
    return [each.trial for each in winner.counted] if isinstance(winner, Ensemble) else [winner]


def counts_of(trial: Trial) -> Mapping[int, int] | None:
    """Return how often each trial of an ensemble counts; None for a trial."""
    return trial.counts if isinstance(trial, Ensemble) else None


def subject(number: int, counts: Mapping[int, float] | None) -> str:
    """Return what a sentence calls a trial, or an ensemble whose trials have these weights."""
    return f"trial {number}" if counts is None else f"the ensemble of {len(counts)} trials"


def weights_of(counts: Mapping[int, int]) -> dict[int, float]:
    """Return the weight of each trial in the mean."""
    total = sum(counts.values())
    return {number: count / total for number, count in counts.items()}
