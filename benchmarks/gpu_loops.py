"""How users train such networks on a GPU today: one model after another, or all by torch.func.

All have their rows on the device and are scored after every epoch on as many rows as ours. Each
also comes with its step as a CUDA graph, as torch's notes on whole-network capture write it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from gpu_setup import SEED, Nets, make_settings, nets_spec, note, seconds_of
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from selection.data.prepare import FoldData

TIMED_EPOCHS = 3


@dataclass(frozen=True, eq=False)
class Resident:
    """Hold the rows of all folds on the device, and which of them train and are scored.

    Shape: features (U, N, D), where folds that agree share one matrix; fold k's is place[k];
    targets (N,); training and scored (F, N') each, cut to the shortest fold.
    """

    features: Tensor
    place: Tensor
    targets: Tensor
    training: Tensor
    scored: Tensor
    classes: int


def make_resident(folds: Sequence[FoldData], device: torch.device) -> Resident:
    matrices = list({id(fold.features): fold.features for fold in folds}.values())
    places = {id(matrix): place for place, matrix in enumerate(matrices)}
    training = [fold.training for fold in folds]
    scored = [
        np.concatenate([fold.validation, fold.training[: len(fold.validation)]]) for fold in folds
    ]

    def cut(rows: Sequence[Any]) -> Tensor:
        shortest = min(map(len, rows))
        return torch.from_numpy(np.stack([each[:shortest] for each in rows])).to(device)

    return Resident(
        torch.from_numpy(np.stack(matrices)).to(device),
        torch.tensor([places[id(fold.features)] for fold in folds], device=device),
        torch.from_numpy(folds[0].targets).to(device),
        cut(training),
        cut(scored),
        folds[0].classes,
    )


def make_model(rows: Resident, width: int) -> nn.Sequential:
    """Stack one MLP as users do."""
    torch.manual_seed(SEED)
    inputs = rows.features.shape[2]
    model = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, rows.classes))
    return model.to(rows.features.device)


class Loop(Protocol):
    """Train some models epoch by epoch."""

    models: int
    step: Callable[[Tensor], None]

    def orders(self) -> Tensor:
        """Return the rows of an epoch in a new order. Shape: (..., N)."""

    def score(self) -> Tensor:
        """Return loss and share of hits of every model."""


class OneModel:
    """Train one model on the first fold, eagerly."""

    models = 1

    def __init__(self, rows: Resident, nets: Nets) -> None:
        self.rows = rows
        self.features = rows.features[rows.place[0]]
        self.model = make_model(rows, nets.width)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.step: Callable[[Tensor], None] = self.take_step

    def orders(self) -> Tensor:
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

    def __init__(self, rows: Resident, nets: Nets) -> None:
        self.rows = rows
        self.folds, self.trials = len(rows.training), nets.trials[0]
        self.models = self.folds * self.trials
        model = make_model(rows, nets.width)
        self.params = {
            name: value.detach().expand(self.folds, self.trials, *value.shape).clone()
            for name, value in model.named_parameters()
        }
        settings = make_settings(nets_spec(nets, nets.epochs), self.trials)
        rates = torch.tensor([each.learning_rate for each in settings], device=rows.place.device)
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

    def orders(self) -> Tensor:
        training = self.rows.training
        order = torch.rand(training.shape, device=training.device).argsort(dim=1)
        return training.gather(1, order)

    def take_step(self, batch: Tensor) -> None:
        features = self.rows.features[self.rows.place[:, None], batch]  # (F, B, D)
        gradients = self.gradients(self.params, features, self.rows.targets[batch])
        for name, value in self.params.items():
            value.addcmul_(gradients[name], self.rates[name], value=-1.0)

    def score(self) -> Tensor:
        found = []
        for fold, scored in enumerate(self.rows.scored):
            params = {name: value[fold] for name, value in self.params.items()}
            outputs = self.outputs(params, self.rows.features[self.rows.place[fold]][scored])
            targets = self.rows.targets[scored].expand(self.trials, -1)
            losses = cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1)
            hits = (outputs.argmax(dim=2) == targets).float().mean(dim=1)
            found.append(torch.stack([losses, hits]))
        return torch.stack(found)


class GraphedStep:
    """Take the steps of one size by a CUDA graph, the smaller last one without."""

    def __init__(self, step: Callable[[Tensor], None], batch: Tensor) -> None:
        self.step, self.batch = step, batch.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(self.batch)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step(self.batch)

    def __call__(self, batch: Tensor) -> None:
        if batch.shape != self.batch.shape:
            self.step(batch)
            return
        self.batch.copy_(batch)
        self.graph.replay()


def train_epoch(loop: Loop, batch_size: int) -> None:
    """Train an epoch and bring its scores to the host."""
    for batch in torch.split(loop.orders(), batch_size, dim=-1):
        loop.step(batch)
    loop.score().cpu()


KINDS: dict[str, type[OneModel] | type[AllModels]] = {
    "one model after another": OneModel,
    "torch.func, vmap over all": AllModels,
}


@dataclass(frozen=True)
class Peer:
    """Hold how long one epoch of one model takes; NaN where it failed. Units: seconds."""

    name: str
    model_epoch: float


def peers(rows: Resident, nets: Nets) -> list[Peer]:
    """Time a few epochs each way, in the precision that is allowed."""
    has_graphs = rows.place.device.type == "cuda"
    found = []
    for is_graphed in (False, True) if has_graphs else (False,):
        for name, kind in KINDS.items():
            label = f"{name}, as a CUDA graph" if is_graphed else name
            try:
                seconds = _model_epoch(kind(rows, nets), nets.batch_size, is_graphed=is_graphed)
            except RuntimeError as error:
                # What a peer cannot do must not end the benchmark.
                note(f"{nets.name}, {label}: {error}")
                seconds = math.nan
                if has_graphs:
                    torch.cuda.set_stream(torch.cuda.default_stream())
            found.append(Peer(label, seconds))
            note(f"{nets.name}, {label}: {1e6 * seconds:.1f} us for an epoch of one model")
    return found


def _model_epoch(loop: Loop, batch_size: int, *, is_graphed: bool) -> float:
    """Return the seconds of one epoch of one model."""
    orders = loop.orders()
    if is_graphed:
        loop.step = GraphedStep(loop.step, orders[..., :batch_size])
    train_epoch(loop, batch_size)
    rounds = range(TIMED_EPOCHS)
    timed = [seconds_of(lambda: train_epoch(loop, batch_size), orders.device) for _ in rounds]
    return statistics.median(timed) / loop.models
