"""What does a GPU make of it? Is it right, how fast, how far from the floors, and against whom?

Rows are made from a seed: 60,000 images of 784 grey levels, each its class's pattern under noise.
One go: correctness against the CPU, packs against what the GPU could do at best, whole sweeps,
loops over single models, how busy the GPU is, and what happens where memory runs out. Writes
Markdown.
Run: PYTHONPATH=benchmarks python benchmarks/gpu.py > docs/gpu.md
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from machine import processor
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile, schedule

from selection.data.dataset import Dataset
from selection.data.folds import fold_identity, fold_kind, make_splits
from selection.data.prepare import FoldData, prepare_folds
from selection.entry import StudyData, make_trainer, row_facts
from selection.store.books import open_books
from selection.store.database import writer_lock
from selection.store.leases import new_worker
from selection.study.setting import Precision, Setting
from selection.study.spec import StudySpec, parse_study
from selection.study.trial import TrialResult, TrialState
from selection.sweep import SweepNews, run_sweep
from selection.train import pack as pack_module
from selection.train.device import describe_device
from selection.train.fit import Trainer
from selection.train.pack import Pack
from selection.train.plan import PackPlan, plan_packs

FEATURES, CLASSES, FOLDS, WIDTH, BATCH, SEED = 784, 10, 5, 256, 256, 0
WEIGHTS = FEATURES * WIDTH + WIDTH * CLASSES
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
PLACE = Path("data")
# What a step must move at least, in passes over all weights (read forward; read and written by the
# update) and over all hidden units (written, read by two products; their gradient the same).
WEIGHT_PASSES, UNIT_PASSES = 3, 6
# Goals, on one H200.
MOST_DIFFERENCE = 1e-3
MOST_SECONDS: Mapping[Precision, float] = {"float32": 3.0, "tf32": 1.5}
LEAST_RATIO, MOST_FLOORS = 50.0, 2.0


@dataclass(frozen=True)
class Size:
    """Say how much is measured."""

    rows: int
    trials: tuple[int, ...]
    epochs: int
    rounds: int
    peer_epochs: int
    matrix: int
    copied_bytes: int


FULL = Size(60_000, (8, 16, 32, 64), 10, 3, 3, 8192, 2**31)
TINY = Size(500, (2,), 1, 1, 1, 128, 2**20)


def make_images(rows: int, features: int, levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return images that can be told apart, not all of them, and their classes.

    Shape: (N, D) uint8 below levels, (N,) int64.
    """
    generator = np.random.default_rng(SEED)
    patterns = generator.standard_normal((CLASSES, features), np.float32)
    classes = generator.integers(CLASSES, size=rows)
    signal = 2.5 / math.sqrt(features)
    images = np.empty((rows, features), np.uint8)
    for start in range(0, rows, 4096):
        part = slice(start, start + 4096)
        noise = generator.standard_normal((len(classes[part]), features), np.float32)
        grey = levels * (0.5 + 0.2 * (signal * patterns[classes[part]] + noise))
        images[part] = np.clip(grey, 0, levels - 1)
    return images, classes


def make_data(spec: StudySpec, rows: int, features: int, levels: int = 256) -> StudyData:
    """Return a study's development rows and folds without any file."""
    images, classes = make_images(rows, features, levels)
    dataset = Dataset(
        name="images",
        task="classification",
        features=images,
        feature_names=tuple(f"pixel_{place}" for place in range(features)),
        categories={},
        target=classes,
        class_names=tuple(map(str, range(CLASSES))),
        groups=None,
        fingerprint=sha256(images.tobytes()).hexdigest(),
        held_out_fingerprint="",
        held_out_rows=0,
    )
    plan = make_splits(dataset, spec)
    facts = {
        "rows": rows,
        "held_out_rows": 0,
        "features": features,
        "inputs": features,
        "outputs": CLASSES,
        "class_counts": dataset.class_counts,
        "fold_kind": fold_kind(dataset, spec),
        "folds": [fold_identity(split) for split in plan.splits],
        "duplicate_rows": 0,
        "warnings": [],
    }
    return StudyData(dataset, plan, facts)


