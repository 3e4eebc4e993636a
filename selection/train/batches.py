"""The development rows on the device, and the minibatches in which each fold sees its own.

One minibatch per fold and step is shared by all trials of that fold. The order of rows is a
function of (study seed, repeat, fold, epoch) only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from selection.data.prepare import FoldData
from selection.metrics import Task
from selection.seeds import seed_for
from selection.train.dropout import dropout_key, noise

# Steps are gathered together as long as their rows and noise take less than this.
BLOCK_BYTES = 2**20
# After each epoch as many training rows as validation rows are scored, evenly spread, and at least
# this many.
SCORED_ROWS = 512
# A minibatch that weighs nothing is divided by it: every share is 0.
LEAST_WEIGHT = torch.finfo(torch.float64).tiny
# Rows that are coded at once: codes take eight bytes each until they are cast.
CODED_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Table:
    """Hold one matrix per fold; folds with equal matrices share one.

    Where levels are given, values are indices into them, of one byte each.
    Shape: values (U * N, W); the matrix of fold k begins at row starts[k]; levels (L,), L <= 256.
    """

    values: Tensor
    starts: tuple[int, ...]
    levels: Tensor | None = None

    def take(self, index: Tensor) -> Tensor:
        """Return the rows of an index. Shape: (..., B) -> (..., B, W)."""
        taken = self.values.index_select(0, index.reshape(-1))
        if self.levels is not None:
            taken = self.levels.index_select(0, taken.view(-1).int())
        return taken.view(*index.shape, -1)


@dataclass(frozen=True, eq=False)
class Rows:
    """Hold the rows of all folds on one device.

    Shape: features (N, D) per fold, where D is the widest fold's and narrower ones end in zeros;
    wanted (N, C) per fold, one-hot classes or (N, 1) targets; targets (N,) for each fold.
    scored are the training rows of each fold on which training is scored after an epoch.
    Features have the number format of hidden layers (work), everything else that of weights.
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
    scored: tuple[Tensor, ...]
    work: torch.dtype

    @property
    def like(self) -> Tensor:
        """A tensor of the device and number format that every member has."""
        return self.wanted.values

    @property
    def width(self) -> int:
        """The number of features of the widest fold."""
        return self.features.values.shape[1]


def load_rows(
    folds: Sequence[FoldData],
    task: Task,
    device: torch.device,
    dtype: torch.dtype,
    work: torch.dtype,
) -> Rows:
    """Copy the prepared folds to the device, each distinct matrix once.

    dtype is the number format of weights and outputs, work that of hidden layers.
    """
    features = _features(folds, device, work)
    if device.type == "cuda":
        features = in_bytes(features)
    if task == "classification":
        outputs = folds[0].classes
        targets = (torch.from_numpy(folds[0].targets).to(device, torch.int64),) * len(folds)
        wanted = Table(one_hot(targets[0], outputs).to(dtype), (0,) * len(folds))
    else:
        outputs = 1
        targets = tuple(torch.from_numpy(fold.targets).to(device, dtype) for fold in folds)
        starts = tuple(index * len(targets[0]) for index in range(len(folds)))
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
        scored=tuple(_scored_rows(fold).to(device) for fold in folds),
        work=work,
    )


