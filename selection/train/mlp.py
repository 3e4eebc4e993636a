"""One MLP in eval mode: the arithmetic of a model that has left its pack.

Each layer is computed in float64 and rounded to float32: in float32 the bits of a row would depend
on its position among the rows of one call.
Source: torch.nn.functional.linear, whose weight is (out, in).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear

from selection.study.activations import ActivationName
from selection.train.activations import FUNCTIONS, Parametric
from selection.train.weights import LayerWeights

BLOCK_ROWS = 4096


def predict(
    layers: Sequence[LayerWeights], activation: ActivationName, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the outputs of one MLP. Shape: (N, D) -> (N, C)."""
    parts = [[torch.from_numpy(part).double() for part in layer.parts.values()] for layer in layers]
    blocks = [np.empty((0, len(layers[-1].bias)), dtype=np.float32)]
    function = FUNCTIONS[activation]
    with torch.inference_mode():
        for first in range(0, len(features), BLOCK_ROWS):
            unit = torch.from_numpy(features[first : first + BLOCK_ROWS])
            for index, (weight, bias, *mix) in enumerate(parts):
                unit = linear(unit.double(), weight, bias)  # (B, H)
                if mix:
                    unit = Parametric.of(function, mix[0], unit).outputs
                elif index < len(parts) - 1:
                    unit = function.forward(unit)
                unit = unit.float()
            blocks.append(unit.numpy())
    return np.concatenate(blocks)
