"""What a worker can get when it asks for a cohort, and the limits of the study that decide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selection.store.leases import Lease
from selection.store.other_trials import OtherTrial
from selection.study.lag import FREE, Lag
from selection.study.trial import Trial


@dataclass(frozen=True)
class Limits:
    """Say when a study takes no more trials.

    trials is the whole budget, cohort the number of trials in a cohort. A cohort whose workers died
    more than max_retries times in a row is failed; None retries for ever. A study whose last
    max_consecutive_failures trials all failed stops; 0 never stops it. A new cohort waits until
    those that it is proposed from, by its lag, have finished.
    """

    trials: int
    cohort: int
    timeout_seconds: float = 0.0
    max_retries: int | None = None
    max_consecutive_failures: int = 0
    lag: Lag = FREE


@dataclass(frozen=True)
class ResumedCohort:
    """A cohort whose trials exist and are not finished: train these."""

    lease: Lease
    trials: Sequence[Trial]


@dataclass(frozen=True)
class NewCohort:
    """A cohort without trials: propose this number of new ones, begin them and train them.

    queued are to be trained with them: settings that somebody asked for, by number.
    """

    lease: Lease
    new_trials: int
    queued: Sequence[OtherTrial] = ()


@dataclass(frozen=True)
class Wait:
    """Nothing to train at the moment: other workers hold what is left. Ask again later."""


@dataclass(frozen=True)
class Spent:
    """Nothing to train any more: the study takes no more trials and all of them are finished."""


Claim = ResumedCohort | NewCohort | Wait | Spent
