"""Hashes by which rows are known again, whatever the order and names of their columns.

The hash of a row is the sum of the hashes of its cells: numbers by value (0.0 is 0, in float32
unless whole), truth values, words, and one for a missing value. Columns of one value, and those
that only name the rows, are left out. They recognise rows; they guard no secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.data.cells import EXACT_WHOLE, number_in
from selection.data.growing import GrowingArray

Hashes = NDArray[np.uint64]
_MISSING = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class RowHashes:
    """Hold three hashes per row.

    whole is of every cell and the name of its column: two rows are the same. content and seen are
    of cells alone, without columns that say nothing of a row: content of all of them, seen of what
    a model sees, features and target.
    Shape: (N,) uint64 each.
    """

    whole: Hashes
    content: Hashes
    seen: Hashes

    def take(self, rows: NDArray[np.int64]) -> RowHashes:
        """Return the hashes of these rows."""
        return RowHashes(self.whole[rows], self.content[rows], self.seen[rows])


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Hold that by which held-out rows are known again: hashes of them and of their whole table.

    Shape: content and seen are (N,) uint64, as those of RowHashes.
    """

    content: Hashes
    seen: Hashes
    table: str

    def __len__(self) -> int:
        return len(self.content)

    def shared_with(self, others: HeldOutRows) -> int:
        """Return how many of these rows are among others, whatever columns either table has."""
        by_content = count_shared(self.content, others.content)
        return max(by_content, count_shared(self.seen, others.seen))


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
    number = None if text.strip().casefold() in ("true", "false") else number_in(text)
    if number is not None:
        return np.uint64(hash_numbers(np.array([number]))[0])
    word = text.strip()
    word = word.casefold() if word.casefold() in ("true", "false") else word
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


class ColumnSum:
    """Take note of one column, batch by batch, to take it out of the hashes of rows again.

    A column of one value says nothing of a row, and one that only names rows, by whole numbers or
    words that are all different, is made anew with each copy of a table.
    """

    def __init__(self) -> None:
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
        self._is_constant &= bool((hashes == self._first).all())
        expected = self._start + self._rows + np.arange(len(hashes))
        self._is_counting &= values is not None and bool((values == expected).all())
        if self._names is not None:
            is_whole = values is None or bool((values == np.floor(values)).all())
            if is_whole and len(np.unique(hashes)) == len(hashes):
                self._names.append(hashes)
            else:
                self._names = None
        self._rows += len(hashes)

    @property
    def is_counting(self) -> bool:
        """Whether the column counts the rows: 0, 1, 2, ... from any whole number."""
        return self._is_counting and self._rows > 1

    def says_nothing(self) -> Hashes | np.uint64 | None:
        """Return what the column added to the hashes of rows, if it says nothing of them."""
        if self._is_constant:
            return self._first
        if self._names is None:
            return None
        names = self._names.array()
        return names if len(np.unique(names)) == len(names) else None


def column_factor(name: str) -> np.uint64:
    """Return an odd number for a column's name, by which the hashes of its cells are its own."""
    return hash_text(f"column {name}") | np.uint64(1)


def hash_columns(columns: Mapping[str, Column]) -> RowHashes:
    """Return the hashes of the rows of whole columns, all of which a model sees."""
    whole: Hashes = np.zeros(len(next(iter(columns.values()))[0]), dtype=np.uint64)
    seen = whole.copy()
    for name, (hashes, values) in columns.items():
        whole += hashes * column_factor(name)
        column = ColumnSum()
        column.add(hashes, values)
        if column.says_nothing() is None:
            seen += hashes
    return RowHashes(whole, seen, seen)


def _mix(bits: NDArray[np.uint64]) -> Hashes:
    """Return well-mixed bits. Source: Steele, Lea and Flood 2014, SplitMix64."""
    mixed = bits + _MISSING
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FACTORS[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _FACTORS[1]
    hashes: Hashes = mixed ^ (mixed >> np.uint64(31))
    return hashes
