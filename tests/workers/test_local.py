"""Several workers at one study on one machine: real processes, really killed, on both databases."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_iris

import selection
from selection.store.repository import open_repository
from selection.study.spec import read_study
from selection.study.trial import Trial
from selection.train.device import choose_device, describe_device
from selection.workers import team as team_module
from selection.workers.launcher import Said
from selection.workers.local import LocalLauncher
from selection.workflows.callbacks import EpochEvent
from selection.workflows.cohort import CohortTask
from selection.workflows.study_data import enter_study, load_study_data
from tests.command_line import STUDY as SMALL
from tests.command_line import Cli, finish, start
from tests.record_content import record_content
from tests.team_bench import COHORT, LEASE, RUN, STUDY, TEAM, TRIALS, Team, Watch, wait_for

IRIS = SMALL.format(data='dataset = "iris"\nheld_out = 0.2', folds=3, metric="accuracy")
BOTH = pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
KEPT = "what is finished is kept; the same command goes on from there"
SOON = 5.0

Content = list[dict[str, Any]]


@pytest.fixture
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, on SQLite if not said, which every command takes by itself."""
    # It makes the folder, and takes the variable away.
    request.getfixturevalue("cli")
    url: str = request.getfixturevalue(f"new_{getattr(request, 'param', 'sqlite')}")()
    monkeypatch.setenv("SELECTION_STORAGE", url)
    Path("team.toml").write_text(STUDY)
    Path("small.toml").write_text(IRIS)
    return url


@pytest.fixture
def watch(url: str) -> Watch:
    return Watch(url)


