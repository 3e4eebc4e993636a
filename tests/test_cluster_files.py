"""The files of examples/cluster and their how-to pages: what can be checked without a cluster."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import selection
from selection.cli.main import app
from tests.command_line import STUDY

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "examples/cluster"
KUBERNETES = CLUSTER / "kubernetes"
CONTAINERFILE = KUBERNETES / "Containerfile"
MACHINES = CLUSTER / "ray/machines.yaml"
SCRIPTS = sorted(CLUSTER.glob("slurm/*.sbatch"))
PAGES = [ROOT / f"docs/how-to/{name}.md" for name in ("ray-cluster", "slurm", "kubernetes")]
SHOWN = [*SCRIPTS, *sorted(CLUSTER.rglob("*.yaml")), *PAGES]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# From the manual of sbatch.
SBATCH_OPTIONS = {
    "array", "cpus-per-task", "exclusive", "gres", "job-name", "mem", "nodes", "ntasks",
    "ntasks-per-node", "open-mode", "output", "requeue", "signal", "time",
}  # fmt: skip


def without_comments(text: str) -> str:
    return re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)


def command_lines(path: Path) -> list[list[str]]:
    """Return the words of every call of the command line in a file, with values for variables."""
    text = path.read_text()
    if path.suffix == ".md":
        code = re.findall(r"^```\w*\n(.*?)^```$|`([^`]+)`", text, re.DOTALL | re.MULTILINE)
        # A name alone, in prose, is not a call.
        calls = [block or inline.replace("\n", " ") for block, inline in code]
        text = "\n".join(call for call in calls if len(call.split()) > 2)
    else:
        text = without_comments(text)
    # As YAML writes a command, and as bash holds one until it is run.
    text = re.sub(r"\[selection, ([^]]*)\]", lambda m: "selection " + m[1].replace(",", ""), text)
    text = re.sub(r"^ *command=\((.*)\)$", r"selection \1", text, flags=re.MULTILINE)
    text = re.sub(r"\$\{?\w+\}?", "8", text.replace("\\\n", " "))
    calls = re.findall(rf"(?<![-\w])selection ((?:{'|'.join(COMMANDS)})\b[^'|&>\n]*)", text)
    return [shlex.split(call, comments=True) for call in calls]


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_call_of_the_command_line_is_understood(path: Path) -> None:
    lines = command_lines(path)
    assert bool(lines) == (path.name not in ("machines.yaml", "queues.yaml")), path
    for name, *words in lines:
        COMMANDS[name].make_context(name, words)


@pytest.mark.parametrize("path", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 120


def test_the_pages_link_to_every_file() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for path in CLUSTER.rglob("*"):
        assert path.name in text, path


# Slurm


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_bash_reads_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, script], check=True)


def sbatch_options(script: Path) -> dict[str, str]:
    """Return the options of the lines that sbatch reads: those before the first command."""
    found = {}
    for line in script.read_text().splitlines():
        if line.startswith("#SBATCH "):
            option = re.fullmatch(r"#SBATCH --([\w-]+)(?:=(\S+))?", line)
            assert option is not None, line
            found[option[1]] = option[2] or ""
        elif line and not line.startswith("#"):
            break
    assert len(found) == script.read_text().count("#SBATCH ")
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_survives_preemption_and_the_time_limit(script: Path) -> None:
    options = sbatch_options(script)
    assert set(options) <= SBATCH_OPTIONS
    assert "requeue" in options
    # Without B: the signal goes to the steps, where the worker is, and not to the script. A driver
    # needs its Ray to the end, so there the script passes it on.
    is_passed_on = re.search("^trap .* TERM$", script.read_text(), re.MULTILINE) is not None
    assert options["signal"] == ("B:TERM@120" if is_passed_on else "TERM@120")
    assert options["open-mode"] == "append"
    assert "%a" in options["output"] or "array" not in options


def test_ray_has_its_nodes_alone() -> None:
    assert "exclusive" in sbatch_options(CLUSTER / "slurm/ray.sbatch")


STAND_INS = {
    # It runs the step in its own place, so that a signal reaches the step.
    "srun": """while [[ $1 == --* ]]; do echo "$1" >> "$STANDS/srun.txt"; shift; done
echo $$ > "$STANDS/$1.pid"
exec "$@"
""",
    "squeue": 'echo "$@" > "$STANDS/squeue.txt"; cat "$STANDS/state"\n',
    "scontrol": """if [ "$1" = show ]; then printf 'localhost\\nnode2\\n'; exit; fi
