"""How many workers fit on a Ray cluster, and what each of them takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selection.train.device import DeviceName


@dataclass(frozen=True)
class Slots:
    """Hold how many workers a study has, what each takes, and how many fit at once."""

    workers: int
    cpus: int
    gpus: float
    fitting: int


def plan_slots(
    nodes: Sequence[Mapping[str, float]],
    workers: int | None,
    gpus_per_worker: float | None,
    device: DeviceName,
) -> Slots:
    """Plan a worker for each GPU, or without GPUs for each node, unless workers says how many.

    nodes has the resources of each node, under Ray's names. A worker on a GPU takes one CPU; others
    share all CPUs.
    """
    gpus = gpus_per_worker or 1.0
    has_gpus = any(node.get("GPU", 0.0) >= gpus for node in nodes)
    if device == "cuda" or (device == "auto" and has_gpus):
        fitting = sum(int(min(node.get("GPU", 0.0) / gpus, node.get("CPU", 0.0))) for node in nodes)
        return Slots(workers or max(fitting, 1), 1, gpus, fitting)
    cores = [int(node.get("CPU", 0.0)) for node in nodes if node.get("CPU", 0.0) >= 1]
    count = workers or max(len(cores), 1)
    cpus = max((size for size in set(_shares(cores)) if _fitting(cores, size) >= count), default=1)
    return Slots(count, cpus, 0.0, _fitting(cores, cpus))


def _shares(cores: Sequence[int]) -> list[int]:
    return [size for node in cores for size in range(1, node + 1)]


def _fitting(cores: Sequence[int], cpus: int) -> int:
    return sum(node // cpus for node in cores)
