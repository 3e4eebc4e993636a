"""Benchmark training on a GPU: correctness, speed, distance from the hardware's limits, and peers.

Rows are made from a seed: 60,000 images of 784 grey levels, each its class's pattern under noise;
digits and breast cancer come with scikit-learn. The most important parts run first, and each is
printed when it ends, so an interrupted run keeps its finished parts. A part that fails does not
end the others. Writes Markdown; sized to take less than 330 seconds on one H100 or H200.
Run: make gpu
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from benchmarks.gpu_busy import busy_shares, print_busy
from benchmarks.gpu_loops import EAGER, VMAP
from benchmarks.gpu_memory import print_squeezes, squeezes
from benchmarks.gpu_pace import measure_rates, paces, print_paces
from benchmarks.gpu_recipes import print_recipe_sweeps, recipe_sweeps
from benchmarks.gpu_right import differences, print_differences
from benchmarks.gpu_setup import (
    FEATURES,
    FOLDS,
    FULL,
    IMAGES,
    LEAST_EAGER,
    LEAST_VMAP,
    MOST_DIFFERENCE,
    MOST_FLOORS,
    MOST_SECONDS,
    TINY,
    Size,
    make_data,
    make_folds,
    make_spec,
    note,
)
from benchmarks.gpu_sweeps import print_sweeps, sweeps
from benchmarks.gpu_trainings import print_timings, times_ours, timings
from benchmarks.machine import processor
from selection.data.prepare import FoldData
from selection.workflows.study_data import StudyData


@dataclass
class Verdicts:
    """Collect what became of each goal."""

    lines: list[str] = field(default_factory=list)

    def at_most(self, what: str, measured: float, goal: float, unit: str = "") -> None:
        self._add(what, measured <= goal, measured / goal - 1.0, f"{measured:.3g}{unit}", goal)

    def at_least(self, what: str, measured: float, goal: float) -> None:
        self._add(what, measured >= goal, 1.0 - measured / goal, f"{measured:.3g}", goal)

    def all_of(self, what: str, good: int, count: int) -> None:
        end = "met" if good == count else f"missed by {count - good}"
        self.lines.append(f"- {what}: {end} ({good} of {count})")

    def _add(self, what: str, is_met: bool, by: float, measured: str, goal: float) -> None:
        missed = f"missed by {by:.0%}" if math.isfinite(by) else "not measured"
        end = "met" if is_met else missed
        self.lines.append(f"- {what}: {end} ({measured}, goal {goal:g})")


@dataclass
class Bench:
    """Hold what the parts share: the device, how much is measured, and the images."""

    device: torch.device
    size: Size

    @cached_property
    def data(self) -> StudyData:
        return make_data(make_spec("images", self.size.epochs), self.size.rows, FEATURES)

    @cached_property
    def folds(self) -> tuple[FoldData, ...]:
        return make_folds(self.data, make_spec("images", self.size.epochs))


def correctness(bench: Bench, verdicts: Verdicts) -> None:
    found = differences(bench.device, bench.folds)
    print_differences(found)
    farthest = max(each.from_cpu for each in found)
    verdicts.at_most("GPU from CPU, strict float32", farthest, MOST_DIFFERENCE)
    verdicts.all_of("bitwise-identical reruns", sum(f.is_bitwise for f in found), len(found))


def step_times(bench: Bench, verdicts: Verdicts) -> None:
    rates = measure_rates(bench.device, bench.size)
    measured = paces(bench.folds, bench.device, rates, bench.size)
    print_paces(measured, rates, bench.size)
    largest = {pace.precision: pace for pace in measured if pace.trials == bench.size.trials[-1]}
    floors = largest["tf32"].step / largest["tf32"].memory_floor
    verdicts.at_most("step / memory floor, TF32, largest cohort", floors, MOST_FLOORS)


def whole_sweeps(bench: Bench, verdicts: Verdicts) -> None:
    swept = sweeps(bench.data, bench.device, bench.size)
    print_sweeps(swept, bench.size)
    for each in swept:
        if each.precision in MOST_SECONDS:
            what = f"{each.trials} trials x {FOLDS} folds x {bench.size.epochs} epochs"
            what = f"{what}, {each.sampler}, {each.precision}, with storage"
            verdicts.at_most(what, each.seconds, MOST_SECONDS[each.precision], " s")


def fold_trainings(bench: Bench, verdicts: Verdicts) -> None:
    workloads = bench.size.workloads
    found = {each.name: timings(each, bench.device, bench.size) for each in workloads}
    print_timings(found, workloads)
    for method, goal in ((EAGER, LEAST_EAGER), (VMAP, LEAST_VMAP)):
        ratio = times_ours(found[IMAGES.name], method, "float32")
        verdicts.at_least(f"{method} / ours, 784-256-10, strict float32", ratio, goal)


def out_of_memory(bench: Bench, verdicts: Verdicts) -> None:
    found = squeezes(bench.folds, bench.device, bench.size)
    print_squeezes(found, bench.size)
    for each in found:
        what = f"out of memory {each.name}"
        verdicts.at_least(f"{what}, halvings", each.halvings, 1)
        verdicts.all_of(f"{what}, all trials complete", each.complete, each.trials)
        verdicts.at_most(f"{what}, largest difference", each.difference, MOST_DIFFERENCE)


def gpu_usage(bench: Bench, _verdicts: Verdicts) -> None:
    print_busy(busy_shares(bench.folds, bench.device, bench.size), bench.size)


def usual_recipe(bench: Bench, _verdicts: Verdicts) -> None:
    print_recipe_sweeps(recipe_sweeps(bench.device, bench.size))


Part = Callable[[Bench, Verdicts], None]
PARTS: dict[str, Part] = {
    "Is it right?": correctness,
    "Steps and floors": step_times,
    "Whole sweeps": whole_sweeps,
    "Fold-trainings": fold_trainings,
    "Out of memory": out_of_memory,
    "How busy is the GPU?": gpu_usage,
    "The usual recipe": usual_recipe,
}
NEED_A_GPU = (out_of_memory, gpu_usage)


def print_machine(device: torch.device) -> None:
    words = [f"On {processor()}, {os.cpu_count()} cores"]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    if device.type == "cuda":
        free, memory = (each / 2**30 for each in torch.cuda.mem_get_info(device))
        name = torch.cuda.get_device_name(device)
        words.insert(0, f"On one {name} of {memory:.0f} GiB ({free:.0f} free), driver {_driver()}")
        words[1] = words[1].replace("On", "beside")
        versions += f", CUDA {torch.version.cuda}"
    load = f"load average {os.getloadavg()[0]:.1f} over the last minute"
    print("; ".join([", ".join(words), versions, load]) + ".")


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True).stdout.partition("\n")[0].strip()


def run(device: torch.device, size: Size) -> bool:
    """Measure and print every part that the device can have; say whether all went well."""
    begun = time.perf_counter()
    print("# On a GPU\n\nThis page is what `make gpu` printed.\n")
    print_machine(device)
    is_cuda = device.type == "cuda"
    if not is_cuda:
        print("Toy sizes without a GPU: this shows that the script runs, and measures nothing.")
    bench, goals, failed = Bench(device, size), Verdicts(), []
    for name, part in PARTS.items():
        print(f"\n## {name}\n")
        if part in NEED_A_GPU and not is_cuda:
            print("Needs a GPU.")
        elif not _run_part(part, bench, goals):
            failed.append(name)
        note(f"{name} ended after {time.perf_counter() - begun:.0f} s")
    print("\n## Goals\n")
    print("\n".join(goals.lines) if is_cuda else "Goals apply to a GPU only.")
    if failed:
        print(f"\nFailed: {', '.join(failed)}.")
    return not failed


def _run_part(part: Part, bench: Bench, goals: Verdicts) -> bool:
    """Print one part, and what it says of its goals; say whether it went well."""
    verdicts = Verdicts()
    try:
        part(bench, verdicts)
    except Exception as error:
        traceback.print_exc()
        print(f"This part failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        return False
    finally:
        goals.lines += verdicts.lines
        gc.collect()
        # After an illegal address every call fails; the page is still finished.
        with contextlib.suppress(RuntimeError):
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
    return True


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to see that it runs")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "benchmarks/gpu.py: this benchmark needs a CUDA device, but got none. "
            "Use --device cpu --tiny to see that it runs."
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # keep finished parts if the run is killed
    if not run(torch.device(given.device), TINY if given.tiny else FULL):
        sys.exit(1)


if __name__ == "__main__":
    main()
