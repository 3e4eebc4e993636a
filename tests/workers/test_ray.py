"""A study on a real Ray, really killed, and every way in which Ray cannot be had."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from selection.errors import ErrorDetail, StudyStateError
from selection.study.run_section import RunSection
from selection.study.spec import read_study
from selection.workers import start as start_module
from selection.workers.launcher import Event, Ready, Refused
from selection.workers.ray_slots import Slots, plan_slots
from selection.workers.training import WorkerSetup, setup_of
from selection.workflows.study_data import installed_versions, load_study_data
from tests.command_line import Cli
from tests.ray_head import RayHead, ray_head
from tests.record_content import record_content

TRIALS = 42
STUDY = f"""
name = "ray"
recipe = "book"
[data]
dataset = "digits"
held_out = 0.2
[cv]
folds = 3
[training]
epochs = 36
batch_size = 16
[space]
width = {{ low = 8, high = 32, log = true }}
learning_rate = {{ low = 0.05, high = 1.0, log = true }}
[assessment]
baselines = ["majority"]
[search]
trials = {TRIALS}
cohort = 3
max_retries = 1000
pruner_options = {{ min_resource = 18, reduction_factor = 2, finalists = 0 }}
"""
KILLS = 20
MOST_SECONDS = 300.0


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """A cluster that outlives the drivers which are killed."""
    with ray_head() as head:
        yield head


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "ray.toml"
    path.write_text(STUDY)
    return path


# The command line, with short pauses before a worker that died is replaced.
PROGRAM = """
from selection.cli.start import main
from selection.workers import team
team.FIRST_PAUSE_SECONDS = team.LONGEST_PAUSE_SECONDS = 0.05
main()
"""


class Driver:
    """Hold a real process of `selection run` on a cluster."""

    def __init__(self, study: Path, head: RayHead | None, url: str, *words: str) -> None:
        address = [f"--address={head.address}"] if head else ["--address=local"]
        self.err = study.with_suffix(".err")
        environment = {**os.environ, **(head.environment if head else {})}
        with self.err.open("a") as err:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", PROGRAM, "run", study.name, "--on=ray"),
                    *(*address, "--workers=2", f"--storage={url}", *words),
                ],
                cwd=study.parent,
                env={**environment, "OMP_NUM_THREADS": "1", "HOME": str(study.parent)},
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )

    def end(self, seconds: float = MOST_SECONDS) -> tuple[int, str, str]:
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, self.err.read_text()


def wait_until(condition: Callable[[], Any], seconds: float = MOST_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The record of the same study by this machine's processes, which nobody kills."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "ray.toml").write_text(STUDY)
    command = [sys.executable, "-m", "selection", "run", "ray.toml", "--workers=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return record_content(f"sqlite:///{folder}/selection.db", "ray")


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_killed_again_and_again_the_record_is_the_undisturbed_one(
    database: str,
    request: pytest.FixtureRequest,
    head: RayHead,
    study: Path,
    calm: list[dict[str, Any]],
) -> None:
    url = request.getfixturevalue(f"new_{database}")()
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    generator = random.Random(seed)
    driver = Driver(study, head, url, "--lease=2")
    killed = {"actor": 0, "driver": 0}
    try:
        while sum(killed.values()) < KILLS:
            wait_until(partial(_trains_or_has_ended, head, driver))
            assert driver.process.poll() is None, (killed, driver.end())
            time.sleep(generator.uniform(0.0, 0.5))
            victims = head.training()
            if sum(killed.values()) % 6 == 5:
                driver.process.kill()
                driver.process.communicate()
                wait_until(lambda: not head.actors(), 10.0)
                killed["driver"] += 1
                driver = Driver(study, head, url, "--lease=2")
            elif victims:
                generator.choice(victims).kill()
                killed["actor"] += 1
        code, _, err = driver.end()
    finally:
        driver.process.kill()
        driver.process.communicate()
    assert code == 0, err
    assert killed["actor"] >= 5, killed
    assert record_content(url, "ray") == calm
    assert not head.actors()


def _trains_or_has_ended(head: RayHead, driver: Driver) -> bool:
    return bool(head.training()) or driver.process.poll() is not None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_actors_and_gives_the_cohorts_back(
    head: RayHead, study: Path, cli: Cli, number: signal.Signals
) -> None:
    url = f"sqlite:///{study.parent}/s.db"
    driver = Driver(study, head, url)
    wait_until(head.training)
    driver.process.send_signal(number)
    code, out, err = driver.end(30.0)
    assert code == 128 + number
    assert out == ""
    last = err.splitlines()[-1]
    assert last.endswith("what is finished is kept; the same command goes on from there")
    assert "Traceback" not in err
    assert "SIGTERM received" not in err
    wait_until(lambda: not head.actors(), 10.0)
    status = cli("status", "ray", "--storage", url, "--json").json
    assert status["running"] == []
    assert {trial["state"] for trial in record_content(url, "ray")} >= {"waiting"}


@pytest.mark.slow
def test_a_ray_of_its_own_prints_a_result_and_nothing_else(study: Path) -> None:
    study.write_text(STUDY.replace(f"trials = {TRIALS}", "trials = 18"))
    url = f"sqlite:///{study.parent}/s.db"
    driver = Driver(study, None, url, "--json")

    def training() -> list[psutil.Process]:
        below = psutil.Process(driver.process.pid).children(recursive=True)
        return [each for each in below if _is_training(each)]

    (victim, *_) = wait_until(training)
    ports = {each.laddr.ip for each in psutil.net_connections("tcp") if _is_of(each, driver)}
    victim.kill()
    code, out, err = driver.end()
    assert code == 0, err
    assert json.loads(out)["study"] == "ray"
    assert "Traceback" not in err
    assert ports <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, "nobody else can reach it"
    assert not (study.parent / ".ray").exists(), "no token is left behind"


def _is_training(process: psutil.Process) -> bool:
    try:
        return "ray::RayWorker.train" in " ".join(process.cmdline())
    except psutil.Error:
        # It has ended.
        return False


def _is_of(connection: Any, driver: Driver) -> bool:
    if connection.status != psutil.CONN_LISTEN or connection.pid is None:
        return False
    process = psutil.Process(driver.process.pid)
    family = {process.pid, *(child.pid for child in process.children(recursive=True))}
    return connection.pid in family


@pytest.mark.slow
def test_a_busy_cluster_is_spoken_of_and_hears_of_no_command_line(
    head: RayHead, study: Path
) -> None:
    study.write_text(STUDY.replace(f"trials = {TRIALS}", "trials = 3"))
    other = subprocess.Popen(
        [sys.executable, "-c", BUSY, head.address],
        env={**os.environ, **head.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "busy\n"
    driver = Driver(study, head, f"sqlite:///{study.parent}/s.db")
    try:
        line = (
            "2 of 2 workers did not start within 15 seconds; "
            "ray status shows whether the cluster is busy\n"
        )
        wait_until(lambda: line in driver.err.read_text(), 60.0)
        entrypoints, _ = other.communicate("", timeout=30.0)
        code, _, err = driver.end()
    finally:
        for process in (other, driver.process):
            process.kill()
            process.communicate()
    assert code == 0, err
    assert err.count("did not start") == 1
    assert "selection" in entrypoints.splitlines()
    assert "s.db" not in entrypoints


BUSY = """
import sys
import ray
import ray._private.state as state

ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)

