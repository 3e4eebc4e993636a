"""Columns of names: classes, categories, groups, and the one rule by which labels are the same.

A label is named by its own cell: text as it is written, a number by its shortest spelling (1 and
1.0 are "1"), a truth value by True or False. Texts are the same label where they are the same
text: "01" is not "1". Where one of the two is a number (a column of numbers in a DataFrame or a
Parquet file), labels that differ as texts are the same where they spell the same number, and only
one does: 0.1 is "0.10". Numbers are compared in float32, if that tells the known labels apart, so
that 0.1 is the same in a column of float32. Where one is a truth value, case does not matter: True
is "true".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selection.data.cells import EXACT_WHOLE, is_truth, is_typed_number, number_in, text_of

LabelKind = Literal["text", "number", "boolean"]
UNKNOWN = -1
# The category of the rows without one, where a study fills what is missing.
MISSING = ""
LARGEST_FLOAT32 = 3e38


@dataclass(frozen=True, eq=False)
class Labels:
    """Hold a column of labels.

    words counts the texts that were read as missing, other than an empty cell.
    Shape: codes is (N,) int64, the place of each row's label in names, -1 where it is missing.
    """

    codes: NDArray[np.int64]
    names: tuple[str, ...]
    kind: LabelKind = "text"
    words: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def missing(self) -> int:
        """The number of rows without a label."""
        return int((self.codes < 0).sum())

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """Return these rows; names of no row among them are left out."""
        codes = self.codes[rows]
        used, places = np.unique(codes[codes >= 0], return_inverse=True)
        taken = np.full(len(codes), UNKNOWN, dtype=np.int64)
        taken[codes >= 0] = places
        return Labels(taken, tuple(self.names[index] for index in used), self.kind, self.words)

    def texts(self) -> NDArray[np.object_]:
        """Return the name of each row, MISSING where it has none. Shape: (N,)."""
        return np.array([*self.names, MISSING], dtype=object)[self.codes]

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each name, in the order of names."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def sorted(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return codes into sorted names, and these; numbers are sorted by value, words as text."""
        order = sort_names(self.names)
        return self._ranked(order), tuple(self.names[index] for index in order)

    def groups(self) -> NDArray[np.int64]:
        """Return a number per row, equal where labels are; in the order of the texts."""
        return self._ranked(sorted(range(len(self.names)), key=self.names.__getitem__))

    def _ranked(self, order: Sequence[int]) -> NDArray[np.int64]:
        ranks = np.full(len(self.names) + 1, UNKNOWN, dtype=np.int64)  # the last is for a missing
        ranks[list(order)] = np.arange(len(order))
        return ranks[self.codes]


def sort_names(names: Sequence[str]) -> list[int]:
    """Return the places of names in order: by value where all spell numbers, else as text."""
    values = [number_in(name) if not is_truth(name) else None for name in names]
    if any(value is None for value in values):
        return sorted(range(len(names)), key=names.__getitem__)
    return sorted(range(len(names)), key=lambda index: (values[index], names[index]))


def labels_of(column: pd.Series[Any], kind: LabelKind | None = None) -> Labels:
    """Return the labels of typed values: those of a DataFrame, of an array, of a Parquet file.

    kind is what the file says of the whole column; else it follows from these values.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(object)
    elif pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        codes, different = pd.factorize(column)
        is_bool = pd.api.types.is_bool_dtype(dtype)
        names, places = _merge([text_of(value) for value in np.asarray(different)])
        return Labels(_placed(codes, places), names, kind or ("boolean" if is_bool else "number"))
    is_missing = column.isna().to_numpy()
    values: NDArray[np.object_] = column.to_numpy(dtype=object)
    texts = [text_of(value) for value in values[~is_missing]]
    names, places = _merge(texts)
    codes = np.full(len(column), UNKNOWN, dtype=np.int64)
    codes[~is_missing] = places
    return Labels(codes, names, kind or _kind_of(values[~is_missing]))


def match(labels: Labels, known: Sequence[str], known_kind: LabelKind) -> NDArray[np.int64]:
    """Return the place of each row's label among known ones, -1 where it is none. Shape: (N,)."""
    places = match_names(labels.names, labels.kind, known, known_kind)
    return np.append(places, UNKNOWN)[labels.codes]


def match_names(
    names: Sequence[str], kind: LabelKind, known: Sequence[str], known_kind: LabelKind
) -> NDArray[np.int64]:
    """Return the place of each name among known ones by the rule of this module, -1 for none."""
    exact = {name: index for index, name in enumerate(known)}
    kinds = {kind, known_kind}
    round_off = rounding([_value(name) for name in known])
    by_value: dict[Any, int] = {}
    if "number" in kinds:
        values = [_value(name) for name in known]
        by_value = _unique_places([None if each is None else round_off(each) for each in values])
    by_case = _unique_places([name.casefold() for name in known]) if "boolean" in kinds else {}
    places = np.full(len(names), UNKNOWN, dtype=np.int64)
    for index, name in enumerate(names):
        place = exact.get(name)
        if place is None and by_value and (value := _value(name)) is not None:
            place = by_value.get(round_off(value))
        if place is None and by_case and is_truth(name):
            place = by_case.get(name.casefold())
        if place is not None:
            places[index] = place
    return places


def rows_with(labels: Labels, value: str | int | float | bool) -> NDArray[np.bool_]:
    """Return which rows hold a value: a number by value, true and false in any case, else as text.

    Shape: (N,).
    """
    if isinstance(value, bool):
        wanted = [name.casefold() == str(value).casefold() for name in labels.names]
    elif isinstance(value, str):
        places = match_names([value], "text", labels.names, labels.kind)
        wanted = [index == places[0] for index in range(len(labels.names))]
    else:
        text = text_of(value)
        wanted = [name == text or _value(name) == float(value) for name in labels.names]
    return np.array([*wanted, False], dtype=np.bool_)[labels.codes]


def rounding(values: Sequence[float | None]) -> type[np.float32] | type[np.float64]:
    """Return how numbers are compared: in float32 if all are different there, else in float64.

    So a column of float32 and one of float64 have the same labels.
    """
    known = [value for value in values if value is not None and abs(value) < LARGEST_FLOAT32]
    return np.float32 if len(set(map(np.float32, known))) == len(set(known)) else np.float64


def _value(name: str) -> float | None:
    """Return the number that a name spells; None for none, or one that float64 cannot tell."""
    value = None if is_truth(name) else number_in(name)
    return value if value is not None and abs(value) < EXACT_WHOLE else None


def _unique_places(keys: Sequence[Any]) -> dict[Any, int]:
    """Return the place of each key that occurs once."""
    places: dict[Any, int] = {}
    doubled = set()
    for index, key in enumerate(keys):
        if key in places:
            doubled.add(key)
        places[key] = index
    return {key: place for key, place in places.items() if key is not None and key not in doubled}


def _merge(texts: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the different texts in order of appearance, and the place of each text."""
    known: dict[str, int] = {}
    places = np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int64)
    return tuple(known), places


def _placed(codes: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.append(places, UNKNOWN)[codes.astype(np.int64)]


def _kind_of(values: NDArray[np.object_]) -> LabelKind:
    if len(values) and all(is_typed_number(value) for value in values):
        return "number"
    if len(values) and all(isinstance(value, bool | np.bool_) for value in values):
        return "boolean"
    return "text"
