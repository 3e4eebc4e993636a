"""One MLP in eval mode: the arithmetic of a model that has left its pack.

Each layer is computed in float64 and rounded to float32: in float32 the bits of a row would depend
on its position among the rows of one call.
Source: torch.nn.functional.linear, whose weight is (out, in).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from selection.study.activations import ActivationName
from selection.train.activations import FUNCTIONS, Parametric
from selection.train.embeddings import Embedding, embed
from selection.train.weights import LayerWeights

BLOCK_ROWS = 4096


def predict(
    layers: Sequence[LayerWeights], activation: ActivationName, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the outputs of one MLP. Shape: (N, D) -> (N, C)."""
    blocks = [np.empty((0, len(layers[-1].bias)), dtype=np.float32)]
    function = FUNCTIONS[activation]
    with torch.inference_mode():
        parts = [{name: _wide(part) for name, part in layer.parts.items()} for layer in layers]
        for first in range(0, len(features), BLOCK_ROWS):
            unit = torch.from_numpy(features[first : first + BLOCK_ROWS])
            if layers[0].waves is not None:
                unit = _with_waves(parts[0], unit.double()).float()
            for index, part in enumerate(parts):
                unit = linear(unit.double(), part["weight"], part["bias"])  # (B, H)
                if "mix" in part:
                    unit = Parametric.of(function, part["mix"], unit).outputs
                elif index < len(parts) - 1:
                    unit = function.forward(unit)
                unit = unit.float()
            blocks.append(unit.numpy())
    return np.concatenate(blocks)


def _wide(part: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(part).double()


def _with_waves(part: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """Return the inputs of a first layer whose numbers are embedded. Shape: (B, D) -> (B, E)."""
    phase = part["phase"][None] if "phase" in part else None
    own = Embedding(
        part["frequency"][None], phase, part["waves"][None], part["wave_bias"].view(1, -1, 1)
    )
    return embed(own, features.T[None]).inputs[0].T
