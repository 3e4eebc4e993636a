"""Several workers at one study: real processes, really killed, and the rules of their watcher."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from selection.errors import RefusedError, StudyStateError, UnreachableError
from selection.report.terminal import progress
from selection.report.terminal.progress import SweepView
from selection.store.leases import Progress, RunningCohort
from selection.store.repository import open_repository
from selection.study.spec import read_study
from selection.study.trial import Trial, TrialState
from selection.train import device
from selection.train.device import share_of_machine
from selection.workers import local as supervisor
from selection.workers.local import supervise
from selection.workflows.study_data import enter_study, load_study_data
from tests.command_line import STUDY as SMALL
from tests.command_line import Cli, start
from tests.team_bench import LEASE, RUN, STUDY, TEAM, TRIALS, Team, Watch, is_alive, wait_for

IRIS = SMALL.format(data='dataset = "iris"\nheld_out = 0.2', folds=3, metric="accuracy")


@pytest.fixture
def url(
    request: pytest.FixtureRequest,
    new_postgres: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The URL of an empty database on a server, which every command here takes by itself."""
    # It makes the folder, and takes the variable away.
    request.getfixturevalue("cli")
    url = new_postgres()
    monkeypatch.setenv("SELECTION_STORAGE", url)
    Path("team.toml").write_text(STUDY)
    Path("small.toml").write_text(IRIS)
    return url


@pytest.fixture
def watch(url: str) -> Watch:
    return Watch(url)


@pytest.fixture
def new_team(tmp_path: Path, watch: Watch) -> Iterator[Callable[..., Team]]:
    """A function that starts a supervisor, which is gone after the test however that ends."""
    teams: list[Team] = []

    def make(*words: str) -> Team:
        teams.append(Team(tmp_path, watch, *words))
        return teams[-1]

    yield make
    for team in teams:
        team.process.kill()
        team.process.communicate()


@pytest.mark.slow
def test_two_workers_spend_the_budget_and_a_second_run_trains_nothing(
    cli: Cli, watch: Watch
) -> None:
    # Renewed once a second, and so long that each worker is seen in the middle of a cohort.
    words = ("run", "team.toml", "--workers=2", "--lease=4")
    Path("team.toml").write_text(STUDY.replace("epochs = 60", "epochs = 240"))
    done = cli(*words)
    assert done.code == 0, done.err
    assert watch.is_whole()
    assert "winner: trial" in done.out
    named = set(re.findall(r"^trials \d/8: (\S+): .*epoch", done.err, re.M))
    assert len(named) == 2, done.err
    assert f"trials {TRIALS}/{TRIALS}" in done.err
    rows = watch.rows("SELECT * FROM trials ORDER BY trial_id")
    again = cli(*words)
    assert again.code == 0, again.err
    assert again.out == done.out
    assert "epoch" not in again.err
    assert watch.rows("SELECT * FROM trials ORDER BY trial_id") == rows


def test_several_workers_at_one_file_are_refused_before_the_data_is_read(cli: Cli) -> None:
    Path("small.toml").write_text(
        SMALL.format(data='path = "no.csv"\ntarget = "y"', folds=3, metric="accuracy")
    )
    done = cli("run", "small.toml", "--workers", 2)
    assert done.code == 1
    assert done.err == (
        "sqlite:///selection.db: one process writes an SQLite database at a time, but got "
        "2 workers. Use PostgreSQL: --storage postgresql+psycopg://USER@HOST/DATABASE; "
        "make postgres starts one.\n"
    )
    assert [path.name for path in Path().iterdir()] == ["small.toml"]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(new_team: Callable[..., Team], watch: Watch) -> None:
    team = new_team(*TEAM)
    first, second = team.train()
    # The survivor stands still, under a lease that lasts, until its new companion trains: else it
    # could spend the budget alone while the other starts.
    watch.stop_outside_of_transactions(second)
    os.kill(first, signal.SIGKILL)
    pair = wait_for(lambda: None if (seen := set(watch.training(2))) == {first, second} else seen)
    assert pair is not None
    os.kill(second, signal.SIGCONT)
    code, err = team.end()
    assert code == 0, err
    assert re.search(r"^worker [01] ended by signal SIGKILL; restarting it in 0.5 sec", err, re.M)
    assert second in pair
    assert first not in pair
    assert watch.is_whole()


@pytest.mark.slow
def test_workers_end_with_a_supervisor_that_is_killed(
    new_team: Callable[..., Team], watch: Watch, cli: Cli
) -> None:
    team = new_team(*TEAM)
    team.train()
    team.process.kill()
    wait_for(team.are_gone)
    assert watch.states()["RUNNING"] == 0
    assert watch.states()["WAITING"] >= 1
    assert not watch.rows("SELECT cohort FROM selection_lease")
    done = cli(*TEAM)
    assert done.code == 0, done.err
    assert watch.is_whole()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_reaches_every_worker(
    new_team: Callable[..., Team], watch: Watch, number: signal.Signals, code: int
) -> None:
    team = new_team(*TEAM)
    team.train()
    team.process.send_signal(number)
    ended, err = team.end()
    assert ended == code, err
    assert team.are_gone()
    assert "what is finished is kept; the same command goes on from there" in err
    assert "Traceback" not in err
    assert watch.states()["WAITING"] >= 1
    assert watch.states()["RUNNING"] == 0
    assert not watch.rows("SELECT cohort FROM selection_lease")


