"""One MLP in eval mode: the arithmetic of a model that has left its pack.

Source: torch.nn.functional.linear, whose weight is (out, in).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear

from selection.study.setting import Activation
from selection.train.weights import LayerWeights

# Rows are taken in blocks of one size, so that a prediction does not depend on who asked how many.
ROWS = 1024
_ACTIVATE: dict[str, Any] = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}


def predict(
    layers: Sequence[LayerWeights], activation: Activation, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the outputs of one MLP. Shape: (N, D) -> (N, C)."""
    pairs = [(torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)) for layer in layers]
    blocks = []
    with torch.inference_mode():
        for first in range(0, len(features), ROWS):
            unit = torch.zeros(ROWS, features.shape[1])
            part = torch.from_numpy(features[first : first + ROWS])
            unit[: len(part)] = part
            for place, (weight, bias) in enumerate(pairs):
                unit = linear(unit, weight, bias)  # (ROWS, H)
                if place < len(pairs) - 1:
                    unit = _ACTIVATE[activation](unit)
            blocks.append(unit[: len(part)].numpy())
    if not blocks:
        return np.empty((0, len(layers[-1].bias)), dtype=np.float32)
    return np.concatenate(blocks)
