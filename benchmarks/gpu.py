"""What does a GPU make of it? Is it right, how fast, how far from the floors, and against whom?

Rows are made from a seed: 60,000 images of 784 grey levels, each its class's pattern under noise.
One go: correctness against the CPU, packs against what the GPU could do at best, whole sweeps,
loops over single models, how busy the GPU is, and what happens where memory runs out. Writes
Markdown.
Run: PYTHONPATH=benchmarks python benchmarks/gpu.py > docs/gpu.md
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

import torch
from gpu_busy import busy_share, print_busy
from gpu_loops import peers, print_peers
from gpu_memory import SQUEEZES, print_squeezes, squeeze
from gpu_pace import measure_rates, paces, print_paces
from gpu_right import differences, print_differences
from gpu_setup import (
    FEATURES,
    FOLDS,
    FULL,
    LEAST_RATIO,
    MOST_DIFFERENCE,
    MOST_FLOORS,
    MOST_SECONDS,
    PRECISIONS,
    TINY,
    Size,
    make_data,
    make_folds,
    make_spec,
)
from gpu_sweeps import print_sweeps, sweeps
from machine import processor


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
        end = "met" if is_met else f"missed by {by:.0%}"
        self.lines.append(f"- {what}: {end} ({measured}, goal {goal:g})")


def print_machine(device: torch.device) -> None:
    words = [f"On {processor()}, {os.cpu_count()} cores"]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = properties.total_memory / 2**30
        words.insert(0, f"On one {properties.name} of {memory:.0f} GiB, driver {_driver()}")
        words[1] = words[1].replace("On", "beside")
        versions += f", CUDA {torch.version.cuda}"
    load = f"load average {os.getloadavg()[0]:.1f} over the last minute"
    print("; ".join([", ".join(words), versions, load]) + ".\n")


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True).stdout.partition("\n")[0].strip()


def run(device: torch.device, size: Size) -> None:
    """Measure and print every part that the device can have."""
    is_cuda = device.type == "cuda"
    verdicts = Verdicts()
    print("# On a GPU\n\nThis page is what `benchmarks/gpu.py` printed.\n")
    print_machine(device)
    if not is_cuda:
        print("Without a GPU and at toy size: it shows that the script runs, and measures nothing.")

    print("\n## Is it right?\n")
    if is_cuda:
        found = differences(device)
        print_differences(found)
        farthest = max(each.from_cpu for each in found)
        verdicts.at_most("GPU from CPU, strict float32", farthest, MOST_DIFFERENCE)
        verdicts.all_of("a rerun has the same bits", sum(f.is_bitwise for f in found), len(found))
    else:
        print("Needs a GPU.")

    spec = make_spec("images", size.epochs)
    data = make_data(spec, size.rows, FEATURES)
    folds = make_folds(data, spec)
    print("\n## Packs and floors\n")
    rates = measure_rates(device, size)
    measured = paces(folds, device, rates, size)
    print_paces(measured, rates, size)
    largest = {pace.precision: pace for pace in measured if pace.trials == size.trials[-1]}
    floors = largest["tf32"].step / largest["tf32"].memory_floor
    verdicts.at_most("step / memory floor, TF32, largest cohort", floors, MOST_FLOORS)

    print("\n## Whole sweeps\n")
    swept = sweeps(data, device, size)
    print_sweeps(swept, size)
    for each in swept:
        what = f"{each.trials} trials x {FOLDS} folds x {size.epochs} epochs, {each.sampler}"
        goal = MOST_SECONDS[each.precision]
        verdicts.at_most(f"{what}, {each.precision}, with storage", each.seconds, goal, " s")

    print("\n## Loops over single models\n")
    torch.set_float32_matmul_precision("highest")
    timed = peers(folds[0], device, largest["float32"], size)
    print_peers(timed, largest["float32"])
    verdicts.at_least(
        "times the eager loop", timed[1].member_epoch / timed[0].member_epoch, LEAST_RATIO
    )

    print("\n## How busy is the GPU?\n")
    if is_cuda:
        print_busy({name: busy_share(folds, device, name) for name in PRECISIONS})
    else:
        print("Needs a GPU.")

    print("\n## Out of memory\n")
    if is_cuda:
        squeezed = [squeeze(folds, device, *each) for each in SQUEEZES]
        print_squeezes(squeezed)
        for every in squeezed:
            verdicts.all_of(
                f"out of memory {every.name}: all trials complete", every.complete, every.trials
            )
    else:
        print("Needs a GPU.")

    print("\n## Goals\n")
    print("\n".join(verdicts.lines) if is_cuda else "They are a GPU's.")


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
    run(torch.device(given.device), TINY if given.tiny else FULL)


if __name__ == "__main__":
    main()
