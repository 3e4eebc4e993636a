"""Fixtures that several packages share."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from selection.cli.main import main
from selection.study import recipes
from selection.workflows import boosting_baseline, linear_baseline
from tests.command_line import Cli, Outcome
from tests.postgres_server import throw_away_server
from tests.sweep_bench import Bench
from tests.worker_farm import Farm, open_farm

# Most tests name the few values that they are about, and train for a few epochs. Studies of modules
# are parsed before any fixture.
USUAL_RECIPE, recipes.DEFAULT_RECIPE = recipes.DEFAULT_RECIPE, "book"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and busy machines lose much by them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _short_baselines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests run studies for another reason than their baselines."""
    if request.node.get_closest_marker("whole_baselines") is None:
        monkeypatch.setattr(boosting_baseline, "ITERATIONS", 3)
        monkeypatch.setattr(linear_baseline, "PENALTIES", (1e1, 1e0))


@pytest.fixture(autouse=True)
def _usual_recipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("usual_recipe") is not None:
        monkeypatch.setattr(recipes, "DEFAULT_RECIPE", USUAL_RECIPE)


@pytest.fixture(scope="session")
def new_postgres() -> Iterator[Callable[[], str]]:
    """A function that makes an empty database on the server and returns its URL."""
    with throw_away_server() as server:
        yield server.new_database


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Real worker processes, to be killed."""
    with open_farm(tmp_path_factory.mktemp("farm")) as farm:
        yield farm


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """A function that returns the URL of an SQLite database that does not exist yet."""
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'study.db'}"


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    """Run a command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELECTION_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SELECTION_STORAGE", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["selection", *map(str, words)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def other_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("other"))
    yield made
    made.database.close()


@pytest.fixture
def optuna_log() -> Iterator[io.StringIO]:
    """What Optuna logs at the level that it has by itself."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger, level = logging.getLogger("optuna"), optuna.logging.get_verbosity()
    logger.addHandler(handler)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    yield stream
    optuna.logging.set_verbosity(level)
    logger.removeHandler(handler)


@pytest.fixture(params=["new_sqlite", "new_postgres"])
def storage_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, once of each kind."""
    new_url: Callable[[], str] = request.getfixturevalue(request.param)
    return new_url()
