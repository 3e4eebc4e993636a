"""The development rows on the device, and the minibatches in which each fold sees its own.

One minibatch per fold and step, shared by all trials of that fold: the order is a function of
(study seed, repeat, fold, epoch) only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from selection.data.prepare import FoldData
from selection.seeds import seed_for
from selection.study.setting import Task
from selection.train.dropout import dropout_key, noise


@dataclass(frozen=True, eq=False)
class Table:
    """Hold one matrix per fold, of which folds that agree share one.

    Shape: values (U * N, W); the matrix of fold k begins at row starts[k].
    """

    values: Tensor
    starts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """Hold the rows of all folds on one device.

    Shape: features (N, D) per fold, where D is the widest fold's and narrower ones end in zeros;
    wanted (N, C) per fold, one-hot classes or (N, 1) targets; targets (N,) for each fold.
    """

    task: Task
    outputs: int
    count: int
    features: Table
    wanted: Table
    fan_in: tuple[int, ...]
    targets: tuple[Tensor, ...]
    folds: tuple[FoldData, ...]
    training: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]

    @property
    def like(self) -> Tensor:
        """A tensor of the device and number format that every member has."""
        return self.features.values


def load_rows(
    folds: Sequence[FoldData], task: Task, device: torch.device, dtype: torch.dtype
) -> Rows:
    """Copy the prepared folds to the device, each distinct matrix once."""
    features = _features(folds, device, dtype)
    if task == "classification":
        outputs = folds[0].classes
        targets = (torch.from_numpy(folds[0].targets).to(device, torch.int64),) * len(folds)
        wanted = Table(one_hot(targets[0], outputs).to(dtype), (0,) * len(folds))
    else:
        outputs = 1
        targets = tuple(torch.from_numpy(fold.targets).to(device, dtype) for fold in folds)
        starts = tuple(place * len(targets[0]) for place in range(len(folds)))
        wanted = Table(torch.cat(targets).unsqueeze(1), starts)
    return Rows(
        task=task,
        outputs=outputs,
        count=len(targets[0]),
        features=features,
        wanted=wanted,
        fan_in=tuple(fold.features.shape[1] for fold in folds),
        targets=targets,
        folds=tuple(folds),
        training=tuple(torch.from_numpy(fold.training).to(device) for fold in folds),
        validation=tuple(torch.from_numpy(fold.validation).to(device) for fold in folds),
    )


def _features(folds: Sequence[FoldData], device: torch.device, dtype: torch.dtype) -> Table:
    matrices = list({id(fold.features): fold.features for fold in folds}.values())
    places = {id(matrix): place for place, matrix in enumerate(matrices)}
    count, width = len(matrices[0]), max(matrix.shape[1] for matrix in matrices)
    values = torch.zeros(len(matrices) * count, width, dtype=dtype, device=device)
    for place, matrix in enumerate(matrices):
        copy = values[place * count : (place + 1) * count, : matrix.shape[1]]
        copy.copy_(torch.from_numpy(matrix))
    return Table(values, tuple(places[id(fold.features)] * count for fold in folds))


def training_order(seed: int, fold: FoldData, epoch: int) -> Tensor:
    """Return the training rows of one fold in the order of one epoch. Shape: (N_training,)."""
    place = seed_for(seed, "order", fold.repeat, fold.fold, epoch)
    order = torch.randperm(len(fold.training), generator=torch.Generator().manual_seed(place))
    return torch.from_numpy(fold.training)[order]


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Hold one step's rows of the first F' folds; those without rows left take no step.

    Shape: features (F', B, D); wanted (F', B, C); share (F', B, 1) is 1 / rows of the fold in this
    step, 0 where a shorter fold is padded; noise[l] (F', B, H) int32 for each hidden layer that is
    dropped from.
    """

    first: int
    features: Tensor
    wanted: Tensor
    share: Tensor
    noise: tuple[Tensor | None, ...]

    @property
    def folds(self) -> int:
        return len(self.features)

    @property
    def last(self) -> int:
        return self.first + self.features.shape[1]


class Epoch:
    """Lay out one epoch of the given folds (places in rows, longest first).

    units says how many units of each hidden layer need dropout noise, 0 for none.
    Shape: order (F, S * B) row numbers within the fold, padded at the end.
    """

    def __init__(
        self,
        rows: Rows,
        folds: Sequence[int],
        seed: int,
        epoch: int,
        batch_size: int,
        units: Sequence[int],
    ) -> None:
        self.rows = rows
        self.sizes = [len(rows.folds[fold].training) for fold in folds]
        # A batch larger than the longest fold is that fold.
        self.batch_size = batch_size = min(batch_size, self.sizes[0])
        self.steps = -(-self.sizes[0] // batch_size)
        self.units = units
        order = torch.zeros(len(folds), self.steps * batch_size, dtype=torch.int64)
        real = torch.zeros(len(folds), self.steps * batch_size, dtype=torch.float64)
        for line, fold in enumerate(folds):
            order[line, : self.sizes[line]] = training_order(seed, rows.folds[fold], epoch)
            real[line, : self.sizes[line]] = 1.0
        device = rows.like.device
        self.order = order.to(device)
        self._feature_rows = self.order + _column(rows.features.starts, folds, device)
        self._wanted_rows = self.order + _column(rows.wanted.starts, folds, device)
        counts = real.view(len(folds), self.steps, batch_size).sum(dim=2).clamp_(min=1.0)
        share = real / counts.repeat_interleave(batch_size, dim=1)
        self._share = share.to(device, rows.like.dtype).unsqueeze(2)
        self._keys = self._noise_keys(folds, seed, epoch)

    def minibatch(self, step: int) -> Minibatch:
        """Gather one step's rows, once for all members."""
        first = step * self.batch_size
        active = sum(size > first for size in self.sizes)
        last = first + min(self.batch_size, self.sizes[0] - first)
        span = (slice(0, active), slice(first, last))
        return Minibatch(
            first,
            _take(self.rows.features.values, self._feature_rows[span]),
            _take(self.rows.wanted.values, self._wanted_rows[span]),
            self._share[span],
            tuple(
                noise(self._keys[layer, :active, step], last - first, units) if units else None
                for layer, units in enumerate(self.units)
            ),
        )

    def _noise_keys(self, folds: Sequence[int], seed: int, epoch: int) -> Tensor:
        """Return the keys of all dropout masks. Shape: (L, F, S) int32."""
        keys = torch.zeros(len(self.units), len(folds), self.steps, dtype=torch.int32)
        for layer, units in enumerate(self.units):
            for line, fold in enumerate(folds if units else ()):
                data = self.rows.folds[fold]
                keys[layer, line] = torch.tensor(
                    [
                        dropout_key(seed, data.repeat, data.fold, layer, epoch, step)
                        for step in range(self.steps)
                    ],
                    dtype=torch.int32,
                )
        return keys.to(self.rows.like.device)


def _column(starts: Sequence[int], folds: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([starts[fold] for fold in folds], device=device).unsqueeze(1)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Shape: values (U * N, W), index (F', B) -> (F', B, W)."""
    return values.index_select(0, index.reshape(-1)).view(*index.shape, -1)