@ray.remote(num_cpus=2)
class Other:
    def work(self):
        pass

other = Other.remote()
ray.get(other.work.remote())
print("busy", flush=True)
sys.stdin.readline()
for job in state.jobs():
    print(job["Entrypoint"])
"""


# What cannot be had.


def test_without_the_extra_one_line_names_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ray.toml").write_text(STUDY)
    monkeypatch.setattr(start_module, "find_spec", lambda name: None)
    done = cli("run", "ray.toml", "--on", "ray")
    assert done.code == 1
    assert done.err == (
        "--on ray: workers on Ray need the package ray, but got none. "
        "Run: pip install 'selection-sweep[ray]'\n"
    )
    assert [path.name for path in Path().iterdir()] == ["ray.toml"]


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("nonsense", "--address: an address must be auto, local or HOST:PORT, but got"),
        ("ray://127.0.0.1:1", "--address: the driver must be part of the cluster, but got"),
    ],
)
def test_an_address_of_another_form_is_refused(cli: Cli, address: str, line: str) -> None:
    Path("ray.toml").write_text(STUDY)
    done = cli("run", "ray.toml", "--on", "ray", "--address", address)
    assert done.code == 1
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dead", "mute"])
def test_an_address_that_does_not_answer_is_named_within_seconds(study: Path, kind: str) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if kind == "mute":
            listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(StudyStateError) as caught:
            launcher_of(study, address=address)
        seconds = time.monotonic() - begun
    assert str(caught.value) == (
        f"--address: a Ray cluster must answer, but got no answer from {address}. "
        "Check host and port, and that the cluster runs: ray status."
    )
    assert seconds < 12.0


@pytest.mark.slow
def test_a_token_that_is_not_the_cluster_s_is_named(
    head: RayHead, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in ("0" * 32, None):
        for name, value in {**head.environment, "RAY_AUTH_TOKEN": token}.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(study.parent))
        with pytest.raises(StudyStateError, match="must know this driver's token"):
            launcher_of(study, address=head.address)


def launcher_of(study: Path, **run: Any) -> Any:
    """Return a launcher on Ray in this process."""
    from selection.workers.ray import RayLauncher

    return RayLauncher(RunSection(on="ray", **run), setup_for(study))


def setup_for(study: Path) -> WorkerSetup:
    spec = read_study(study)
    return setup_of(spec, load_study_data(spec, study.parent), "cpu", 0)


def first_event(launcher: Any) -> Event:
    """Return the first event of a worker."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if events := launcher.events(1.0):
            return events[0]  # type: ignore[no-any-return]
    raise TimeoutError


