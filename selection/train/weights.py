"""Weights as safetensors and back: numbers and their shapes, no executable content.

Does not need torch. Names are member_M.layer_L.weight (out, in) and member_M.layer_L.bias (out).
Source: the safetensors format, version 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Members = Sequence[Sequence["LayerWeights"]]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Hold one linear layer. Shape: weight (H, D), bias (H,), float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def encode_weights(members: Members, metadata: Mapping[str, str]) -> bytes:
    """Return the members of a model as the bytes of a safetensors file."""
    tensors = {}
    for index, layers in enumerate(members):
        for depth, layer in enumerate(layers):
            tensors[f"member_{index}.layer_{depth}.weight"] = np.ascontiguousarray(layer.weight)
            tensors[f"member_{index}.layer_{depth}.bias"] = np.ascontiguousarray(layer.bias)
    return bytes(save(tensors, dict(metadata)))


def decode_weights(content: bytes, depths: Sequence[int]) -> list[list[LayerWeights]]:
    """Return the members of a safetensors file, given the number of layers of each.

    Raises: ValueError if the file is damaged, lacks a tensor or has an extra one.
    """
    try:
        tensors = load(content)
        members = [
            [
                LayerWeights(
                    tensors[f"member_{index}.layer_{layer}.weight"].astype(np.float32),
                    tensors[f"member_{index}.layer_{layer}.bias"].astype(np.float32),
                )
                for layer in range(depth)
            ]
            for index, depth in enumerate(depths)
        ]
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from None
    if len(tensors) != 2 * sum(depths):
        raise ValueError(f"{2 * sum(depths)} tensors are needed, but got {len(tensors)}")
    return members
