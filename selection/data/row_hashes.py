"""Hashes by which rows are known again, in their own table and in another.

The hash of a row is the sum of the hashes of its cells: numbers by value (0.0 is 0, in float32
unless whole), booleans, words, and one for a missing value. Within a table each column has a factor
of its own. In another table columns may have other names and another order: there the sums are
without factors, without columns that say nothing of a row, and count only where so many equal rows
are not chance. They recognise rows; they guard no secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.data.cells import EXACT_WHOLE, is_truth, number_in
from selection.data.growing import GrowingArray

Hashes = NDArray[np.uint64]
# How many times as many numbers as rows an index may span.
GAPS = 2.0
_MISSING = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class RowHashes:
    """Hold hashes of rows.

    whole is of every cell: two rows are the same. named is of what a model sees, features and
    target: two rows are copies. content and seen have no factors: content is of all columns, seen
    of what a model sees.
    Shape: (N,) uint64 each.
    """

    whole: Hashes
    named: Hashes
    content: Hashes
    seen: Hashes

    def take(self, rows: NDArray[np.int64]) -> RowHashes:
        """Return the hashes of these rows."""
        parts = (self.whole, self.named, self.content, self.seen)
        return RowHashes(*(part[rows] for part in parts))


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Hold that by which held-out rows are known again: hashes of them and of their whole table.

    Shape: named, content and seen are (N,) uint64, as those of RowHashes.
    """

    named: Hashes
    content: Hashes
    seen: Hashes
    table: str

    def __len__(self) -> int:
        return len(self.named)

    def shared_with(self, others: HeldOutRows) -> int:
        """Return how many of these rows are among others, whatever columns either table has.

        Rows of few different values are equal by chance, and are not counted.
        """
        pairs = (
            (self.named, others.named),
            (self.content, others.content),
            (self.seen, others.seen),
        )
        counts = [(count_shared(*pair), shared_by_chance(*pair)) for pair in pairs]
        return max((count for count, chance in counts if count > 2 * chance), default=0)


def hash_numbers(values: NDArray[np.float64]) -> Hashes:
    """Return a hash per number. Shape: (N,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        is_whole = (values == np.floor(values)) & (np.abs(values) < EXACT_WHOLE)
        canonical = np.where(is_whole, values, values.astype(np.float32).astype(np.float64))
    hashes = _mix((canonical + 0.0).view(np.uint64))  # -0.0 becomes 0.0
    hashes[np.isnan(values)] = _MISSING
    return hashes


def hash_text(text: str) -> np.uint64:
    """Return the hash of a word, or of the number or truth value that a text spells."""
    number = None if is_truth(text) else number_in(text)
    if number is not None:
        return np.uint64(hash_numbers(np.array([number]))[0])
    word = text.strip()
    word = word.casefold() if is_truth(word) else word
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def hash_names(codes: NDArray[np.int64], names: tuple[str, ...]) -> Hashes:
    """Return a hash per row of a column of labels. Shape: (N,)."""
    hashes = np.array([*map(hash_text, names), _MISSING], dtype=np.uint64)
    return hashes[codes]


def fingerprint(hashes: Hashes) -> str:
    """Return the SHA-256 of rows, whatever their order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()


def count_shared(one: Hashes, other: Hashes) -> int:
    """Return how many rows of one are among those of the other; doubles count as often as both."""
    rows, counts = np.unique(one, return_counts=True)
    others, other_counts = np.unique(other, return_counts=True)
    _, at, other_at = np.intersect1d(rows, others, assume_unique=True, return_indices=True)
    return int(np.minimum(counts[at], other_counts[other_at]).sum())


Column = tuple[Hashes, NDArray[np.float64] | None]


def hash_number_column(values: NDArray[Any]) -> Column:
    """Return the hashes of a column of numbers, and these. Shape: (N,) each."""
    numbers = values.astype(np.float64)
    return hash_numbers(numbers), numbers


def hash_text_column(texts: NDArray[np.object_]) -> Column:
    """Return the hashes of a column of text. Shape: (N,)."""
    names, codes = np.unique(texts.astype(str), return_inverse=True)
    return hash_names(codes.astype(np.int64), tuple(map(str, names))), None


