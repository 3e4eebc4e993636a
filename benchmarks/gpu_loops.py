"""Train the same networks as users do today: one after another, or all at once with torch.func.

All have their rows on the device and are scored after every epoch on as many rows as ours. Each is
also timed with its step as a CUDA graph, following torch's notes on whole-network capture.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from benchmarks.gpu_setup import SEED, Workload, make_settings, note, seconds_of, workload_spec
from selection.data.prepare import FoldData

TIMED_EPOCHS = 3


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """Hold the rows of all folds on the device, and which of them train and are scored.

    Shape: features (U, N, D), U distinct matrices of which fold k uses matrix_of_fold[k];
    targets (N,); training and scored (F, N') each, truncated to the shortest fold.
    """

    features: Tensor
    matrix_of_fold: Tensor
    targets: Tensor
    training: Tensor
    scored: Tensor
    classes: int


def make_rows(folds: Sequence[FoldData], device: torch.device) -> DeviceRows:
    matrices = list({id(fold.features): fold.features for fold in folds}.values())
    indices = {id(matrix): index for index, matrix in enumerate(matrices)}
    training = [fold.training for fold in folds]
    scored = [
        np.concatenate([fold.validation, fold.training[: len(fold.validation)]]) for fold in folds
    ]

    def cut(rows: Sequence[Any]) -> Tensor:
        shortest = min(map(len, rows))
        return torch.from_numpy(np.stack([each[:shortest] for each in rows])).to(device)

    return DeviceRows(
        torch.from_numpy(np.stack(matrices)).to(device),
        torch.tensor([indices[id(fold.features)] for fold in folds], device=device),
        torch.from_numpy(folds[0].targets).to(device),
        cut(training),
        cut(scored),
        folds[0].classes,
    )


def make_model(rows: DeviceRows, width: int) -> nn.Sequential:
    """Stack one MLP as users do."""
    torch.manual_seed(SEED)
    inputs = rows.features.shape[2]
    model = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, rows.classes))
    return model.to(rows.features.device)


class Loop(Protocol):
    """Train some models epoch by epoch."""

    models: int
    step: Callable[[Tensor], None]

    def shuffled_rows(self) -> Tensor:
        """Return the training rows of an epoch in random order. Shape: (..., N)."""

    def score(self) -> Tensor:
        """Return the loss and accuracy of every model. Shape: (2,) or (F, 2, T)."""


class OneModel:
    """Train one model on the first fold, eagerly."""

    models = 1

    def __init__(self, rows: DeviceRows, workload: Workload) -> None:
        self.rows = rows
        self.features = rows.features[rows.matrix_of_fold[0]]
        self.model = make_model(rows, workload.width)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.step: Callable[[Tensor], None] = self.take_step

    def shuffled_rows(self) -> Tensor:
        training = self.rows.training[0]
        return training[torch.randperm(len(training), device=training.device)]

    def take_step(self, batch: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.model(self.features[batch]), self.rows.targets[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def score(self) -> Tensor:
        with torch.no_grad():
            scored = self.rows.scored[0]
            outputs, targets = self.model(self.features[scored]), self.rows.targets[scored]
            hits = (outputs.argmax(dim=1) == targets).float().mean()
            return torch.stack([cross_entropy(outputs, targets), hits])


class AllModels:
    """Train all trials of all folds as one ensemble by vmap over the gradient of one.

    The trials of a fold share its minibatch. Source: torch's tutorial on model ensembling.
    """

    def __init__(self, rows: DeviceRows, workload: Workload) -> None:
        self.rows = rows
        self.folds, self.trials = len(rows.training), workload.trials[0]
        self.models = self.folds * self.trials
        model = make_model(rows, workload.width)
        self.params = {
            name: value.detach().expand(self.folds, self.trials, *value.shape).clone()
            for name, value in model.named_parameters()
        }
        settings = make_settings(workload_spec(workload, workload.epochs), self.trials)
        rates = torch.tensor(
            [each.learning_rate for each in settings], device=rows.matrix_of_fold.device
        )
        self.rates = {
            name: rates.view(1, -1, *[1] * (value.dim() - 2)) for name, value in self.params.items()
        }

        def loss(params: dict[str, Tensor], features: Tensor, targets: Tensor) -> Tensor:
            return cross_entropy(functional_call(model, params, (features,)), targets)

        def outputs(params: dict[str, Tensor], features: Tensor) -> Any:
            return functional_call(model, params, (features,))

        self.gradients = vmap(vmap(grad(loss), in_dims=(0, None, None)))
        self.outputs = vmap(outputs, in_dims=(0, None))
        self.step: Callable[[Tensor], None] = self.take_step

    def shuffled_rows(self) -> Tensor:
        training = self.rows.training
        order = torch.rand(training.shape, device=training.device).argsort(dim=1)
        return training.gather(1, order)

    def take_step(self, batch: Tensor) -> None:
        features = self.rows.features[self.rows.matrix_of_fold[:, None], batch]  # (F, B, D)
        gradients = self.gradients(self.params, features, self.rows.targets[batch])
        for name, value in self.params.items():
            value.addcmul_(gradients[name], self.rates[name], value=-1.0)

    def score(self) -> Tensor:
        found = []
        for fold, scored in enumerate(self.rows.scored):
            params = {name: value[fold] for name, value in self.params.items()}
            outputs = self.outputs(
                params, self.rows.features[self.rows.matrix_of_fold[fold]][scored]
            )
            targets = self.rows.targets[scored].expand(self.trials, -1)
            losses = cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1)
            hits = (outputs.argmax(dim=2) == targets).float().mean(dim=1)
            found.append(torch.stack([losses, hits]))
        return torch.stack(found)


class GraphedStep:
    """Replay a CUDA graph for full batches; run the smaller last batch eagerly."""

    def __init__(self, step: Callable[[Tensor], None], batch: Tensor) -> None:
        self.step, self.batch = step, batch.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(self.batch)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        # Loops hold their own methods: collected now, the graph of one before would end this.
        gc.collect()
        gc.disable()
        try:
            with torch.cuda.graph(self.graph):
                step(self.batch)
        finally:
            gc.enable()

    def __call__(self, batch: Tensor) -> None:
        if batch.shape != self.batch.shape:
            self.step(batch)
            return
        self.batch.copy_(batch)
        self.graph.replay()


def train_epoch(loop: Loop, batch_size: int) -> None:
    """Train an epoch and bring its scores to the host."""
    for batch in torch.split(loop.shuffled_rows(), batch_size, dim=-1):
        loop.step(batch)
    loop.score().cpu()


EAGER, VMAP = "one model after another", "torch.func, vmap over all"
KINDS: dict[str, type[OneModel] | type[AllModels]] = {EAGER: OneModel, VMAP: AllModels}


@dataclass(frozen=True)
class Peer:
    """Hold how long one epoch of one model takes; NaN where it failed. Units: seconds."""

    name: str
    epoch_seconds: float


def peers(rows: DeviceRows, workload: Workload) -> list[Peer]:
    """Time a few epochs of each method at the current matmul precision."""
    has_graphs = rows.matrix_of_fold.device.type == "cuda"
    found = []
    for is_graphed in (False, True) if has_graphs else (False,):
        for name, kind in KINDS.items():
            label = f"{name}, as a CUDA graph" if is_graphed else name
            try:
                seconds = _model_epoch(
                    kind(rows, workload), workload.batch_size, is_graphed=is_graphed
                )
            except RuntimeError as error:
                # A method that fails must not end the benchmark.
                note(f"{workload.name}, {label}: {error}")
                seconds = math.nan
                if has_graphs:
                    torch.cuda.set_stream(torch.cuda.default_stream())
            found.append(Peer(label, seconds))
            note(f"{workload.name}, {label}: {1e6 * seconds:.1f} us per model and epoch")
    return found


def _model_epoch(loop: Loop, batch_size: int, *, is_graphed: bool) -> float:
    """Return the seconds of one epoch of one model."""
    rows = loop.shuffled_rows()
    if is_graphed:
        loop.step = GraphedStep(loop.step, rows[..., :batch_size])
    train_epoch(loop, batch_size)
    rounds = range(TIMED_EPOCHS)
    timed = [seconds_of(lambda: train_epoch(loop, batch_size), rows.device) for _ in rounds]
    return statistics.median(timed) / loop.models