def _scored_rows(fold: FoldData) -> Tensor:
    count = len(fold.training)
    most = min(count, max(len(fold.validation), SCORED_ROWS))
    return torch.from_numpy(fold.training)[torch.arange(most) * count // most]


def _features(folds: Sequence[FoldData], device: torch.device, dtype: torch.dtype) -> Table:
    matrices = list({id(fold.features): fold.features for fold in folds}.values())
    indices = {id(matrix): index for index, matrix in enumerate(matrices)}
    count, width = len(matrices[0]), max(matrix.shape[1] for matrix in matrices)
    values = torch.zeros(len(matrices) * count, width, dtype=dtype, device=device)
    for index, matrix in enumerate(matrices):
        copy = values[index * count : (index + 1) * count, : matrix.shape[1]]
        copy.copy_(torch.from_numpy(matrix))
    return Table(values, tuple(indices[id(fold.features)] * count for fold in folds))


def in_bytes(table: Table) -> Table:
    """Return a table of at most 256 distinct numbers, such as grey levels, as codes of one byte.

    A step on a GPU then reads fewer bytes. Any other table is returned as it is.
    """
    blocks = torch.split(table.values, CODED_ROWS)
    levels = table.values.new_empty(0)
    for block in blocks:
        levels = torch.unique(torch.cat([levels, torch.unique(block)]))
        if len(levels) > 256:
            return table
    codes = [torch.searchsorted(levels, block).to(torch.uint8) for block in blocks]
    return Table(torch.cat(codes), table.starts, levels)


def training_order(seed: int, fold: FoldData, epoch: int) -> Tensor:
    """Return the training rows of one fold in the order of one epoch. Shape: (N_training,)."""
    order_seed = seed_for(seed, "order", fold.repeat, fold.fold, epoch)
    order = torch.randperm(len(fold.training), generator=torch.Generator().manual_seed(order_seed))
    return torch.from_numpy(fold.training)[order]


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Hold one step's rows of the first F' folds; those without rows left take no step.

    Shape: features (F', D, B); wanted (F', C, B); share (F', 1, 1, B) is the weight of a row in
    the mean loss, 1 / rows of the fold in this step unless rows have weights, 0 where a shorter
    fold is padded; noise[l] (F', H, B) for each hidden layer that is dropped from. step is its
    number in the epoch, or a tensor (1,) that holds it on the device.
    """

    step: int | Tensor
    features: Tensor
    wanted: Tensor
    share: Tensor
    noise: tuple[Tensor | None, ...]

    @property
    def folds(self) -> int:
        return self.features.size(0)


class Epoch:
    """Lay out one epoch of the given folds (indices into rows, longest first).

    units holds the number of units of each hidden layer that need dropout noise, 0 for none.
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
            rows_in_order = order[line, : self.sizes[line]]
            real[line, : self.sizes[line]] = _weights(rows.folds[fold], rows_in_order)
        device = rows.like.device
        self.order = order.to(device)
        self._feature_rows = self._by_step(
            self.order + _column(rows.features.starts, folds, device)
        )
        self._wanted_rows = self._by_step(self.order + _column(rows.wanted.starts, folds, device))
        real = self._by_step(real)
        share = real / real.sum(dim=2, keepdim=True).clamp_(min=LEAST_WEIGHT)
        self._share = share.to(device, rows.like.dtype)
        self._keys = self._noise_keys(folds, seed, epoch)

    @property
    def whole_steps(self) -> int:
        """The number of steps, counted from the first, with a full minibatch of every fold."""
        return self.sizes[-1] // self.batch_size

    @property
    def fold_steps(self) -> list[int]:
        """The number of steps of each fold."""
        return [-(-size // self.batch_size) for size in self.sizes]

    def load(self, other: Epoch) -> None:
        """Copy another epoch of the same folds into the tensors of this one."""
        pairs = zip(self._tensors(), other._tensors(), strict=True)
        for own, new in pairs:
            own.copy_(new)

    def minibatch_at(self, step: Tensor) -> Minibatch:
        """Gather a whole step whose number is on the device. Shape: step (1,) int64."""
        (batch,) = self._gather(
            [step],
            self._feature_rows.index_select(0, step),
            self._wanted_rows.index_select(0, step),
            self._share.index_select(0, step),
            self._keys.index_select(1, step),
        )
        return batch

    def minibatches(self, start: int = 0) -> Iterator[tuple[int, Minibatch]]:
        """Yield each step's minibatch and the column in the order of the epoch where it begins.

        start is the first step to yield.
        """
        for first, last, folds, size in self._blocks(start):
            span = (slice(first, last), slice(0, folds), slice(0, size))
            block = self._gather(
                range(first, last),
                self._feature_rows[span],
                self._wanted_rows[span],
                self._share[span],
                self._keys[:, first:last, :folds],
            )
            for step, batch in enumerate(block, start=first):
                yield step * self.batch_size, batch

    def _tensors(self) -> list[Tensor]:
        return [self.order, self._feature_rows, self._wanted_rows, self._share, self._keys]

    def _blocks(self, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield runs of steps that are gathered at once: first, last, folds, rows per fold."""
        shapes = [
            (
                sum(size > first for size in self.sizes),
                min(self.batch_size, self.sizes[0] - first),
            )
            for first in range(0, self.steps * self.batch_size, self.batch_size)
        ]
        row_bytes = (self.rows.width + sum(self.units)) * self.rows.like.element_size()
        step_bytes = row_bytes * self.batch_size * len(self.sizes)
        most = max(1, BLOCK_BYTES // step_bytes)
        first = start
        for last in range(start + 1, self.steps + 1):
            is_end = last == self.steps or shapes[last] != shapes[first]
            if is_end or last - first == most:
                yield first, last, *shapes[first]
                first = last

    def _gather(
        self,
        steps: Iterable[int | Tensor],
        feature_rows: Tensor,
        wanted_rows: Tensor,
        share: Tensor,
        keys: Tensor,
    ) -> Iterator[Minibatch]:
        """Yield the minibatches of some steps of one shape.

        Shape: row numbers and share (S', F', B), keys (L, S', F').
        """
        size = share.size(2)
        features = self.rows.features.take(feature_rows)  # (S', F', B, D)
        wanted = self.rows.wanted.take(wanted_rows).mT.contiguous()  # (S', F', C, B)
        noises = [
            noise(keys[layer], size, units) if units else None
            for layer, units in enumerate(self.units)
        ]
        shares = share[:, :, None, None]  # (S', F', 1, 1, B)
        parts = zip(steps, features.mT.unbind(), wanted.unbind(), shares.unbind(), strict=True)
        for line, part in enumerate(parts):
            yield Minibatch(*part, tuple(None if each is None else each[line] for each in noises))

    def _by_step(self, rows: Tensor) -> Tensor:
        """Shape: (F, S * B) -> (S, F, B)."""
        return rows.view(len(rows), self.steps, self.batch_size).transpose(0, 1).contiguous()

    def _noise_keys(self, folds: Sequence[int], seed: int, epoch: int) -> Tensor:
        """Return the keys of all dropout masks. Shape: (L, S, F) int32."""
        keys = torch.zeros(len(self.units), self.steps, len(folds), dtype=torch.int32)
        for layer, units in enumerate(self.units):
            for line, fold in enumerate(folds if units else ()):
                data = self.rows.folds[fold]
                keys[layer, :, line] = torch.tensor(
                    [
                        dropout_key(seed, data.repeat, data.fold, layer, epoch, step)
                        for step in range(self.steps)
                    ],
                    dtype=torch.int32,
                )
        return keys.to(self.rows.like.device)


def _weights(fold: FoldData, rows: Tensor) -> Tensor | float:
    """Return the weight of some rows in the training loss. Shape: (B,) -> (B,)."""
    return 1.0 if fold.weights is None else torch.from_numpy(fold.weights)[rows]


def _column(starts: Sequence[int], folds: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([starts[fold] for fold in folds], device=device).unsqueeze(1)


def take_features(rows: Rows, fold: int, index: Tensor) -> Tensor:
    """Return rows of one fold, units before rows. Shape: index (B,) -> (1, D, B)."""
    return rows.features.take(index + rows.features.starts[fold]).T.unsqueeze(0)
