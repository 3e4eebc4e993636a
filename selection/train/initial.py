"""Initial weights as a pure function of (study seed, repeat, fold, layer) and the true shape.

Drawn on the CPU in float64 and then cast, so that every device and number format starts from the
same weights.
Source: D2L section 5.4; Glorot and Bengio 2010; torch.nn.Linear for "default".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selection.seeds import seed_for
from selection.study.setting import Init


def initial_layer(
    init: Init, std: float, fan_in: int, fan_out: int, seed: int, repeat: int, fold: int, layer: int
) -> tuple[Tensor, Tensor]:
    """Draw one layer's weights and bias.

    Shape: (fan_in, fan_out) and (fan_out,), float64 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed_for(seed, "weights", repeat, fold, layer))
    weight = torch.empty(fan_in, fan_out, dtype=torch.float64)
    bias = torch.zeros(fan_out, dtype=torch.float64)
    match init:
        case "default":
            bound = 1.0 / math.sqrt(fan_in)
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        case "normal":
            weight.normal_(0.0, std, generator=generator)
        case "xavier_uniform":
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            weight.uniform_(-bound, bound, generator=generator)
        case "xavier_normal":
            weight.normal_(0.0, math.sqrt(2.0 / (fan_in + fan_out)), generator=generator)
    return weight, bias
