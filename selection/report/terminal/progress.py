"""The view of a running sweep on stderr: bars on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from selection.report.terminal.text import make_console
from selection.report.values import count_states
from selection.stats.selection_rules import rank
from selection.store.leases import RunningCohort
from selection.study.trial import Trial, TrialState
from selection.workflows.sweep import SweepNews


class SweepView:
    """Show SweepNews as it comes; use as a context manager.

    A quiet one shows and says nothing; one that is not told says what happens outside of the sweep.
    """

    def __init__(
        self, metric: str, *, is_minimised: bool, is_quiet: bool = False, shows_bars: bool = True
    ) -> None:
        self._console = make_console(stderr=True)
        self._metric = metric
        self._is_minimised = is_minimised
        self._is_quiet = is_quiet
        self._is_shown = shows_bars and not is_quiet
        self._rate = _Rate()
        self._is_team = False
        self._team: dict[str, TaskID] = {}
        self._shown: dict[str, tuple[int, int]] = {}
        self._finished = 0
        is_drawn = self._console.is_terminal and self._is_shown
        self._bars = _bars(self._console) if is_drawn else None
        if self._bars is not None:
            self._study = self._bars.add_task("study", total=None, note="")
            self._cohort = self._bars.add_task("cohort", total=None, note="")

    def __enter__(self) -> SweepView:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, news: SweepNews) -> None:
        """Show how far the sweep is."""
        self._rate.count(news)
        if self._bars is not None:
            self._draw(self._bars, news)
        elif self._is_shown and (news.epoch is not None or not news.training):
            self._console.print(self._line(news))

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None:
        """Show how far the cohorts of several workers are."""
        if self._bars is not None:
            self._draw_team(self._bars, budget, finished, running)
        elif self._is_shown:
            self._print_team(budget, finished, running)

    def say(self, line: str) -> None:
        """Say what is done outside of the sweep."""
        if not self._is_quiet:
            self._console.print(line, markup=False)

    def _draw(self, bars: Progress, news: SweepNews) -> None:
        part = 0.0
        if news.epoch is not None and news.training:
            part = news.training * news.epoch.epoch / news.epoch.epochs
        done = len(news.finished) + part
        bars.update(
            self._study, total=news.budget, completed=done, note=self._counts(news.finished)
        )
        epoch = news.epoch
        bars.update(
            self._cohort,
            description=f"cohort {news.cohort}",
            total=epoch.epochs if epoch else None,
            completed=epoch.epoch if epoch else 0,
            note=self._now(news),
        )

    def _draw_team(
        self,
        bars: Progress,
        budget: int,
        finished: Sequence[Trial],
        running: Sequence[RunningCohort],
    ) -> None:
        part = sum(
            cohort.trials * cohort.progress.epoch / max(cohort.progress.epochs, 1)
            for cohort in running
        )
        done = len(finished) + part
        bars.update(self._study, total=budget, completed=done, note=self._counts(finished))
        if not self._is_team:
            bars.remove_task(self._cohort)
            self._is_team = True
        hosts = {cohort.host for cohort in running}
        for host in set(self._team) - hosts:
            bars.remove_task(self._team.pop(host))
        for cohort in running:
            if cohort.host not in self._team:
                self._team[cohort.host] = bars.add_task("", total=None, note="")
            bars.update(
                self._team[cohort.host],
                description=f"cohort {cohort.cohort}",
                total=cohort.progress.epochs or None,
                completed=cohort.progress.epoch,
                note=_where(cohort),
            )

    def _print_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None:
        trials = f"trials {len(finished)}/{budget}"
        for cohort in running:
            # Ten lines per cohort at most: a log is read afterwards.
            tenth = 10 * cohort.progress.epoch // max(cohort.progress.epochs, 1)
            news = (cohort.cohort, tenth)
            if cohort.progress.epoch and self._shown.get(cohort.host) != news:
                self._shown[cohort.host] = news
                epoch = f"epoch {cohort.progress.epoch}/{cohort.progress.epochs}"
                self._console.print(
                    f"{trials}  cohort {cohort.cohort}  {epoch}  {_where(cohort)}", markup=False
                )
        if len(finished) != self._finished:
            self._finished = len(finished)
            self._console.print(f"{trials}  {self._counts(finished)}")

    def _line(self, news: SweepNews) -> str:
        where = f"trials {len(news.finished)}/{news.budget}"
        if news.epoch is None:
            return f"{where}  cohort {news.cohort} done  {self._counts(news.finished)}"
        epoch = f"epoch {news.epoch.epoch}/{news.epoch.epochs}"
        return f"{where}  cohort {news.cohort}  {epoch}  {self._now(news)}"

    def _counts(self, finished: Sequence[Trial]) -> str:
        counts = count_states(finished)
        note = f"{counts[TrialState.PRUNED]} pruned, {counts[TrialState.FAILED]} failed"
        ranked = rank(finished, is_minimised=self._is_minimised)
        if ranked:
            note += (
                f", best observed {self._metric} {ranked[0].value:.4f} (trial {ranked[0].number})"
            )
        return note

    def _now(self, news: SweepNews) -> str:
        if news.epoch is None:
            return ""
        rate = self._rate.per_second
        members = f"{news.epoch.trials} trials, {news.epoch.members} members training"
        return f"{members}, {rate:.1f} member-epochs/s" if rate else members


def _where(cohort: RunningCohort) -> str:
    if not cohort.trials:
        return f"finished on {cohort.host}"
    return f"{cohort.trials} trials, {cohort.progress.members} members training on {cohort.host}"


class _Rate:
    """Count member-epochs against the time spent training."""

    def __init__(self) -> None:
        self._done = 0
        self._in_cohort = 0
        self._started = time.monotonic()

    def count(self, news: SweepNews) -> None:
        now = news.epoch.member_epochs if news.epoch is not None else 0
        self._done += max(now - self._in_cohort, 0)
        self._in_cohort = now

    @property
    def per_second(self) -> float:
        return self._done / max(time.monotonic() - self._started, 1e-9)


def _bars(console: Console) -> Progress:
    """Return bars whose note alone is cut where a terminal is narrow."""
    is_narrow = console.width < 110
    whole = Column(no_wrap=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", table_column=whole),
        BarColumn(bar_width=8 if is_narrow else 24, table_column=whole),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        *([] if is_narrow else [TimeRemainingColumn(table_column=whole)]),
        TextColumn(
            "{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
    ]
    return Progress(*columns, console=console, expand=True)
