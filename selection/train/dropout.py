"""Counter-based dropout: a mask is a hash of (study seed, repeat, fold, layer, step, row, unit).

No generator state exists, so a mask never depends on who else is in the pack; all trials of a fold
see the same noise and differ in their probability only. One 32-bit word decides each unit.
Source: the finaliser of MurmurHash3 (Appleby, public domain) over row and unit, then a product, a
shift and a product over each pair; products wrap around and shifts keep the sign.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selection.seeds import seed_for

# Odd 32-bit words, read as signed integers.
ROW_FACTOR = 0x9E3779B1 - 2**32
UNIT_FACTOR = 0x7FEB352D
FIRST_FACTOR = 0x85EBCA6B - 2**32
SECOND_FACTOR = 0xC2B2AE35 - 2**32
PAIR_FACTOR = 0x846CA68B - 2**32


def dropout_key(seed: int, repeat: int, fold: int, layer: int, epoch: int, step: int) -> int:
    """Return the key of one mask. Units: a signed 32-bit word."""
    return (seed_for(seed, "dropout", repeat, fold, layer, epoch, step) >> 31) - 2**31


def noise(keys: Tensor, rows: int, units: int) -> Tensor:
    """Return one uniformly distributed signed word per fold, row and unit.

    Shape: keys (F,) int32 -> (F, B, H) int32.
    """
    row = torch.arange(1, rows + 1, dtype=torch.int32, device=keys.device) * ROW_FACTOR
    unit = torch.arange(1, units + 1, dtype=torch.int32, device=keys.device) * UNIT_FACTOR
    left = _finalise(row[None, :] ^ keys[:, None])  # (F, B)
    word = left[:, :, None] ^ _finalise(unit)  # (F, B, H)
    word *= PAIR_FACTOR
    word ^= word >> 15
    word *= SECOND_FACTOR
    return word


def threshold(probability: float) -> int:
    """Return the signed 32-bit word below which a unit is dropped."""
    return min(round(probability * 2**32), 2**32 - 1) - 2**31


def _finalise(word: Tensor) -> Tensor:
    """Scramble 32-bit words in place, so that each output bit hangs on every input bit."""
    word ^= word >> 16
    word *= FIRST_FACTOR
    word ^= word >> 13
    word *= SECOND_FACTOR
    word ^= word >> 16
    return word
