"""Real worker processes that can be killed: forked, so that a hundred of them start quickly.

Run as a program it imports everything once and forks a worker for each line it reads, which names
a database, a kind of worker and a made-up time for a cohort to train. A worker of the kind "deaf"
only says that it heard the first signal; one of the kind "at:N" is killed just before its N-th
statement.
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
        "recipe": "book",
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

    asks_ahead = False

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


def work(url: str, kind: str, seconds: float, opened: Path) -> None:
    """Run the study of the database as one worker; make a file once the database is open."""
    import sqlalchemy as sa

    from selection.store.leases import new_worker
    from selection.store.repository import open_repository
    from selection.workflows.sweep import run_sweep

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_later if kind == "deaf" else _stop)
    with open_repository(url, write=True) as repository:
        study = repository.study("farm")
        lease_seconds = float(os.environ.get("FARM_LEASE_SECONDS", "1.0"))
        worker = new_worker(lease_seconds, is_alone=repository.database.address.path is not None)
        if pages := os.environ.get("FARM_MAX_PAGES"):
            repository.database.engine.dispose()
            sa.event.listen(repository.database.engine, "connect", _limit_pages(pages))
        if kind.startswith("at:"):
            countdown = iter(range(int(kind[3:])))

            def die_in_time(*_: Any) -> None:
                if next(countdown, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            sa.event.listen(repository.database.engine, "before_cursor_execute", die_in_time)
            sa.event.listen(repository.database.engine, "commit", die_in_time)
        spec = study.spec()
        opened.touch()
        retries = spec.sections.search.max_retries
        trainer: Any = MadeUpTrainer(seconds)
        run_sweep(spec, study, repository, trainer, worker, Silent(), max_retries=retries)


def _limit_pages(pages: str) -> Callable[..., None]:
    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    return limit


class Silent:
    """Be the view of a sweep that shows nothing."""

    def show(self, news: Any) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _StoppedError(BaseException):
    pass


def _stop_later(number: int, _frame: Any) -> None:
    """Take a signal and go on, as a worker in the middle of a long product does."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    print(f"worker: heard signal {number}", file=sys.stderr, flush=True)


def _stop(_number: int, _frame: Any) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise _StoppedError


class Farm:
    """Start and end workers."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def start(
        self, url: str, kind: str = "worker", seconds: float = 0.1, **environment: str
    ) -> int:
        """Start a worker and return its process id."""
        order = {"url": url, "kind": kind, "seconds": seconds, "environment": environment}
        return int(self._ask("start", order))

    def exit_code(self, pid: int) -> int | None:
        """Return how a worker ended, negative by a signal; None while it runs."""
        answer = self._ask("poll", {"pid": pid})
        return None if answer is None else int(answer)

    def wait(self, pid: int, seconds: float = 300.0) -> int:
        """Wait until a worker has ended and return how."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (code := self.exit_code(pid)) is not None:
                return code
            time.sleep(0.01)
        raise TimeoutError(f"worker {pid} still runs")

    def has_opened(self, pid: int) -> bool:
        """Say whether a worker has opened its database: it waits for a lost server from then on."""
        return _opened(self._folder, pid).exists()

    def errors(self, pid: int) -> str:
        """Return what a worker has said."""
        return (self._folder / str(pid)).read_text()

    def _ask(self, request: str, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([request, order]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def open_farm(folder: Path) -> Iterator[Farm]:
    """Open a farm; its workers end with it. The folder takes what they say."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.worker_farm", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        yield Farm(process, folder)
    finally:
        process.communicate()


def _opened(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.opened"


def _serve(folder: Path) -> None:
    # All that a worker needs, once for all of them.
    import selection.store.repository
    import selection.workflows.sweep  # noqa: F401

    ended: dict[int, int | None] = {}
    for line in sys.stdin:
        request, order = json.loads(line)
        if request == "start":
            pid = os.fork()
            if pid == 0:
                os.close(0)
                _be_worker(folder, **order)
            ended[pid] = None
            print(pid, flush=True)
        else:
            pid = order["pid"]
            if ended[pid] is None:
                found, status = os.waitpid(pid, os.WNOHANG)
                ended[pid] = os.waitstatus_to_exitcode(status) if found else None
            print(json.dumps(ended[pid]), flush=True)
    for pid, code in ended.items():
        if code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _be_worker(
    folder: Path, url: str, kind: str, seconds: float, environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    time.tzset()
    sys.stderr = (folder / str(os.getpid())).open("w")
    code = 70
    try:
        work(url, kind, seconds, _opened(folder, os.getpid()))
        code = 0
    except _StoppedError:
        code = 75
    except Exception as error:
        code = getattr(error, "exit_code", 70)
        print(f"worker: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
