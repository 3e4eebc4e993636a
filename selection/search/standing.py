"""What a pruner knows when it judges a cohort, in one resampling of the record or in many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Standing:
    """Hold the fold means of a cohort and of the trials before it, after one epoch.

    Failed trials are left out. size is the number of trials of the cohort, those that training or
    pruning has ended included.

    Shape: B resamplings, T finished trials, C trials of the cohort. epochs (E,) are the epochs
    known so far, the current one last; cohort (E, B, C) the fold means at them; finished (B, T)
    those of the finished trials at the current epoch, NaN for trials that did not get there;
    complete (B, T); training (B, C), the trials to judge; ended (B, C), complete trials of the
    cohort; finished_numbers (T,), numbers (C,).
    """

    epochs: Sequence[int]
    finished_numbers: NDArray[np.int64]
    finished: Floats
    complete: Bools
    numbers: NDArray[np.int64]
    cohort: Floats
    training: Bools
    ended: Bools
    size: int

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self.epochs[-1]

    @property
    def now(self) -> Floats:
        """The fold means of the trials to judge, NaN for the rest. Shape: (B, C)."""
        return np.where(self.training, self.cohort[-1], np.nan)

    def part(self, finished: Bools, cohort: Bools) -> Standing:
        """Return what is known of some of the trials. Shape: finished (T,), cohort (C,)."""
        return replace(
            self,
            finished_numbers=self.finished_numbers[finished],
            finished=self.finished[:, finished],
            complete=self.complete[:, finished],
            numbers=self.numbers[cohort],
            cohort=self.cohort[:, :, cohort],
            training=self.training[:, cohort],
            ended=self.ended[:, cohort],
        )


def is_better(first: Floats, second: Floats, is_minimised: bool) -> Bools:
    """Return where first is better than second; NaN is not."""
    better: Bools = first < second if is_minimised else first > second
    return better


def best_of(values: Floats, is_minimised: bool) -> Floats:
    """Return the best along the first axis, NaN only where all are."""
    best: Floats = (np.fmin if is_minimised else np.fmax).reduce(values, axis=0)
    return best