echo "$@" >> "$STANDS/scontrol.txt"
""",
    "sleep": "exec /bin/sleep 0.2\n",
    "selection": f'exec {shlex.quote(sys.executable)} -m selection "$@"\n',
}


class Slurm:
    """Run scripts as Slurm would, with stand-ins for its programs."""

    def __init__(self, folder: Path, url: str, **programs: str) -> None:
        self.folder = folder
        self.stands = folder / "stands"
        self.started: list[subprocess.Popen[str]] = []
        self.stands.mkdir()
        for name, text in {**STAND_INS, **programs}.items():
            (self.stands / name).write_text(f"#!/bin/bash\n{text}")
            (self.stands / name).chmod(0o755)
        activate = folder / "selection/bin/activate"
        activate.parent.mkdir(parents=True)
        activate.write_text(f'export PATH="{self.stands}:$PATH"\n')
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "STANDS": str(self.stands),
            "PYTHONPATH": str(ROOT),
            "SELECTION_STORAGE": url,
            "SLURM_ARRAY_JOB_ID": "100",
            "SLURM_ARRAY_TASK_ID": "",
            "SLURM_CPUS_PER_TASK": "1",
        }
        self.set_state("RUNNING")

    def set_state(self, state: str) -> None:
        """Say what squeue answers."""
        (self.stands / "state").write_text(f"{state}\n")

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        with (self.folder / f"slurm-{len(self.started)}.out").open("w") as output:
            process = subprocess.Popen(
                ["bash", CLUSTER / "slurm" / script, *words],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """Wait for a script and return what it said."""
        process.wait(timeout=240)
        self.end(process)
        said = (self.folder / f"slurm-{self.started.index(process)}.out").read_text()
        assert process.returncode == code, said
        return said

    def end(self, process: subprocess.Popen[str]) -> None:
        """End all steps of a script, as Slurm does when the script has ended."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_task(self, number: int) -> subprocess.Popen[str]:
        task = str(number)
        return self.start("study.sbatch", "small.toml", "small", SLURM_ARRAY_TASK_ID=task)

    def requeued(self) -> list[str]:
        said = self.stands / "scontrol.txt"
        return said.read_text().splitlines() if said.exists() else []


@pytest.fixture
def slurm(tmp_path: Path, new_postgres: Callable[[], str]) -> Iterator[Slurm]:
    slurm = Slurm(tmp_path, new_postgres())
    yield slurm
    for process in slurm.started:
        slurm.end(process)


def write_study(folder: Path, trials: int, epochs: int) -> None:
    text = STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy")
    text = text.replace("trials = 5", f"trials = {trials}")
    (folder / "small.toml").write_text(text.replace("epochs = 3", f"epochs = {epochs}"))


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == code, out
    return out


@pytest.mark.slow
def test_two_tasks_of_an_array_spend_the_budget(slurm: Slurm) -> None:
    write_study(slurm.folder, trials=7, epochs=3)
    worker = slurm.start_task(1)
    time.sleep(1.0)
    first = slurm.start_task(0)
    assert "study small takes no more trials" in slurm.finish(worker)
    assert "accuracy" in slurm.finish(first)
    study = selection.open_study("small", storage=slurm.environment["SELECTION_STORAGE"])
    assert len(study.trials) == 7
    assert slurm.requeued() == []
    options = set((slurm.stands / "srun.txt").read_text().split())
    assert options == {"--ntasks=1", "--cpus-per-task=1"}


@pytest.mark.slow
def test_a_task_that_is_stopped_gives_its_cohort_back_and_is_requeued(slurm: Slurm) -> None:
    write_study(slurm.folder, trials=12, epochs=1_000_000)
    for state, requeued in (("COMPLETING", []), ("RUNNING", ["requeue 100_0"])):
        slurm.set_state(state)
        task = slurm.start_task(0)
        wait_until(lambda: cohorts_held(slurm) == 1)
        os.kill(int((slurm.stands / "selection.pid").read_text()), signal.SIGTERM)
        slurm.finish(task, 143)
        assert cohorts_held(slurm) == 0
        assert slurm.requeued() == requeued
        assert "--jobs=100_0" in (slurm.stands / "squeue.txt").read_text()


def cohorts_held(slurm: Slurm) -> int:
    """Return how many cohorts are held by a worker that lives."""
    from selection.store.repository import open_repository

    try:
        with open_repository(slurm.environment["SELECTION_STORAGE"]) as repository:
            return len(repository.leases.running(repository.study("small")))
    except selection.SelectionError:
        return 0