@pytest.fixture
def new_team(tmp_path: Path, watch: Watch) -> Iterator[Callable[..., Team]]:
    """A function that starts a driver, which is gone after the test however that ends."""
    teams: list[Team] = []

    def make(*words: str) -> Team:
        teams.append(Team(tmp_path, watch, *words))
        return teams[-1]

    yield make
    for team in teams:
        team.process.kill()
        team.process.communicate()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """What the record of the study is without workers, with the lag of two."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "team.toml").write_text(STUDY)
    url = f"sqlite:///{folder}/alone.db"
    finish(folder, *RUN, "--workers=1", "--lag=2", f"--storage={url}")
    return record_content(url, "team")


@pytest.mark.slow
@BOTH
def test_two_workers_spend_the_budget_and_a_second_run_starts_none(
    cli: Cli, url: str, watch: Watch, alone: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli(*TEAM)
    assert done.code == 0, done.err
    assert watch.is_whole()
    assert "winner: trial" in done.out
    named = set(re.findall(r"^trials \d/8: (\S+): .*epoch", done.err, re.M))
    assert len(named) == 2, done.err
    assert f"trials {TRIALS}/{TRIALS}" in done.err
    assert record_content(url, "team") == alone

    def fail(*_: Any) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(LocalLauncher, "start", fail)
    again = cli(*TEAM)
    assert again.code == 0, again.err
    assert again.out == done.out
    assert "epoch" not in again.err
    assert record_content(url, "team") == alone


@pytest.mark.slow
def test_workers_that_are_killed_change_no_trial(
    new_team: Callable[..., Team], url: str, watch: Watch, alone: Content
) -> None:
    generator = random.Random(0)
    # With few retries, a cohort that loses its worker again and again would be failed.
    team = new_team(*TEAM, "--set=search.max_retries=20")
    wait_for(watch.training)
    kills = 6
    for _ in range(kills):
        time.sleep(generator.uniform(0.1, 1.5))
        os.kill(generator.choice(wait_for(team.workers)), signal.SIGKILL)
    code, err = team.end()
    assert code == 0, err
    assert len(re.findall(r"^worker [01] ended by signal SIGKILL; restarting", err, re.M)) == kills
    assert team.are_gone()
    assert watch.is_whole()
    assert record_content(url, "team") == alone


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_along_and_goes_on(
    new_team: Callable[..., Team], url: str, watch: Watch, alone: Content, cli: Cli
) -> None:
    generator = random.Random(1)
    for _ in range(3):
        team = new_team(*TEAM)
        while len(wait_for(team.workers)) < 2:
            pass
        # While they start, or train.
        time.sleep(generator.uniform(0.0, 6.0))
        team.process.kill()
        wait_for(team.are_gone, SOON)
    done = cli(*TEAM)
    assert done.code == 0, done.err
    assert watch.is_whole()
    assert record_content(url, "team") == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "number", "code"),
    [("sqlite", signal.SIGINT, 130), ("postgres", signal.SIGTERM, 143)],
    indirect=["url"],
)
def test_an_interrupt_gives_back_what_trains(
    new_team: Callable[..., Team],
    watch: Watch,
    number: signal.Signals,
    code: int,
) -> None:
    team = new_team(*TEAM)
    workers = team.train()
    # A Ctrl-C reaches the foreground processes of the terminal's session: not these.
    assert {os.getsid(pid) for pid in workers} == set(workers)
    team.process.send_signal(number)
    ended, err = team.end(20.0)
    assert ended == code, err
    assert team.are_gone()
    last = err.splitlines()[-1]
    assert last == f"{signal.strsignal(number)}: {KEPT}"
    assert "Traceback" not in err
    assert "restarting" not in err
    assert watch.states()["WAITING"] == 2 * COHORT
    assert watch.states()["RUNNING"] == 0
    assert not watch.rows("SELECT cohort FROM selection_lease")


@pytest.mark.slow
def test_an_interrupt_while_workers_start_is_one_line(
    new_team: Callable[..., Team], watch: Watch
) -> None:
    team = new_team(*TEAM)
    wait_for(team.workers)
    team.process.send_signal(signal.SIGINT)
    assert team.end(20.0) == (130, f"Interrupt: {KEPT}\n")
    assert team.are_gone()
    assert not watch.states()


@pytest.mark.slow
def test_two_signals_in_a_row_leave_a_study_that_goes_on(
    new_team: Callable[..., Team], watch: Watch, cli: Cli, url: str, alone: Content
) -> None:
    team = new_team(*TEAM)
    team.train()
    for _ in range(2):
        team.process.send_signal(signal.SIGTERM)
    code, err = team.end(20.0)
    # The second signal may come before the first was heard: then it is one.
    assert code in (-signal.SIGTERM, 143), err
    wait_for(team.are_gone, SOON)
    assert cli("status", "team", "--json").json["is_finished"] is False
    done = cli(*RUN, "--lag=2")
    assert done.code == 0, done.err
    assert watch.is_whole()
    assert record_content(url, "team") == alone


@pytest.mark.slow
def test_a_worker_that_stands_still_stops_no_other(
    new_team: Callable[..., Team], watch: Watch
) -> None:
    team = new_team(*TEAM, "--lag=free")
    sleeper = team.train()[1]
    os.kill(sleeper, signal.SIGSTOP)
    wait_for(lambda: watch.states()["COMPLETE"] == TRIALS - COHORT)
    assert watch.states()["RUNNING"] == COHORT
    os.kill(sleeper, signal.SIGCONT)
    code, err = team.end()
    assert code == 0, err
    assert watch.is_whole()


# A worker of the command line beside a team.


def begin_study(url: str, folder: Path) -> None:
    """Put the study on record before anybody trains."""
    spec = read_study(Path("team.toml"))
    data = load_study_data(spec, folder)
    with open_repository(url, create=True, write=True) as repository:
        enter_study(spec, data, repository.records, describe_device(choose_device("cpu")))


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_worker_joins_a_team_and_takes_over_what_the_team_leaves(
    new_team: Callable[..., Team], url: str, watch: Watch, tmp_path: Path, alone: Content
) -> None:
    begin_study(url, tmp_path)
    team = new_team("run", "team.toml", "--workers=2", "--lease=2")
    team.train()
    watch.stop_outside_of_transactions(team.process.pid)
    # Its lease ends, and somebody else trains its cohorts.
    guest = start(tmp_path, "worker", "team", LEASE, "--lag=2")
    out, err = guest.communicate(timeout=120)
    assert guest.returncode == 0, err
    assert out == "study team takes no more trials; selection run FILE trains its baselines\n"
    os.kill(team.process.pid, signal.SIGCONT)
    code, err = team.end()
    assert code == 0, err
    assert "given to another worker meanwhile" in err
    assert watch.is_whole()
    assert record_content(url, "team") == alone


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_worker_and_a_team_share_the_budget(
    new_team: Callable[..., Team], url: str, watch: Watch, tmp_path: Path
) -> None:
    # So long that neither spends the budget while the other starts.
    Path("team.toml").write_text(STUDY.replace("epochs = 120", "epochs = 240"))
    begin_study(url, tmp_path)
    guest = start(tmp_path, "worker", "team", LEASE, "--lag=3")
    team = new_team(*TEAM, "--lag=3")
    hosts = set[str]()

    def have_both_trained() -> bool:
        hosts.update(host for (host,) in watch.rows("SELECT place FROM selection_lease"))
        return len(hosts) == 2

    try:
        wait_for(have_both_trained)
    finally:
        _, guest_err = guest.communicate(timeout=120)
    assert guest.returncode == 0, guest_err
    code, err = team.end()
    assert code == 0, err
    assert watch.is_whole()


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.usefixtures("url")
def test_a_worker_needs_a_study_that_takes_trials(cli: Cli) -> None:
    assert cli("run", "small.toml").code == 0
    unknown = cli("worker", "smal")
    assert unknown.code == 1
    assert unknown.err == (
        'study: the database must contain the study, but got "smal". Did you mean small?\n'
    )
    spent = cli("worker", "small", "--lag=3")
    assert (spent.code, spent.err) == (0, "")
    assert spent.out.startswith("study small takes no more trials")
    assert cli("evaluate", "small").code == 0
    opened = cli("worker", "small")
    assert opened.code == 3
    assert opened.err.startswith("small: a study takes no trials after its held-out set was opened")
    assert opened.err.count("\n") == 1


# What a worker says.


@pytest.fixture
def new_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that puts a program of these lines in the place of every worker."""
    monkeypatch.setattr(team_module, "FIRST_PAUSE_SECONDS", 0.0)

    def put(code: str) -> None:
        program = tmp_path / "program"
        # What is started is: EXECUTABLE -P -m MODULE FILE_DESCRIPTOR.
        program.write_text(f"#!{sys.executable}\nimport sys\ndel sys.argv[1:-1]\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return put


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit('so it is')",
        # In the middle of a message.
        "import os\n"
        "from multiprocessing.connection import Connection\n"
        "connection = Connection(int(sys.argv[1]))\n"
        "connection.recv_bytes()\n"
        "os.write(connection.fileno(), bytes([0, 0, 9, 9, 9]))\n"
        "sys.exit('so it is')",
    ],
)
def test_a_worker_that_cannot_start_stops_the_study(
    cli: Cli, watch: Watch, new_worker: Callable[[str], None], code: str
) -> None:
    new_worker(code)
    done = cli("run", "small.toml", "--workers=2")
    assert done.code == 1
    assert "worker 0: so it is\n" in done.err
    last = done.err.splitlines()[-1]
    assert re.fullmatch(
        r"worker [01]: a worker may fail at most 3 times in a row, but got 4 failures, the last "
        r"with exit code 1\. Fix the cause and run the same command again; finished trials are "
        r"kept\.",
        last,
    )
    assert "Traceback" not in done.err
    assert not watch.states()


