"""What a pack would do on a GPU, tested without one: tensors that have a device but no values.

What is captured must not leave the GPU, must not look at values, and must find every tensor it
reads or writes where it was: a graph holds addresses. Numerical results are tested on a GPU, by
tests/train/test_gpu.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selection.data.prepare import FoldData
from selection.study.activations import ACTIVATIONS
from selection.study.setting import Setting
from selection.train import batches, pack
from selection.train.batches import Rows, Table, load_rows
from selection.train.bucket import Bucket
from selection.train.pack import Pack
from selection.train.plan import PackPlan
from tests.train.examples import make_folds, make_setting, task_of

GPU = torch.device("cuda", 0)
BATCH = 13  # of 68 training rows per fold: enough whole steps for a graph, and a smaller last one
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "adam": {"optimizer": "adam", "l2": 0.1},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.2},
}
CLASS_METRICS = ["accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "cross_entropy"]
NUMBER_METRICS = ["rmse", "mae", "r2"]


class StepWatcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watch a step: all tensors must be on the GPU; outside are those it did not make itself."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outside: dict[int, Any] = {}
        self._made: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self._look(func, tensor, self.outside)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._look(func, tensor, self._made)
        return out

    def _look(self, func: Any, tensor: Tensor, indices: dict[int, Any]) -> None:
        assert tensor.device.type == "cuda", f"{func} in a captured step on {tensor.device}"
        storage = tensor.untyped_storage()
        if storage._cdata not in self._made and storage._cdata not in self.outside:
            indices[storage._cdata] = storage  # kept: its address is not given to another


class FakeGraph:
    """Stand in for a graph: each replay takes the step again and compares what it touches."""

    made: ClassVar[list[FakeGraph]] = []

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step
        self.name = getattr(step, "func", step).__name__
        self.replays = 0
        self._watch()  # the warm-up
        self.captured = self._watch()
        self.made.append(self)

    def replay(self) -> None:
        self.replays += 1
        assert self._watch().keys() == self.captured.keys(), "a tensor is not where it was"

    def _watch(self) -> dict[int, Any]:
        with StepWatcher() as seen:
            self.step()
        return dict(seen.outside)


@pytest.fixture(autouse=True)
def _fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make tensors without values, on a GPU that is not there."""
    FakeGraph.made.clear()
    monkeypatch.setattr(pack, "StepGraph", FakeGraph)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def load(
    monkeypatch: pytest.MonkeyPatch,
    folds: Sequence[FoldData],
    work: torch.dtype = torch.float32,
    *,
    has_codes: bool = False,
) -> Rows:
    def coded(table: Table) -> Table:
        if not has_codes:
            return table
        return Table(table.values.to(torch.uint8), table.starts, table.values.new_zeros(17))

    # Whether rows can be coded depends on their values.
    monkeypatch.setattr(batches, "in_bytes", coded)
    return load_rows(folds, task_of(folds), GPU, torch.float32, work)


def train_pack(
    rows: Rows, settings: Sequence[Setting], metric: str, *, is_short: bool = False
) -> dict[str, list[int]]:
    """Train three trials in two buckets for four epochs; one ends after two, one after three.

    Return how many steps, and how many evaluations, each graph stood for; is_short allows none.
    """
    plan = PackPlan(((0, 1), (2,)), tuple(range(len(rows.folds))))
    trained = Pack(plan, settings, rows, metric, 3)
    for left in ({0, 1, 2}, {0, 1, 2}, {0, 2}, {2}):
        trained.keep(left)
        trained.train_epoch()
        points = trained.evaluate()
        assert points.device == GPU
        assert points.shape == (len(rows.folds), len(left), 6)
        assert trained.validation_outputs(0, 0).device == GPU
    found = {
        name: [1 + graph.replays for graph in FakeGraph.made if graph.name == name]
        for name in ("_counted_step", "_score_in_place")
    }
    assert found["_counted_step"] or is_short
    return found


def ragged(depth: int, **values: Any) -> list[Setting]:
    kind = {"batch_size": BATCH, "dropout": 0.2, "epochs": 9, **values}
    return [make_setting(depth=depth, widths=[width] * depth, **kind) for width in (4, 9, 30)]


STEPS = [
    *itertools.product((0, 1, 3), ["relu"], ["sgd"]),
    *(
        pytest.param(depth, name, "sgd", marks=pytest.mark.slow)
        for depth, name in itertools.product((1, 3), ACTIVATIONS)
        if name != "relu"
    ),
    *itertools.product([2], ["relu"], [name for name in OPTIMIZERS if name != "sgd"]),
]


