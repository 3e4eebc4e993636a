"""How far a sweep is, in words: what trains, how long it still takes, the best score so far.

Never prints anything and never reads the clock by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selection.report.cells import count_of
from selection.report.values import count_states
from selection.store.leases import RunningCohort
from selection.study.trial import Trial, TrialState

if TYPE_CHECKING:
    from selection.workflows.sweep import SweepNews

# A time left that is worked out from less would jump about.
LEAST_SECONDS = 2.0
LEAST_TRIALS = 0.5


class Pace:
    """Work out the time left from what was done since the first news.

    clock returns seconds; done counts trials, with parts of those that train.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None

    def seconds_left(self, done: float, budget: int) -> float | None:
        """Return the seconds left at the pace so far; None while it is not known."""
        now = self._clock()
        if self._first is None:
            self._first = (now, done)
        seconds, trials = now - self._first[0], done - self._first[1]
        if seconds < LEAST_SECONDS or trials < LEAST_TRIALS or done >= budget:
            return None
        return seconds * (budget - done) / trials


@dataclass(frozen=True)
class Training:
    """Say what trains now: trials on folds, and the epoch they are in."""

    trials: int
    members: int
    epoch: int
    epochs: int

    def __str__(self) -> str:
        if not self.trials:
            return self.when
        folds = self.members // self.trials
        return f"{count_of(self.trials, 'trial')} x {count_of(folds, 'fold')}, {self.when}"

    @property
    def when(self) -> str:
        """The epoch, of how many."""
        return f"epoch {self.epoch}/{self.epochs}"


def training_of(news: SweepNews) -> Training | None:
    """Return what trains now; None between two cohorts."""
    epoch = news.epoch
    if epoch is None:
        return None
    return Training(epoch.trials, epoch.members, epoch.epoch, epoch.epochs)


def done_of(news: SweepNews) -> float:
    """Return how many trials are done, with the part of the cohort that trains."""
    part = news.training * news.epoch.epoch / news.epoch.epochs if news.epoch is not None else 0.0
    return len(news.finished) + part


def done_of_team(finished: Sequence[Trial], running: Sequence[RunningCohort]) -> float:
    """Return how many trials are done, with the parts of the cohorts that train."""
    return len(finished) + sum(
        cohort.trials * cohort.progress.epoch / max(cohort.progress.epochs, 1) for cohort in running
    )


def worker_line(cohort: RunningCohort) -> str:
    """Say how far one worker is."""
    progress = cohort.progress
    if not cohort.trials:
        return f"{cohort.host}: between two cohorts"
    if not progress.epochs:
        return f"{cohort.host}: {count_of(cohort.trials, 'trial')}, starting"
    trials = cohort.trials if cohort.living is None else cohort.living
    now = Training(trials, progress.members, progress.epoch, progress.epochs)
    return f"{cohort.host}: {now}"


def sentence(
    what: str, short: str, seconds_left: float | None, best: Trial | None, width: int
) -> str:
    """Say what trains, the time left and the best score so far.

    Where the terminal is narrow, what is said in its short form.
    """
    left = [] if seconds_left is None else [time_left(seconds_left)]
    score = [] if best is None else [f"best {show_best(best)}"]
    full = ", ".join(filter(None, [what, *left, *score]))
    return full if len(full) <= width else ", ".join(filter(None, [short, *left, *score]))


def time_left(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 55:
        return f"about {round(seconds / 10) * 10} s left"
    if seconds < 90 * 60:
        return f"about {max(round(seconds / 60), 1)} min left"
    return f"about {round(seconds / 3600)} h left"


def show_best(best: Trial) -> str:
    """Return the observed mean of the best trial, to three places."""
    assert best.value is not None, "a ranked trial is COMPLETE"
    return f"{best.value:.3f}" if abs(best.value) < 100 else f"{best.value:.4g}"


def counts(finished: Sequence[Trial]) -> str:
    """Return how many trials were pruned and failed; nothing if none was."""
    states = count_states(finished)
    shown = (TrialState.PRUNED, TrialState.FAILED)
    return ", ".join(f"{states[state]} {state.value}" for state in shown if states[state])
