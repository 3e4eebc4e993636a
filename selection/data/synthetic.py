"""Data sets made from the seed, by formula.

Source: moons as in scikit-learn; the two others as in Zhang, Lipton, Li, Smola, "Dive into Deep
Learning", sections 3.7 (weight decay) and 3.6 (generalization).
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import make_moons

from selection.data.rows import Part, Rows
from selection.seeds import seed32_for, seed_for

HELD_OUT_ROWS = 100


def make_rows(name: str, seed: int, part: Part) -> Rows:
    """Return the rows of a synthetic data set; each part has a seed of its own."""
    return _MAKERS[name](seed, part)


def _moons(seed: int, _part: Part) -> Rows:
    features, target = make_moons(1000, noise=0.2, random_state=seed32_for(seed, "rows"))
    names = ("x", "y")
    return Rows(
        "moons", "classification", features, names, {}, target.astype(np.int64), ("upper", "lower")
    )


def _generator(seed: int, part: Part) -> np.random.Generator:
    return np.random.default_rng(seed_for(seed, "rows", 0 if part == "development" else 1))


def _high_dimensional_linear(seed: int, part: Part) -> Rows:
    """Draw fewer rows than features: y = 0.05 + sum_i 0.01 x_i + noise, noise ~ N(0, 0.01^2)."""
    generator = _generator(seed, part)
    features = generator.normal(size=(20 if part == "development" else HELD_OUT_ROWS, 200))
    noise = generator.normal(scale=0.01, size=len(features))
    target = 0.05 + 0.01 * features.sum(axis=1) + noise
    return _regression("high_dimensional_linear", features, [f"x{i}" for i in range(200)], target)


def _cubic_polynomial(seed: int, part: Part) -> Rows:
    """Draw a cubic, y = 5 + 1.2 x - 3.4 x^2/2! + 5.6 x^3/3! + noise, noise ~ N(0, 0.1^2).

    Features are x^i / i! for i = 1..20.
    """
    generator = _generator(seed, part)
    x = generator.normal(size=(100 if part == "development" else HELD_OUT_ROWS, 1))
    powers = np.arange(1, 21)
    features = x**powers / np.array([factorial(i) for i in powers], dtype=np.float64)  # (N, 20)
    noise = generator.normal(scale=0.1, size=len(x))
    target = 5.0 + features[:, :3] @ np.array([1.2, -3.4, 5.6]) + noise
    return _regression("cubic_polynomial", features, [f"x^{i}/{i}!" for i in powers], target)


def _regression(
    name: str, features: NDArray[np.float64], names: list[str], target: NDArray[np.float64]
) -> Rows:
    return Rows(name, "regression", features, tuple(names), {}, target, ())


_MAKERS: dict[str, Callable[[int, Part], Rows]] = {
    "moons": _moons,
    "high_dimensional_linear": _high_dimensional_linear,
    "cubic_polynomial": _cubic_polynomial,
}
