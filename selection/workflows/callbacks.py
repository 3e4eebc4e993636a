"""What a run reports while it trains: the protocol of a logger, and how it is fed from progress.

A callback receives what is on record or was just trained; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selection.errors import ErrorDetail, StudyStateError
from selection.store.leases import RunningCohort
from selection.study.trial import Trial
from selection.workflows.sweep import SweepNews, View


@dataclass(frozen=True)
class EpochEvent:
    """Hold how far a cohort is after an epoch.

    trials and members are those that still train; finished counts the trials of the study that
    have ended, out of budget.
    """

    cohort: int
    epoch: int
    epochs: int
    trials: int
    members: int
    finished: int
    budget: int


class Callback(Protocol):
    """Receive the events of a run, in the process that called it.

    on_epoch follows every epoch of a cohort; with several workers, whenever their progress is
    read. on_trial_end follows the commit of each trial that ended during this run, in the order of
    their numbers within a cohort; on_study_end comes last, with the Study, also after an interrupt
    or an error. An error in a callback ends the run, and gives the cohort back.
    """

    def on_epoch(self, event: EpochEvent) -> None: ...

    def on_trial_end(self, trial: Trial) -> None: ...

    def on_study_end(self, study: Any) -> None: ...


def check_callbacks(callbacks: Sequence[object]) -> None:
    """Refuse a callback that lacks a method, before anything trains.

    Raises: StudyStateError.
    """
    for callback in callbacks:
        for name in ("on_epoch", "on_trial_end", "on_study_end"):
            if not callable(getattr(callback, name, None)):
                got = f"{type(callback).__name__} without {name}"
                rule = "a callback must have on_epoch, on_trial_end and on_study_end"
                raise StudyStateError(ErrorDetail("callbacks", rule, got, "Add the method."))


class TeamView(View, Protocol):
    """Show how far a study is, trained by this process or by several workers."""

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None: ...


class CallbackView:
    """Pass progress on to a view and to callbacks; trials known before the run are not reported."""

    def __init__(
        self, view: TeamView, callbacks: Sequence[Callback], known: Sequence[Trial]
    ) -> None:
        self._view = view
        self._callbacks = callbacks
        self._known = {trial.number for trial in known if trial.state.is_finished}

    def show(self, news: SweepNews) -> None:
        self._view.show(news)
        self._report_trials(news.finished)
        if news.epoch is not None and news.training:
            epoch = news.epoch
            self._report_epoch(
                EpochEvent(
                    cohort=news.cohort,
                    epoch=epoch.epoch,
                    epochs=epoch.epochs,
                    trials=epoch.trials,
                    members=epoch.members,
                    finished=len(news.finished),
                    budget=news.budget,
                )
            )

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None:
        self._view.show_team(budget, finished, running)
        self._report_trials(finished)
        for cohort in running:
            progress = cohort.progress
            if not progress.epoch:
                continue
            self._report_epoch(
                EpochEvent(
                    cohort=cohort.cohort,
                    epoch=progress.epoch,
                    epochs=progress.epochs,
                    trials=cohort.trials if cohort.living is None else cohort.living,
                    members=progress.members,
                    finished=len(finished),
                    budget=budget,
                )
            )

    def say(self, line: str) -> None:
        self._view.say(line)

    def _report_epoch(self, event: EpochEvent) -> None:
        for callback in self._callbacks:
            callback.on_epoch(event)

    def _report_trials(self, finished: Sequence[Trial]) -> None:
        if not self._callbacks:
            return
        for trial in finished:
            if trial.number not in self._known:
                self._known.add(trial.number)
                for callback in self._callbacks:
                    callback.on_trial_end(trial)
