"""Counter-based dropout: a mask is a hash of (study seed, repeat, fold, layer, step, row, unit).

There is no generator state, so a mask never depends on the other members of the pack; all trials of
a fold share the same noise and differ only in their probability. The upper 23 bits of one 32-bit
word decide each unit, as a float: a float holds no more of them, and compares much faster.
Source: the finaliser of MurmurHash3 (Appleby, public domain) over row and unit, then a product, a
shift and a product over each pair; products wrap around and shifts keep the sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selection.seeds import seed_for

# Odd 32-bit words, read as signed integers.
ROW_FACTOR = 0x9E3779B1 - 2**32
UNIT_FACTOR = 0x7FEB352D
FIRST_FACTOR = 0x85EBCA6B - 2**32
SECOND_FACTOR = 0xC2B2AE35 - 2**32
PAIR_FACTOR = 0x846CA68B - 2**32
# Noise lies on a grid so coarse that noise - threshold is far below 0 or far above 1.
GRID = 2.0**40


@dataclass(frozen=True, eq=False)
class Drop:
    """Hold the dropout of one hidden layer.

    Shape: below (1, T, 1, 1), or (F, T, 1, 1) where it differs by fold, scale (M, 1, 1).
    """

    below: Tensor
    scale: Tensor
    is_used: bool


def dropout_key(seed: int, repeat: int, fold: int, layer: int, epoch: int, step: int) -> int:
    """Return the key of one mask. Units: a signed 32-bit word."""
    return (seed_for(seed, "dropout", repeat, fold, layer, epoch, step) >> 31) - 2**31


def noise(keys: Tensor, rows: int, units: int) -> Tensor:
    """Return uniform noise for every key, unit and row.

    Shape: keys (...) int32 -> (..., H, B) float32.
    Units: whole multiples of GRID, from -2**22 to 2**22 - 1 of them.
    """
    row = torch.arange(1, rows + 1, dtype=torch.int32, device=keys.device) * ROW_FACTOR
    unit = torch.arange(1, units + 1, dtype=torch.int32, device=keys.device) * UNIT_FACTOR
    of_row = _finalise(row ^ keys[..., None])  # (..., B)
    word = of_row[..., None, :] ^ _finalise(unit)[:, None]  # (..., H, B)
    word *= PAIR_FACTOR
    word ^= word >> 15
    word *= SECOND_FACTOR
    word >>= 9
    return word.to(torch.float32).mul_(GRID)


def thresholds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise below which a unit is dropped, half-way between two points of the grid."""
    points = np.minimum(np.round(probabilities * 2**23), 2**23 - 1)
    return np.asarray((points - 2**22 - 0.5) * GRID)


def keep_mask(noise: Tensor, below: Tensor) -> Tensor:
    """Return 1 for units that are kept and 0 for those that are dropped.

    Shape: noise (F, H, B), below (1 or F, T, 1, 1) -> (F * T, H, B).
    """
    mask = noise.unsqueeze(1) - below
    return mask.clamp_(0.0, 1.0).view(-1, *noise.shape[1:])


def dropped_bias(noise: Tensor, below: Tensor, bias: Tensor) -> Tensor:
    """Return the bias of units that are kept, and one far below 0 for those that are dropped.

    An activation that is 0 below 0 then drops them at no extra cost, forward and backward.
    Shape: noise (F, H, B), below (1 or F, T, 1, 1), bias (F * T, H, 1) -> (F * T, H, B).
    """
    margin = noise.unsqueeze(1) - below
    own = bias.view(*margin.shape[:3], 1)
    return torch.minimum(margin, own, out=margin).view(-1, *noise.shape[1:])


def _finalise(word: Tensor) -> Tensor:
    """Scramble 32-bit words in place, so that each output bit depends on every input bit."""
    word ^= word >> 16
    word *= FIRST_FACTOR
    word ^= word >> 13
    word *= SECOND_FACTOR
    word ^= word >> 16
    return word
