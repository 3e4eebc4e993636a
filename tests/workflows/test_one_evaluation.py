"""Real processes at the held-out door: one of eight evaluates, and a kill leaves its claim."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.command_line import finish, start
from tests.team_bench import wait_for

pytestmark = pytest.mark.slow

STUDY = """
name = "s"
[data]
dataset = "digits"
[cv]
folds = 2
[training]
epochs = {epochs}
[space]
width = {width}
[assessment]
baselines = ["majority", "linear"]
[search]
trials = 1
pruner = "none"
"""


@pytest.fixture(scope="module")
def slow_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study whose refit takes long enough to be interrupted in."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "s.toml").write_text(STUDY.format(epochs=150, width=256))
    finish(folder, "run", "s.toml")
    return folder


@pytest.fixture
def folder(slow_study: Path, tmp_path: Path) -> Path:
    """A copy of it, never evaluated."""
    return shutil.copytree(slow_study, tmp_path / "copy")


def states(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "selection.db") as connection:
        rows = connection.execute("SELECT state FROM selection_ledger ORDER BY evaluation")
        return [state for (state,) in rows]


def test_of_eight_processes_one_evaluates(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY.format(epochs=3, width=16))
    finish(tmp_path, "run", "s.toml")
    processes = [start(tmp_path, "evaluate", "s", "--json") for _ in range(8)]
    ended = [(*process.communicate(timeout=500), process.returncode) for process in processes]
    assert states(tmp_path) == ["evaluated"]
    winners = [out for out, _, code in ended if code == 0]
    assert len(winners) == 1
    result = json.loads(winners[0])
    for out, err, code in ended:
        if code == 0:
            continue
        assert code == 3, err
        assert "the held-out set may be opened only once" in err
        assert "Traceback" not in err
        if out:
            assert json.loads(out) == result
    assert json.loads(finish(tmp_path, "best", "s", "--json"))["held_out"]["evaluations"] == 1


def test_a_kill_behind_the_claim_leaves_it_for_all_to_see(folder: Path) -> None:
    process = start(folder, "evaluate", "s")
    wait_for(lambda: states(folder))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert states(folder) == ["claimed"]
    assert "held-out set: claimed" in finish(folder, "status", "s")
    assert "without a result" in finish(folder, "best", "s")
    refused = start(folder, "evaluate", "s")
    out, err = refused.communicate(timeout=120)
    assert (refused.returncode, out) == (3, "")
    assert "a claim without a result" in err
    again = finish(folder, "evaluate", "s", "--again", "--reason", "killed", "--json")
    assert json.loads(again)["evaluations"] == 2
    assert states(folder) == ["claimed", "evaluated"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_behind_the_claim_says_that_it_stays(
    folder: Path, number: signal.Signals
) -> None:
    process = start(folder, "evaluate", "s")
    wait_for(lambda: states(folder))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "the claim stays on record without a result" in err
    assert states(folder) == ["claimed"]
