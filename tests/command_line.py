"""What tests of the command line share: a small study, and how a command ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STUDY = """
name = "small"
recipe = "book"
[data]
{data}
[cv]
folds = {folds}
[training]
epochs = 3
batch_size = 32
[space]
width = {{ low = 2, high = 16 }}
learning_rate = {{ low = 0.05, high = 1.0, log = true }}
[search]
metric = "{metric}"
trials = 5
cohort = 3
pruner_options = {{ min_resource = 1, reduction_factor = 2, finalists = 0 }}
"""


class Outcome:
    """Hold what one command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Outcome]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a real process of the command line in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "selection", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, *words: str) -> str:
    """Run a real process to its good end and return what it printed."""
    process = start(folder, *words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out