@pytest.mark.usefixtures("url")
def test_a_system_that_starts_no_process_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    done = cli("run", "small.toml", "--workers=2")
    assert done.code == 1
    assert done.err == (
        "worker 0: the system must be able to start every worker, but got [Errno 2] No such file "
        "or directory: '/nowhere/python'. Ask for fewer workers.\n"
    )


def test_a_worker_that_does_not_read_its_task_holds_nobody_up(
    new_worker: Callable[[str], None],
) -> None:
    new_worker(
        "import time\n"
        "from multiprocessing.connection import Connection\n"
        "connection = Connection(int(sys.argv[1]))\n"
        "connection.recv_bytes()\n"
        "print('so it is', file=sys.stderr, flush=True)\n"
        "time.sleep(600)"
    )
    # More than a pipe holds.
    large: Any = b"x" * 10_000_000
    launcher = LocalLauncher(large, [{}])
    launcher.start(0)
    assert wait_for(lambda: launcher.events(0.1)) == [Said("worker 0: so it is")]
    launcher.train(0, CohortTask(0, {0: large}, None))
    launcher.stop()


@pytest.mark.slow
def test_the_error_of_a_worker_that_nobody_can_help_is_that_of_the_study(
    cli: Cli, watch: Watch, new_worker: Callable[[str], None]
) -> None:
    new_worker(
        "from selection.errors import DeviceError, ErrorDetail\n"
        "from selection.workers import child, training\n"
        "def refuse(name):\n"
        "    raise DeviceError(ErrorDetail('--device', 'so it must be', 'not', 'Fix it.'))\n"
        "training.choose_device = refuse\n"
        "child.main()"
    )
    done = cli("run", "small.toml", "--workers=2")
    assert done.code == 1
    assert done.err == "--device: so it must be, but got not. Fix it.\n"
    assert not watch.states()


