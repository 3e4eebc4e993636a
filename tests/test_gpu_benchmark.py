"""The benchmark of GPUs runs where there is none, at toy size, and says so."""

from __future__ import annotations

import sys
from pathlib import Path

import gpu
import numpy as np
import pytest
import torch
from gpu_busy import covered
from gpu_right import KINDS, differences
from gpu_setup import CLASSES, FEATURES, make_images

HEADINGS = (
    "# On a GPU",
    "## Is it right?",
    "## Packs and floors",
    "## Whole sweeps",
    "## Loops over single models",
    "## How busy is the GPU?",
    "## Out of memory",
    "## Goals",
)
CPU = torch.device("cpu")


@pytest.mark.slow
def test_the_script_runs_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    gpu.main()
    page = capsys.readouterr().out
    assert [line for line in page.splitlines() if line.startswith("#")] == list(HEADINGS)
    assert "measures nothing" in page
    for row in ("| 2 x 5 | bfloat16 |", "| tpe | tf32 | 2 | 2 |", "| eager, rows resident |"):
        assert row in page
    assert page.count("Needs a GPU.") == 3
    assert not list((tmp_path / "data").iterdir()), "the databases are gone"


def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit) as end:
        gpu.main()
    assert end.value.code == (
        "benchmarks/gpu.py: this benchmark needs a CUDA device, but got none. "
        "Use --device cpu --tiny to see that it runs."
    )


@pytest.mark.slow
def test_the_small_cohorts_of_the_comparison_train() -> None:
    found = differences(CPU)
    assert [each.kind for each in found] == list(KINDS)
    assert all(each.is_bitwise and each.from_cpu == 0.0 for each in found)


def test_images_can_be_told_apart_but_not_all_of_them() -> None:
    images, classes = make_images(2000, FEATURES, 256)
    assert images.dtype == np.uint8
    known, others = slice(0, 1000), slice(1000, 2000)
    means = [images[known][classes[known] == each].mean(axis=0) for each in range(CLASSES)]
    distances = [((images[others] - mean) ** 2).sum(axis=1) for mean in means]
    hits = np.argmin(distances, axis=0) == classes[others]
    assert 0.3 < hits.mean() < 0.99


def test_a_moment_is_covered_once() -> None:
    assert covered([(3.0, 4.0), (0.0, 2.0), (1.0, 2.5), (1.5, 2.0)]) == 3.5
    assert covered([]) == 0.0


def test_a_goal_is_met_or_missed_by_so_much() -> None:
    verdicts = gpu.Verdicts()
    verdicts.at_most("seconds", 2.0, 3.0, " s")
    verdicts.at_most("seconds", 4.5, 3.0, " s")
    verdicts.at_least("times", 40.0, 50.0)
    verdicts.all_of("complete", 3, 4)
    assert verdicts.lines == [
        "- seconds: met (2 s, goal 3)",
        "- seconds: missed by 50% (4.5 s, goal 3)",
        "- times: missed by 20% (40, goal 50)",
        "- complete: missed by 1 (3 of 4)",
    ]
