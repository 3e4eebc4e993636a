"""The score of a greedily selected ensemble corrected for the selection: BBC-CV with its own rule.

In every bootstrap the ensemble is selected anew on the drawn rows, and scored on the rows that were
not drawn. It is made of the complete trials that the replayed pruner leaves; a pruned trial has no
final predictions to average, and competes alone: it wins where its carried-over score is better
than that of the whole ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import METRICS
from selection.stats.bbc_cv import Draws, Rows, Stage, draw_out_of_bag
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
    draws = draw_out_of_bag(rows, stages, alone.choose, bootstraps, seed, competitors)
    may = np.concatenate(alone.survivors)[:, complete]
    chosen, scores = draws.chosen.copy(), draws.scores.copy()
    rival = np.concatenate(alone.gains)
    first = 0
    for weights in bootstrap_counts(len(rows.targets), rows.groups, bootstraps, seed, rows.run):
        lines = slice(first, first + len(weights))
        counts, in_bag = select(library, weights, may[lines])
        wins = ~(rival[lines] > alone.sign * in_bag)
        own = np.flatnonzero(wins) + first
        chosen[own] = complete[counts[wins].argmax(axis=1)]
        scores[own] = library.pooled_scores(counts[wins], weights[wins] == 0)
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
        with np.errstate(invalid="ignore"):
            gains = self.sign * np.nansum(end, axis=2) / np.isfinite(end).sum(axis=2)
        gains[~left | ~np.isfinite(gains)] = -np.inf
        gains[:, self.complete] = -np.inf
        chosen: NDArray[np.int64] = gains.argmax(axis=1)
        best = gains[np.arange(len(gains)), chosen]
        self.survivors.append(left)
        self.gains.append(best)
        return np.where(np.isfinite(best), chosen, self.complete[0])