@pytest.mark.slow
def test_an_exception_of_a_worker_is_quoted_and_stops_the_study(
    cli: Cli, watch: Watch, new_worker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_module, "MAX_FAILURES", 1)
    new_worker(
        "from selection.workers import child, training\n"
        "def fail(*_):\n"
        "    raise ValueError('so it is')\n"
        "training.TrainingWorker.train = fail\n"
        "child.main()"
    )
    done = cli("run", "small.toml", "--workers=2")
    assert done.code == 1
    lines = done.err.splitlines()
    assert re.match(r"worker [01]: a worker may fail at most 1 times in a row", lines[-1])
    assert any(re.fullmatch(r"worker [01]: ValueError: so it is", line) for line in lines)
    assert all(line.startswith("worker ") for line in lines if "Traceback" in line)
    assert watch.states().keys() == {"WAITING"}
    assert not watch.rows("SELECT cohort FROM selection_lease")


@pytest.mark.slow
def test_what_a_worker_writes_is_quoted_and_no_progress_is_shown_with_json(
    cli: Cli, url: str, new_worker: Callable[[str], None]
) -> None:
    new_worker(
        "from selection.workers import child\nprint('so it is', file=sys.stderr)\nchild.main()"
    )
    done = cli("run", "small.toml", "--workers=2")
    assert done.code == 0, done.err
    assert "worker 0: so it is\n" in done.err
    assert "worker 1: so it is\n" in done.err
    other = f"{url}.other"
    quiet = cli("run", "small.toml", "--workers=2", "--json", "--storage", other)
    assert quiet.code == 0, quiet.err
    assert quiet.err == ""
    assert json.loads(quiet.out)["study"] == "small"
    assert record_content(url, "small") == record_content(other, "small")


# Python.

