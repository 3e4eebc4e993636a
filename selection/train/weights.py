"""Weights as safetensors and back: numbers and their shapes, no executable content.

Does not need torch. Names are member_M.layer_L.weight (out, in), member_M.layer_L.bias (out), and
member_M.layer_L.mix (out) where a parametric activation follows; where numbers are embedded, layer
0 has frequency, phase, waves and wave_bias as well.
Source: the safetensors format, version 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from selection.study.setting import NumericEmbedding

Members = Sequence[Sequence["LayerWeights"]]


@dataclass(frozen=True, eq=False)
class WaveWeights:
    """Hold the embedding of the n numeric columns of one MLP; phase is None for "pl".

    Shape: frequency and phase (n, K), waves (n * J, 16), wave_bias (n * J,), float32.
    """

    frequency: NDArray[np.float32]
    waves: NDArray[np.float32]
    wave_bias: NDArray[np.float32]
    phase: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Hold one linear layer, what makes its inputs, and the shares of an activation behind it.

    Shape: weight (H, D), bias (H,) and mix (H,), float32.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mix: NDArray[np.float32] | None = None
    waves: WaveWeights | None = None

    @property
    def parts(self) -> dict[str, NDArray[np.float32]]:
        """The arrays of this layer by name."""
        own = {"weight": self.weight, "bias": self.bias, "mix": self.mix}
        parts = own | ({} if self.waves is None else vars(self.waves))
        return {name: part for name, part in parts.items() if part is not None}


def encode_weights(members: Members, metadata: Mapping[str, str]) -> bytes:
    """Return the members of a model as the bytes of a safetensors file."""
    tensors = {}
    for index, layers in enumerate(members):
        for depth, layer in enumerate(layers):
            for name, part in layer.parts.items():
                tensors[f"member_{index}.layer_{depth}.{name}"] = np.ascontiguousarray(part)
    return bytes(save(tensors, dict(metadata)))


@dataclass(frozen=True)
class MemberForm:
    """Say which tensors one member has: its layers, whether they have a mix, and its waves."""

    layers: int
    is_parametric: bool = False
    numeric_embedding: NumericEmbedding = "none"


def decode_weights(content: bytes, forms: Sequence[MemberForm]) -> list[list[LayerWeights]]:
    """Return the members of a safetensors file, given what each of them has.

    Raises: ValueError if the file is damaged, lacks a tensor or has an extra one.
    """
    try:
        tensors = {name: part.astype(np.float32) for name, part in load(content).items()}
        members = [_member(tensors, index, form) for index, form in enumerate(forms)]
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from None
    count = sum(len(layer.parts) for layers in members for layer in layers)
    if len(tensors) != count:
        raise ValueError(f"{count} tensors are needed, but got {len(tensors)}")
    return members


_WAVES: Mapping[NumericEmbedding, tuple[str, ...]] = {
    "none": (),
    "pl": ("frequency", "waves", "wave_bias"),
    "pbld": ("frequency", "waves", "wave_bias", "phase"),
}


def _member(
    tensors: Mapping[str, NDArray[np.float32]], index: int, form: MemberForm
) -> list[LayerWeights]:
    layers = []
    for layer in range(form.layers):
        start = f"member_{index}.layer_{layer}."
        has_mix = form.is_parametric and layer < form.layers - 1
        mix = tensors[f"{start}mix"] if has_mix else None
        layers.append(LayerWeights(tensors[f"{start}weight"], tensors[f"{start}bias"], mix))
    if waves := _WAVES[form.numeric_embedding]:
        own = {name: tensors[f"member_{index}.layer_0.{name}"] for name in waves}
        layers[0] = replace(layers[0], waves=WaveWeights(**own))
    return layers
