"""Decides which trials of a cohort are stopped early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from selection.search.pruners import make_pruner, survivors
from selection.search.standing import Floats, Standing
from selection.study.best_epoch import has_run_out
from selection.study.spec import StudySpec
from selection.study.trial import Params, Trial, TrialState


class CohortPruner:
    """Apply the pruner of the study file to the fold means of one cohort, epoch by epoch.

    The trials of a cohort reach every epoch together and are judged together, so that the order of
    their numbers does not matter. Trial 0 is never pruned: every report compares the winner with
    the default.

    Of the finished trials it keeps only what the pruner needs, as arrays, because it is sent to the
    process that trains the cohort.
    """

    def __init__(
        self, spec: StudySpec, finished: Sequence[Trial], cohort: Mapping[int, Params]
    ) -> None:
        self._pruner = make_pruner(spec)
        known = [trial for trial in finished if trial.state is not TrialState.FAILED]
        self._finished_numbers = np.array([trial.number for trial in known], dtype=np.int64)
        self._complete = np.array([trial.state is TrialState.COMPLETE for trial in known], np.bool_)
        self._numbers = sorted(cohort)
        self._lengths = [spec.setting(cohort[number]).kind.epochs for number in self._numbers]
        judged = filter(self._pruner.judges, range(1, max(self._lengths, default=0) + 1))
        # By judged epoch, NaN for trials that did not get there. Shape: (1, T).
        self._reached = {epoch: _reached(known, epoch) for epoch in judged}
        self._pruned: set[int] = set()
        self._patience, self._is_minimised = spec.sections.training.patience, spec.is_minimised
        # Complete before their last epoch.
        self._stalled: set[int] = set()
        self._means: list[list[float]] = []  # one per epoch

    def decide(self, epoch: int, means: Mapping[int, float]) -> set[int]:
        """Return the numbers of the trials to prune after this epoch.

        means holds the fold mean of every trial that is still training.
        """
        self._means.append([means.get(number, np.nan) for number in self._numbers])
        out = self._judge(epoch, means) if self._pruner.judges(epoch) else set()
        self._pruned |= out
        if self._patience:
            self._stalled |= self._find_stalled(means.keys() - out)
        return out

    def _judge(self, epoch: int, means: Mapping[int, float]) -> set[int]:
        kept = survivors(self._pruner, self._standing(epoch, means))[0]
        return {
            number
            for number, is_kept in zip(self._numbers, kept, strict=True)
            if number in means and not is_kept
        }

    def _find_stalled(self, living: Set[int]) -> set[int]:
        """Return which trials their trainer completes after this epoch, out of patience."""
        curves = zip(self._numbers, self._lengths, zip(*self._means, strict=True), strict=True)
        return {
            number
            for number, length, curve in curves
            if number in living
            and has_run_out(curve, length, self._patience, is_minimised=self._is_minimised)
        }

    def _standing(self, epoch: int, means: Mapping[int, float]) -> Standing:
        """Return the one record there is, as one resampling."""
        training = [number in means for number in self._numbers]
        left = [number not in means and number not in self._pruned for number in self._numbers]
        ended = [
            has_left and (length <= epoch or number in self._stalled)
            for number, has_left, length in zip(self._numbers, left, self._lengths, strict=True)
        ]
        return Standing(
            epochs=range(1, epoch + 1),
            finished_numbers=self._finished_numbers,
            finished=self._reached[epoch],
            complete=self._complete[None],
            numbers=np.array(self._numbers),
            cohort=np.array(self._means)[:, None],
            training=np.array([training]),
            ended=np.array([ended]),
            size=len(self._numbers) - (sum(left) - sum(ended)),
        )


def _reached(trials: Sequence[Trial], epoch: int) -> Floats:
    """Return the fold means of trials at an epoch. Shape: (1, T)."""
    means = [
        trial.fold_means[epoch - 1] if len(trial.fold_means) >= epoch else np.nan
        for trial in trials
    ]
    return np.array([means], dtype=np.float64)
