"""Collects the columns of a table from batches of cells, each by the use that it is read for.

A column is read as numbers, as labels, or for the hashes of its rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.cells import numbers_in
from selection.data.csv_file import CsvFormat
from selection.data.growing import GrowingArray
from selection.data.labels import UNKNOWN, LabelKind, Labels, labels_of
from selection.data.numbers import Numbers, numbers_of
from selection.data.row_hashes import (
    ColumnNotes,
    Hashes,
    RowHashes,
    column_factor,
    hash_names,
    hash_numbers,
    hash_text,
)

Use = Literal["numbers", "labels", "other"]
Cells: TypeAlias = "Sequence[str] | pd.Series[Any]"


@dataclass(frozen=True, eq=False)
class Columns:
    """Hold the columns of a table by name.

    counting are the columns that count the rows, indexes those that number them in any order,
    falling those that fall from each row to the next. hashes is None where rows are not to be known
    again.
    """

    count: int
    names: tuple[str, ...]
    numbers: dict[str, Numbers]
    labels: dict[str, Labels]
    counting: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()
    hashes: RowHashes | None = None


@dataclass(frozen=True)
class Header:
    """Hold the names of columns, what each is read as, and what its labels are, if that is known.

    seen are the columns that a model sees, its target included.
    """

    names: tuple[str, ...]
    uses: tuple[Use, ...]
    kinds: tuple[LabelKind | None, ...]
    seen: frozenset[str] = frozenset()


def collect(
    header: Header, batches: Iterable[Iterable[Cells]], form: CsvFormat, *, with_hashes: bool
) -> Columns:
    """Return the columns of a table from the cells of some rows at a time."""
    builders = [
        _BUILDERS[use](form, kind) for use, kind in zip(header.uses, header.kinds, strict=True)
    ]
    hasher = _Hasher(header) if with_hashes else None
    count = 0
    for batch in batches:
        for place, (builder, cells) in enumerate(zip(builders, batch, strict=True)):
            count += len(cells) if place == 0 else 0
            added = builder.add(cells, with_hashes)
            if hasher is not None:
                hasher.add(place, cells, *added)
    numbers: dict[str, Numbers] = {}
    labels: dict[str, Labels] = {}
    for name, builder in zip(header.names, builders, strict=True):
        if isinstance(builder, _NumberBuilder):
            numbers[name] = builder.finish()
        elif isinstance(builder, _LabelBuilder):
            labels[name] = builder.finish()
    return Columns(
        count,
        header.names,
        numbers,
        labels,
        () if hasher is None else hasher.counting(),
        () if hasher is None else hasher.indexes(),
        () if hasher is None else hasher.falling(),
        None if hasher is None else hasher.finish(),
    )


Added = tuple[Hashes, NDArray[np.float64] | None]
_NONE: Added = (np.empty(0, dtype=np.uint64), None)


class _NumberBuilder:
    """Collect a column of numbers."""

    def __init__(self, form: CsvFormat, kind: LabelKind | None) -> None:
        self._form = form
        self._missing = frozenset(form.missing)
        self._values = GrowingArray(np.float64)
        self._rows = 0
        self._unreadable: list[tuple[int, str]] = []
        self._words: Counter[str] = Counter()

    def add(self, cells: Cells, with_hashes: bool) -> Added:
        if isinstance(cells, pd.Series):
            part = numbers_of(cells)
            values, broken = part.values, list(part.unreadable)
        else:
            values, places, words = numbers_in(cells, self._missing, self._form.decimal)
            broken = [(place, cells[place]) for place in places]
            self._words += words
        self._unreadable += [(self._rows + place, text) for place, text in broken]
        self._values.append(values)
        self._rows += len(values)
        return (hash_numbers(values), values) if with_hashes else _NONE

    def finish(self) -> Numbers:
        return Numbers(self._values.array(), tuple(self._unreadable), dict(self._words))


class _LabelBuilder:
    """Collect a column of labels."""

    def __init__(self, form: CsvFormat, kind: LabelKind | None) -> None:
        self._missing = frozenset(form.missing)
        self._kind = kind
        self._codes = GrowingArray(np.int64)
        self._known: dict[str, int] = {}
        self._words: Counter[str] = Counter()

    def add(self, cells: Cells, with_hashes: bool) -> Added:
        if isinstance(cells, pd.Series):
            part = labels_of(cells, self._kind)
            self._kind = part.kind
        else:
            part = self._read(cells)
        places = [self._known.setdefault(name, len(self._known)) for name in part.names]
        self._codes.append(np.array([*places, UNKNOWN], dtype=np.int64)[part.codes])
        return (hash_names(part.codes, part.names), None) if with_hashes else _NONE

    def _read(self, cells: Sequence[str]) -> Labels:
        known: dict[str, int] = dict.fromkeys(self._missing, UNKNOWN)
        names: list[str] = []
        codes = np.empty(len(cells), dtype=np.int64)
        for index, cell in enumerate(cells):
            place = known.get(cell)
            if place is None:
                place = known[cell] = len(names)
                names.append(cell)
            elif place == UNKNOWN and cell:
                self._words[cell] += 1
            codes[index] = place
        return Labels(codes, tuple(names))

    def finish(self) -> Labels:
        return Labels(
            self._codes.array(), tuple(self._known), self._kind or "text", dict(self._words)
        )


class _OtherBuilder:
    """Hash a column that is not kept."""

    def __init__(self, form: CsvFormat, kind: LabelKind | None) -> None:
        self._form = form
        self._missing = frozenset(form.missing)
        self._kind = kind

    def add(self, cells: Cells, with_hashes: bool) -> Added:
        if not with_hashes:
            return _NONE
        if isinstance(cells, pd.Series):
            kinds = pd.api.types
            if kinds.is_numeric_dtype(cells.dtype) and not kinds.is_bool_dtype(cells.dtype):
                values = numbers_of(cells).values
                return hash_numbers(values), values
            labels = labels_of(cells, self._kind)
            return hash_names(labels.codes, labels.names), None
        values, broken, _ = numbers_in(cells, self._missing, self._form.decimal)
        hashes = hash_numbers(values)
        for place in broken:
            hashes[place] = _hash_word(cells[place])
        return hashes, None if broken else values


_Builder = _NumberBuilder | _LabelBuilder | _OtherBuilder
_BUILDERS: Mapping[Use, Callable[[CsvFormat, LabelKind | None], _Builder]] = {
    "numbers": _NumberBuilder,
    "labels": _LabelBuilder,
    "other": _OtherBuilder,
}


@lru_cache(maxsize=2**16)
def _hash_word(text: str) -> np.uint64:
    return hash_text(text)


class _Hasher:
    """Add the hashes of cells to those of their rows, batch by batch."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._notes = [ColumnNotes(is_seen=name in header.seen) for name in header.names]
        self._orders = [_Falling() for _ in header.names]
        self._factors = [column_factor(name) for name in header.names]
        self._done = [GrowingArray(np.uint64) for _ in range(4)]
        self._batch: Hashes = np.zeros((4, 0), dtype=np.uint64)

    def add(
        self, place: int, cells: Cells, hashes: Hashes, values: NDArray[np.float64] | None
    ) -> None:
        self._orders[place].add(cells if values is None else values)
        if place == 0:
            self._batch = np.zeros((4, len(hashes)), dtype=np.uint64)
        whole, named, content, seen = self._batch
        self._notes[place].add(hashes, values)
        own = hashes * self._factors[place]
        whole += own
        content += hashes
        if self._header.names[place] in self._header.seen:
            named += own
            seen += hashes
        if place == len(self._notes) - 1:
            for done, part in zip(self._done, self._batch, strict=True):
                done.append(part)

    def counting(self) -> tuple[str, ...]:
        pairs = zip(self._header.names, self._notes, strict=True)
        return tuple(name for name, each in pairs if each.is_counting)

    def indexes(self) -> tuple[str, ...]:
        pairs = zip(self._header.names, self._notes, strict=True)
        return tuple(name for name, each in pairs if each.is_index)

    def falling(self) -> tuple[str, ...]:
        pairs = zip(self._header.names, self._orders, strict=True)
        return tuple(name for name, each in pairs if each.is_falling)

    def finish(self) -> RowHashes | None:
        whole, named, content, seen = (done.array() for done in self._done)
        if not len(whole):
            return None
        columns = zip(self._header.names, self._notes, self._factors, strict=True)
        for name, notes, factor in columns:
            removable = notes.removable()
            if removable is None:
                continue
            content -= removable
            if name in self._header.seen:
                seen -= removable
                if notes.is_index:
                    named -= removable * factor
        return RowHashes(whole, named, content, seen)


class _Falling:
    """Say whether a column falls from row to row, as dates do where the newest is first."""

    def __init__(self) -> None:
        self._last: Any = None
        self._rows = 0
        self._falls = True

    @property
    def is_falling(self) -> bool:
        return self._falls and self._rows > 2

    def add(self, cells: Cells | NDArray[np.float64]) -> None:
        if not self._falls or not len(cells):
            return
        values = cells.tolist() if isinstance(cells, pd.Series | np.ndarray) else cells
        if self._last is not None:
            values = [self._last, *values]
        try:
            self._falls = all(before > after for before, after in pairwise(values))
        except (TypeError, ValueError):  # what has no order, such as lists
            self._falls = False
        self._rows += len(cells)
        self._last = values[-1]
