"""A held-out result on a terminal: all of it fits, whatever the classes are called."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from selection.report.terminal.verdict import evaluation
from selection.study.held_out_result import HeldOutResult

NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Ankle boot"]


def result(names: list[str]) -> HeldOutResult:
    counts = [[90 if row == column else row for column in range(len(names))] for row in range(8)]
    value: dict[str, Any] = {
        "study": "s", "number": 3, "metric": "accuracy", "score": 0.9, "low": 0.88, "high": 0.92,
        "level": 0.95, "rows": 800, "seeds": [0.9], "corrected_estimate": 0.912, "gap": -0.012,
        "corrected_interval": [0.90, 0.92], "model": "refit", "against": None,
        "rule": "best", "evaluations": 1,
        "training": {
            "rows": [800], "epochs": 20, "batch_size": 32, "batches_per_epoch": [23],
            "updates": [460], "updates_in_cross_validation": 400.0,
        },
        "per_class": [
            {"name": name, "rows": 100, "precision": 0.9, "recall": 0.9, "f1": 0.9}
            for name in names
        ],
        "confusion": counts,
        "calibration": {"nll": 0.33, "brier": 0.17, "ece": 0.0085},
    }  # fmt: skip
    return HeldOutResult.from_json(value)


def printed(width: int, names: list[str], *, is_terminal: bool = True) -> list[str]:
    text = io.StringIO()
    console = Console(
        file=text,
        force_terminal=is_terminal,
        width=width if is_terminal else 240,
        color_system=None,
    )
    evaluation(console, result(names), [])
    return text.getvalue().splitlines()


@pytest.mark.parametrize("width", [72, 80, 100])
def test_every_line_fits(width: int) -> None:
    for names in (NAMES, list("abcdefgh")):
        assert all(len(line) <= width for line in printed(width, names))


def test_a_confusion_matrix_that_does_not_fit_becomes_its_largest_confusions() -> None:
    lines = [" ".join(line.split()) for line in printed(72, NAMES)]
    assert "confusions, 10 of 49 kinds, the most frequent first:" in lines
    assert "Ankle boot T-shirt/top 7" in lines
    assert not any("true \\ predicted" in line for line in lines)
    assert any("true \\ predicted" in line for line in printed(100, list("abcdefgh")))
    assert any("true \\ predicted" in line for line in printed(80, NAMES, is_terminal=False))


def test_the_held_out_score_stands_beside_the_corrected_one() -> None:
    lines = printed(120, NAMES)
    assert "accuracy, held out: 0.9000 [0.8800, 0.9200] at 95% on 800 rows" in lines
    assert (
        "accuracy, corrected: 0.9120 [0.9000, 0.9200] at 95%; the held-out score is 0.0120 lower"
    ) in lines
    assert "model: refit on all development rows, 20 epochs, 460 updates" in lines
