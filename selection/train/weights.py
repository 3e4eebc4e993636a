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


@dataclass(frozen=True)
class Form:
    """Say which tensors a member has: of how many layers, and of what beside their weights."""

    layers: int
    parametric_activation: bool = False
    numeric_embedding: NumericEmbedding = "none"


def form_of(layers: Sequence[LayerWeights]) -> Form:
    """Return the form of a member."""
    is_parametric = any(layer.mix is not None for layer in layers)
    if (waves := layers[0].waves) is None:
        return Form(len(layers), is_parametric)
    return Form(len(layers), is_parametric, "pl" if waves.phase is None else "pbld")


def encode_weights(members: Members, metadata: Mapping[str, str]) -> bytes:
    """Return the members of a model as the bytes of a safetensors file."""
    tensors = {}
    for index, layers in enumerate(members):
        for depth, layer in enumerate(layers):
            for name, part in layer.parts.items():
                tensors[f"member_{index}.layer_{depth}.{name}"] = np.ascontiguousarray(part)
    return bytes(save(tensors, dict(metadata)))


def decode_weights(content: bytes, forms: Sequence[Form]) -> list[list[LayerWeights]]:
    """Return the members of a safetensors file, given the form of each.

    Raises: ValueError if the file is damaged, lacks a tensor or has an extra one.
    """
    try:
        tensors = {name: part.astype(np.float32) for name, part in load(content).items()}
        members = []
        for index, form in enumerate(forms):
            mixes = ["mix"] if form.parametric_activation else []
            named = [[f"member_{index}.layer_{layer}.", *mixes] for layer in range(form.layers - 1)]
            named.append([f"member_{index}.layer_{form.layers - 1}."])
            layers = [_layer(tensors, start, names) for start, *names in named]
            waves = _WAVES[form.numeric_embedding]
            if waves:
                own = {name: tensors[f"member_{index}.layer_0.{name}"] for name in waves}
                layers[0] = replace(layers[0], waves=WaveWeights(**own))
            members.append(layers)
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


def _layer(
    tensors: Mapping[str, NDArray[np.float32]], start: str, more: Sequence[str]
) -> LayerWeights:
    weight, bias, *mix = (tensors[start + name] for name in ("weight", "bias", *more))
    return LayerWeights(weight, bias, mix[0] if mix else None)
