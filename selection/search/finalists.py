"""Keeps finalists: whatever a pruner decides, enough trials end complete to choose among.

Only complete trials can win, and only among them can the winner's score be corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from selection.search.standing import Bools, Standing

FINALISTS = 5
ONE_IN = 5


class _Pruner(Protocol):
    def judges(self, epoch: int) -> bool: ...

    def keeps(self, standing: Standing) -> Bools: ...


@dataclass(frozen=True)
class KeepFinalists:
    """Keep what another pruner keeps, and the best of the rest while too few would end complete.

    At least that many of all trials end complete, and one in five: the count after this cohort
    decides, never the budget, so that a study can grow.
    """

    pruner: _Pruner
    least: int
    is_minimised: bool

    def judges(self, epoch: int) -> bool:
        return self.pruner.judges(epoch)

    def keeps(self, standing: Standing) -> Bools:
        kept = self.pruner.keeps(standing).copy()
        trials = len(standing.finished_numbers) + standing.size
        wanted = max(min(self.least, trials), -(-trials // ONE_IN))
        complete = standing.complete.sum(axis=1) + standing.ended.sum(axis=1)
        missing = wanted - complete  # (B,)
        now = standing.now
        scores = now if self.is_minimised else -now
        # Trial 0 goes on in any case; NaN comes last. Of equals the first are kept.
        scores = np.where((standing.numbers == 0) & standing.training, -np.inf, scores)
        ranks = scores.argsort(axis=1, kind="stable").argsort(axis=1)  # (B, C)
        kept |= (ranks < missing[:, None]) & ~np.isnan(now)
        return kept
