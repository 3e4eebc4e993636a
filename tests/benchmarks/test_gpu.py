"""The GPU benchmark runs at toy size on a CPU, part by part, and says so."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from benchmarks import gpu, gpu_busy, gpu_memory
from benchmarks.gpu_busy import busy_shares, covered
from benchmarks.gpu_loops import VMAP, AllModels, OneModel, make_rows, peers, train_epoch
from benchmarks.gpu_memory import squeezes
from benchmarks.gpu_right import IMAGES_KIND, KINDS, differences
from benchmarks.gpu_setup import (
    CLASSES,
    FEATURES,
    TABLE,
    TINY,
    Workload,
    load_folds,
    make_images,
    make_settings,
    workload_spec,
)
from benchmarks.gpu_trainings import Timing, print_timings, times_ours
from selection.train import pack, plan
from selection.train.pack import Pack

ROOT = Path(gpu.__file__).parents[1]
HEADINGS = ["# On a GPU", *(f"## {name}" for name in gpu.PARTS), "## Goals"]
CPU = torch.device("cpu")
SMALL = replace(TABLE, trials=(3,), batch_size=64, epochs=2)


def headings(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("#")]


@pytest.fixture
def bench() -> gpu.Bench:
    return gpu.Bench(CPU, TINY)


@pytest.mark.slow
def test_the_script_runs_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    gpu.main()
    page = capsys.readouterr().out
    assert headings(page) == HEADINGS
    assert "measures nothing" in page
    for row in (
        f"| {IMAGES_KIND} | 0.0e+00 | 0.0e+00 | the same bits |",
        "| 2 x 5 | bfloat16 |",
        "| tpe | bfloat16 | 2 | 2 |",
        "|  | torch.func, vmap over all | tf32 |",
        "| 30-32-2, breast cancer, 2 epochs, batch 64 | ours, 1 trials | float32 |",
        "|  | ours, on this machine's CPU | float32 |",
    ):
        assert row in page
    assert page.count("Needs a GPU.") == 2
    assert "failed" not in page
    assert not list((tmp_path / "data").iterdir()), "the databases are gone"


@pytest.mark.slow
def test_a_run_that_is_cut_off_has_printed_the_parts_that_ended(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    with page.open("w") as out:
        words = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny"]
        run = subprocess.Popen(
            words,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stderr is not None
        notes = [next(run.stderr)]
        while "Steps and floors ended" not in notes[-1]:
            notes.append(next(run.stderr))
        run.kill()
        run.communicate()
    assert headings(page.read_text())[:3] == HEADINGS[:3]
    assert "| 2 x 5 | bfloat16 |" in page.read_text()


def test_a_part_that_fails_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where the device is lost, and every call fails from then on."""

    def broken(_bench: gpu.Bench, verdicts: gpu.Verdicts) -> None:
        verdicts.at_most("seconds", 1.0, 2.0)
        raise RuntimeError("an illegal address\nand more")

    def sound(_bench: gpu.Bench, _verdicts: gpu.Verdicts) -> None:
        print("All is well.")

    def lost() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(gpu, "PARTS", {"First": broken, "Second": sound})
    monkeypatch.setattr(gpu, "print_machine", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    assert not gpu.run(torch.device("cuda"), TINY)
    page = capsys.readouterr().out
    assert "This part failed: RuntimeError: an illegal address\n" in page
    assert "## Second\n\nAll is well.\n" in page
    assert page.endswith("## Goals\n\n- seconds: met (1, goal 2)\n\nFailed: First.\n")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    with pytest.raises(SystemExit) as end:
        gpu.main()
    assert end.value.code == 1


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
def test_the_comparison_covers_captured_steps_and_scores(
    monkeypatch: pytest.MonkeyPatch, bench: gpu.Bench
) -> None:
    captured: list[str] = []

    class FakeGraph:
        def __init__(self, step: Any) -> None:
            self.replay = step
            captured.append(getattr(step, "func", step).__name__)
            step()

    monkeypatch.setattr(pack, "has_graphs", lambda device: True)
    monkeypatch.setattr(pack, "StepGraph", FakeGraph)
    for limit in ("CPU_LEAST_WORK", "CPU_MOST_WORK"):  # one pack, as on a GPU
        monkeypatch.setattr(plan, limit, 1e30)
    found = differences(CPU, bench.folds)
    assert [each.kind for each in found] == [*KINDS, IMAGES_KIND]
    assert all(each.is_bitwise and each.from_cpu == 0.0 for each in found)
    # Before and after a trial is pruned, in two runs and in the one that stands for the CPU.
    assert captured[: 4 * 3 * len(KINDS)] == ["_counted_step", "_score_in_place"] * 6 * len(KINDS)


def test_images_can_be_distinguished_but_not_all_of_them() -> None:
    images, classes = make_images(2000, FEATURES, 256)
    assert images.dtype == np.uint8
    known, others = slice(0, 1000), slice(1000, 2000)
    means = [images[known][classes[known] == each].mean(axis=0) for each in range(CLASSES)]
    distances = [((images[others] - mean) ** 2).sum(axis=1) for mean in means]
    hits = np.argmin(distances, axis=0) == classes[others]
    assert 0.3 < hits.mean() < 0.99


@pytest.mark.parametrize(
    "workload", [SMALL, replace(TINY.workloads[0], trials=(3,))], ids=lambda w: w.name
)
def test_the_ensemble_takes_the_steps_of_one_model_after_another(workload: Workload) -> None:
    """Each member of the vmap peer is a plain model under torch's SGD, on its own fold and rate."""
    rows = make_rows(load_folds(workload, TINY), CPU)
    ensemble = AllModels(rows, workload)
    batches = [ensemble.shuffled_rows()[:, :50] for _ in range(3)]
    for batch in batches:
        ensemble.step(batch)
    rates = [each.learning_rate for each in make_settings(workload_spec(workload, 1), 3)]
    for fold, trial in ((0, 0), (1, 2), (4, 1)):
        single = OneModel(rows, workload)
        single.features = rows.features[rows.matrix_of_fold[fold]]
        single.optimizer.param_groups[0]["lr"] = rates[trial]
        for batch in batches:
            single.step(batch[fold])
        for name, value in single.model.named_parameters():
            ours = ensemble.params[name][fold, trial]
            torch.testing.assert_close(ours, value.detach(), rtol=1e-4, atol=1e-6)
        scored, targets = rows.scored[fold], rows.targets[rows.scored[fold]]
        hits = (single.model(single.features[scored]).argmax(1) == targets).float().mean()
        assert ensemble.score()[fold, 1, trial] == pytest.approx(hits.item(), abs=0.02)


def test_peers_learn_and_see_the_rows_of_their_fold() -> None:
    folds = load_folds(SMALL, TINY)
    rows = make_rows(folds, CPU)
    assert rows.features.shape[0] == 5, "each fold is scaled by its own training rows"
    for index, fold in enumerate(folds):
        training = rows.training[index]
        assert set(training.tolist()) <= set(fold.training.tolist())
        assert not set(training.tolist()) & set(fold.validation.tolist())
        np.testing.assert_array_equal(
            rows.features[rows.matrix_of_fold[index]][training], fold.features[training]
        )
    for loop in (OneModel(rows, SMALL), AllModels(rows, SMALL)):
        before = loop.score()[..., 0, :].mean() if loop.models > 1 else loop.score()[0]
        for _ in range(3):
            train_epoch(loop, SMALL.batch_size)
        after = loop.score()[..., 0, :].mean() if loop.models > 1 else loop.score()[0]
        assert after < 0.8 * before


def test_a_failed_peer_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_self: AllModels, _batch: torch.Tensor) -> None:
        raise RuntimeError("not permitted while a stream is capturing")

    monkeypatch.setattr(AllModels, "take_step", refuse)
    found = peers(make_rows(load_folds(SMALL, TINY), CPU), SMALL)
    assert [math.isnan(each.epoch_seconds) for each in found] == [False, True]
    assert found[1].name == VMAP
    timings = [Timing("ours, 3 trials", "float32", 2.0), Timing(VMAP, "float32", math.nan)]
    print_timings({SMALL.name: timings}, [SMALL])
    assert "|  | torch.func, vmap over all | float32 | failed | failed |" in capsys.readouterr().out


