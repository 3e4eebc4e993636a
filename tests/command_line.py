"""What tests of the command line share: a small study, and how a command ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

STUDY = """
name = "small"
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
pruner_options = {{ min_resource = 1, reduction_factor = 2 }}
"""


class Outcome:
    """Hold what one command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Outcome]
