"""The scores of a cohort after each epoch, and the one judgement of its trials.

One process may train a whole cohort, or several train some trials on some folds each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selection.study.trial import mean_over_folds

Decide = Callable[[int, Mapping[int, float]], Collection[int]]


class Cause(IntEnum):
    """Say why a trial fails; of several causes the first one counts."""

    MEMORY = 0
    DIVERGED = 1
    UNDEFINED = 2


class Failure(NamedTuple):
    """Hold why a trial fails, and on which fold, by its index; the smallest of several counts."""

    cause: Cause
    fold: int
    reason: str


@dataclass(frozen=True, eq=False)
class EpochScores:
    """Hold the validation scores of the trials that trained, by index, and why some have failed.

    Shape: (F,) each, one score for each fold that is trained here.
    """

    epoch: int
    scores: Mapping[int, NDArray[np.float64]]
    failed: Mapping[int, Failure]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Hold the means over all folds, why some trials fail, and which are pruned."""

    means: Mapping[int, float]
    failed: Mapping[int, str]
    pruned: Collection[int]


Exchange = Callable[[EpochScores], Judgement]


def judge(found: EpochScores, lengths: Sequence[int], decide: Decide) -> Judgement:
    """Judge the trials of a whole cohort on all folds; lengths are the epochs each of them trains.

    decide is asked of those that are not finished, if there are any.
    """
    means = {
        trial: mean_over_folds(scores)
        for trial, scores in found.scores.items()
        if trial not in found.failed
    }
    going = {trial: mean for trial, mean in means.items() if lengths[trial] > found.epoch}
    pruned = frozenset(decide(found.epoch, going)) if going else frozenset()
    return Judgement(means, {trial: each.reason for trial, each in found.failed.items()}, pruned)