def test_times_ours_are_of_the_first_cohort_and_the_same_precision() -> None:
    found = [
        Timing("ours, 2 trials", "float32", 2.0),
        Timing("ours, 4 trials", "float32", 1.0),
        Timing("ours, 2 trials", "tf32", 0.5),
        Timing("a loop", "float32", 10.0),
        Timing("a loop", "tf32", 5.0),
    ]
    assert times_ours(found, "a loop", "float32") == 5.0
    assert times_ours(found, "a loop", "tf32") == 10.0


def test_out_of_memory_part_on_a_fake_gpu(
    monkeypatch: pytest.MonkeyPatch, bench: gpu.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a share of the memory of a card that is not there, packs of over four members fail."""
    shares: list[float] = [1.0]
    original = Pack.train_epoch

    def greedy(self: Pack) -> None:
        if shares[-1] < 1.0 and self.plan.members > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        original(self)

    monkeypatch.setattr(Pack, "train_epoch", greedy)
    for limit in ("CPU_LEAST_WORK", "CPU_MOST_WORK"):  # one pack, as on a GPU
        monkeypatch.setattr(plan, limit, 1e30)
    nothing = {"empty_cache": None, "reset_peak_memory_stats": None}
    sizes = {"memory_reserved": 10**9, "max_memory_reserved": 5 * 10**9}
    for name, value in {**nothing, **sizes}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_words, value=value: value)
    card = SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: card)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    verdicts = gpu.Verdicts()
    gpu.out_of_memory(bench, verdicts)
    assert shares == pytest.approx([1.0, 3.0 / 80.0, 1.0, 3.4 / 80.0, 1.0])
    names = [name for name, *_ in gpu_memory.SQUEEZES]
    differences_met = [line for line in verdicts.lines if "largest difference: met" in line]
    assert len(differences_met) == len(names)
    assert [line for line in verdicts.lines if line not in differences_met] == [
        line
        for name in names
        for line in (
            f"- out of memory {name}, halvings: met (2, goal 1)",
            f"- out of memory {name}, all trials complete: met (2 of 2)",
        )
    ]
    page = capsys.readouterr().out
    assert "| without a graph | 4.00 | 2.00 | 2 | 2 of 2 |" in page
    assert all(each.difference < 1e-3 for each in squeezes(bench.folds, CPU, TINY))


def test_busy_part_with_a_fake_profiler(
    monkeypatch: pytest.MonkeyPatch, bench: gpu.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def event(name: str, start: float, end: float, device: Any) -> SimpleNamespace:
        times = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, time_range=times, device_type=device)

    class Seen:
        def step(self) -> None:
            pass

        def events(self) -> list[SimpleNamespace]:
            return [
                event("ProfilerStep#1", 0.0, 1e6, DeviceType.CUDA),
                event("a product", 0.0, 2e5, DeviceType.CUDA),
                event("a sum", 1e5, 3e5, DeviceType.CUDA),
                event("python", 0.0, 9e5, DeviceType.CPU),
            ]

    @contextmanager
    def profiled(**_options: Any) -> Iterator[Seen]:
        yield Seen()

    monkeypatch.setattr(gpu_busy, "profile", profiled)
    monkeypatch.setattr(gpu_busy, "seconds_of", lambda act, device: (act(), 0.6)[1])
    assert busy_shares(bench.folds, CPU, TINY) == {"float32": 0.5, "tf32": 0.5, "bfloat16": 0.5}
    gpu.gpu_usage(bench, gpu.Verdicts())
    assert "| bfloat16 | 50% |" in capsys.readouterr().out


def test_a_moment_is_covered_once() -> None:
    assert covered([(3.0, 4.0), (0.0, 2.0), (1.0, 2.5), (1.5, 2.0)]) == 3.5
    assert covered([]) == 0.0


def test_a_goal_is_met_or_missed_by_so_much() -> None:
    verdicts = gpu.Verdicts()
    verdicts.at_most("seconds", 2.0, 3.0, " s")
    verdicts.at_most("seconds", 4.5, 3.0, " s")
    verdicts.at_least("times", 40.0, 50.0)
    verdicts.at_least("times", math.nan, 5.0)
    verdicts.at_most("difference", math.inf, 0.001)
    verdicts.all_of("complete", 3, 4)
    assert verdicts.lines == [
        "- seconds: met (2 s, goal 3)",
        "- seconds: missed by 50% (4.5 s, goal 3)",
        "- times: missed by 20% (40, goal 50)",
        "- times: not measured (nan, goal 5)",
        "- difference: not measured (inf, goal 0.001)",
        "- complete: missed by 1 (3 of 4)",
    ]
