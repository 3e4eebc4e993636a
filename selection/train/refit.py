"""Trains one setting again and keeps its weights: the final model of a study.

Engine, data order and dropout are those of the sweep. No row is scored here: the only scores are
the running ones of the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selection.data.prepare import FoldData
from selection.errors import DeviceError, ErrorDetail
from selection.metrics import Task
from selection.study.setting import Setting
from selection.train.batches import Rows, load_rows
from selection.train.device import (
    count_workers,
    is_out_of_memory,
    make_workers,
    torch_settings,
    work_format,
)
from selection.train.embeddings import Embedding
from selection.train.graph import device_lock
from selection.train.pack import Pack
from selection.train.plan import count_side_by_side, plan_packs
from selection.train.weights import LayerWeights, WaveWeights


@dataclass(frozen=True, eq=False)
class Fitted:
    """Hold the weights of one member, the number of updates, and the result of the last epoch.

    running_loss and running_score are those of the last epoch, in train mode; NaN means no score.
    """

    layers: tuple[LayerWeights, ...]
    rows: int
    batches: int
    updates: int
    running_loss: float
    running_score: float

    @property
    def is_finite(self) -> bool:
        return all(
            np.isfinite(part).all() for layer in self.layers for part in layer.parts.values()
        )


def fit_members(
    setting: Setting,
    folds: Sequence[FoldData],
    task: Task,
    metric: str,
    seed: int,
    device: torch.device,
    *,
    stop_after: int | None = None,
) -> list[Fitted]:
    """Train one setting on the training rows of each fold, all folds at once.

    With stop_after, training ends after so many of the setting's epochs.

    Raises: DeviceError where memory runs out even for one member.
    """
    with torch_settings(setting.kind.precision, device):
        work = work_format(setting.kind.precision)
        rows = load_rows(folds, task, device, torch.float32, work)
        # If memory runs out, try again with one member at a time.
        epochs = setting.kind.epochs if stop_after is None else stop_after
        packs = _train_all(setting, rows, metric, seed, epochs, 0)
        packs = packs or _train_all(setting, rows, metric, seed, epochs, 1)
        if packs is None:
            rule, hint = "a final model must fit into memory", "Use a machine with more memory."
            raise DeviceError(ErrorDetail("final model", rule, "too little of it", hint))
        return _fitted(packs, setting, folds, epochs)


def _fitted(
    packs: Sequence[Pack], setting: Setting, folds: Sequence[FoldData], epochs: int
) -> list[Fitted]:
    """Return what was trained on each fold, in the order of the folds."""
    fitted: dict[int, Fitted] = {}
    for pack in packs:
        for line, fold in enumerate(pack.folds):
            count = len(folds[fold].training)
            batches = math.ceil(count / setting.kind.batch_size)
            layers = [_layer(*parts) for parts in pack.weights_of(line, 0)]
            layers[0] = replace(layers[0], waves=_waves(pack.waves_of(line, 0)))
            updates = batches * epochs
            fitted[fold] = Fitted(tuple(layers), count, batches, updates, *pack.running(line, 0))
    return [fitted[fold] for fold in range(len(folds))]


def _layer(weight: Tensor, bias: Tensor, mix: Tensor | None) -> LayerWeights:
    return LayerWeights(_exported(weight), _exported(bias), None if mix is None else _exported(mix))


def _waves(embedding: Embedding | None) -> WaveWeights | None:
    """Return the embedding of one member as arrays."""
    if embedding is None:
        return None
    parts = {name: _exported(part[0]) for name, part in embedding.tensors().items()}
    return WaveWeights(**{**parts, "wave_bias": parts["wave_bias"][:, 0]})


def _exported(part: Tensor) -> NDArray[np.float32]:
    exported: NDArray[np.float32] = part.float().cpu().numpy().copy()
    return exported


def _train_all(
    setting: Setting, rows: Rows, metric: str, seed: int, epochs: int, max_members: int
) -> list[Pack] | None:
    """Train every fold; None if memory ran out."""
    try:
        cores = count_workers(rows.like.device)
        plans = plan_packs([setting], rows, max_members, cores)
        packs = [Pack(plan, [setting], rows, metric, seed) for plan in plans]
        with make_workers(count_side_by_side(plans, [setting], rows, cores)) as workers:
            list(workers.map(lambda pack: _train(pack, epochs), packs))
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise
    return packs


def _train(pack: Pack, epochs: int) -> None:
    with device_lock(pack.rows.like.device):
        for _ in range(epochs):
            pack.train_epoch()