def wait_until(is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_script_asks_for_what_it_needs(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path, "sqlite:///none.db")
    assert "FILE is missing" in slurm.finish(slurm.start("study.sbatch"), 1)
    assert "NAME is missing" in slurm.finish(slurm.start("study.sbatch", "small.toml"), 1)
    assert "FILE is missing" in slurm.finish(slurm.start("ray.sbatch"), 1)


ALLOCATION = {
    "SLURM_JOB_ID": "200",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "localhost,node2",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_CPUS_PER_TASK": "16",
    "SLURM_NODEID": "0",
}
# It records its words and stays, as a node does.
RAY = """printf '%s\\n' "$@" > "$STANDS/ray-$1.txt"
if [ "$1" = health-check ]; then exit "${RAY_HEALTH:-0}"; fi
if [ "$1" = start ]; then exec /bin/sleep "${RAY_SECONDS:-60}"; fi
"""


def ray_words(slurm: Slurm, command: str) -> list[str]:
    return (slurm.stands / f"ray-{command}.txt").read_text().splitlines()[1:]


@pytest.fixture
def allocation(tmp_path: Path) -> Iterator[Slurm]:
    """Slurm with an allocation of nodes for Ray; the driver is a program of bash."""
    driver = """echo "$@" > "$STANDS/driver.txt"
trap 'exit 143' TERM
/bin/sleep "${DRIVER_SECONDS:-0}" & wait $!
exit "${DRIVER_CODE:-0}"
"""
    sleep = "exec /bin/sleep 0.02\n"
    slurm = Slurm(tmp_path, "sqlite:///none.db", ray=RAY, selection=driver, sleep=sleep)
    slurm.environment.update(ALLOCATION)
    yield slurm
    for process in slurm.started:
        slurm.end(process)


@pytest.mark.parametrize("node", [0, 1])
def test_ray_starts_on_each_node_of_the_allocation(allocation: Slurm, node: int) -> None:
    from ray.scripts import scripts

    allocation.finish(
        allocation.start("ray.sbatch", "small.toml", SLURM_NODEID=str(node), DRIVER_SECONDS="1")
    )
    started = scripts.start.make_context("ray", ray_words(allocation, "start")).params
    assert (started["num_cpus"], started["num_gpus"], started["block"]) == (16, 4, True)
    if node == 0:
        assert (started["head"], started["port"]) == (True, 6379)
        assert started["node_ip_address"] == "127.0.0.1"
    else:
        assert (started["head"], started["address"]) == (False, "127.0.0.1:6379")
    driver = "run small.toml --on ray --address 127.0.0.1:6379 --workers 8\n"
    assert (allocation.stands / "driver.txt").read_text() == driver
    assert ray_words(allocation, "get-auth-token") == ["--generate"]
    assert ray_words(allocation, "health-check")[:2] == ["--address", "127.0.0.1:6379"]
    assert allocation.requeued() == []


def test_a_ray_that_does_not_start_is_not_tried_for_ever(allocation: Slurm) -> None:
    allocation.finish(allocation.start("ray.sbatch", "small.toml", RAY_HEALTH="1"), 1)
    assert not (allocation.stands / "driver.txt").exists()
    assert allocation.requeued() == []


@pytest.mark.parametrize(("state", "requeued"), [("COMPLETING", []), ("RUNNING", ["requeue 200"])])
def test_a_driver_that_is_stopped_is_requeued(
    allocation: Slurm, state: str, requeued: list[str]
) -> None:
    allocation.set_state(state)
    job = allocation.start("ray.sbatch", "small.toml", DRIVER_SECONDS="60")
    wait_until((allocation.stands / "driver.txt").exists)
    job.send_signal(signal.SIGTERM)
    allocation.finish(job, 143)
    assert allocation.requeued() == requeued


@pytest.mark.parametrize(
    ("ray_seconds", "code", "requeued"), [("60", 1, []), ("0", 143, ["requeue 200"])]
)
def test_an_error_is_not_requeued_unless_ray_has_ended(
    allocation: Slurm, ray_seconds: str, code: int, requeued: list[str]
) -> None:
    how = {"DRIVER_CODE": "1", "DRIVER_SECONDS": "1", "RAY_SECONDS": ray_seconds}
    allocation.finish(allocation.start("ray.sbatch", "small.toml", **how), code)
    assert allocation.requeued() == requeued


# Ray


def test_ray_takes_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    stated = yaml.safe_load(MACHINES.read_text())
    config = prepare_config(stated)
    validate_config(config)
    assert config["max_workers"] == len(stated["provider"]["worker_ips"])
    assert "~/.ray/auth_token" in config["file_mounts"]


def test_every_node_of_the_cluster_file_starts_with_a_token() -> None:
    from ray.scripts import scripts

    stated = yaml.safe_load(MACHINES.read_text())
    for role in ("head", "worker"):
        (line,) = [line for line in stated[f"{role}_start_ray_commands"] if "ray start" in line]
        before, _, words = line.partition(" ray start ")
        assert before.endswith(" RAY_AUTH_MODE=token")
        params = scripts.start.make_context("ray", shlex.split(words)).params
        assert params["head"] == (role == "head")
        assert params["dashboard_host"] in ("127.0.0.1", "localhost")


def test_the_cluster_file_installs_the_versions_of_the_lock() -> None:
    install = yaml.safe_load(MACHINES.read_text())["setup_commands"][-1]
    lock = (ROOT / "requirements.lock").read_text()
    for name in ("ray", "torch", "numpy"):
        version = re.search(rf"'{name}(?:\[default\])?==([\d.]+)'", install)
        assert version is not None
        assert re.search(rf"^{name}=={re.escape(version[1])}[ ;]", lock, re.MULTILINE), name


def test_every_call_of_ray_on_the_page_is_understood() -> None:
    from ray.scripts.scripts import cli

    lines = re.findall(r"^\$ \(?(?:umask 077; )?ray (.*)$", PAGES[0].read_text(), re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line.partition(" >")[0])
        command: Any = cli
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("ray", words)


# Kubernetes


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def pod_specs() -> list[dict[str, Any]]:
    """Return the pod of every Job and of every role of the RayJob."""
    (ray,) = documents("rayjob.yaml")
    cluster = ray["spec"]["rayClusterSpec"]
    templates = [
        *(job["spec"]["template"] for job in documents("workers.yaml")),
        ray["spec"]["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        *(group["template"] for group in cluster["workerGroupSpecs"]),
    ]
    return [template["spec"] for template in templates]


@pytest.mark.parametrize("pod", pod_specs(), ids=lambda pod: str(pod["containers"][0]["name"]))
def test_a_pod_is_restricted_and_agrees_with_the_image(pod: dict[str, Any]) -> None:
    user = int(instructions("USER")[0].partition(":")[0])
    inside = pod["securityContext"]
    assert inside["runAsNonRoot"] is True
    assert inside["runAsUser"] == inside["runAsGroup"] == user
    assert inside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounts) == set(volumes)
    # All that the image writes to.
    assert mounts["tmp"] == "/tmp"
    assert "workingDir" not in container or mounts["work"] == container["workingDir"] == "/work"
    resources = container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_passwords_come_from_a_secret_and_go_only_where_a_record_is_opened() -> None:
    holders = []
    for pod in pod_specs():
        (container,) = pod["containers"]
        given = {each["name"]: each for each in container.get("env", [])}
        assert ("PGPASSWORD" in given) == ("SELECTION_STORAGE" in given)
        if "PGPASSWORD" in given:
            holders.append(container["name"])
            secret = given["PGPASSWORD"]["valueFrom"]["secretKeyRef"]
            assert secret == {"name": "selection-postgres", "key": "password"}
            from selection.store.address import read_address

            assert read_address(given["SELECTION_STORAGE"]["value"]).url.password is None
    assert holders == ["selection", "selection", "ray-head"]


def test_kueue_queues_everything_within_what_the_quota_covers() -> None:
    flavor, cluster_queue, queue = documents("queues.yaml")
    kinds = [each["kind"] for each in (flavor, cluster_queue, queue)]
    assert kinds == ["ResourceFlavor", "ClusterQueue", "LocalQueue"]
    assert {each["apiVersion"] for each in (flavor, cluster_queue, queue)} == {
        "kueue.x-k8s.io/v1beta2"
    }
    assert queue["spec"] == {"clusterQueue": cluster_queue["metadata"]["name"]}
    (group,) = cluster_queue["spec"]["resourceGroups"]
    (quota,) = group["flavors"]
    assert quota["name"] == flavor["metadata"]["name"]
    # In this order, Kueue asks for.
    assert [each["name"] for each in quota["resources"]] == group["coveredResources"]
    for job in (*documents("workers.yaml"), *documents("rayjob.yaml")):
        labels = job["metadata"]["labels"]
        assert labels == {"kueue.x-k8s.io/queue-name": queue["metadata"]["name"]}
        assert job["spec"]["suspend"] is True
    for pod in pod_specs():
        resources = pod["containers"][0]["resources"]
        asked = {*resources["requests"], *resources["limits"]}
        assert asked <= set(group["coveredResources"])


def test_pods_that_kueue_takes_away_do_not_count_as_failures() -> None:
    study, workers = documents("workers.yaml")
    for job in (study, workers):
        assert job["apiVersion"] == "batch/v1"
        ignored, final = job["spec"]["podFailurePolicy"]["rules"]
        assert ignored["action"] == "Ignore"
        assert ignored["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert final == {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": container["name"],
                "operator": "In",
                "values": [2, selection.RefusedError.exit_code],
            },
        }
        # A policy of failures goes with Never only.
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert workers["spec"]["completionMode"] == "Indexed"
    assert workers["spec"]["completions"] == workers["spec"]["parallelism"]
    assert "backoffLimit" not in workers["spec"]


