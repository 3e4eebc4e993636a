"""Makes Optuna's TPE evaluate the logarithm of the normal distribution function on arrays.

Optuna calls a Python function for each number, and a proposal takes that of every candidate under
every finished trial. Here each of its operations is done on the whole array, and what NumPy does
not have, or rounds otherwise, by the same functions of the C library: every bit is the same.
Source: optuna/samplers/_tpe/_truncnorm.py, version 5.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from optuna.samplers._tpe import _truncnorm

Floats = NDArray[np.float64]

# Optuna's own, one number at a time.
log_ndtr_of_each = _truncnorm._log_ndtr
# Beyond these it approximates; few numbers lie there.
LOWEST, HIGHEST = -20.0, 6.0


def log_ndtr(a: Floats) -> Floats:
    """Return the logarithm of the normal distribution function of each number."""
    flat = np.asarray(a, dtype=np.float64).ravel()
    found = np.empty_like(flat)
    is_low = ~(flat > LOWEST)
    found[is_low] = log_ndtr_of_each(flat[is_low])
    is_high = flat > HIGHEST
    found[is_high] = -_ndtr(-flat[is_high])
    is_between = ~(is_low | is_high)
    found[is_between] = _each(math.log, _ndtr(flat[is_between]))
    return found.reshape(np.shape(a))


def _ndtr(a: Floats) -> Floats:
    x = a / 2**0.5
    edge = 1 / 2**0.5
    found = np.empty_like(x)
    is_left, is_right = x < -edge, ~(x < edge)
    is_centre = ~(is_left | is_right)
    found[is_left] = 0.5 * _each(math.erfc, -x[is_left])
    found[is_centre] = 0.5 + 0.5 * _each(math.erf, x[is_centre])
    found[is_right] = 1.0 - 0.5 * _each(math.erfc, x[is_right])
    return found


def _each(function: Callable[[float], float], values: Floats) -> Floats:
    return np.fromiter(map(function, values.tolist()), np.float64, len(values))


def install() -> None:
    """Let Optuna use it."""
    _truncnorm._log_ndtr = log_ndtr
