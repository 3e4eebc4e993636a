"""How quickly do pages answer with 10,000 trials, and what do they cost a sweep beside them?

A study is filled through the real store by a trainer that makes its results up; the server is a
real process. Writes Markdown. Run: make bench
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import psutil

from benchmarks.machine import where_it_ran
from benchmarks.ratios import Ratio, ratio_of, verdict
from selection.serve.live import FRESH_SECONDS
from selection.store.leases import new_worker
from selection.store.repository import open_repository
from selection.study.spec import parse_study
from selection.study.trial import FoldResult, LearningCurve, TrialResult, TrialState
from selection.train.device import choose_device, describe_device
from selection.workflows.study_data import enter_study, load_study_data, row_facts
from selection.workflows.sweep import run_sweep
from tests.worker_farm import Silent

EPOCHS, FOLDS, COHORT = 4, 3, 50
LOADS = 20
GOAL_SECONDS, GOAL_SHARE = 1.0, 0.95
POLL_SECONDS = 2.0
CHARTS = ("history", "epochs", "parallel", "importance", "curves-score", "slice?param=width")
SPACE = {
    "width": {"low": 8, "high": 256, "log": True},
    "learning_rate": {"low": 0.01, "high": 1.0, "log": True},
}
SWEEP = """
name = "sweep"
recipe = "book"
[data]
dataset = "digits"
[cv]
folds = 5
[training]
epochs = 20
batch_size = 64
[space]
width = {{ low = 32, high = 128, log = true }}
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
[assessment]
baselines = ["majority", "linear"]
[search]
sampler = "random"
pruner = "none"
trials = {trials}
cohort = 16
"""


class MadeUp:
    """Be a Trainer whose results are random, and there at once."""

    asks_ahead = False

    def __init__(self, folds: Sequence[int]) -> None:
        self._folds = folds
        self._random = np.random.default_rng(0)

    def train(self, settings: Sequence[Any], _decide: Any, _tell: Any) -> list[TrialResult]:
        return [self._result() for _ in settings]

    def _result(self) -> TrialResult:
        folds = tuple(
            FoldResult(
                0,
                fold,
                LearningCurve(self._random.random((EPOCHS, 6))),
                self._random.random((rows, 3), np.float32),
            )
            for fold, rows in enumerate(self._folds)
        )
        return TrialResult(TrialState.COMPLETE, "", folds, EPOCHS, 0.0)


def fill(url: str, trials: int, folder: Path) -> None:
    """Make a study of so many complete trials."""
    content = {
        "name": "many",
        "recipe": "book",
        "data": {"dataset": "iris"},
        "cv": {"folds": FOLDS},
        "training": {"epochs": EPOCHS},
        "space": SPACE,
        "search": {"trials": trials, "cohort": COHORT, "sampler": "random", "pruner": "none"},
    }
    spec = parse_study(content, "many.toml")
    data = load_study_data(spec, folder)
    with open_repository(url, create=True, write=True) as repository:
        study = enter_study(spec, data, repository.records, describe_device(choose_device("cpu")))
        repository.evidence.keep_rows(study, row_facts(data))
        trainer: Any = MadeUp([len(split.validation) for split in data.plan.splits])
        run_sweep(spec, study, repository, trainer, new_worker(60.0, is_alone=True), Silent())


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the database of a folder; yields the address and the process."""
    words = [sys.executable, "-m", "selection", "serve", "--port", "0"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"(http://\S+?)/selection/", process.stdout.readline())
        assert found, "the server says where it is"
        yield found[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def get(address: str, etag: str = "") -> tuple[int, Mapping[str, str], bytes, float]:
    """Return status, headers, content and seconds of one request."""
    begun = time.perf_counter()
    try:
        with urlopen(Request(address, headers={"If-None-Match": etag}), timeout=600) as answer:
            content = answer.read()
            status, headers = answer.status, dict(answer.headers)
    except HTTPError as error:
        with error:
            status, headers, content = error.code, dict(error.headers), b""
    return status, headers, content, time.perf_counter() - begun


def loads(address: str, count: int, status: int = 200, etag: str = "") -> list[float]:
    """Return the seconds of some loads of a page; each must have this status."""
    found = []
    for _ in range(count):
        # Requests within a moment share one reading of the record: these do not.
        time.sleep(FRESH_SECONDS + 0.1)
        found.append(get(address, etag))
    assert {each[0] for each in found} == {status}, address
    return [each[3] for each in found]


def page_lines(base: str, count: int) -> Iterator[str]:
    """Yield a line of the table for each kind of request."""
    study, api = f"{base}/selection/studies/many/", f"{base}/selection/api/studies/many"
    (first,) = loads(study, 1)
    meanwhile = loads(study, 5)
    (assessed,) = loads(f"{api}/best", 1)
    yield f"| study page, first load of the server | {first:.3f} | |"
    yield f"| study page, while the assessment is computed | {statistics.median(meanwhile):.3f} | |"
    waited = assessed + sum(meanwhile) + 5 * (FRESH_SECONDS + 0.1)
    yield f"| assessment of all trials, computed once in the background | {waited:.1f} | |"
    etag = get(study)[1]["etag"]
    kinds = {
        "study page": loads(study, count),
        "study page, sorted by a hyperparameter": loads(f"{study}?sort=param:width", count),
        "study page, nothing new (304)": loads(study, count, 304, etag),
        "list of studies": loads(f"{base}/selection/", count),
        "JSON of all trials": loads(f"{api}/trials", 3),
        "trial page": loads(f"{study}trials/1", count),
        "Optuna Dashboard, the whole study": loads(f"{base}/api/studies/1?after=0", 3),
        "Optuna Dashboard, updates of the study": loads(f"{base}/api/studies/1?after=9999999", 3),
    }
    for name in CHARTS:
        path, _, query = name.partition("?")
        address = f"{study}figures/{path}.json?{query}"
        kinds[f"chart {path}, first"] = loads(address, 1)
        kinds[f"chart {path}, again"] = loads(address, count)
    for name, seconds in kinds.items():
        middle, worst = statistics.median(seconds), max(seconds)
        goal = verdict(GOAL_SECONDS, worst) if name.startswith("study page") else ""
        yield f"| {name} | {middle:.3f} (worst {worst:.3f}) | {goal} |"


class Reader(threading.Thread):
    """Read the page of a running study as a browser does."""

    def __init__(self, base: str) -> None:
        super().__init__(daemon=True)
        self._study = f"{base}/selection/studies/sweep/"
        self.done = threading.Event()
        self.pages = self.unchanged = self.charts = 0

    def run(self) -> None:
        etag = version = ""
        while not self.done.wait(POLL_SECONDS):
            status, headers, content, _ = get(self._study, etag)
            self.unchanged += status == 304
            if status != 200:
                continue
            self.pages += 1
            etag = headers["etag"]
            found = re.search(rb'data-version="(\w+)"', content)
            assert found, "the page says what its charts depend on"
            if found[1].decode() != version:
                version = found[1].decode()
                for name in CHARTS:
                    path, _, query = name.partition("?")
                    self.charts += get(f"{self._study}figures/{path}.json?{query}")[0] == 200


def sweep(folder: Path, trials: int) -> float:
    """Return the seconds of training of a sweep."""
    (folder / "s.toml").write_text(SWEEP.format(trials=trials))
    words = [sys.executable, "-m", "selection", "run", "s.toml", "--json"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["seconds"])


def read_sweep(folder: Path, trials: int) -> tuple[float, str]:
    """Return the seconds of training of a sweep, and what was read beside it."""
    # The server is there before the sweep, and has a study to be opened on.
    fill(f"sqlite:///{folder}/selection.db", COHORT, folder)
    with server(folder) as (base, served):
        loads(f"{base}/selection/studies/many/", 1)
        before = sum(served.cpu_times()[:2])
        reader = Reader(base)
        reader.start()
        seconds = sweep(folder, trials)
        reader.done.set()
        reader.join()
        used = sum(served.cpu_times()[:2]) - before
    asked = reader.pages + reader.unchanged
    return seconds, f"{asked} pages, {reader.charts} charts, {used:.1f} s of CPU"


def decided(found: Ratio) -> str:
    """Say whether the sweep is slowed by less than the goal allows, as far as rounds agree."""
    if found.low < GOAL_SHARE <= found.high:
        return f"not decided by these rounds, the median {verdict(found.median, GOAL_SHARE)}"
    return verdict(found.median, GOAL_SHARE)


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 trials, one round")
    is_quick = parser.parse_args().quick
    trials, rounds, size = (1_000, 1, 160) if is_quick else (10_000, 5, 320)
    print(f"""
## Pages

`make bench`: `selection serve` on an SQLite study of {trials:,} complete trials x {FOLDS} folds x
{EPOCHS} epochs, over HTTP; medians of up to {LOADS} requests.

{where_it_ran("optuna", "optuna-dashboard", "starlette")}

| request | seconds | goal: {GOAL_SECONDS:g} |
| --- | ---: | --- |""")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(f"sqlite:///{folder}/selection.db", trials, folder)
        with server(folder) as (base, served):
            for line in page_lines(base, LOADS):
                print(line, flush=True)
            memory = served.memory_info().rss / 2**20
    print(f"\nThe server used {memory:.0f} MiB at the end.")
    alone: list[float] = []
    beside: list[float] = []
    reads: list[str] = []
    for number in range(2 * rounds):
        with tempfile.TemporaryDirectory() as name:
            # In turns, and each is first as often as the other.
            if number % 4 in (0, 3):
                alone.append(sweep(Path(name), size))
                continue
            seconds, read = read_sweep(Path(name), size)
            beside.append(seconds)
            reads.append(read)
    found = ratio_of(alone, beside)
    print(f"""
A sweep of digits ({size} trials x 5 folds, no pruner, all cores) while a reader's page asks every
{POLL_SECONDS:g} seconds and asks for {len(CHARTS)} charts again when they change, alternating with
the same sweep alone, {rounds} rounds: its rate is {found.median:.3f} ({found.low:.3f} to
{found.high:.3f}) of that alone (goal {GOAL_SHARE:g}: {decided(found)}). The
server sent {"; ".join(reads)}.""")


if __name__ == "__main__":
    main()
