"""What one cell of a table says, as a function of that cell alone.

Text is a number, a truth value, a missing value or a word; what other cells say never matters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from decimal import Decimal
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The words that pandas reads as missing where nothing else is said.
MISSING_WORDS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
# From here on neighbouring whole numbers are the same float64.
EXACT_WHOLE = 2.0**53

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_TRUTH = {"true": 1.0, "false": 0.0}
_NOT_PLAIN = re.compile(r"[^0-9+\-.eE\n]")


def is_truth(text: str) -> bool:
    """Say whether a text spells true or false, in any case."""
    return text.strip().casefold() in _TRUTH


def number_in(text: str, decimal: str = ".") -> float | None:
    """Return the number that a text spells, true and false as 1 and 0; None where it spells none.

    Blanks around a number do not matter; a decimal comma is read where decimal is one.
    """
    plain = text.strip()
    if decimal != ".":
        if "." in plain:
            return None
        plain = plain.replace(decimal, ".")
    if _NUMBER.fullmatch(plain) or _INFINITY.fullmatch(plain):
        return float(plain)
    return _TRUTH.get(plain.casefold())


def numbers_in(
    cells: Sequence[str], missing: Collection[str], decimal: str = "."
) -> tuple[NDArray[np.float64], list[int], Counter[str]]:
    """Return the numbers of many cells, NaN for none, and the places of those that spell none.

    The counts are of the words that were read as missing, other than an empty cell.
    Shape: (N,).
    """
    words: Counter[str] = Counter()
    is_plain = decimal == "." and not _has_numbers(frozenset(missing))
    if is_plain and not _NOT_PLAIN.search("\n".join(cells)):
        try:
            return np.fromiter(map(float, cells), np.float64, len(cells)), [], words
        except ValueError:
            pass
    values = np.full(len(cells), math.nan)
    unreadable = []
    for index, cell in enumerate(cells):
        if cell in missing:
            if cell:
                words[cell] += 1
            continue
        number = number_in(cell, decimal)
        if number is None:
            unreadable.append(index)
        else:
            values[index] = number
    return values, unreadable, words


@lru_cache
def _has_numbers(missing: frozenset[str]) -> bool:
    """Say whether a word for a missing value is a number, such as -999."""
    return any(number_in(word) is not None for word in missing)


def text_of(value: Any) -> str:
    """Return the text of a typed value: the shortest spelling of a number, True and False.

    So 1 and 1.0 are "1", and a float32 of 0.1 is "0.1". Text stays as it is.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    if isinstance(value, Real) and math.isfinite(value):
        return str(int(float(value))) if float(value).is_integer() else str(value)
    return str(value)


def is_typed_number(value: Any) -> bool:
    """Say whether a value is a number and neither text nor a truth value."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)
