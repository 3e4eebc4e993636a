"""Real processes at the held-out door: one of eight evaluates, and a kill leaves its claim."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import finish, start
from tests.team_bench import wait_for

pytestmark = pytest.mark.slow

STUDY = """
name = "s"
recipe = "book"
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


WAITING = """
import sys, time
from selection.workflows import evaluate
honest = evaluate.open_held_out

def waiting(*words):
    time.sleep(60)
    return honest(*words)

evaluate.open_held_out = waiting
sys.argv = ["selection", "evaluate", "s"]
from selection.cli.start import main
main()
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


def at_the_door(folder: Path) -> subprocess.Popen[str]:
    """Start an evaluation that waits between its claim and the held-out rows."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: states(folder))
    return process


def test_a_kill_behind_the_claim_leaves_it_for_all_to_see(folder: Path) -> None:
    process = at_the_door(folder)
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
    assert json.loads(again)["evaluations"] == 1
    assert states(folder) == ["claimed", "evaluated"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_before_a_score_gives_the_claim_back(
    folder: Path, number: signal.Signals
) -> None:
    process = at_the_door(folder)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "the claim was given back: nothing was scored" in err
    assert states(folder) == ["returned"]
    done = finish(folder, "evaluate", "s", "--json")
    assert json.loads(done)["evaluations"] == 1
    assert states(folder) == ["returned", "evaluated"]
    assert "nothing is wrong" in finish(folder, "doctor")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_ends_the_training_of_the_final_model_costs_no_claim(
    folder: Path, number: signal.Signals
) -> None:
    process = start(folder, "evaluate", "s")
    # The first lines come when it trains.
    assert process.stderr is not None
    assert "final model" in process.stderr.readline()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert states(folder) == []
    assert json.loads(finish(folder, "evaluate", "s", "--json"))["evaluations"] == 1
