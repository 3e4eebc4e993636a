"""What a GPU would be asked to do, without one: tensors that have a device and no values.

A step that is captured must not leave the GPU, must not look at values, and must find every tensor
it reads or writes where it was: a graph holds addresses. What these tests cannot tell, numbers,
is the business of tests/train/test_gpu.py, on a GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from examples import make_folds, make_setting
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selection.data.prepare import FoldData
from selection.study.setting import Setting
from selection.train import batches, pack
from selection.train.batches import Rows, Table, load_rows
from selection.train.pack import Pack
from selection.train.plan import PackPlan

GPU = torch.device("cuda", 0)
BATCH = 13  # of the 68 training rows of a fold: enough whole steps for a graph, and a rest
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "adam": {"optimizer": "adam", "l2": 0.1},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.2},
}
CLASS_METRICS = ["accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "cross_entropy"]
NUMBER_METRICS = ["rmse", "mae", "r2"]


class Capture(TorchDispatchMode):
    """Watch a step: every tensor is on the GPU; outside are those that it did not make itself."""

    def __init__(self) -> None:
        super().__init__()
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

    def _look(self, func: Any, tensor: Tensor, places: dict[int, Any]) -> None:
        assert tensor.device.type == "cuda", f"{func} in a captured step on {tensor.device}"
        storage = tensor.untyped_storage()
        if storage._cdata not in self._made and storage._cdata not in self.outside:
            places[storage._cdata] = storage  # kept: its address is not given to another


class Rehearsal:
    """Stand in for a graph: each replay takes the step again and compares what it touches."""

    made: list[Rehearsal]

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step
        self.replays = 0
        self.warm_up = self._watch()
        self.captured = self._watch()
        self.made.append(self)

    def replay(self) -> None:
        self.replays += 1
        assert self._watch().keys() == self.captured.keys(), "a tensor is not where it was"

    def _watch(self) -> dict[int, Any]:
        with Capture() as seen:
            self.step()
        return seen.outside


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rehearsal]]:
    """The steps that are captured on a GPU that is not there."""
    Rehearsal.made = []
    monkeypatch.setattr(pack, "StepGraph", Rehearsal)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield Rehearsal.made


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
    task = "classification" if folds[0].classes else "regression"
    return load_rows(folds, task, GPU, torch.float32, work)


def rehearse(rows: Rows, settings: Sequence[Setting], metric: str) -> list[int]:
    """Train three trials in two buckets for four epochs; one ends after two, one after three.

    Return how many steps each graph stood for.
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
    return [1 + graph.replays for graph in Rehearsal.made]


def ragged(depth: int, **values: Any) -> list[Setting]:
    kind = {"batch_size": BATCH, "dropout": 0.2, "epochs": 6, **values}
    return [make_setting(depth=depth, widths=[width] * depth, **kind) for width in (4, 9, 30)]


STEPS = [
    *itertools.product((0, 1, 3), ("relu", "sigmoid", "tanh"), ["sgd"]),
    *itertools.product([2], ["relu"], [name for name in OPTIMIZERS if name != "sgd"]),
]


@pytest.mark.parametrize(("depth", "activation", "optimizer"), STEPS)
def test_a_captured_step_stays_on_the_gpu_and_finds_its_tensors_where_they_were(
    monkeypatch: pytest.MonkeyPatch, depth: int, activation: str, optimizer: str
) -> None:
    rows = load(monkeypatch, make_folds())
    settings = ragged(depth, activation=activation, **OPTIMIZERS[optimizer])
    steps = min(len(fold.training) for fold in rows.folds) // BATCH
    # Each loss of members is a new graph; all whole steps of an epoch are of one.
    assert rehearse(rows, settings, "accuracy") == [2 * steps, steps, steps]


@pytest.mark.parametrize("metric", CLASS_METRICS + NUMBER_METRICS)
def test_metrics_stay_on_the_gpu(monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    folds = make_folds(classes=3 if metric in CLASS_METRICS else 0)
    rehearse(load(monkeypatch, folds), ragged(1), metric)


@pytest.mark.parametrize("classes", [2, 0])
def test_folds_with_rows_of_their_own_stay_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    folds = make_folds(classes=classes, is_shared=False)
    rehearse(load(monkeypatch, folds), ragged(1), "roc_auc" if classes else "rmse")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("work", [torch.float32, torch.bfloat16])
def test_coded_rows_and_rounded_products_stay_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, work: torch.dtype, optimizer: str
) -> None:
    rows = load(monkeypatch, make_folds(), work, has_codes=True)
    assert rows.features.values.dtype == torch.uint8
    rehearse(rows, ragged(2, **OPTIMIZERS[optimizer]), "accuracy")


@pytest.mark.parametrize(("batch_size", "epochs", "steps"), [(60, 20, [2, 1, 1]), (60, 8, [])])
def test_a_graph_is_captured_where_enough_steps_are_left(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, epochs: int, steps: list[int]
) -> None:
    """One whole step an epoch, and a rest: what counts are all epochs to come."""
    settings = ragged(1, batch_size=batch_size, epochs=epochs)
    assert rehearse(load(monkeypatch, make_folds()), settings, "accuracy") == steps


def test_members_that_see_other_inputs_stay_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [make_setting(widths=[9], batch_size=BATCH, features=count) for count in (0, 2, 5)]
    rehearse(load(monkeypatch, make_folds()), settings, "accuracy")


def test_a_step_that_looks_at_a_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load(monkeypatch, make_folds())
    honest = pack.Bucket.step

    def nosy(self: pack.Bucket, batch: batches.Minibatch) -> Tensor:
        outputs = honest(self, batch)
        return outputs if bool(outputs.isfinite().all()) else outputs * 0.0

    monkeypatch.setattr(pack.Bucket, "step", nosy)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        rehearse(rows, ragged(1), "accuracy")


def test_a_step_that_leaves_the_gpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load(monkeypatch, make_folds())
    honest = pack.Bucket.step
    monkeypatch.setattr(pack.Bucket, "step", lambda *words: honest(*words).cpu().to(GPU))
    with pytest.raises(AssertionError, match="in a captured step on cpu"):
        rehearse(rows, ragged(1), "accuracy")


def test_a_tensor_that_is_replaced_between_replays_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = load(monkeypatch, make_folds())
    honest = pack.Bucket.step

    def moving(self: pack.Bucket, batch: batches.Minibatch) -> Tensor:
        outputs = honest(self, batch)
        self.optimizer.rate = self.optimizer.rate * 0.9
        return outputs

    monkeypatch.setattr(pack.Bucket, "step", moving)
    with pytest.raises(AssertionError, match="is not where it was"):
        rehearse(rows, ragged(1, optimizer="adam"), "accuracy")
