"""Numeric embeddings: each number becomes a few, by waves whose frequencies are learned.

"pl" gives cos and sin of a column's frequencies to a linear layer of its own, whose outputs take
the column's place. "pbld" gives it cosines with a phase, and keeps the column beside its outputs.
Forward and backward are written out.
Source: Gorishniy, Rubachev and Babenko (2022), "On Embeddings for Numerical Features", for pl;
Holzmueller, Grinsztajn and Steinwart (2024) for pbld; sizes as in pytabkit's RealMLP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selection.seeds import seed_for
from selection.study.setting import NumericEmbedding

# What the linear layer of a column is given, and what becomes of the column.
WAVES, OUTPUTS = 16, 4
TURN = 2.0 * math.pi


@dataclass(eq=False)
class Embedding:
    """Hold the embeddings of the first n inputs of all members.

    phase is None for pl, which has half as many frequencies. A column has J = 3 own outputs with
    pbld and 4 with pl.
    Shape: frequency and phase (M, n, K), weight (M, n * J, 16), bias (M, n * J, 1).
    """

    frequency: Tensor
    phase: Tensor | None
    weight: Tensor
    bias: Tensor

    @property
    def numbers(self) -> int:
        """The number of inputs that are embedded."""
        return self.frequency.size(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that is learned, by name."""
        phases = {} if self.phase is None else {"phase": self.phase}
        return {"frequency": self.frequency, **phases, "waves": self.weight, "wave_bias": self.bias}

    @classmethod
    def joined(cls, parts: Sequence[Embedding], like: Tensor) -> Embedding:
        """Return the embeddings of several folds as those of all members, of like's format."""

        def join(tensors: list[Tensor]) -> Tensor:
            return torch.cat(tensors).to(like.dtype).to(like.device)

        phases = [part.phase for part in parts if part.phase is not None]
        return cls(
            join([part.frequency for part in parts]),
            join(phases) if phases else None,
            join([part.weight for part in parts]),
            join([part.bias for part in parts]),
        )

    def part(self, members: slice | Tensor) -> Embedding:
        """Return the embeddings of some members."""
        phase = None if self.phase is None else self.phase[members]
        return Embedding(self.frequency[members], phase, self.weight[members], self.bias[members])


@dataclass(frozen=True, eq=False)
class Embedded:
    """Hold the inputs of the first layer, and what the backward pass needs of how they were made.

    Shape: inputs (M, E, B), first what is left of the features, then the columns' outputs;
    angles (M, n, K, B), waves (M, n, 16, B), values (M, n, B).
    """

    inputs: Tensor
    angles: Tensor
    waves: Tensor
    values: Tensor


