"""The epochs that compete to score a trial, as the columns of a table of predictions.

Which of them is the best depends on the rows by which they are compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selection.stats.scores import Floats


class CompetingEpochs:
    """Choose the epoch of each trial that ended, among the columns of the end.

    Shape: owners (P',), the trial of each column, ascending; trials (t,), those that ended.
    """

    def __init__(self, owners: NDArray[np.int64], *, is_minimised: bool) -> None:
        self.trials, self._first, counts = np.unique(owners, return_index=True, return_counts=True)
        self.compete = len(self.trials) < len(owners)
        self._is_minimised = is_minimised
        at = np.arange(counts.max(initial=1))
        self._is_there = at < counts[:, None]  # (t, L)
        self._table = np.where(self._is_there, self._first[:, None] + at, 0)

    def best(self, means: Floats) -> NDArray[np.int64]:
        """Return the best column of each trial; the first of ties. Shape: (B, P') -> (B, t)."""
        if not self.compete:
            return np.broadcast_to(self._first, (len(means), len(self._first)))
        gains = np.where(np.isfinite(means), -means if self._is_minimised else means, -np.inf)
        of_trial = np.where(self._is_there, gains[:, self._table], -np.inf)  # (B, t, L)
        best: NDArray[np.int64] = self._first + of_trial.argmax(axis=2)
        return best

    def columns_of(self, chosen: NDArray[np.int64], best: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the best column of each line's trial, any for one that did not end.

        Shape: chosen (b,), best (b, t) -> (b,).
        """
        at = np.minimum(np.searchsorted(self.trials, chosen), len(self.trials) - 1)
        return best[np.arange(len(chosen)), at].copy()
