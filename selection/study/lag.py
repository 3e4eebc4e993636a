"""How far behind the newest trials a cohort is proposed, so that it does not depend on speed.

With N workers, N cohorts train at once, and which of them ends first is chance. A cohort that is
proposed from those at least N before it never depends on that chance.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lag:
    """Say which cohorts another is proposed and pruned from.

    cohorts is the lag: cohort k knows the trials of the cohorts up to k - cohorts. None is no fixed
    lag: a cohort knows whatever has finished. With is_ahead, the sampler lags by one cohort more,
    so that it proposes while the cohorts before still train.
    """

    cohorts: int | None = None
    is_ahead: bool = False

    def known(self, cohort: int) -> int | None:
        """Return of how many first cohorts a cohort knows the trials: for pruning and recall."""
        return None if self.cohorts is None else max(cohort - self.cohorts + 1, 0)

    def proposed_from(self, cohort: int) -> int | None:
        """Return of how many first cohorts the sampler knows the trials when it proposes this one.

        From the second cohort that learns anything on: the first would else have nothing to learn
        from.
        """
        lag = 1 if self.cohorts is None and self.is_ahead else self.cohorts
        if lag is None:
            return None
        return max(cohort - lag + 1 - (self.is_ahead and cohort > lag), 0)


FREE = Lag()