def initial_embedding(
    kind: NumericEmbedding, scales: Sequence[float], numbers: int, seed: int, repeat: int, fold: int
) -> Embedding:
    """Draw the embeddings of one fold's members, which differ in the scale of frequencies only.

    Shape: scales (T,) -> tensors of T members, float64 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed_for(seed, "embedding", repeat, fold))
    has_phase = kind == "pbld"
    count = WAVES if has_phase else WAVES // 2
    outputs = numbers * own_outputs(kind)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=generator) * 2.0 - 1.0

    drawn = torch.randn(numbers, count, dtype=torch.float64, generator=generator)
    bound = 1.0 / math.sqrt(WAVES)
    trials = len(scales)
    scale = torch.tensor(scales, dtype=torch.float64).view(-1, 1, 1)
    phase = (math.pi * uniform(numbers, count)).repeat(trials, 1, 1) if has_phase else None
    weight, bias = uniform(outputs, WAVES) * bound, uniform(outputs, 1) * bound
    return Embedding(scale * drawn, phase, weight.repeat(trials, 1, 1), bias.repeat(trials, 1, 1))


def own_outputs(kind: NumericEmbedding) -> int:
    """Return how many outputs the linear layer of one column has."""
    return {"none": 0, "pl": OUTPUTS, "pbld": OUTPUTS - 1}[kind]


def extra_inputs(kind: NumericEmbedding) -> int:
    """Return how many more inputs a column has where it is embedded."""
    return 0 if kind == "none" else OUTPUTS - 1


def embed(embedding: Embedding, features: Tensor) -> Embedded:
    """Return the inputs of the first layer. Shape: features (F, D, B) -> inputs (M, E, B)."""
    folds, _, rows = features.shape
    members, numbers, _ = embedding.frequency.shape
    values = features[:, :numbers].repeat_interleave(members // folds, 0)  # (M, n, B)
    angles = (TURN * embedding.frequency).unsqueeze(3) * values.unsqueeze(2)  # (M, n, K, B)
    if embedding.phase is not None:
        angles += embedding.phase.unsqueeze(3)
        waves = _cos(angles)
    else:
        waves = torch.cat([_cos(angles), _sin(angles)], dim=2)
    weight, bias = _by_column(embedding.weight, numbers), _by_column(embedding.bias, numbers)
    own = torch.baddbmm(bias, weight, waves.view(members * numbers, -1, rows))  # (M * n, J, B)
    kept = features if embedding.phase is not None else features[:, numbers:]
    kept = kept.unsqueeze(1).expand(-1, members // folds, -1, -1)  # (F, T, K', B)
    inputs = torch.cat([kept, own.view(folds, members // folds, -1, rows)], dim=2)
    return Embedded(inputs.flatten(0, 1), angles, waves, values)


def gradients(embedding: Embedding, embedded: Embedded, delta: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each of tensors(), given that of the columns' outputs.

    Shape: delta (M, n * J, B).
    """
    members, numbers, count = embedding.frequency.shape
    rows = delta.size(2)
    own = delta.reshape(members * numbers, -1, rows)  # (M * n, J, B)
    waves = embedded.waves.view(members * numbers, -1, rows)
    weight = _by_column(embedding.weight, numbers)
    of_weight = torch.bmm(own, waves.mT).view_as(embedding.weight)
    of_bias = own.sum(dim=2).view_as(embedding.bias)
    below = torch.bmm(weight.mT, own).view(members, numbers, -1, rows)  # (M, n, 16, B)
    phases = {}
    if embedding.phase is not None:
        below.mul_(_sin(embedded.angles))  # of the negative of each angle
        phases["phase"] = below.sum(dim=3).neg_()
    else:
        # The derivatives of cos and sin are at hand.
        cos, sin = embedded.waves[:, :, :count], embedded.waves[:, :, count:]
        below = below[:, :, :count].mul_(sin).sub_(below[:, :, count:].mul_(cos))
    of_frequency = below.mul_(embedded.values.unsqueeze(2)).sum(dim=3).mul_(-TURN)  # (M, n, K)
    return {"frequency": of_frequency, **phases, "waves": of_weight, "wave_bias": of_bias}


def _cos(angles: Tensor) -> Tensor:
    return _of_numpy(np.cos, angles) if _is_numpy_faster(angles) else angles.cos()


def _sin(angles: Tensor) -> Tensor:
    return _of_numpy(np.sin, angles) if _is_numpy_faster(angles) else angles.sin()


def _is_numpy_faster(angles: Tensor) -> bool:
    """Return whether numpy's waves are faster than torch's, as in float32: nearly three times."""
    return angles.device.type == "cpu" and angles.dtype == torch.float32


def _of_numpy(function: np.ufunc, angles: Tensor) -> Tensor:
    waves = torch.empty_like(angles)
    # A member that diverges is found by its loss.
    with np.errstate(invalid="ignore"):
        function(angles.numpy(), out=waves.numpy())
    return waves


def _by_column(tensor: Tensor, numbers: int) -> Tensor:
    """Shape: (M, n * J, K) -> (M * n, J, K)."""
    return tensor.view(tensor.size(0) * numbers, -1, tensor.size(2))
