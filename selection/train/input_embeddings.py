"""The embeddings between the features and the first weights of a bucket's members.

Numeric columns become waves, beside the features that are kept. A categorical column of many
categories becomes a few numbers, a linear layer of its own on its one-hot columns; its product with
the first weights is taken once a step, so that rows meet one matrix, and an exported MLP has it
multiplied out. Weights are (M, H, I): first the plain inputs of a fold (all kept features but those
one-hot columns), padded to the fold with most, then SIZE for each such column, then the waves.
Source: pytabkit's RealMLP, which embeds columns of more than 8 categories as 8 numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class _Line:
    """Hold which of the kept features of one fold are inputs as they are, and which are embedded.

    features is their number. parts are slices that follow each other, in the order of the features:
    those that are one-hot columns of an embedded column, with its number among these, and the rest,
    with None.
    """

    features: int
    parts: tuple[tuple[slice, int | None], ...]

    @property
    def plain(self) -> int:
        """The number of features that are inputs as they are."""
        return sum(_width(part) for part, column in self.parts if column is None)


class InputEmbeddings:
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
        self.wave_inputs = numbers * own_outputs(self._kind.numeric_embedding)
        embedded = embedded_columns(self._kind, rows)
        self._lines = [self._line(rows, fold, embedded) for fold in folds]
        self._kept = rows.width - self._gone
        self._plain = max(line.plain for line in self._lines) if embedded else self._kept
        self.tables = {
            f"table_{column}": self._table(rows, folds, column, seed) for column in embedded
        }
        self.numeric = self._numbers(settings, rows, folds, numbers, seed)

    @property
    def width(self) -> int:
        """The number of inputs of the first weights."""
        return self._plain + SIZE * len(self.tables) + self.wave_inputs

    def columns(self, line: int) -> Tensor:
        """Return which of the inputs one fold has, in their order. Shape: (I',) int64."""
        plain = torch.arange(self._lines[line].plain)
        return torch.cat([plain, torch.arange(self._plain, self.width)])

    def exported(self, weight: Tensor, line: int) -> Tensor:
        """Return one member's expanded weights without the padding. Shape: (H, E) -> (H, E')."""
        kept = self._lines[line].features
        return torch.cat([weight[:, :kept], weight[:, self._kept :]], dim=1)

    def learned(self) -> dict[str, Tensor]:
        """Return what is learned here, by name: tables (M, C, SIZE), and the waves' tensors."""
        return {**self.tables, **({} if self.numeric is None else self.numeric.tensors())}

    @property
    def decayed(self) -> set[str]:
        """The names of what weight decay acts on: weights of linear layers."""
        return {*self.tables, "waves"}

    def keep(self, members: Tensor, trials: int) -> None:
        """Drop all members but these. Shape: (M',) int64."""
        self._trials = trials
        self.tables = {name: table[members] for name, table in self.tables.items()}
        self.numeric = None if self.numeric is None else self.numeric.part(members)

    def embed(self, features: Tensor, begin: int = 0) -> Embedded | None:
        """Return the inputs of some folds' members, from the given fold on; None without waves.

        Shape: features (F', D, B).
        """
        if self.numeric is None:
            return None
        span = slice(begin * self._trials, (begin + features.size(0)) * self._trials)
        return embed(self.numeric.part(span), features.to(self._like.dtype))

    def expand(self, weight: Tensor, begin: int = 0) -> Tensor:
        """Return the first weights as the kept features and the waves meet them.

        Shape: (M', H, I), the members of some folds from the given one on -> (M', H, E).
        """
        if not self.tables:
            return weight
        begun = begin * self._trials
        groups = [
            self._expand_group(
                line, weight[members], slice(begun + members.start, begun + members.stop)
            )
            for line, members in self._groups(weight, begin)
        ]
        return _joined(groups)

    def _expand_group(self, line: int, weight: Tensor, members: slice) -> Tensor:
        """Expand the first weights of folds with the same columns, given which members they are."""
        found, plain = self._lines[line], 0
        tables = list(self.tables.values())
        parts = []
        for part, column in found.parts:
            if column is None:
                parts.append(weight[:, :, plain : plain + _width(part)])
                plain += _width(part)
            else:
                rows = tables[column][members, : _width(part)]  # (M', C, SIZE)
                parts.append(torch.bmm(weight[:, :, self._span(column)], rows.mT))
        padding = weight.new_zeros(*weight.shape[:2], self._kept - found.features)
        waves = weight[:, :, weight.size(2) - self.wave_inputs :]
        return torch.cat([*parts, padding, waves], dim=2)

    def collect(self, gradient: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradient of the first weights and of the tables, given that of expand().

        Shape: gradient (M', H, E), weight (M', H, I) -> (M', H, I), (M', C, SIZE) each.
        """
        if not self.tables:
            return gradient, {}
        of_tables = {
            name: torch.zeros_like(first(table, weight.size(0)))
            for name, table in self.tables.items()
        }
        groups = []
        for line, members in self._groups(weight, 0):
            own = {name: table[members] for name, table in of_tables.items()}
            groups.append(
                self._collect_group(line, gradient[members], weight[members], own, members)
            )
        return _joined(groups), of_tables

    def _collect_group(
        self,
        line: int,
        gradient: Tensor,
        weight: Tensor,
        of_tables: Mapping[str, Tensor],
        members: slice,
    ) -> Tensor:
        """Return the gradient of the first weights of folds with the same columns.

        The gradients of their tables are written to of_tables.
        """
        found, names = self._lines[line], list(self.tables)
        plain, embedded = [], []
        for part, column in found.parts:
            given = gradient[:, :, part]  # (M', H, C)
            if column is None:
                plain.append(given)
                continue
            name, size = names[column], _width(part)
            embedded.append(torch.bmm(given, self.tables[name][members, :size]))
            of_rows = torch.bmm(given.mT, weight[:, :, self._span(column)])
            of_tables[name][:, :size] = of_rows
        padding = weight.new_zeros(*weight.shape[:2], self._plain - found.plain)
        waves = gradient[:, :, gradient.size(2) - self.wave_inputs :]
        return torch.cat([*plain, padding, *embedded, waves], dim=2)

    def wave_gradients(self, embedded: Embedded, delta: Tensor) -> dict[str, Tensor]:
        """Return the gradients of the waves' tensors by name, given that of their outputs.

        Shape: delta (M', n * J, B).
        """
        assert self.numeric is not None, "there are waves"
        part = self.numeric.part(slice(delta.size(0)))
        return gradients(part, embedded, delta)

    def _groups(self, weight: Tensor, begin: int) -> Iterator[tuple[int, slice]]:
        """Yield runs of folds with the same columns: the first of each, and whose weights are its.

        Shape: weight (M', H, I), the members of some folds from the given one on.
        """
        end = begin + weight.size(0) // self._trials
        for _, run in itertools.groupby(range(begin, end), self._lines.__getitem__):
            lines = list(run)
            start = (lines[0] - begin) * self._trials
            yield lines[0], slice(start, start + len(lines) * self._trials)

    def _span(self, index: int) -> slice:
        """Return which of the inputs are those of an embedded column."""
        start = self._plain + SIZE * index
        return slice(start, start + SIZE)

    def _line(self, rows: Rows, fold: int, embedded: Sequence[int]) -> _Line:
        data = rows.folds[fold]
        parts: list[tuple[slice, int | None]] = []
        end, features = 0, data.features.shape[1] - self._gone
        for index, column in enumerate(embedded):
            block = data.blocks[column]
            start, stop = block.start - self._gone, block.stop - self._gone
            parts += [(slice(end, start), None), (slice(start, stop), index)]
            end = stop
        parts.append((slice(end, features), None))
        return _Line(features, tuple(part for part in parts if _width(part[0])))

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
    return _width(rows.folds[fold].blocks[column])


def _width(part: slice) -> int:
    return int(part.stop) - int(part.start)


def _joined(groups: Sequence[Tensor]) -> Tensor:
    return groups[0] if len(groups) == 1 else torch.cat(list(groups))
