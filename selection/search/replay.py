"""Replays a study's pruner on other fold means than those that the study had.

The correction of the winner's score resamples the rows: every resampling gives each trial other
fold means, and so prunes other trials.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from selection.search.pruners import longest_training, make_pruner, survivors
from selection.search.standing import Bools, Floats, Standing
from selection.study.spec import StudySpec

MOST_EPOCHS = 6


def judged_epochs(spec: StudySpec) -> tuple[int, ...]:
    """Return the epochs at which the study's pruner is replayed, ascending, at most 6.

    They are the rungs of successive halving and of all brackets of Hyperband. Of a pruner that
    judges after every epoch they are a part: each is at least twice the one before.
    """
    pruner = make_pruner(spec)
    chosen: list[int] = []
    for epoch in range(1, longest_training(spec)):
        if pruner.judges(epoch) and (not chosen or epoch >= 2 * chosen[-1]):
            chosen.append(epoch)
    if len(chosen) > MOST_EPOCHS:
        indices = np.linspace(0, len(chosen) - 1, MOST_EPOCHS).round()
        chosen = [chosen[int(index)] for index in indices]
    return tuple(chosen)


def replay_pruner(
    spec: StudySpec,
    numbers: Sequence[int],
    cohorts: Sequence[int],
    epochs: Sequence[int],
    judged: Sequence[int],
    values: Floats,
    known: Sequence[int | None] | None = None,
) -> Bools:
    """Return which trials end complete where the fold means are these; trial 0 always does.

    The pruner judges cohort after cohort and epoch after epoch, as in the sweep; each cohort knows
    all earlier ones or, where known has a number, that many from the first on. Failed trials are
    left out. With every epoch judged and the fold means of the record, the result is what the sweep
    decided.

    Shape: numbers, cohorts, epochs and known (T,), one entry per trial; epochs are those of the
    whole training, whatever it was cut short to. judged (E,), ascending. values (B, T, E), the fold
    means at the judged epochs in each resampling; NaN only beyond the end of a trial's training,
    or where the score is undefined, which the pruner treats as it does in the sweep. Returns
    (B, T).
    """
    order = np.lexsort((numbers, cohorts))
    replay = _Replay(
        np.asarray(numbers, dtype=np.int64)[order],
        np.asarray(epochs)[order],
        judged,
        # One contiguous (B, T) for each epoch; overwritten as trials are pruned.
        np.array(np.moveaxis(values, 2, 0)[:, :, order], dtype=np.float64, order="C"),
    )
    pruner = make_pruner(spec)
    cohort_of = np.asarray(cohorts)[order]
    for cohort in _runs(cohort_of):
        bound = None if known is None else known[order[cohort.start]]
        earlier = cohort.start if bound is None else int(np.searchsorted(cohort_of, bound))
        for index, epoch in enumerate(judged):
            standing = replay.standing(cohort, index, earlier)
            if pruner.judges(epoch) and standing.training.any():
                replay.keep(cohort, standing.ended | survivors(pruner, standing))
    complete = np.empty_like(replay.going)
    complete[:, order] = replay.going
    return complete


class _Replay:
    """Follow all resamplings; trials are ordered by cohort.

    Shape: going (B, T), the trials not pruned so far; values (E, B, T), NaN from where a trial was
    pruned on.
    """

    def __init__(
        self,
        numbers: NDArray[np.int64],
        lengths: NDArray[np.int64],
        judged: Sequence[int],
        values: Floats,
    ) -> None:
        self.numbers = numbers
        self.lengths = lengths
        self.judged = judged
        self.values = values
        self.going = np.ones(values.shape[1:], dtype=np.bool_)

    def standing(self, cohort: slice, index: int, earlier: int) -> Standing:
        """Return what the pruner knows of a cohort at a judged epoch, and of the earlier trials."""
        epoch = self.judged[index]
        going = self.going[:, cohort]
        lengths = self.lengths[cohort]
        # Where it was pruned before, or ends before.
        self.values[index, :, cohort][~going | (lengths < epoch)] = np.nan
        return Standing(
            epochs=self.judged[: index + 1],
            finished_numbers=self.numbers[:earlier],
            finished=self.values[index, :, :earlier],
            complete=self.going[:, :earlier],
            numbers=self.numbers[cohort],
            cohort=self.values[: index + 1, :, cohort],
            # The sweep does not judge a trial after its last epoch.
            training=going & (lengths > epoch),
            ended=going & (lengths <= epoch),
            size=len(lengths),
        )

    def keep(self, cohort: slice, kept: Bools) -> None:
        """Prune the trials of a cohort that are not kept. Shape: (B, C)."""
        self.going[:, cohort] = kept


def _runs(values: NDArray[np.int64]) -> Iterator[slice]:
    """Yield where each run of equal values lies."""
    bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            yield slice(start, stop)
