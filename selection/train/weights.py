"""Weights as safetensors and back: numbers and their shapes, no executable content.

Does not need torch. Names are member_M.layer_L.weight (out, in), member_M.layer_L.bias (out), and
member_M.layer_L.mix (out) where a parametric activation follows.
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
    """Hold one linear layer, and the shares of a parametric activation behind it.

    Shape: weight (H, D), bias (H,) and mix (H,), float32.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mix: NDArray[np.float32] | None = None

    @property
    def parts(self) -> dict[str, NDArray[np.float32]]:
        """The arrays of this layer by name."""
        parts = {"weight": self.weight, "bias": self.bias, "mix": self.mix}
        return {name: part for name, part in parts.items() if part is not None}


def encode_weights(members: Members, metadata: Mapping[str, str]) -> bytes:
    """Return the members of a model as the bytes of a safetensors file."""
    tensors = {}
    for index, layers in enumerate(members):
        for depth, layer in enumerate(layers):
            for name, part in layer.parts.items():
                tensors[f"member_{index}.layer_{depth}.{name}"] = np.ascontiguousarray(part)
    return bytes(save(tensors, dict(metadata)))


def decode_weights(
    content: bytes, depths: Sequence[int], *, is_parametric: bool = False
) -> list[list[LayerWeights]]:
    """Return the members of a safetensors file, given the number of layers of each.

    Raises: ValueError if the file is damaged, lacks a tensor or has an extra one.
    """
    try:
        tensors = load(content)
        members = [
            [
                LayerWeights(
                    **{
                        name: tensors[f"member_{index}.layer_{layer}.{name}"].astype(np.float32)
                        for name in _parts(is_parametric=is_parametric and layer < depth - 1)
                    }
                )
                for layer in range(depth)
            ]
            for index, depth in enumerate(depths)
        ]
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from None
    count = sum(len(layer.parts) for layers in members for layer in layers)
    if len(tensors) != count:
        raise ValueError(f"{count} tensors are needed, but got {len(tensors)}")
    return members


def _parts(*, is_parametric: bool) -> tuple[str, ...]:
    return ("weight", "bias", "mix") if is_parametric else ("weight", "bias")