@pytest.mark.slow
def test_a_launcher_leaves_the_process_as_it_was(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selection.workers import ray as ray_module

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = (dict(os.environ), signal.getsignal(signal.SIGTERM), sys.excepthook)
    launcher = launcher_of(study, workers=1)
    assert signal.getsignal(signal.SIGTERM) == before[1]
    (said,) = launcher.events(0.0)
    assert re.fullmatch(r"Ray starts 1 worker with \d+ CPU each", said.line)
    launcher.start(0)
    assert isinstance(first_event(launcher), Ready)
    launcher.stop()
    assert (dict(os.environ), signal.getsignal(signal.SIGTERM), sys.excepthook) == before

    # Other versions on a node, and a node that cannot load what a worker runs.
    there = installed_versions()
    monkeypatch.setattr(
        ray_module, "installed_versions", lambda: {**there, "torch": "1.0.0", "numpy": "1.0+local"}
    )
    launcher = launcher_of(study, workers=5)
    (said,) = launcher.events(0.0)
    assert re.fullmatch(
        r"Ray has room for \d of 5 workers with 1 CPU each; the others start when nodes join",
        said.line,
    )
    launcher.start(0)
    refused = first_event(launcher)
    assert isinstance(refused, Refused)
    assert str(refused.error) == (
        "worker 0: a node must have the versions of the driver, but got "
        f"torch {there['torch']} there and 1.0.0 here, numpy {there['numpy']} there and "
        "1.0+local here. Install the same on both."
    )
    monkeypatch.setattr(ray_module, "RayWorker", Unloadable)
    launcher.start(1)
    refused = first_event(launcher)
    assert isinstance(refused, Refused)
    assert str(refused.error).startswith(
        "worker 1: every node needs selection as the driver has it, but got "
    )
    assert "no such module" in str(refused.error)
    launcher.stop()


@pytest.mark.slow
def test_an_interrupt_while_ray_starts_leaves_nothing_of_it(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    init: Any = ray.init

    def interrupted(**options: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        init(**options)

    monkeypatch.setattr(ray, "init", interrupted)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers, environment = [signal.getsignal(each) for each in numbers], dict(os.environ)
    with pytest.raises(KeyboardInterrupt):
        launcher_of(study, workers=1)
    assert not ray.is_initialized()
    assert [signal.getsignal(each) for each in numbers] == handlers
    assert dict(os.environ) == environment
    children = psutil.Process().children(recursive=True)
    assert [each.name() for each in children if "ray" in each.name()] == []


class Unloadable:
    def __init__(self) -> None:
        raise ImportError("no such module")

    def versions(self) -> None:
        raise AssertionError


def test_errors_survive_the_trip() -> None:
    import pickle

    error = StudyStateError(ErrorDetail("where", "rule", "got", "hint"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# What a cluster has room for.

CPU_NODES: list[Mapping[str, float]] = [{"CPU": 8.0, "memory": 1e9}, {"CPU": 4.0}]
GPU_NODES: list[Mapping[str, float]] = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 16.0}, {"GPU": 2.0}]


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "device", "slots"),
    [
        (CPU_NODES, None, None, "auto", Slots(2, 4, 0.0, 3)),
        (CPU_NODES, 3, None, "auto", Slots(3, 4, 0.0, 3)),
        (CPU_NODES, 4, None, "cpu", Slots(4, 2, 0.0, 6)),
        (CPU_NODES, 12, None, "auto", Slots(12, 1, 0.0, 12)),
        (CPU_NODES, 20, None, "auto", Slots(20, 1, 0.0, 12)),
        (GPU_NODES, None, None, "auto", Slots(4, 1, 1.0, 4)),
        (GPU_NODES, None, 0.5, "auto", Slots(8, 1, 0.5, 8)),
        (GPU_NODES, None, 2.0, "cuda", Slots(2, 1, 2.0, 2)),
        (GPU_NODES, 6, None, "cuda", Slots(6, 1, 1.0, 4)),
        (GPU_NODES, None, None, "cpu", Slots(2, 8, 0.0, 3)),
        (CPU_NODES, None, None, "cuda", Slots(1, 1, 1.0, 0)),
        ([], None, None, "auto", Slots(1, 1, 0.0, 0)),
    ],
)
def test_workers_take_the_gpus_or_share_the_cores(
    nodes: list[Mapping[str, float]],
    workers: int | None,
    gpus: float | None,
    device: Any,
    slots: Slots,
) -> None:
    assert plan_slots(nodes, workers, gpus, device) == slots
