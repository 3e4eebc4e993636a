"""How far behind the newest trials a cohort is proposed, so that it does not depend on speed.

With N workers, N cohorts train at once, and which of them ends first is chance. A cohort that is
proposed from those at least N before it never depends on that chance.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lag:
    """Say which earlier cohorts a cohort is proposed and pruned from.

    cohorts is the lag: cohort k knows the trials of the cohorts up to k - cohorts. None means no
    fixed lag: a cohort knows whatever has finished. With is_ahead, the sampler lags by one cohort
    more, so that it can propose while the cohorts before still train.
    """

    cohorts: int | None = None
    is_ahead: bool = False

    def known(self, cohort: int) -> int | None:
        """Return how many cohorts, from the first on, a cohort is pruned and recalled from.

        None means all that have finished.
        """
        return None if self.cohorts is None else max(cohort - self.cohorts + 1, 0)

    def proposed_from(self, cohort: int) -> int | None:
        """Return how many cohorts, from the first on, the sampler proposes this one from.

        is_ahead counts from the second cohort that has something to learn from: it would leave the
        first one nothing. None means all that have finished.
        """
        lag = 1 if self.cohorts is None and self.is_ahead else self.cohorts
        if lag is None:
            return None
        return max(cohort - lag + 1 - (self.is_ahead and cohort > lag), 0)


FREE = Lag()
