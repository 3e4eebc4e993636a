"""Real processes, really stopped: the study ends as the uninterrupted one does."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import finish, start

STUDY = """
name = "killed"
recipe = "book"
[data]
dataset = "digits"
prepare = "scale"
[cv]
folds = 3
[training]
epochs = 12
batch_size = 32
[space]
width = { low = 8, high = 64, log = true }
dropout = { low = 0.0, high = 0.5 }
learning_rate = { low = 0.05, high = 1.0, log = true }
[assessment]
baselines = ["majority", "linear"]
[search]
trials = 12
cohort = 4
pruner_options = { min_resource = 2, reduction_factor = 2, finalists = 0 }
"""
# Of the 36 epochs.
MOST_LINES = 24


def trial_table(folder: Path) -> list[dict[str, Any]]:
    table = json.loads(finish(folder, "trials", "killed", "--json"))
    return [{**trial, "seconds": None} for trial in table]


def stop_while_it_trains(
    folder: Path, number: signal.Signals, lines: int, delay: float = 0.0
) -> subprocess.Popen[str] | None:
    """Start the study, wait for so many lines and a delay, signal it; None if it was done."""
    process = start(folder, "run", "study.toml")
    assert process.stderr is not None
    for line in islice(process.stderr, lines):
        assert re.search("epoch|trials|baselines", line), line
    time.sleep(delay)
    is_done = process.poll() is not None
    if not is_done:
        process.send_signal(number)
    process.communicate(timeout=120)
    return None if is_done else process


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
        (folder / "study.toml").write_text(STUDY)
    return calm, killed


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_no_trial(folders: tuple[Path, Path]) -> None:
    calm, killed = folders
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments: {seed}")
    rng = random.Random(seed)
    finish(calm, "run", "study.toml")
    kills = 0
    for _ in range(3):
        lines, delay = rng.randrange(1, MOST_LINES), rng.uniform(0.0, 0.1)
        process = stop_while_it_trains(killed, signal.SIGKILL, lines, delay)
        kills += process is not None
    assert kills >= 1, "the study was too quick to be killed"
    finish(killed, "run", "study.toml")
    table = trial_table(killed)
    assert [trial["number"] for trial in table] == list(range(12))
    assert table == trial_table(calm)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_releases_the_cohort_and_says_so(
    folders: tuple[Path, Path], number: signal.Signals, code: int
) -> None:
    folder = folders[1]
    # A cohort that trains for long, or the signal could come behind it.
    (folder / "study.toml").write_text(STUDY.replace("epochs = 12", "epochs = 400"))
    process = stop_while_it_trains(folder, number, 1)
    assert process is not None
    assert process.returncode == code
    status = json.loads(finish(folder, "status", "killed", "--json"))
    assert status["trials"]["running"] == 0
    assert status["trials"]["waiting"] == 4
    assert status["is_finished"] is False
