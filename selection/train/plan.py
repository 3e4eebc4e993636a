"""Decides which members train together: packs for every core, each of buckets of similar widths.

The plan is a function of settings, rows, fixed limits and the number of packs that train side by
side, never of timings or of free memory, so that a resumed study trains the very packs of the
uninterrupted one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from selection.study.setting import Setting
from selection.train.batches import Rows
from selection.train.device import physical_memory
from selection.train.embeddings import OUTPUTS, WAVES, extra_inputs
from selection.train.optimizers import optimizer_class

# The cost of one more bucket per step, in floating-point operations that take as long.
STEP_OVERHEAD = {"cpu": 2e7, "cuda": 2e9}
# On a CPU packs train side by side and are cut to similar amounts of work. Between two calls they
# wait for Python's lock: each one more needs this much more work in every bucket's step, or all are
# slower than one after another. Above the second of these, the cache is too small.
CPU_LEAST_WORK = 1.5e7
CPU_MOST_WORK = 1.2e9
# An update of one weight takes as long as so many operations, times the state of the optimizer.
UPDATE_WORK = 75.0
# From so much work on, a cohort takes several times as long as processes take to start.
PROCESS_WORK = 3e11
# Rows that are evaluated at once.
EVALUATION_ROWS = {"cpu": 1024, "cuda": 8192}
CPU_MEMORY_BYTES = 8 * 2**30
CUDA_MEMORY_SHARE = 0.6


@dataclass(frozen=True)
class PackPlan:
    """Hold the members of one pack: buckets of indices into the cohort, and indices of folds."""

    buckets: tuple[tuple[int, ...], ...]
    folds: tuple[int, ...]

    @property
    def trials(self) -> tuple[int, ...]:
        return tuple(itertools.chain.from_iterable(self.buckets))

    @property
    def members(self) -> int:
        return len(self.trials) * len(self.folds)

    def keep(self, living: Collection[int]) -> PackPlan:
        """Return the plan of the trials that are among the living."""
        kept = (tuple(trial for trial in bucket if trial in living) for bucket in self.buckets)
        return PackPlan(tuple(filter(None, kept)), self.folds)

    def halves(self) -> tuple[PackPlan, PackPlan]:
        """Return two packs of about half the size: by folds, else by buckets, else by trials."""
        if len(self.folds) > 1:
            middle = len(self.folds) // 2
            return (
                PackPlan(self.buckets, self.folds[:middle]),
                PackPlan(self.buckets, self.folds[middle:]),
            )
        parts = self.buckets
        if len(parts) == 1:
            parts = tuple((trial,) for trial in parts[0])
        middle = len(parts) // 2
        first, second = parts[:middle], parts[middle:]
        if len(self.buckets) == 1:
            first, second = (sum(first, ()),), (sum(second, ()),)
        return PackPlan(first, self.folds), PackPlan(second, self.folds)


def plan_packs(
    settings: Sequence[Setting],
    rows: Rows,
    max_members: int = 0,
    cores: int = 1,
    folds: Sequence[int] = (),
) -> list[PackPlan]:
    """Return the packs of one cohort; max_members = 0 sizes them by device and memory.

    cores is the number of packs that train side by side; folds are those that are trained, by
    default all. Trials share a pack when they see the same minibatches: equal batch size and
    epochs.
    """
    if not settings:
        return []
    own = folds or range(len(rows.folds))
    groups: dict[tuple[int, int], list[int]] = {}
    for index, setting in enumerate(settings):
        key = (setting.kind.batch_size, setting.kind.epochs)
        groups.setdefault(key, []).append(index)
    plans = []
    shares = _shares(list(groups.values()), settings, rows, cores, own)
    for group, share in zip(groups.values(), shares, strict=True):
        most = max_members or _memory_members([settings[index] for index in group], rows)
        for first in range(0, len(group), most):
            whole = group[first : first + most]
            if max_members or rows.like.device.type != "cpu":
                plans += _plan_group(whole, most // len(whole), settings, rows, own)
                continue
            parts, together = _cut(whole, settings, rows, share, len(own))
            works = {index: _step_work([index], settings, rows) for index in whole}
            for part in _parts(works, parts):
                plans += _plan_group(part, min(together, most // len(part)), settings, rows, own)
    return plans


@dataclass(frozen=True)
class Share:
    """Hold what one process trains of a cohort: indices of its trials, and of folds."""

    trials: tuple[int, ...]
    folds: tuple[int, ...]


def deal(settings: Sequence[Setting], rows: Rows, max_members: int, cores: int) -> list[Share]:
    """Return what each process trains; all of it is one's where that is as fast.

    Folds are dealt first: whatever is pruned, every process keeps as many trials as the others.
    Processes cost seconds to start, and memory; packs of one process train on as many cores if
    their steps have enough work.
    """
    everything, folds = tuple(range(len(settings))), len(rows.folds)
    whole = [Share(everything, tuple(range(folds)))]
    parts, most_groups = _grid(rows, cores)
    if rows.like.device.type != "cpu" or max_members or not settings or parts * most_groups < 2:
        return whole
    plans = plan_packs(settings, rows, 0, cores)
    works = [_training_work(index, settings, rows) for index in everything]
    if count_side_by_side(plans, settings, rows, cores) == cores or sum(works) < PROCESS_WORK:
        return whole
    groups = min(most_groups, len(settings))
    return [
        Share(tuple(group), tuple(range(part, folds, parts)))
        for group in _parts(dict(enumerate(works)), groups)
        for part in range(parts)
    ]


def most_processes(rows: Rows, cores: int) -> int:
    """Return among how many processes a cohort of many trials is dealt."""
    parts, groups = _grid(rows, cores)
    return parts * groups


def _grid(rows: Rows, cores: int) -> tuple[int, int]:
    """Return into how many parts folds are dealt, and into how many groups trials are at most.

    There are no more parts than make the largest of them smaller.
    """
    memory = min(CPU_MEMORY_BYTES, physical_memory() // 2)
    count, folds = max(1, min(cores, memory // _process_bytes(rows))), len(rows.folds)
    largest = math.ceil(folds / min(count, folds))
    parts = math.ceil(folds / largest)
    return parts, count // parts


def _process_bytes(rows: Rows) -> int:
    """Return what a process takes: torch, the rows as they were read, and those of every fold."""
    return 400 * 2**20 + 4 * rows.count * rows.width * (len(rows.folds) + 2)


def _training_work(index: int, settings: Sequence[Setting], rows: Rows) -> float:
    """Return the operations of the whole training of one trial, its updates included."""
    setting = settings[index]
    batch = setting.kind.batch_size
    steps = sum(math.ceil(len(training) / batch) for training in rows.training)
    of_weight = 6.0 * batch + UPDATE_WORK * optimizer_class(setting).state_tensors
    return padded_weights([setting], rows) * of_weight * steps * setting.kind.epochs


def count_side_by_side(
    plans: Sequence[PackPlan], settings: Sequence[Setting], rows: Rows, cores: int
) -> int:
    """Return how many of these packs train at the same time, at most one for each core."""
    if rows.like.device.type != "cpu":
        return 1
    work = sum(_step_work(plan.trials, settings, rows) * len(plan.folds) for plan in plans)
    buckets = sum(len(plan.buckets) for plan in plans)
    return max(1, min(cores, len(plans), int(work / (buckets * CPU_LEAST_WORK))))


def _shares(
    groups: Sequence[Sequence[int]],
    settings: Sequence[Setting],
    rows: Rows,
    cores: int,
    own: Sequence[int],
) -> list[int]:
    """Return for how many cores each group of trials is cut, so that all cores used have packs.

    As many are used as leave enough work in the steps of the packs: with more of them a pack has
    less, and needs more.
    """
    works = [_step_work(group, settings, rows) * len(own) for group in groups]
    wholes = [_plan_group(group, len(own), settings, rows, own)[0] for group in groups]
    in_bucket = sum(works) / sum(len(whole.buckets) for whole in wholes)

    def is_enough(used: int) -> bool:
        cut = max(1.0, used / len(groups))
        return in_bucket / cut >= used * CPU_LEAST_WORK

    used = next(filter(is_enough, range(cores, 1, -1)), 1)
    return [max(1, round(used * work / sum(works))) for work in works]


def padded_weights(settings: Sequence[Setting], rows: Rows) -> int:
    """Return the number of weights of one member, padded to the widest of these settings."""
    widest = _widest(setting.widths for setting in settings)
    more = _numbers(settings[0], rows) * extra_inputs(settings[0].kind.numeric_embedding)
    return _weights(widest, rows) + more * (widest[0] if widest else rows.outputs)


def _widest(widths: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the largest width of each layer."""
    return tuple(map(max, zip(*widths, strict=True)))