ARRAYS: dict[str, Any] = {
    "recipe": "book",
    "training": {"epochs": 3, "batch_size": 16},
    "space": {"learning_rate": {"low": 0.01, "high": 1.0, "log": True}},
    "search": {"metric": "accuracy", "trials": 8, "cohort": 2, "pruner": "none"},
    "assessment": {"baselines": ["majority"]},
}
SCRIPT = f"""
import json
import selection
from sklearn.datasets import load_iris

X, y = load_iris(return_X_y=True)
study = selection.run({ARRAYS!r}, X, y, workers=2, progress=False)
print(json.dumps(study.trials["value"].tolist()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_file", [True, False], ids=["script", "stdin"])
def test_arrays_are_trained_by_workers_of_a_script_without_a_guard(
    tmp_path: Path, *, is_file: bool
) -> None:
    words = ["-"]
    if is_file:
        words = ["scripts/train.py"]
        (tmp_path / "scripts").mkdir()
        (tmp_path / words[0]).write_text(SCRIPT)
        # The driver does not find this one, and no worker may.
        (tmp_path / "torch.py").write_text("raise ImportError('not me')")
    done = subprocess.run(
        [sys.executable, *words],
        input=None if is_file else SCRIPT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    alone = selection.run(ARRAYS, *load_iris(return_X_y=True), lag=2, progress=False)
    assert json.loads(done.stdout) == alone.trials["value"].tolist()


class Log:
    """Keep what a run reports."""

    def __init__(self) -> None:
        self.epochs: list[EpochEvent] = []
        self.ended: list[Trial] = []
        self.studies: list[Any] = []

    def on_epoch(self, event: EpochEvent) -> None:
        self.epochs.append(event)

    def on_trial_end(self, trial: Trial) -> None:
        assert not self.studies
        self.ended.append(trial)

    def on_study_end(self, study: Any) -> None:
        self.studies.append(study)


@pytest.mark.slow
def test_callbacks_hear_of_every_trial_of_several_workers(url: str) -> None:
    log = Log()
    study = selection.run("team.toml", workers=2, callbacks=[log], progress=False, storage=url)
    assert log.studies == [study]
    assert sorted(trial.number for trial in log.ended) == list(range(TRIALS))
    values = {trial.number: trial.value for trial in log.ended}
    assert [values[number] for number in range(TRIALS)] == study.trials["value"].tolist()
    cohorts: dict[int, list[int]] = {}
    for trial in log.ended:
        cohorts.setdefault(trial.cohort, []).append(trial.number)
    assert all(numbers == sorted(numbers) for numbers in cohorts.values())
    assert log.epochs
    for event in log.epochs:
        assert 1 <= event.epoch <= event.epochs == 120
        assert event.trials == COHORT
        assert event.budget == TRIALS


class Fails(Log):
    """Raise an error after the first trial."""

    def on_trial_end(self, trial: Trial) -> None:
        raise ValueError("so it is")


@pytest.mark.slow
def test_an_error_of_a_callback_ends_the_workers_and_gives_back_what_trains(
    url: str, watch: Watch
) -> None:
    log = Fails()
    with pytest.raises(ValueError, match="so it is"):
        selection.run("team.toml", workers=2, callbacks=[log], progress=False, storage=url)
    assert len(log.studies) == 1
    assert watch.states()["RUNNING"] == 0
    assert not watch.rows("SELECT cohort FROM selection_lease")


# Options and [run].


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--workers=0"], 2, "--workers"),
        (["--lag=0"], 1, '--lag: must be a whole number from 1, or free, but got "0"'),
        (["--lag=x"], 1, '--lag: must be a whole number from 1, or free, but got "x"'),
        (["--lag=1", "--workers=2"], 1, "lag must be at least workers"),
        (["--address=auto"], 1, 'address belongs to Ray: write on = "ray"'),
        (["--gpus-per-worker=1"], 1, 'gpus_per_worker belongs to Ray: write on = "ray"'),
        (["--on=cluster"], 2, "'cluster'"),
    ],
)
def test_wrong_options_are_refused_before_anything_trains(
    cli: Cli, words: list[str], code: int, said: str
) -> None:
    done = cli("run", "small.toml", *words)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("url")
def test_all_errors_of_run_in_a_file_are_shown_at_once(cli: Cli) -> None:
    Path("small.toml").write_text(f'{IRIS}\n[run]\nworkers = 0\nlag = "x"\nhosts = 2\n')
    done = cli("run", "small.toml")
    assert done.code == 1
    assert [line.split(":")[1].strip() for line in done.err.splitlines()] == [
        "[run] workers", "[run] lag", "[run] hosts",
    ]  # fmt: skip


def test_every_run_says_anew_where_it_trains(cli: Cli, url: str) -> None:
    sections = ['lag = "free"', "workers = 3\nlag = 4", "", "workers = 2"]
    contents = []
    for section in sections:
        Path("small.toml").write_text(f"{IRIS}\n[run]\n{section}\n")
        done = cli("run", "small.toml")
        assert done.code == 0, done.err
        contents.append(record_content(url, "small"))
    assert contents[1:] == contents[:1] * 3
    assert cli("evaluate", "small").code == 0
    done = cli("run", "small.toml", "--workers=5", "--lag=free")
    assert done.code == 0, done.err
    exported = cli("export", "small", "--to=exports")
    assert exported.code == 0, exported.err
    assert "run" not in tomllib.loads(Path("exports/best.toml").read_text())