@pytest.mark.slow
def test_two_signals_in_a_row_leave_a_study_that_goes_on(
    new_team: Callable[..., Team], watch: Watch, cli: Cli
) -> None:
    team = new_team(*TEAM)
    team.train()
    for _ in range(2):
        team.process.send_signal(signal.SIGTERM)
    # Well below the time that the supervisor itself grants its workers.
    code, err = team.end(20.0)
    # The second signal may come before the first was heard: then it is one.
    assert code in (-signal.SIGTERM, 143), err
    wait_for(team.are_gone)
    assert cli("status", "team", "--json").json["is_finished"] is False
    done = cli(*RUN)
    assert done.code == 0, done.err
    assert watch.is_whole()


@pytest.mark.slow
def test_a_worker_joins_a_running_study(
    new_team: Callable[..., Team], url: str, watch: Watch, tmp_path: Path
) -> None:
    # The study has begun before either starts, so that both start alike.
    spec = read_study(Path("team.toml"))
    data = load_study_data(spec, tmp_path)
    with open_repository(url, create=True, write=True) as repository:
        enter_study(spec, data, repository.records, torch.device("cpu"))
    team = new_team(*RUN)
    guest = start(tmp_path, "worker", "team", LEASE)
    held = team.train()
    assert {team.process.pid, guest.pid} == set(held)
    out, err = guest.communicate(timeout=120)
    assert guest.returncode == 0, err
    assert out == ("study team takes no more trials; selection run FILE trains its baselines\n")
    code, err = team.end()
    assert code == 0, err
    assert watch.is_whole()


@pytest.mark.usefixtures("url")
def test_a_worker_needs_a_study_that_takes_trials(cli: Cli) -> None:
    assert cli("run", "small.toml").code == 0
    unknown = cli("worker", "smal")
    assert unknown.code == 1
    assert unknown.err == (
        'study: the database must contain the study, but got "smal". Did you mean small?\n'
    )
    spent = cli("worker", "small")
    assert (spent.code, spent.err) == (0, "")
    assert spent.out.startswith("study small takes no more trials")
    assert cli("evaluate", "small").code == 0
    opened = cli("worker", "small")
    assert opened.code == 3
    assert opened.err.startswith("small: a study takes no trials after its held-out set was opened")
    assert opened.err.count("\n") == 1