def _numbers(setting: Setting, rows: Rows) -> int:
    """Return how many columns of numbers are embedded."""
    return 0 if setting.kind.numeric_embedding == "none" else rows.folds[0].numeric


def _weights(widths: Sequence[int], rows: Rows) -> int:
    return sum(a * b for a, b in itertools.pairwise([rows.width, *widths, rows.outputs]))


def _step_work(indices: Sequence[int], settings: Sequence[Setting], rows: Rows) -> float:
    """Return the floating-point operations of one step of these trials on one fold."""
    weights = sum(padded_weights([settings[index]], rows) for index in indices)
    return 6.0 * settings[indices[0]].kind.batch_size * weights


def _cut(
    indices: Sequence[int], settings: Sequence[Setting], rows: Rows, cores: int, folds: int
) -> tuple[int, int]:
    """Return the number of parts of the trials, and of folds per pack, for so many cores."""
    work = _step_work(indices, settings, rows) * folds
    packs = cores * math.ceil(work / (cores * CPU_MOST_WORK))
    if packs <= len(indices):
        return packs, folds
    # Trials of one fold share its rows, so folds are separated first.
    parts = min(len(indices), math.ceil(packs / folds))
    return parts, max(1, folds * parts // packs)


def _parts(works: Mapping[int, float], count: int) -> list[list[int]]:
    """Split trials into the given number of parts of similar work."""
    parts: list[list[int]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for index in sorted(works, key=lambda index: -works[index]):
        lightest = loads.index(min(loads))
        parts[lightest].append(index)
        loads[lightest] += works[index]
    return [sorted(part) for part in parts]


def _plan_group(
    indices: Sequence[int],
    folds: int,
    settings: Sequence[Setting],
    rows: Rows,
    own: Sequence[int],
) -> list[PackPlan]:
    """Return packs of at most the given number of folds, with trials sorted into buckets."""
    folds = max(1, min(folds, len(own)))
    kinds: dict[object, list[int]] = {}
    for index in indices:
        setting = settings[index]
        key = (setting.kind, optimizer_class(setting), setting.clip_norm > 0)
        kinds.setdefault(key, []).append(index)
    buckets = tuple(
        bucket for kind in kinds.values() for bucket in _buckets(kind, settings, rows, folds)
    )
    count = math.ceil(len(own) / folds)
    parts = [tuple(own[first::count]) for first in range(count)]
    return [PackPlan(buckets, part) for part in parts]


def _buckets(
    indices: Sequence[int], settings: Sequence[Setting], rows: Rows, folds: int
) -> list[tuple[int, ...]]:
    """Split trials of one kind, sorted by width, where padding costs more than another bucket.

    Dynamic programming over the distinct widths: best[j] = min over i of best[i] + cost(i..j).
    Trials of equal widths stay together: they cost least in the narrower of two buckets.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index in indices:
        alike.setdefault(settings[index].widths, []).append(index)
    shapes = sorted(alike)
    flops = 6.0 * settings[indices[0]].kind.batch_size * folds
    overhead = STEP_OVERHEAD[rows.like.device.type]
    best = [0.0]
    cut = [0]
    for end in range(1, len(shapes) + 1):
        widest, trials, costs = shapes[end - 1], 0, []
        for start in reversed(range(end)):
            widest = _widest((widest, shapes[start]))
            trials += len(alike[shapes[start]])
            costs.append(best[start] + flops * trials * _weights(widest, rows) + overhead)
        costs.reverse()
        best.append(min(costs))
        cut.append(costs.index(best[-1]))
    buckets = []
    end = len(shapes)
    while end > 0:
        parts = (alike[shape] for shape in shapes[cut[end] : end])
        buckets.append(tuple(sorted(itertools.chain.from_iterable(parts))))
        end = cut[end]
    return buckets[::-1]


def _memory_members(settings: Sequence[Setting], rows: Rows) -> int:
    """Return how many members as large as the largest of these fit into memory."""
    largest = max(_member_bytes(setting, rows) for setting in settings)
    return max(1, _memory_bytes(rows.like.device) // largest)


def _member_bytes(setting: Setting, rows: Rows) -> int:
    evaluated = EVALUATION_ROWS[rows.like.device.type]
    weights = padded_weights([setting], rows) * (2 + optimizer_class(setting).state_tensors)
    if setting.kind.input_scaling:
        weights += _weights(setting.widths[:1], rows)
    batch = max(4 * min(setting.kind.batch_size, rows.count), evaluated)
    tensors = 3 if setting.kind.parametric_activation else 1
    step = batch * (tensors * sum(setting.widths) + rows.outputs)
    if numbers := _numbers(setting, rows):
        # Angles, waves and their gradients; and the inputs, which trials share no longer.
        step += batch * (numbers * (3 * WAVES + OUTPUTS) + rows.width)
    kept = 3 * rows.count * rows.outputs
    return rows.like.element_size() * (weights + step + kept)


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * CUDA_MEMORY_SHARE)
    return CPU_MEMORY_BYTES
