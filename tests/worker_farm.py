"""Real worker processes that can be killed: forked, so that a hundred of them start quickly.

Run as a program it imports everything once, reads lines of "NAME SECONDS" and forks for each a
worker that runs the study in the database of argument 1, on made-up training of SECONDS a cohort.
It prints the process id of each. One named "deaf" does not heed the first signal. A NAME of the form "at:N" kills the worker just before its
N-th statement in the database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selection.seeds import seed_for
from selection.study.setting import Setting
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import FoldResult, LearningCurve, TrialResult, TrialState

EPOCHS, FOLDS = 4, 3


def farm_spec(trials: int = 24, cohort: int = 4, **search: Any) -> StudySpec:
    """Return a study that the farm's workers can run."""
    content = {
        "name": "farm",
        "data": {"dataset": "digits"},
        "cv": {"folds": FOLDS},
        "training": {"epochs": EPOCHS},
        "space": {
            "width": {"low": 8, "high": 512, "log": True},
            "learning_rate": {"low": 0.01, "high": 1.0, "log": True},
        },
        "search": {
            "trials": trials,
            "cohort": cohort,
            "pruner": "none",
            "max_retries": 1000,
            **search,
        },
    }
    return parse_study(content, "farm.toml")


class MadeUpTrainer:
    """Be a Trainer whose scores are a function of the setting, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def train(
        self,
        settings: Sequence[Setting],
        _decide: Callable[[int, Mapping[int, float]], Sequence[int]],
        tell: Callable[[Any], None],
    ) -> list[TrialResult]:
        from selection.train.fit import EpochNews

        for epoch in range(1, EPOCHS + 1):
            time.sleep(self._seconds / EPOCHS)
            members = len(settings) * FOLDS
            tell(EpochNews(epoch, EPOCHS, len(settings), members, epoch * members))
        return [made_up_result(setting) for setting in settings]


def made_up_result(setting: Setting) -> TrialResult:
    """Return a complete result that is a function of the setting alone."""
    generator = np.random.default_rng(seed_for(0, "rows", abs(hash_of(setting))))
    folds = tuple(
        FoldResult(
            0, fold, LearningCurve(generator.random((EPOCHS, 6))), np.zeros((2, 10), np.float32)
        )
        for fold in range(FOLDS)
    )
    return TrialResult(TrialState.COMPLETE, "", folds, EPOCHS, 0.0)


def hash_of(setting: Setting) -> int:
    """Return a number that is the same in every process, unlike hash()."""
    from hashlib import blake2b

    digest = blake2b(repr(setting).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def work(url: str, name: str, seconds: float) -> None:
    """Run the study of the database as one worker."""
    import sqlalchemy as sa

    from selection.store.books import open_books
    from selection.store.leases import new_worker
    from selection.sweep import run_sweep

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_later if name == "deaf" else _stop)
    with open_books(url, write=True) as books:
        study = books.study("farm")
        lease_seconds = float(os.environ.get("FARM_LEASE_SECONDS", "1.0"))
        worker = new_worker(lease_seconds, is_alone=books.database.address.path is not None)
        if pages := os.environ.get("FARM_MAX_PAGES"):
            books.database.engine.dispose()
            sa.event.listen(books.database.engine, "connect", _limit_pages(pages))
        if name.startswith("at:"):
            countdown = iter(range(int(name[3:])))

            def die_in_time(*_: Any) -> None:
                if next(countdown, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            sa.event.listen(books.database.engine, "before_cursor_execute", die_in_time)
            sa.event.listen(books.database.engine, "commit", die_in_time)
        spec = study.spec()
        retries = spec.sections.search.max_retries
        trainer: Any = MadeUpTrainer(seconds)
        run_sweep(spec, study, books, trainer, worker, _Silent(), max_retries=retries)


def _limit_pages(pages: str) -> Callable[..., None]:
    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    return limit


class _Silent:
    def show(self, news: Any) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _StoppedError(BaseException):
    pass


def _stop_later(_number: int, _frame: Any) -> None:
    """Take a signal and go on, as a worker in the middle of a long product does."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


def _stop(_number: int, _frame: Any) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise _StoppedError


class Farm:
    """Start and end workers of one database; errors holds what they said, once the farm is closed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.errors = ""

    def start(self, name: str = "worker", seconds: float = 0.1) -> int:
        """Start a worker and return its process id."""
        self._write(f"start {name} {seconds}")
        return int(self._read())

    def exit_code(self, pid: int) -> int | None:
        """Return how a worker ended, negative by a signal; None while it runs."""
        self._write(f"poll {pid}")
        answer = json.loads(self._read())
        return None if answer is None else int(answer)

    def wait(self, pid: int, seconds: float = 60.0) -> int:
        """Wait until a worker has ended and return how."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (code := self.exit_code(pid)) is not None:
                return code
            time.sleep(0.01)
        raise TimeoutError(f"worker {pid} still runs")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def farm(url: str, **environment: str) -> Iterator[Farm]:
    """Open a farm for the database; its workers end with it."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(Path(__file__)), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        made = Farm(process)
        yield made
    finally:
        _, errors = process.communicate()
        print(errors)
    made.errors = errors


def _serve(url: str) -> None:
    # All that a worker needs, once for all of them.
    import selection.store.books
    import selection.sweep  # noqa: F401

    print("ready", flush=True)
    ended: dict[int, int | None] = {}
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "start":
            pid = os.fork()
            if pid == 0:
                os.close(0)
                _be_worker(url, words[0], float(words[1]))
            ended[pid] = None
            print(pid, flush=True)
        else:
            pid = int(words[0])
            if ended[pid] is None:
                found, status = os.waitpid(pid, os.WNOHANG)
                ended[pid] = os.waitstatus_to_exitcode(status) if found else None
            print(json.dumps(ended[pid]), flush=True)
    for pid, code in ended.items():
        if code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _be_worker(url: str, name: str, seconds: float) -> None:
    code = 70
    try:
        work(url, name, seconds)
        code = 0
    except _StoppedError:
        code = 75
    except Exception as error:
        code = getattr(error, "exit_code", 70)
        print(f"worker: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