@pytest.mark.slow
def test_a_worker_that_cannot_go_on_stops_the_study(
    cli: Cli, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "\n".join(f"{i},{i % 5},{i % 2}" for i in range(30))
    Path("t.csv").write_text(f"a,b,y\n{rows}\n")
    table = 'path = "t.csv"\ntarget = "y"'
    Path("small.toml").write_text(SMALL.format(data=table, folds=3, metric="accuracy"))
    start_team = supervisor.Team

    def lose_the_table(*options: Any) -> supervisor.Team:
        Path("t.csv").unlink()
        return start_team(*options)

    monkeypatch.setattr(supervisor, "Team", lose_the_table)
    done = cli("run", "small.toml", "--workers", 2)
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert re.match(
        r"worker [01]: a worker must train until the study is spent, but got t\.csv", last
    )
    assert last.endswith("Fix this and run the same command again; finished trials are kept.")
    assert "Traceback" not in done.err
    assert not watch.states()


# The rules of the supervisor, on small shells in the place of workers.


class FakeBooks:
    """Hold a record with so many finished trials."""

    def __init__(self) -> None:
        self.finished = 0
        self.records = self.leases = self

    def finished_numbers(self, _study: Any) -> range:
        return range(self.finished)

    def trials(self, _study: Any, *, with_curves: bool) -> list[Any]:
        finished = SimpleNamespace(state=SimpleNamespace(is_finished=True))
        return [finished] * self.finished

    def running(self, _study: Any) -> list[RunningCohort]:
        return []


class FakeView:
    """Keep what is said; the study grows by a trial with each line, up to growth trials."""

    def __init__(self, repository: FakeBooks) -> None:
        self.repository = repository
        self.growth = 0
        self.lines: list[str] = []
        self.counts: list[int] = []

    def show_team(self, _budget: int, finished: Any, _running: Any) -> None:
        self.counts.append(len(finished))

    def say(self, line: str) -> None:
        self.lines.append(line)
        self.repository.finished = min(self.repository.finished + 1, self.growth)


class Shells:
    """Supervise shell scripts as if they were workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = FakeBooks()
        self.view = FakeView(self.repository)

    def supervise(self, script: str, *environments: Mapping[str, str]) -> None:
        team: Any = supervisor.Team([script], environments or [{}])
        repository: Any = self.repository
        study: Any = None
        supervise(team, TRIALS, study, repository, self.view)

    def starts(self) -> list[float]:
        """Return when the scripts that say so were started."""
        return [float(line) for line in (self.folder / "starts").read_text().split()]


@pytest.fixture
def shells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shells:
    monkeypatch.chdir(tmp_path)
    # What is started is: EXECUTABLE -m selection SCRIPT.
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nexec sh -c "$3"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_SECONDS", 0.3)
    return Shells(tmp_path)


def test_the_pause_after_a_failure_doubles_up_to_the_longest(
    shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "MAX_FAILURES", 4)
    with pytest.raises(StudyStateError):
        shells.supervise("date +%s.%N >> starts; exit 9")
    assert shells.view.lines == [
        f"worker 0 ended with exit code 9; restarting it in {pause} seconds"
        for pause in (0.1, 0.2, 0.3, 0.3)
    ]
    starts = shells.starts()
    pauses = [after - before for before, after in pairwise(starts)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.3, 0.3), strict=True)), (
        pauses
    )


def test_a_worker_that_fails_again_and_again_stops_the_study(
    shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.0)
    with pytest.raises(StudyStateError) as caught:
        shells.supervise("kill -9 $$")
    assert str(caught.value) == (
        "worker 0: a worker may fail at most 10 times in a row, but got 11 failures, the last "
        "by signal SIGKILL. "
        "Fix the cause and run the same command again; finished trials are kept."
    )
    assert len(shells.view.lines) == 10


def test_progress_between_two_failures_makes_the_second_a_first(
    shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "MAX_FAILURES", 2)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    shells.view.growth = 3
    with pytest.raises(StudyStateError):
        shells.supervise("date +%s.%N >> starts; test $(wc -l < starts) -gt 9 || exit 9")
    # Each of the first four comes after one trial more, but for the very first.
    pauses = (0.01, 0.01, 0.01, 0.01, 0.02)
    assert shells.view.lines == [
        f"worker 0 ended with exit code 9; restarting it in {pause} seconds" for pause in pauses
    ]
    assert shells.view.counts[-1] == 3


@pytest.mark.parametrize(("code", "kind"), [(1, StudyStateError), (3, RefusedError)])
def test_a_worker_that_says_why_it_cannot_go_on_is_quoted(
    shells: Shells, code: int, kind: type[StudyStateError | RefusedError]
) -> None:
    with pytest.raises(kind) as caught:
        shells.supervise(f"echo; echo 'so it is' >&2; echo >&2; exit {code}")
    assert str(caught.value) == (
        "worker 0: a worker must train until the study is spent, but got so it is. "
        "Fix this and run the same command again; finished trials are kept."
    )
    assert caught.value.exit_code == code
    assert "worker 0: so it is" in shells.view.lines


def test_an_error_of_one_worker_ends_the_others(shells: Shells) -> None:
    script = (
        'if [ "$ROLE" = bad ]; then until [ -s pid ]; do sleep 0.05; done; exit 1; fi; '
        "echo $$ > pid; exec sleep 60"
    )
    with pytest.raises(StudyStateError, match=r"^worker 1: .* with exit code 1\."):
        shells.supervise(script, {"ROLE": "good"}, {"ROLE": "bad"})
    assert not is_alive(int(Path("pid").read_text()))


def test_a_worker_deaf_to_the_signal_is_killed_at_the_deadline(
    shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    script = (
        'if [ "$ROLE" = bad ]; then until [ -s pid ]; do sleep 0.05; done; exit 1; fi; '
        'trap "" TERM; echo $$ > pid; while true; do sleep 0.05; done'
    )
    with pytest.raises(StudyStateError):
        shells.supervise(script, {"ROLE": "deaf"}, {"ROLE": "bad"})
    assert not is_alive(int(Path("pid").read_text()))


def test_a_worker_is_alone_with_the_signals_of_its_terminal(shells: Shells) -> None:
    shells.supervise("ps -o sid= -p $$ > session; echo $SELECTION_SUPERVISED > told")
    assert int(Path("session").read_text()) != os.getsid(0)
    assert Path("told").read_text() == "1\n"


def test_a_database_that_does_not_answer_stops_no_worker(
    shells: Shells, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_study: Any) -> list[RunningCohort]:
        raise UnreachableError

    monkeypatch.setattr(shells.repository, "running", refuse)
    shells.supervise("sleep 0.1; touch done")
    assert Path("done").exists()
    assert not shells.view.counts


# How the machine is shared.


@pytest.mark.parametrize(
    ("cores", "workers", "threads"), [(8, 2, "4"), (7, 3, "2"), (2, 3, "1"), (4, 1, "4")]
)
def test_threads_are_divided_and_everyone_has_one(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: str
) -> None:
    monkeypatch.setattr(device, "_cores", lambda: cores)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert (
        share_of_machine(workers, torch.device("cpu")) == [{"OMP_NUM_THREADS": threads}] * workers
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(None, ["0", "1", "0"]), ("", ["0", "1", "0"]), ("3,GPU-7f", ["3", "GPU-7f", "3"])],
)
def test_workers_take_turns_on_the_gpus(
    monkeypatch: pytest.MonkeyPatch, seen: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    shares = share_of_machine(3, torch.device("cuda"))
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == expected
    assert all(int(share["OMP_NUM_THREADS"]) >= 1 for share in shares)


# The view of several workers.


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