class ColumnNotes:
    """Take note of one column, batch by batch, to take it out of the hashes of rows again.

    A column of one value says nothing of a row. An index, different whole numbers that leave few
    gaps, is made anew with each copy of a table; so are names of rows that no model sees.
    """

    def __init__(self, *, is_seen: bool) -> None:
        self._is_seen = is_seen
        self._low, self._high = np.inf, -np.inf
        self._first: np.uint64 | None = None
        self._start = 0.0
        self._rows = 0
        self._is_constant = True
        self._is_counting = True
        self._names: GrowingArray[np.uint64] | None = GrowingArray(np.uint64)

    def add(self, hashes: Hashes, values: NDArray[np.float64] | None) -> None:
        """Take note of a batch; values are its numbers, if it has any."""
        if not len(hashes):
            return
        if self._first is None:
            self._first = hashes[0]
            self._start = 0.0 if values is None else float(values[0])
        if self._is_constant:
            self._is_constant = bool((hashes == self._first).all())
        if self._is_counting:
            expected = self._start + self._rows + np.arange(len(hashes))
            self._is_counting = values is not None and bool((values == expected).all())
        if self._names is not None:
            is_whole = values is None or bool((values == np.floor(values)).all())
            if is_whole and len(np.unique(hashes)) == len(hashes):
                self._names.append(hashes)
                if values is not None:
                    self._low = min(self._low, float(values.min()))
                    self._high = max(self._high, float(values.max()))
            else:
                self._names = None
        self._rows += len(hashes)

    @property
    def is_counting(self) -> bool:
        """Whether the column counts the rows: 0, 1, 2, ... from any whole number."""
        return self._is_counting and self._rows > 1

    @property
    def is_index(self) -> bool:
        """Whether the column has different whole numbers that leave few gaps, in any order."""
        return self._high - self._low < GAPS * self._rows and self._are_names() is not None

    def removable(self) -> Hashes | np.uint64 | None:
        """Return what the column added to the hashes of rows, if it says nothing of them."""
        if self._is_constant:
            return self._first
        return self._are_names() if self.is_index or not self._is_seen else None

    def _are_names(self) -> Hashes | None:
        """Return the hashes of the column if all of them are different."""
        if self._names is None or self._rows < 2:
            return None
        names = self._names.array()
        return names if len(np.unique(names)) == len(names) else None


def column_factor(name: str) -> np.uint64:
    """Return an odd number for a column's name, by which the hashes of its cells are its own."""
    return hash_text(f"column {name}") | np.uint64(1)


def hash_columns(columns: Mapping[str, Column]) -> RowHashes:
    """Return the hashes of the rows of whole columns, all of which a model sees."""
    whole: Hashes = np.zeros(len(next(iter(columns.values()))[0]), dtype=np.uint64)
    named, seen = whole.copy(), whole.copy()
    for name, (hashes, values) in columns.items():
        own = hashes * column_factor(name)
        whole += own
        notes = ColumnNotes(is_seen=True)
        notes.add(hashes, values)
        if not notes.is_index:
            named += own
        if notes.removable() is None:
            seen += hashes
    return RowHashes(whole, named, seen, seen)


def shared_by_chance(one: Hashes, other: Hashes) -> float:
    """Return how many rows of one would be among unrelated ones of the other's kind and number."""
    chance = max(_repetition(one), _repetition(other))
    return len(one) * float(1.0 - (1.0 - chance) ** len(other))


def _repetition(hashes: Hashes) -> float:
    """Return the chance that two of these rows are equal."""
    if len(hashes) < 2:
        return 0.0
    counts = np.unique(hashes, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(hashes) * (len(hashes) - 1)))


def _mix(bits: NDArray[np.uint64]) -> Hashes:
    """Return well-mixed bits. Source: Steele, Lea and Flood 2014, SplitMix64."""
    mixed = bits + _MISSING
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FACTORS[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _FACTORS[1]
    hashes: Hashes = mixed ^ (mixed >> np.uint64(31))
    return hashes