def test_the_ray_job_asks_for_the_workers_that_its_cluster_has() -> None:
    (job,) = documents("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    # Kueue takes no other.
    assert spec["shutdownAfterJobFinishes"] is True
    assert cluster["authOptions"] == {"mode": "token"}
    lock = (ROOT / "requirements.lock").read_text()
    assert f"\nray=={cluster['rayVersion']} " in lock
    (group,) = cluster["workerGroupSpecs"]
    workers = int(spec["entrypoint"].rpartition("--workers ")[2])
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == workers
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in str(head["template"])


def worker_script() -> str:
    _, workers = documents("workers.yaml")
    bash, option, script = workers["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (bash, option) == ("bash", "-c")
    return str(script)


def start_worker_pod(folder: Path, program: str) -> subprocess.Popen[str]:
    for name, text in (("selection", program), ("sleep", "exec /bin/sleep 0.2\n")):
        (folder / name).write_text(f"#!/bin/bash\n{text}")
        (folder / name).chmod(0o755)
    return subprocess.Popen(
        ["bash", "-c", worker_script()],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_worker_pod_waits_for_its_study_and_becomes_its_worker(tmp_path: Path) -> None:
    program = """echo "$@" >> calls
if [ "$1" = status ]; then [ "$(grep -c status calls)" -gt 2 ]; exit; fi
echo $$ > pid
"""
    pod = start_worker_pod(tmp_path, program)
    finish(pod)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["status digits"] * 3 + ["worker digits --device cuda"]
    # The process that Kubernetes stops is the worker itself.
    assert (tmp_path / "pid").read_text() == f"{pod.pid}\n"


def test_a_worker_pod_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    pod = start_worker_pod(tmp_path, "touch called; exit 1\n")
    wait_until((tmp_path / "called").exists)
    pod.terminate()
    finish(pod, 143)


# The image


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the Containerfile, each time."""
    text = without_comments(CONTAINERFILE.read_text()).replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def test_the_image_copies_what_there_is() -> None:
    for copy in instructions("COPY"):
        *sources, _ = copy.split()
        if not sources[0].startswith("--from="):
            for source in sources:
                assert (ROOT / source).exists(), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    copied = " ".join(instructions("COPY")).split()
    assert {*built, project["project"]["readme"], "pyproject.toml"} <= set(copied)


def test_the_image_installs_the_wheel_with_the_versions_of_the_lock() -> None:
    build, install = [run for run in instructions("RUN") if run.startswith("uv ")]
    assert build.split() == ["uv", "build", "--wheel", "--out-dir", "/wheels", "."]
    assert "--constraints requirements.lock" in install
    wheel = re.search(r'"\$\(echo /wheels/\*\.whl\)\[([\w,]+)\]"', install)
    assert wheel is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {"postgres", "ray"} <= set(wheel[1].split(",")) <= set(extras)


def test_the_image_builds_with_the_uv_of_the_makefile() -> None:
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"uv=={version}" in CONTAINERFILE.read_text()


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    (user,) = instructions("USER")
    number, _, group = user.partition(":")
    assert int(number) > 0
    assert int(group) > 0
    last_stage = CONTAINERFILE.read_text().rpartition("\nFROM ")[2]
    assert f"--uid {number} " in last_stage
    assert last_stage.index("USER ") > last_stage.index("RUN ")
    assert not re.search(r"password|token|secret", CONTAINERFILE.read_text(), re.IGNORECASE)
    assert json.loads(instructions("CMD")[0])[0] == "selection"
