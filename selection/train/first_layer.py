"""What stands between the features and the first weights of a bucket's members: embeddings.

Numeric columns become waves, beside the features that are kept. A categorical column of many
categories becomes a few numbers, a linear layer of its own on its one-hot columns; its product with
the first weights is taken once a step, so that rows meet one matrix, and an exported MLP has it
multiplied out. Weights are (M, H, I): first the plain inputs of a fold (all kept features but those
one-hot columns), padded to the fold with most, then SIZE for each such column, then the waves.
Source: pytabkit's RealMLP, which embeds columns of more than 8 categories as 8 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selection.seeds import seed_for
from selection.study.setting import Kind, Setting
from selection.train.batches import Rows
from selection.train.embeddings import (
    Embedded,
    Embedding,
    embed,
    gradients,
    initial_embedding,
    own_outputs,
)
from selection.train.products import first

SIZE, MOST_ONE_HOT = 8, 8


@dataclass(frozen=True, eq=False)
class _Line:
    """Hold which of the kept features of one fold are inputs as they are, and which are embedded.

    Shape: plain (P,) int64; blocks are the one-hot columns of each embedded column.
    """

    plain: Tensor
    blocks: tuple[slice, ...]
    features: int


class FirstLayer:
    """Embed the inputs of one bucket, whose folds are in the order of its members."""

    def __init__(
        self, settings: Sequence[Setting], rows: Rows, folds: Sequence[int], seed: int
    ) -> None:
        self._kind = settings[0].kind
        self._trials = len(settings)
        self._like = rows.like
        numbers = rows.folds[folds[0]].numeric if self._kind.numeric_embedding != "none" else 0
        # Of each feature that pl embeds, nothing is kept.
        self._gone = numbers if self._kind.numeric_embedding == "pl" else 0
        self.waves = numbers * own_outputs(self._kind.numeric_embedding)
        embedded = embedded_columns(self._kind, rows)
        self._lines = [self._line(rows, fold, embedded) for fold in folds]
        self._kept = rows.width - self._gone
        self._plain = max(len(line.plain) for line in self._lines) if embedded else self._kept
        self.tables = {
            f"table_{column}": self._table(rows, folds, column, seed) for column in embedded
        }
        self.numbers = self._numbers(settings, rows, folds, numbers, seed)

    @property
    def width(self) -> int:
        """The number of inputs of the first weights."""
        return self._plain + SIZE * len(self.tables) + self.waves

    def columns(self, line: int) -> Tensor:
        """Return which of the inputs one fold has, in their order. Shape: (I',) int64."""
        plain = torch.arange(len(self._lines[line].plain))
        return torch.cat([plain, torch.arange(self._plain, self.width)])

    def exported(self, weight: Tensor, line: int) -> Tensor:
        """Return one member's expanded weights without the padding. Shape: (H, E) -> (H, E')."""
        kept = self._lines[line].features - self._gone
        return torch.cat([weight[:, :kept], weight[:, self._kept :]], dim=1)

    def learned(self) -> dict[str, Tensor]:
        """Return what is learned here, by name: tables (M, C, SIZE), and the waves' tensors."""
        return {**self.tables, **({} if self.numbers is None else self.numbers.tensors())}

    @property
    def decayed(self) -> set[str]:
        """The names of what weight decay acts on: weights of linear layers."""
        return {*self.tables, "waves"}

    def keep(self, members: Tensor, trials: int) -> None:
        """Drop all members but these. Shape: (M',) int64."""
        self._trials = trials
        self.tables = {name: table[members] for name, table in self.tables.items()}
        self.numbers = None if self.numbers is None else self.numbers.part(members)

    def embed(self, features: Tensor, begin: int = 0) -> Embedded | None:
        """Return the inputs of some folds' members, from the given fold on; None without waves.

        Shape: features (F', D, B).
        """
        if self.numbers is None:
            return None
        span = slice(begin * self._trials, (begin + features.size(0)) * self._trials)
        return embed(self.numbers.part(span), features.to(self._like.dtype))

    def expand(self, weight: Tensor, begin: int = 0) -> Tensor:
        """Return the first weights as the kept features and the waves meet them.

        Shape: (M', H, I), the members of some folds from the given one on -> (M', H, E).
        """
        if not self.tables:
            return weight
        waves = weight[:, :, weight.size(2) - self.waves :]
        parts = []
        for line, own, members in self._by_line(weight, begin):
            found = self._lines[line]
            whole = own.new_zeros(own.size(0), own.size(1), self._kept)
            whole[:, :, found.plain] = own[:, :, : len(found.plain)]
            for index, (table, block) in enumerate(
                zip(self.tables.values(), found.blocks, strict=True)
            ):
                rows = table[members, : block.stop - block.start]  # (T, C, SIZE)
                whole[:, :, block] = torch.bmm(own[:, :, self._span(index)], rows.mT)
            parts.append(whole)
        return torch.cat([torch.cat(parts), waves], dim=2)

    def collect(self, gradient: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradient of the first weights and of the tables, given that of expand().

        Shape: gradient (M', H, E), weight (M', H, I) -> (M', H, I), (M', C, SIZE) each.
        """
        if not self.tables:
            return gradient, {}
        of_weight = torch.zeros_like(weight)
        if self.waves:
            of_weight[:, :, -self.waves :] = gradient[:, :, -self.waves :]
        of_tables = {
            name: torch.zeros_like(first(table, weight.size(0)))
            for name, table in self.tables.items()
        }
        for line, own, members in self._by_line(weight, 0):
            found, part = self._lines[line], gradient[members]
            of_weight[members, :, : len(found.plain)] = part[:, :, found.plain]
            for index, (name, block) in enumerate(zip(self.tables, found.blocks, strict=True)):
                count, of_block = block.stop - block.start, part[:, :, block]  # (T, H, C)
                rows = self.tables[name][members, :count]
                of_weight[members, :, self._span(index)] = torch.bmm(of_block, rows)
                of_rows = torch.bmm(of_block.mT, own[:, :, self._span(index)])
                of_tables[name][members, :count] = of_rows
        return of_weight, of_tables

    def wave_gradients(
        self, embedded: Embedded, features: Tensor, delta: Tensor
    ) -> dict[str, Tensor]:
        """Return the gradients of the waves' tensors by name, given that of their outputs.

        Shape: features (F', D, B), delta (M', n * J, B).
        """
        assert self.numbers is not None, "there are waves"
        part = self.numbers.part(slice(delta.size(0)))
        return gradients(part, embedded, features.to(delta.dtype), delta)

    def _by_line(self, weight: Tensor, begin: int) -> list[tuple[int, Tensor, slice]]:
        """Return each fold's number, its members' weights, and where they lie among all members."""
        count = weight.size(0) // self._trials
        return [
            (
                begin + line,
                own,
                slice((begin + line) * self._trials, (begin + line + 1) * self._trials),
            )
            for line, own in enumerate(weight.view(count, self._trials, *weight.shape[1:]))
        ]

    def _span(self, index: int) -> slice:
        """Return which of the inputs are those of an embedded column."""
        start = self._plain + SIZE * index
        return slice(start, start + SIZE)

    def _line(self, rows: Rows, fold: int, embedded: Sequence[int]) -> _Line:
        data = rows.folds[fold]
        blocks = [data.blocks[column] for column in embedded]
        is_plain = torch.ones(data.features.shape[1], dtype=torch.bool)
        is_plain[: self._gone] = False
        for block in blocks:
            is_plain[block] = False
        plain = is_plain.nonzero()[:, 0] - self._gone
        moved = (slice(block.start - self._gone, block.stop - self._gone) for block in blocks)
        return _Line(plain.to(self._like.device), tuple(moved), data.features.shape[1])

    def _table(self, rows: Rows, folds: Sequence[int], column: int, seed: int) -> Tensor:
        """Draw the embedding of one column, standard normal. Shape: (M, C, SIZE)."""
        sizes = [_size(rows, fold, column) for fold in folds]
        table = self._like.new_zeros(len(folds) * self._trials, max(sizes), SIZE)
        for line, (fold, size) in enumerate(zip(folds, sizes, strict=True)):
            data = rows.folds[fold]
            drawn = initial_table(size, seed, data.repeat, data.fold, column)
            span = slice(line * self._trials, (line + 1) * self._trials)
            table[span, :size] = drawn.to(self._like.dtype).to(self._like.device)
        return table

    def _numbers(
        self,
        settings: Sequence[Setting],
        rows: Rows,
        folds: Sequence[int],
        numbers: int,
        seed: int,
    ) -> Embedding | None:
        if not numbers:
            return None
        scales = [setting.embedding_scale for setting in settings]
        drawn = [
            initial_embedding(
                self._kind.numeric_embedding, scales, numbers, seed, data.repeat, data.fold
            )
            for data in (rows.folds[fold] for fold in folds)
        ]
        return Embedding.joined(drawn, self._like)


def initial_table(categories: int, seed: int, repeat: int, fold: int, column: int) -> Tensor:
    """Draw the embedding of one categorical column of one fold. Shape: (C, SIZE) float64."""
    key = seed_for(seed, "embedding", repeat, fold, column)
    generator = torch.Generator().manual_seed(key)
    return torch.randn(categories, SIZE, dtype=torch.float64, generator=generator)


def embedded_columns(kind: Kind, rows: Rows) -> list[int]:
    """Return which categorical columns are embedded: those with many categories in some fold."""
    if not kind.category_embedding:
        return []
    columns = range(len(rows.folds[0].blocks))
    folds = range(len(rows.folds))
    return [
        column
        for column in columns
        if max(_size(rows, fold, column) for fold in folds) > MOST_ONE_HOT
    ]


def is_embedded(kind: Kind, rows: Rows) -> bool:
    """Say whether anything stands between features and first weights."""
    has_numbers = kind.numeric_embedding != "none" and rows.folds[0].numeric > 0
    return has_numbers or bool(embedded_columns(kind, rows))


def _size(rows: Rows, fold: int, column: int) -> int:
    block = rows.folds[fold].blocks[column]
    return int(block.stop) - int(block.start)
