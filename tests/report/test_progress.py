"""What a running sweep says of itself: on a terminal, in a notebook, in a log."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from selection.report.terminal import progress
from selection.report.terminal.progress import SweepView
from selection.report.terminal.progress_text import Pace, sentence, time_left
from selection.study.trial import Trial, TrialState
from selection.train.fit import EpochNews
from selection.workflows.sweep import SweepNews


def trial(number: int, value: float) -> Trial:
    return Trial(
        number=number, state=TrialState.COMPLETE, params={}, cohort=0, value=value,
        fold_scores=(value,), train_scores=(value,), epochs=4,
    )  # fmt: skip


def news(finished: int = 0, epoch: int | None = 3, training: int = 8) -> SweepNews:
    at = None if epoch is None else EpochNews(epoch, 10, training, 5 * training, 0)
    trials = [trial(number, 0.8 + number / 100) for number in range(finished)]
    return SweepNews(24, trials, 0, training, at)


def view_on(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, width: int = 80
) -> tuple[SweepView, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=width, color_system=None)
    monkeypatch.setattr(progress, "make_console", lambda stderr: console)
    return SweepView("accuracy", is_minimised=False), text


def test_the_sentence_of_the_whole() -> None:
    what, short = "8 trials x 5 folds, epoch 3/10", "epoch 3/10"
    best = trial(0, 0.8817)
    said = sentence(what, short, 62.0, best, 60)
    assert said == "8 trials x 5 folds, epoch 3/10, about 1 min left, best 0.882"
    assert len(said) == 60
    assert sentence(what, short, 62.0, best, 59) == "epoch 3/10, about 1 min left, best 0.882"
    assert sentence(what, short, None, None, 60) == what


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "a few seconds left"),
        (12, "about 10 s left"),
        (54, "about 50 s left"),
        (58, "about 1 min left"),
        (3000, "about 50 min left"),
        (3 * 3600, "about 3 h left"),
    ],
)
def test_times_are_rounded_as_people_say_them(seconds: float, words: str) -> None:
    assert time_left(seconds) == words


def test_the_time_left_follows_the_pace_since_the_first_news() -> None:
    clock = iter([100.0, 101.0, 110.0, 120.0])
    pace = Pace(lambda: next(clock))
    assert pace.seconds_left(8.0, 24) is None, "what was done before is not this pace"
    assert pace.seconds_left(9.0, 24) is None, "too early to say"
    assert pace.seconds_left(13.0, 24) == pytest.approx(22.0)
    assert pace.seconds_left(24.0, 24) is None, "nothing is left"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_terminal_shows_two_lines_that_fit(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    view, text = view_on(monkeypatch, is_terminal=True, width=width)
    with view:
        view.show(news(finished=2))
    lines = [re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", line) for line in text.getvalue().splitlines()]
    drawn = [line.rstrip() for line in lines if line.strip()]
    assert drawn[0].startswith("trials 2/24 ")
    assert drawn[1].startswith("8 trials x 5 folds, epoch 3/10, best 0.810")
    assert all(len(line) <= width for line in drawn)


def test_a_terminal_that_has_nothing_to_show_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    view, text = view_on(monkeypatch, is_terminal=True)
    with view:
        pass
    assert text.getvalue() == ""


def test_the_bar_goes_before_something_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    view, text = view_on(monkeypatch, is_terminal=True)
    with view:
        view.show(news())
        view.say("baselines: training")
    last = text.getvalue().rsplit("\x1b[2K", 1)[1]
    assert last.strip() == "baselines: training"


def test_a_log_gets_a_line_per_epoch_and_one_per_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    view, text = view_on(monkeypatch, is_terminal=False)
    with view:
        view.show(news(epoch=None))
        view.show(news())
        view.show(news(finished=8, epoch=None, training=0))
    assert text.getvalue().splitlines() == [
        "trials 0/24: 8 trials x 5 folds, epoch 3/10",
        "trials 8/24: best observed accuracy 0.8700 (trial 7)",
    ]


def test_a_notebook_writes_over_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(force_jupyter=True)
    monkeypatch.setattr(progress, "make_console", lambda stderr: console)
    view = SweepView("accuracy", is_minimised=False)
    with view:
        view.show(news())
        view.show(news(finished=8))
        view.say("baselines: training")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert [line.strip() for line in written.split("\r")] == [
        "",
        "trials 0/24: 8 trials x 5 folds, epoch 3/10",
        "trials 8/24: 8 trials x 5 folds, epoch 3/10, best 0.870",
        "",
        "baselines: training",
    ]
