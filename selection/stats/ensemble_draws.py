"""The score of a greedily selected ensemble corrected for the selection: BBC-CV with its own rule.

In every bootstrap the ensemble is selected anew on the drawn rows, and scored on the rows that were
not drawn. It is made of the complete trials that the replayed pruner leaves; a pruned trial has no
final predictions to average, and competes alone: it wins where its carried-over score is better
than that of the whole ensemble. Where the best mean chose the epoch of each trial, on all rows, the
ensemble is worse by what its members, on average, would have lost had the drawn rows chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import METRICS
from selection.stats.bbc_cv import (
    Draws,
    Rows,
    Stage,
    draw_out_of_bag,
    fold_scores,
    means_over_folds,
    pooled_scores,
)
from selection.stats.competing_epochs import CompetingEpochs
from selection.stats.ensemble_selection import Library, select
from selection.stats.intervals import bootstrap_counts
from selection.stats.scores import Floats

# Each selects up to 25 times among 15 trials. Of so many draws, the bounds of an interval move by a
# twentieth of its width.
BOOTSTRAPS = 200
# Say which trials the pruner leaves, (b, T), by the in-bag means over folds at its rungs.
Survive = Callable[[Floats], NDArray[np.bool_]]


def draw_ensembles(
    rows: Rows,
    stages: Sequence[Stage],
    library: Library,
    survive: Survive,
    bootstraps: int,
    seed: int,
    competitors: Mapping[str, NDArray[Any]] | None = None,
) -> Draws:
    """Select in-bag and score out-of-bag, bootstrap by bootstrap, at most BOOTSTRAPS of them.

    library holds the complete trials, in the order of the trials of the stages. Where the ensemble
    wins, chosen is its trial with the largest weight.
    Shape: competitors (R, N) or (R, N, C).
    """
    bootstraps = min(bootstraps, BOOTSTRAPS)
    complete = np.unique(stages[-1].trials)
    alone = _PrunedAlone(complete, survive, METRICS[rows.metric].is_minimised)
    losses = _EpochLosses(rows, stages[-1])
    draws = draw_out_of_bag(rows, stages, alone.choose, bootstraps, seed, competitors)
    may = np.concatenate(alone.survivors)[:, complete]
    chosen, scores = draws.chosen.copy(), draws.scores.copy()
    alone_gains = np.concatenate(alone.gains)
    first = 0
    for weights in bootstrap_counts(len(rows.targets), rows.groups, bootstraps, seed, rows.run):
        lines = slice(first, first + len(weights))
        counts, in_bag = select(library, weights, may[lines])
        wins = ~(alone_gains[lines] > alone.sign * in_bag)
        own = np.flatnonzero(wins) + first
        chosen[own] = complete[counts[wins].argmax(axis=1)]
        scores[own] = library.pooled_scores(counts[wins], weights[wins] == 0)
        if losses.compete:
            scores[own] += losses.of(counts[wins], weights[wins])
        first += len(weights)
    return replace(draws, chosen=chosen, scores=scores)


@dataclass
class _PrunedAlone:
    """Choose the best pruned trial of each bootstrap that the replayed pruner leaves.

    Where there is none, it chooses the first complete trial. What it saw is kept, block by block:
    survivors (b, T), and gains (b,), the score of its choice, larger is better.
    """

    complete: NDArray[np.int64]
    survive: Survive
    is_minimised: bool
    survivors: list[NDArray[np.bool_]] = field(default_factory=list)
    gains: list[Floats] = field(default_factory=list)

    @property
    def sign(self) -> float:
        return -1.0 if self.is_minimised else 1.0

    def choose(self, rungs: Floats, end: Floats) -> NDArray[np.int64]:
        """Shape: rungs (b, T, S - 1), end (b, T, J) -> (b,)."""
        left = self.survive(rungs)
        gains = self.sign * means_over_folds(end)
        gains[~left | ~np.isfinite(gains)] = -np.inf
        gains[:, self.complete] = -np.inf
        chosen: NDArray[np.int64] = gains.argmax(axis=1)
        best = gains[np.arange(len(gains)), chosen]
        self.survivors.append(left)
        self.gains.append(best)
        return np.where(np.isfinite(best), chosen, self.complete[0])


class _EpochLosses:
    """Say what members of an ensemble lose where the drawn rows choose their epochs.

    Shape: the columns of stage.predictions are trials and, within them, epochs that compete.
    """

    def __init__(self, rows: Rows, stage: Stage) -> None:
        self._rows, self._stage = rows, stage
        is_minimised = METRICS[rows.metric].is_minimised
        self._epochs = CompetingEpochs(stage.trials, is_minimised=is_minimised)
        self.compete = self._epochs.compete

    @cached_property
    def _on_record(self) -> NDArray[np.int64]:
        """The best column of each trial on all rows. Shape: (t,)."""
        once = np.ones((1, len(self._rows.targets)), dtype=np.int16)
        on_record: NDArray[np.int64] = self._best(once)[0]
        return on_record

    def of(self, counts: NDArray[np.int64], weights: NDArray[Any]) -> Floats:
        """Return the scores of epochs chosen in-bag less those on record, the mean over members.

        Both are out-of-bag. Shape: counts (b, T), weights (b, N) -> (b,).
        """
        left_out = pooled_scores(self._rows, self._stage.predictions, weights == 0)  # (b, P)
        chosen = np.take_along_axis(left_out, self._best(weights), axis=1)
        losses = np.nan_to_num(chosen - left_out[:, self._on_record])
        means: Floats = (counts * losses).sum(axis=1) / counts.sum(axis=1)
        return means

    def _best(self, weights: NDArray[Any]) -> NDArray[np.int64]:
        """Return the best column of each trial. Shape: (b, N) -> (b, t)."""
        scores = fold_scores(self._rows, self._stage.predictions, weights)
        return self._epochs.best(means_over_folds(scores))
