"""The view of a running sweep on stderr: a bar and a sentence that go when it ends.

A notebook shows one line that is written over; a pipe or a file gets a line per epoch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.cells import set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from selection.report.cells import count_of, show_number
from selection.report.terminal.layout import say
from selection.report.terminal.progress_text import (
    Pace,
    counts,
    done_of,
    done_of_team,
    sentence,
    training_of,
    worker_line,
)
from selection.report.terminal.readable import readable
from selection.report.terminal.text import make_console
from selection.stats.selection_rules import rank
from selection.store.leases import RunningCohort
from selection.study.trial import Trial

if TYPE_CHECKING:
    from selection.workflows.sweep import SweepNews

NOTEBOOK_WIDTH = 100
LONGEST_BAR = 40
# On a terminal, which may have few lines.
MOST_WORKERS = 8


class SweepView:
    """Show SweepNews as it comes; use as a context manager.

    A quiet one shows and says nothing; one without bars says what happens outside of the sweep.
    """

    def __init__(
        self, metric: str, *, is_minimised: bool, is_quiet: bool = False, shows_bars: bool = True
    ) -> None:
        self._console = make_console(stderr=True)
        self._metric = metric
        self._is_minimised = is_minimised
        self._is_quiet = is_quiet
        self._is_shown = shows_bars and not is_quiet
        self._pace = Pace(time.monotonic)
        self._screen: _Screen | None = None
        if self._is_shown and self._console.is_jupyter:
            self._screen = _NotebookScreen()
        elif self._is_shown and self._console.is_terminal:
            self._screen = _TerminalScreen(self._console)
        self._printed: dict[str, tuple[int, int]] = {}
        self._finished = 0

    def __enter__(self) -> SweepView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._screen is not None:
            self._screen.clear()

    def show(self, news: SweepNews) -> None:
        """Show how far the sweep is."""
        if not self._is_shown:
            return
        done, now = done_of(news), training_of(news)
        left = self._pace.seconds_left(done, news.budget)
        best = self._best(news.finished)
        if self._screen is not None:
            what, short = (str(now), now.when) if now is not None else ("", "")
            line = sentence(what, short, left, best, self._screen.width)
            self._screen.show(done, len(news.finished), news.budget, counts(news.finished), [line])
        elif now is not None:
            line = sentence(str(now), now.when, left, best, self._console.width)
            self._print(f"trials {len(news.finished)}/{news.budget}: {line}")
        elif not news.training:
            self._print_finished(news.budget, news.finished)

    def show_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None:
        """Show how far the cohorts of several workers are."""
        if self._screen is not None:
            done = done_of_team(finished, running)
            left = self._pace.seconds_left(done, budget)
            lines = [sentence("", "", left, self._best(finished), self._screen.width)]
            lines += [readable(worker_line(cohort)) for cohort in running[:MOST_WORKERS]]
            if (more := len(running) - MOST_WORKERS) > 0:
                lines.append(f"and {count_of(more, 'more worker')}")
            self._screen.show(done, len(finished), budget, counts(finished), lines)
        elif self._is_shown:
            self._print_team(budget, finished, running)

    def say(self, line: str) -> None:
        """Say what is done outside of the sweep."""
        if self._screen is not None:
            self._screen.clear()
        if not self._is_quiet:
            self._print(line)

    def _print_team(
        self, budget: int, finished: Sequence[Trial], running: Sequence[RunningCohort]
    ) -> None:
        for cohort in running:
            # Ten lines per cohort at most: a log is read afterwards.
            tenth = 10 * cohort.progress.epoch // max(cohort.progress.epochs, 1)
            news = (cohort.cohort, tenth)
            if cohort.progress.epoch and self._printed.get(cohort.host) != news:
                self._printed[cohort.host] = news
                self._print(f"trials {len(finished)}/{budget}: {worker_line(cohort)}")
        if len(finished) != self._finished:
            self._finished = len(finished)
            self._print_finished(budget, finished)

    def _print_finished(self, budget: int, finished: Sequence[Trial]) -> None:
        said = [part for part in [counts(finished)] if part]
        best = self._best(finished)
        if best is not None and best.value is not None:
            score = show_number(best.value)
            said.append(f"best observed {self._metric} {score} (trial {best.number})")
        self._print(f"trials {len(finished)}/{budget}: {', '.join(said) or 'none complete yet'}")

    def _print(self, line: str) -> None:
        if self._console.is_jupyter:
            print(readable(line), file=sys.stderr)
        else:
            say(self._console, line)

    def _best(self, finished: Sequence[Trial]) -> Trial | None:
        ranked = rank(finished, is_minimised=self._is_minimised)
        return ranked[0] if ranked else None


class _Screen(Protocol):
    """Show how far a sweep is in one place, until it is cleared."""

    @property
    def width(self) -> int: ...

    def show(self, done: float, finished: int, budget: int, note: str, lines: list[str]) -> None:
        """Show a bar of what is done, a note beside it, and lines under it."""

    def clear(self) -> None:
        """Leave nothing behind."""


class _TerminalScreen:
    """Draw a bar with lines under it, and draw nothing before there is something to show."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    @property
    def width(self) -> int:
        return self._console.width

    def show(self, done: float, finished: int, budget: int, note: str, lines: list[str]) -> None:
        bar = ProgressBar(budget, done, width=min(LONGEST_BAR, self.width // 3))
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"trials {finished}/{budget}"),
            bar,
            Text(note, no_wrap=True, overflow="ellipsis"),
        )
        under = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines if line]
        drawn: RenderableType = Group(head, *under)
        if self._live is None:
            self._live = Live(drawn, console=self._console, transient=True)
            self._live.start()
        self._live.update(drawn)

    def clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _NotebookScreen:
    """Write one line over and over: notebooks know a carriage return, and need no widgets."""

    width = NOTEBOOK_WIDTH

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, done: float, finished: int, budget: int, note: str, lines: list[str]) -> None:
        self._write(", ".join(filter(None, [f"trials {finished}/{budget}: {lines[0]}", note])))
        self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            self._write("")
            sys.stderr.write("\r")
            self._is_shown = False

    def _write(self, line: str) -> None:
        sys.stderr.write(f"\r{set_cell_size(line, self.width)}")
        sys.stderr.flush()
