"""What a running sweep says of several workers: on a terminal, and in a log."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from selection.report.terminal import progress
from selection.report.terminal.progress import SweepView
from selection.store.leases import Progress, RunningCohort
from selection.study.trial import Trial, TrialState


def view_on(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, **options: bool
) -> tuple[SweepView, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=140, color_system=None)
    monkeypatch.setattr(progress, "make_console", lambda stderr: console)
    return SweepView("accuracy", is_minimised=False, **options), text


def finished(count: int) -> list[Trial]:
    return [
        Trial(
            number=number,
            state=TrialState.COMPLETE,
            params={},
            cohort=0,
            reason="",
            value=0.5 + number / 100,
            fold_scores=(0.5,),
            train_scores=(0.5,),
            fold_means=(0.5,),
            epochs=1,
            seconds=1.0,
        )
        for number in range(count)
    ]


def running(cohort: int, host: str, epoch: int) -> RunningCohort:
    return RunningCohort(cohort, host, 2, Progress(6, epoch, 30 if epoch else 0))


def test_lines_of_a_team_name_the_cohorts_and_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    view, text = view_on(monkeypatch, is_terminal=False)
    with view:
        view.show_team(8, [], [running(0, "a:1", 0)])
        assert text.getvalue() == ""
        for _ in range(2):
            view.show_team(8, [], [running(0, "a:1", 3), running(1, "b:2", 4)])
        for _ in range(2):
            # Within the same tenth of a cohort there is no news of it.
            view.show_team(8, finished(2), [running(1, "b:2", 5)])
        view.show_team(8, finished(2), [running(1, "b:2", 6)])
        view.show_team(8, finished(2), [running(2, "b:2", 6)])
    what = "2 trials x 3 folds"
    assert text.getvalue().splitlines() == [
        f"trials 0/8: a:1: {what}, epoch 3/30",
        f"trials 0/8: b:2: {what}, epoch 4/30",
        "trials 2/8: best observed accuracy 0.5100 (trial 1)",
        f"trials 2/8: b:2: {what}, epoch 6/30",
        f"trials 2/8: b:2: {what}, epoch 6/30",
    ]


def test_a_team_has_a_line_per_worker_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view, text = view_on(monkeypatch, is_terminal=True)

    def shown(finished: list[Trial], *cohorts: RunningCohort) -> str:
        with view:
            text.truncate(0)
            view.show_team(8, finished, cohorts)
        return text.getvalue()

    both = shown([], running(0, "a:1", 15), running(1, "b:2", 0))
    assert "trials 0/8" in both
    assert "a:1: 2 trials x 3 folds, epoch 15/30" in both
    assert "b:2: 2 trials, starting" in both
    between = shown(finished(2), RunningCohort(0, "a:1", 0, Progress()), running(1, "b:2", 0))
    assert "trials 2/8" in between
    assert "a:1: between two cohorts" in between
    one = shown(finished(2), running(2, "b:2", 3))
    assert "b:2: 2 trials x 3 folds, epoch 3/30" in one
    assert "a:1" not in one
    assert "best 0.510" in one
    assert one.endswith("\x1b[2K"), "the view is wiped"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_quiet_view_shows_no_team(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    view, text = view_on(monkeypatch, is_terminal=is_terminal, is_quiet=True)
    with view:
        view.show_team(8, finished(2), [running(0, "a:1", 3)])
        view.say("a word")
    assert text.getvalue() == ""


def test_what_is_said_of_a_place_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    view, text = view_on(monkeypatch, is_terminal=False)
    view.show_team(8, [], [running(0, "[red]a:1", 3)])
    view.say("worker 0: [bold]so it is")
    assert "[red]a:1" in text.getvalue()
    assert "[bold]so it is" in text.getvalue()


@pytest.mark.parametrize(
    ("workers", "last"),
    [(8, None), (9, "and 1 more worker"), (256, "and 248 more workers")],
)
def test_many_workers_do_not_fill_a_terminal(
    monkeypatch: pytest.MonkeyPatch, workers: int, last: str | None
) -> None:
    view, text = view_on(monkeypatch, is_terminal=True)
    with view:
        view.show_team(512, [], [running(n, f"host:{n}", 3) for n in range(workers)])
    lines = [re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", line) for line in text.getvalue().splitlines()]
    drawn = [line.strip() for line in lines if line.strip()]
    assert drawn[0].startswith("trials 0/512")
    shown = [line for line in drawn if line.startswith("host:")]
    assert shown == [f"host:{n}: 2 trials x 3 folds, epoch 3/30" for n in range(8)]
    assert drawn[9:] == ([] if last is None else [last])