@pytest.mark.parametrize(("depth", "activation", "optimizer"), STEPS)
def test_a_captured_step_stays_on_the_gpu_and_finds_its_tensors_where_they_were(
    monkeypatch: pytest.MonkeyPatch, depth: int, activation: str, optimizer: str
) -> None:
    rows = load(monkeypatch, make_folds())
    settings = ragged(depth, activation=activation, **OPTIMIZERS[optimizer])
    steps = min(len(fold.training) for fold in rows.folds) // BATCH
    # Losing members means new graphs; until then one covers all whole steps.
    assert train_pack(rows, settings, "accuracy") == {
        "_counted_step": [2 * steps, steps, steps],
        "_score_in_place": [2, 1, 1],
    }


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_schedules_and_clipping_stay_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, clip_norm: float
) -> None:
    moving = {"schedule": "coslog4", "warmup": 0.1, "weight_decay_schedule": "cosine"}
    settings = ragged(
        2, dropout_schedule="flat_cos", clip_norm=clip_norm, **moving, **OPTIMIZERS[optimizer]
    )
    constants = zip(settings, (0.8, 0.9, 0.7), strict=True)
    settings = [replace(each, beta1=beta, beta2=beta, eps=1.0 - beta) for each, beta in constants]
    train_pack(load(monkeypatch, make_folds()), settings, "accuracy")


@pytest.mark.parametrize("metric", CLASS_METRICS + NUMBER_METRICS)
def test_metrics_stay_on_the_gpu(monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    folds = make_folds(classes=3 if metric in CLASS_METRICS else 0)
    train_pack(load(monkeypatch, folds), ragged(1), metric)


@pytest.mark.parametrize("classes", [2, 0])
def test_folds_with_rows_of_their_own_stay_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    folds = make_folds(classes=classes, is_shared=False)
    train_pack(load(monkeypatch, folds), ragged(1), "roc_auc" if classes else "rmse")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("work", [torch.float32, torch.bfloat16])
def test_coded_rows_and_rounded_products_stay_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, work: torch.dtype, optimizer: str
) -> None:
    rows = load(monkeypatch, make_folds(), work, has_codes=True)
    assert rows.features.values.dtype == torch.uint8
    train_pack(rows, ragged(2, **OPTIMIZERS[optimizer]), "accuracy")


@pytest.mark.parametrize(
    ("epochs", "steps", "scores"),
    [(20, [2, 1, 1], [2, 1, 1]), (11, [2, 1], [2, 1]), (9, [2], [2]), (8, [], [])],
)
def test_a_graph_is_captured_where_enough_is_left_to_do(
    monkeypatch: pytest.MonkeyPatch, epochs: int, steps: list[int], scores: list[int]
) -> None:
    """One whole step an epoch and a smaller last one: what counts are all epochs to come."""
    settings = ragged(1, batch_size=60, epochs=epochs)
    rows = load(monkeypatch, make_folds())
    found = train_pack(rows, settings, "accuracy", is_short=epochs < 9)
    assert found == {"_counted_step": steps, "_score_in_place": scores}


def test_members_that_see_other_inputs_stay_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [make_setting(widths=[9], batch_size=BATCH, features=count) for count in (0, 2, 5)]
    train_pack(load(monkeypatch, make_folds()), settings, "accuracy")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_losses_that_differ_stay_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    losses: list[dict[str, Any]] = [
        {},
        {"class_weights": "balanced", "label_smoothing": 0.1},
        {"label_smoothing": 0.2},
    ]
    settings = [
        make_setting(widths=[9], batch_size=BATCH, **loss, **OPTIMIZERS[optimizer])
        for loss in losses
    ]
    folds = [replace(fold, weights=np.arange(103.0)) for fold in make_folds()]
    train_pack(load(monkeypatch, folds), settings, "accuracy")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learned_factors_stay_on_the_gpu(monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    learned = {"input_scaling": True, "parametric_activation": True, "activation": "mish"}
    settings = ragged(2, **learned, **OPTIMIZERS[optimizer])
    train_pack(load(monkeypatch, make_folds()), settings, "accuracy")


def test_a_step_that_looks_at_a_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load(monkeypatch, make_folds())
    original = Bucket.step

    def reading(self: Bucket, batch: batches.Minibatch) -> Tensor:
        outputs = original(self, batch)
        return outputs if bool(outputs.isfinite().all()) else outputs * 0.0

    monkeypatch.setattr(Bucket, "step", reading)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        train_pack(rows, ragged(1), "accuracy")


def test_a_step_that_leaves_the_gpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load(monkeypatch, make_folds())
    original = Bucket.step
    monkeypatch.setattr(Bucket, "step", lambda *args: original(*args).cpu().to(GPU))
    with pytest.raises(AssertionError, match="in a captured step on cpu"):
        train_pack(rows, ragged(1), "accuracy")


def test_a_tensor_that_is_replaced_between_replays_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = load(monkeypatch, make_folds())
    original = Bucket.step

    def moving(self: Bucket, batch: batches.Minibatch) -> Tensor:
        outputs = original(self, batch)
        self.optimizer.rate = self.optimizer.rate * 0.9
        return outputs

    monkeypatch.setattr(Bucket, "step", moving)
    with pytest.raises(AssertionError, match="is not where it was"):
        train_pack(rows, ragged(1, optimizer="adam"), "accuracy")
