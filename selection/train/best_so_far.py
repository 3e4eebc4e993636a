"""Follows the mean over folds of one trial, and keeps the outputs of its best epoch so far.

Of the epochs that were better before, nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Mapping

from selection.study.best_epoch import best_epoch, candidate_epochs, has_run_out
from selection.study.trial import Outputs


class BestSoFar:
    """Hold the best candidate of the epochs so far; outputs are by fold."""

    def __init__(self, epochs: int, patience: int, *, is_minimised: bool) -> None:
        self._epochs, self._patience, self._is_minimised = epochs, patience, is_minimised
        self._candidates = frozenset(candidate_epochs(epochs))
        self._means: list[float] = []
        self.outputs: Mapping[int, Outputs] = {}

    def learn(self, mean: float) -> None:
        """Take the mean over folds after the next epoch."""
        self._means.append(mean)

    @property
    def is_candidate(self) -> bool:
        """Say whether the newest epoch competes."""
        return len(self._means) in self._candidates

    @property
    def is_best(self) -> bool:
        """Say whether the newest epoch is the best so far of those that compete."""
        return self.is_candidate and self.epoch == len(self._means)

    @property
    def epoch(self) -> int:
        """The best epoch so far; there must have been a candidate."""
        return best_epoch(self._means, self._epochs, is_minimised=self._is_minimised)

    @property
    def has_run_out(self) -> bool:
        """Say whether the mean has not improved for as long as the study waits."""
        return has_run_out(
            self._means, self._epochs, self._patience, is_minimised=self._is_minimised
        )
