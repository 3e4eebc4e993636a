"""Ratios of rounds, and whether they meet a goal: pure arithmetic."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Hold the median of a ratio over rounds, and its range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.1f}"
        return f"{self.median:.1f} ({self.low:.1f} to {self.high:.1f})"


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return how many times ours is theirs, each round by itself."""
    each = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def verdict(found: float, goal: float) -> str:
    """Say whether a goal is met, or how many times more it asks for."""
    return "met" if found >= goal else f"missed by {goal / found:.2f}x"


def training_operations(sizes: Sequence[int], rows: int) -> float:
    """Return the floating-point operations that one epoch over so many rows needs.

    Three products of each layer forward and back, and no gradient of the inputs.
    """
    products = [before * after for before, after in itertools.pairwise(sizes)]
    return float(rows * (6 * sum(products) - 2 * products[0]))
