"""Trains one setting anew and keeps its weights: the model that leaves the study.

The same engine, data order and dropout as in the sweep; no row is ever scored here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selection.data.prepare import FoldData
from selection.study.setting import Setting, Task
from selection.train.batches import load_rows
from selection.train.device import make_workers
from selection.train.pack import Pack
from selection.train.plan import plan_packs
from selection.train.weights import LayerWeights


@dataclass(frozen=True, eq=False)
class Fitted:
    """Hold the weights of one member and how many updates made them."""

    layers: tuple[LayerWeights, ...]
    rows: int
    batches: int
    updates: int

    @property
    def is_finite(self) -> bool:
        return all(
            np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()
            for layer in self.layers
        )


def fit_members(
    setting: Setting, folds: Sequence[FoldData], task: Task, seed: int, device: torch.device
) -> list[Fitted]:
    """Train one setting on the training rows of each fold, all folds at once."""
    rows = load_rows(folds, task, device, torch.float32)
    packs = [
        Pack(plan, [setting], rows, metric="", seed=seed) for plan in plan_packs([setting], rows)
    ]
    with make_workers(device) as workers:
        list(workers.map(lambda pack: _train(pack, setting.kind.epochs), packs))
    fitted: dict[int, Fitted] = {}
    for pack in packs:
        for line, fold in enumerate(pack.folds):
            count = len(folds[fold].training)
            batches = math.ceil(count / setting.kind.batch_size)
            layers = tuple(_layer(weight, bias) for weight, bias in pack.weights_of(line, 0))
            fitted[fold] = Fitted(layers, count, batches, batches * setting.kind.epochs)
    return [fitted[fold] for fold in range(len(folds))]


def _layer(weight: Tensor, bias: Tensor) -> LayerWeights:
    return LayerWeights(
        np.ascontiguousarray(weight.T.float().cpu().numpy()), bias.float().cpu().numpy().copy()
    )


def _train(pack: Pack, epochs: int) -> None:
    for _ in range(epochs):
        pack.train_epoch()