def make_spec(
    name: str,
    epochs: int,
    *,
    precision: Precision = "float32",
    batch_size: int = BATCH,
    **search: Any,
) -> StudySpec:
    """Return the study of 784-256-10 under plain SGD, of which only the learning rate is searched.

    It has the name of a data set whose rows are of this shape; they are never read.
    """
    return parse_study(
        {
            "name": name,
            "seed": SEED,
            "data": {"dataset": "fashion_mnist", "prepare": "scale"},
            "cv": {"folds": FOLDS},
            "model": {"hidden_layers": 1},
            "training": {"batch_size": batch_size, "epochs": epochs, "precision": precision},
            "space": {"width": WIDTH, "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
            "search": {"metric": "accuracy", "pruner": "none", **search},
        },
        "gpu",
    )


def make_settings(spec: StudySpec, trials: int) -> list[Setting]:
    """Return settings that differ in their learning rate."""
    rates = np.geomspace(0.01, 0.3, trials).tolist()
    return [spec.setting({"learning_rate": rate}) for rate in rates]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(act: Callable[[], object], device: torch.device) -> float:
    """Return how long something takes, the device's part of it included."""
    synchronize(device)
    begun = time.perf_counter()
    act()
    synchronize(device)
    return time.perf_counter() - begun


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# Correctness.


@dataclass(frozen=True)
class Difference:
    """Hold the largest relative differences of one kind's curves."""

    kind: str
    from_cpu: float
    from_eager: float
    is_bitwise: bool


KINDS: Mapping[str, Mapping[str, Any]] = {
    "relu, SGD, ragged": {"width": [[40], [64], [17]], "weight_decay": 1e-3},
    "relu, SGD, dropout": {"width": [[64], [64], [64]], "dropout": 0.3},
    "relu, momentum": {"width": [[64, 32], [48, 48], [64, 64]], "momentum": 0.9},
    "tanh, Nesterov": {
        "width": [[64], [32], [64]],
        "activation": "tanh",
        "momentum": 0.8,
        "nesterov": True,
    },
    "tanh, AdamW, dropout": {
        "width": [[64, 32], [48, 48], [64, 64]],
        "activation": "tanh",
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "dropout": 0.2,
    },
}


def differences(device: torch.device) -> list[Difference]:
    """Train small cohorts of which one trial is pruned after the first epoch, and compare."""
    spec = make_spec("differences", 5, metric="cross_entropy")
    folds = _folds(make_data(spec, 1797, 64, levels=17), spec)
    threads = torch.get_num_threads()
    found = []
    for kind, values in KINDS.items():
        settings = _kind_settings(values)
        plain, again = (_small_curves(folds, settings, device) for _ in range(2))
        cpu = _small_curves(folds, settings, torch.device("cpu"))
        with mock.patch.object(pack_module, "has_graphs", return_value=False):
            eager = _small_curves(folds, settings, device)
        is_bitwise = all(np.array_equal(a, b) for a, b in zip(plain, again, strict=True))
        found.append(Difference(kind, _farthest(plain, cpu), _farthest(plain, eager), is_bitwise))
        note(kind)
    # Training on a CPU leaves torch one thread, and what follows lays its packs out with all.
    torch.set_num_threads(threads)
    return found


def _folds(data: StudyData, spec: StudySpec) -> tuple[FoldData, ...]:
    return prepare_folds(data.dataset, data.plan.splits, spec)


def _kind_settings(values: Mapping[str, Any]) -> list[Setting]:
    """Return a setting per width. A batch of 64 leaves a rest of the rows of a fold."""
    shared = {"learning_rate": 0.05, "batch_size": 64, "epochs": 5, **values}
    spec = make_spec("differences", 5)
    return [
        spec.setting({**shared, "width": tuple(width), "hidden_layers": len(width)})
        for width in values["width"]
    ]


def _small_curves(
    folds: Sequence[FoldData], settings: Sequence[Setting], device: torch.device
) -> list[NDArray[np.float64]]:
    def decide(epoch: int, _means: Mapping[int, float]) -> Collection[int]:
        return {1} if epoch == 1 else ()

    trainer = Trainer(folds, "classification", "cross_entropy", SEED, device)
    return curves(trainer.train(settings, decide))


def curves(results: Sequence[TrialResult]) -> list[NDArray[np.float64]]:
    """Return the curves of each trial. Shape: (F, T, 6) each."""
    return [np.stack([fold.curve.points for fold in result.folds]) for result in results]


def _farthest(ones: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> float:
    """Return the largest relative difference; infinity where some curve is of another length."""
    pairs = list(zip(ones, others, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        return math.inf
    return max(
        float(np.max(np.abs(one - other) / np.maximum(np.abs(other), 1e-12)))
        for one, other in pairs
    )


def print_differences(found: Sequence[Difference]) -> None:
    print(
        "Largest relative difference of the learning curves of three trials x 5 folds on 1,797 "
        "rows of 64 features,\nbatch 64, 5 epochs, strict float32; the second trial is pruned "
        "after the first epoch.\n"
    )
    print("| kind | GPU from CPU | graph from eager | a rerun |")
    print("| --- | ---: | ---: | --- |")
    for each in found:
        rerun = "the same bits" if each.is_bitwise else "OTHER BITS"
        print(f"| {each.kind} | {each.from_cpu:.1e} | {each.from_eager:.1e} | {rerun} |")


# Packs and floors.


@dataclass(frozen=True)
class Rates:
    """Hold what the device can do at best. Units: operations and bytes per second."""

    products: Mapping[Precision, float]
    bandwidth: float


def measure_rates(device: torch.device, size: Size) -> Rates:
    """Measure large products in every precision, and a large copy: bytes read and written."""
    products = {}
    for precision in PRECISIONS:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        one, other = (
            torch.randn(size.matrix, size.matrix, device=device, dtype=dtype) for _ in range(2)
        )
        out = torch.empty_like(one)
        seconds = _best_seconds(partial(torch.mm, one, other, out=out), device)
        products[precision] = 2.0 * size.matrix**3 / seconds
    torch.set_float32_matmul_precision("highest")
    source = torch.randint(0, 256, (size.copied_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2.0 * size.copied_bytes / _best_seconds(lambda: target.copy_(source), device)
    return Rates(products, bandwidth)


def _best_seconds(act: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one act, in the median of several runs of ten."""

    def ten() -> None:
        for _ in range(10):
            act()

    ten()
    return statistics.median(seconds_of(ten, device) for _ in range(5)) / 10


@dataclass(frozen=True)
class Pace:
    """Hold how fast packs train. Units: seconds; a step is that of all members."""

    trials: int
    precision: Precision
    whole: float
    step: float
    compute_floor: float
    memory_floor: float

    @property
    def floors(self) -> float:
        """How many times the larger floor a step takes."""
        return self.step / max(self.compute_floor, self.memory_floor)


def measure_pace(
    folds: Sequence[FoldData], trials: int, trainer: Trainer, precision: Precision, size: Size
) -> tuple[float, float]:
    """Return the seconds of a whole training, and of one step of it."""
    device = trainer.rows.like.device
    settings = make_settings(make_spec("pace", size.epochs, precision=precision), trials)
    trainer.train(make_settings(make_spec("first", 1, precision=precision), trials))
    whole = statistics.median(
        seconds_of(lambda: trainer.train(settings), device) for _ in range(size.rounds)
    )
    packs = make_packs(trainer, settings)
    train_epoch(packs)
    steps = math.ceil(max(len(fold.training) for fold in folds) / BATCH)
    rounds = range(size.rounds)
    epoch = statistics.median(seconds_of(lambda: train_epoch(packs), device) for _ in rounds)
    return whole, epoch / steps


def make_packs(trainer: Trainer, settings: Sequence[Setting]) -> list[Pack]:
    """Return the packs that a trainer would train."""
    plans = plan_packs(settings, trainer.rows, trainer.max_members, trainer.cores)
    return [Pack(plan, settings, trainer.rows, trainer.metric, trainer.seed) for plan in plans]


def train_epoch(packs: Sequence[Pack]) -> None:
    for pack in packs:
        pack.train_epoch()


def paces(folds: Sequence[FoldData], device: torch.device, rates: Rates, size: Size) -> list[Pace]:
    """Measure every number of trials in every precision."""
    found = []
    for precision in PRECISIONS:
        trainer = Trainer(folds, "classification", "accuracy", SEED, device, precision=precision)
        for trials in size.trials:
            whole, step = measure_pace(folds, trials, trainer, precision, size)
            members = trials * FOLDS
            operations = 2.0 * BATCH * (2 * FEATURES * WIDTH + 3 * WIDTH * CLASSES)
            unit_bytes = 2 if precision == "bfloat16" else 4
            moved = 4.0 * WEIGHT_PASSES * WEIGHTS + unit_bytes * UNIT_PASSES * BATCH * WIDTH
            compute = members * operations / rates.products[precision]
            memory = members * moved / rates.bandwidth
            found.append(Pace(trials, precision, whole, step, compute, memory))
            note(f"{trials} trials, {precision}: {whole:.3f} s")
    return found


def print_paces(found: Sequence[Pace], rates: Rates, size: Size) -> None:
    products = ", ".join(f"{name} {rate / 1e12:.1f}" for name, rate in rates.products.items())
    print(
        f"Products of {size.matrix} x {size.matrix} matrices, in TFLOP/s: {products}. "
        f"A copy of {size.copied_bytes / 2**30:.3g} GiB: {rates.bandwidth / 1e12:.2f} TB/s,\n"
        "bytes read and written. The floors of a step follow from these, from its operations, and "
        f"from {WEIGHT_PASSES} passes over\nall weights and {UNIT_PASSES} over all hidden units. "
        f"*Training* is a whole `Trainer.train` of {size.epochs} epochs, its packs built, every\n"
        "epoch scored, and the predictions brought to the host; a *step* is its share of an "
        f"epoch's training alone. Medians of {size.rounds} rounds.\n"
    )
    print(
        "| trials x folds | precision | training, s | step, us | compute floor, us "
        "| memory floor, us | step / larger floor |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for pace in found:
        print(
            f"| {pace.trials} x {FOLDS} | {pace.precision} | {pace.whole:.3f} "
            f"| {1e6 * pace.step:.0f} | {1e6 * pace.compute_floor:.0f} "
            f"| {1e6 * pace.memory_floor:.0f} | {pace.floors:.2f} |"
        )


# Whole sweeps.


@dataclass(frozen=True)
class Sweep:
    """Hold one sweep. Units: seconds."""

    sampler: str
    precision: Precision
    trials: int
    cohort: int
    seconds: float


class Silence:
    """Show nothing of a sweep."""

    def show(self, news: SweepNews) -> None:
        pass

    def say(self, line: str) -> None:
        note(line)


def sweep_seconds(data: StudyData, spec: StudySpec, device: torch.device, folder: Path) -> float:
    """Run a study until its budget is spent; rows are on the device and the study is begun."""
    url = f"sqlite:///{folder}/{spec.name}.db"
    with writer_lock(url), open_books(url, create=True, write=True) as books:
        fingerprint, facts = data.dataset.fingerprint, data.facts
        environment = describe_device(device)
        study = books.records.create_study(spec, fingerprint, None, facts, environment)
        books.evidence.keep_rows(study, row_facts(data))
        trainer = make_trainer(spec, data, device, 0)
        worker = new_worker(600.0, is_alone=True)
        seconds = seconds_of(
            lambda: run_sweep(spec, study, books, trainer, worker, Silence()), device
        )
        trials = books.records.trials(study, with_curves=False)
    assert len(trials) == spec.budget, "the budget is spent"
    assert all(trial.state is TrialState.COMPLETE for trial in trials), "no trial was lost"
    return seconds


def sweeps(data: StudyData, device: torch.device, size: Size) -> list[Sweep]:
    """Sweep in one cohort by random search, in cohorts of sixteen by TPE."""
    trials = size.trials[-1]
    PLACE.mkdir(exist_ok=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="gpu-", dir=PLACE) as name:
        # The first sweep of a process pays for what is imported late.
        first = make_spec("first", 1, trials=2, cohort=2, sampler="tpe")
        sweep_seconds(data, first, device, Path(name))
        for precision in MOST_SECONDS:
            for sampler, cohort in (("random", trials), ("tpe", min(16, trials))):
                spec = make_spec(
                    f"{sampler}-{precision}",
                    size.epochs,
                    precision=precision,
                    sampler=sampler,
                    trials=trials,
                    cohort=cohort,
                )
                seconds = sweep_seconds(data, spec, device, Path(name))
                found.append(Sweep(sampler, precision, trials, cohort, seconds))
                note(f"{spec.name}: {seconds:.3f} s")
    return found


def print_sweeps(found: Sequence[Sweep], size: Size) -> None:
    print(
        f"A study from its first proposal to its last commit: {FOLDS} folds, {size.epochs} epochs, "
        "the sampler, SQLite on disk with all\npredictions on validation rows. Making, preparing "
        "and loading the rows is not counted.\n"
    )
    print("| sampler | precision | trials | per cohort | seconds | trials per second |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for each in found:
        print(
            f"| {each.sampler} | {each.precision} | {each.trials} | {each.cohort} "
            f"| {each.seconds:.2f} | {each.trials / each.seconds:.1f} |"
        )


# Loops over single models.


@dataclass(frozen=True, eq=False)
class Resident:
    """Hold the rows of one fold on the device, and which of them train and are scored."""

    features: Tensor
    targets: Tensor
    training: Tensor
    scored: Tensor


def make_resident(fold: FoldData, device: torch.device) -> Resident:
    """Return a fold's rows; as many training rows are scored as validation rows, as packs do."""
    scored = np.concatenate([fold.validation, fold.training[: len(fold.validation)]])
    parts = (fold.features, fold.targets, fold.training, scored)
    return Resident(*(torch.from_numpy(part).to(device) for part in parts))


class Loop:
    """Train one model as users do, with its rows on the device."""

    def __init__(self, rows: Resident) -> None:
        self.rows = rows
        device = rows.features.device
        torch.manual_seed(SEED)
        self.model = nn.Sequential(
            nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
        ).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)

    def step(self, batch: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.model(self.rows.features[batch]), self.rows.targets[batch])
        loss.backward()
        self.optimizer.step()

    def epoch(self) -> tuple[float, float]:
        """Train an epoch; return the loss and the score after it."""
        training = self.rows.training
        order = torch.randperm(len(training), device=training.device)
        for batch in training[order].split(BATCH):
            self.step(batch)
        with torch.no_grad():
            outputs = self.model(self.rows.features[self.rows.scored])
            targets = self.rows.targets[self.rows.scored]
            hits = (outputs.argmax(dim=1) == targets).double().mean()
            return float(cross_entropy(outputs, targets)), float(hits)


class GraphedLoop(Loop):
    """Train one model by a CUDA graph of its step; the last, partial batch goes without.

    Source: torch's notes on CUDA graphs, whole-network capture.
    """

    def __init__(self, rows: Resident) -> None:
        super().__init__(rows)
        self.batch = rows.training[:BATCH].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                super().step(self.batch)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            super().step(self.batch)

    def step(self, batch: Tensor) -> None:
        if len(batch) < len(self.batch):
            super().step(batch)
            return
        self.batch.copy_(batch)
        self.graph.replay()


@dataclass(frozen=True)
class Peer:
    """Hold how long one epoch of one model takes. Units: seconds."""

    name: str
    member_epoch: float


def peers(fold: FoldData, device: torch.device, pace: Pace, size: Size) -> list[Peer]:
    """Time a few epochs of one model each way; ours is the share of one in the largest pack."""
    rows = make_resident(fold, device)
    loops: dict[str, type[Loop]] = {"eager, rows resident": Loop}
    if device.type == "cuda":
        loops["one CUDA graph per model"] = GraphedLoop
    found = [Peer("ours", pace.whole / (pace.trials * FOLDS * size.epochs))]
    for name, kind in loops.items():
        loop = kind(rows)
        loop.epoch()
        epochs = range(size.peer_epochs)
        found.append(Peer(name, statistics.median(seconds_of(loop.epoch, device) for _ in epochs)))
        note(name)
    return found


def print_peers(found: Sequence[Peer], pace: Pace) -> None:
    print(
        "One epoch of one model on one fold, scored on the same number of rows, strict float32. "
        f"Ours is the share of one member\nin a whole training of {pace.trials} trials x {FOLDS} "
        "folds; a loop trains one model after the other.\n"
    )
    print("| who | ms per model and epoch | times ours |")
    print("| --- | ---: | ---: |")
    ours = found[0].member_epoch
    for peer in found:
        milliseconds = 1000 * peer.member_epoch
        print(f"| {peer.name} | {milliseconds:.3f} | {peer.member_epoch / ours:.1f} |")


# How busy the GPU is.


def busy_share(folds: Sequence[FoldData], device: torch.device, precision: Precision) -> float:
    """Return the share of an epoch's wall time in which the GPU runs anything.

    The epoch before it, in which graphs are captured, warms the profiler up.
    """
    trainer = Trainer(folds, "classification", "accuracy", SEED, device, precision=precision)
    settings = make_settings(make_spec("busy", 2, precision=precision), FULL.trials[-1])
    packs = make_packs(trainer, settings)

    def epoch() -> None:
        for pack in packs:
            pack.train_epoch()
            pack.evaluate().cpu()

    with profile(
        activities=[ProfilerActivity.CUDA], schedule=schedule(wait=0, warmup=1, active=1)
    ) as seen:
        epoch()
        seen.step()
        wall = seconds_of(epoch, device)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in seen.events() or ()
        if event.device_type == DeviceType.CUDA and not event.name.startswith("ProfilerStep")
    ]
    return covered(spans) / (1e6 * wall)


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return how much of a line is under at least one of the spans."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def print_busy(found: Mapping[Precision, float]) -> None:
    print(
        f"Share of one epoch, trained and scored, in which the GPU runs a kernel or a copy, by "
        f"torch.profiler,\nwhich slows the host down: {FULL.trials[-1]} trials x {FOLDS} folds.\n"
    )
    print("| precision | busy |")
    print("| --- | ---: |")
    for precision, share in found.items():
        print(f"| {precision} | {share:.0%} |")


# Out of memory.


@dataclass(frozen=True)
class Squeeze:
    """Hold a training that had too little memory. Units: bytes beside the rows."""

    name: str
    wanted: int
    given: int
    halvings: int
    complete: int
    trials: int
    difference: float


# Few steps an epoch go without a graph; what a pack computes with is then free between steps.
SQUEEZES = (("without a graph", 16_384, 0.5), ("by graphs", 2_048, 0.6))


def squeeze(
    folds: Sequence[FoldData], device: torch.device, name: str, batch_size: int, share: float
) -> Squeeze:
    """Train with all the memory that is wanted, and then with a share of it."""
    trainer = Trainer(folds, "classification", "accuracy", SEED, device)
    settings = make_settings(make_spec("squeeze", 2, batch_size=batch_size), FULL.trials[-1])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_reserved(device)
    calm = curves(trainer.train(settings))
    wanted = torch.cuda.max_memory_reserved(device) - held
    torch.cuda.empty_cache()
    given = int(share * wanted)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((held + given) / total)
    try:
        halve = PackPlan.halves
        with mock.patch.object(PackPlan, "halves", autospec=True, side_effect=halve) as halves:
            results = trainer.train(settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    complete = sum(result.state is TrialState.COMPLETE for result in results)
    is_whole = complete == len(results)
    difference = _farthest(curves(results), calm) if is_whole else math.inf
    note(f"{name}: {complete} of {len(results)} complete")
    return Squeeze(name, wanted, given, halves.call_count, complete, len(results), difference)


def print_squeezes(found: Sequence[Squeeze]) -> None:
    print(
        f"{FULL.trials[-1]} trials x {FOLDS} folds, 2 epochs, first with all the memory they want, "
        "then with a share of it.\n"
    )
    print("| steps | wanted, GB | given, GB | halvings | complete trials | largest difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for each in found:
        print(
            f"| {each.name} | {each.wanted / 1e9:.2f} | {each.given / 1e9:.2f} | {each.halvings} "
            f"| {each.complete} of {each.trials} | {each.difference:.1e} |"
        )


# The page.


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
    folds = _folds(data, spec)
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
