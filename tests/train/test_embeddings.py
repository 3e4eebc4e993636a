"""Numeric embeddings beside autograd and beside pytabkit's layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selection.study.setting import NumericEmbedding
from selection.train.embeddings import (
    Embedding,
    embed,
    gradients,
    initial_embedding,
    own_outputs,
)

KINDS: list[NumericEmbedding] = ["pl", "pbld"]
FOLDS, TRIALS, ROWS, NUMBERS, INPUTS = 2, 3, 11, 4, 6


def make(kind: NumericEmbedding) -> tuple[Embedding, Tensor]:
    parts = [initial_embedding(kind, (0.1, 0.5, 2.0), NUMBERS, 3, 0, fold) for fold in range(FOLDS)]
    features = torch.randn(
        FOLDS, INPUTS, ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return Embedding.joined(parts, features), features


def member(kind: NumericEmbedding, embedding: Embedding, index: int, features: Tensor) -> Tensor:
    """One member's inputs, number by number. Shape: features (D, B) -> (E, B)."""
    outputs = [features if kind == "pbld" else features[NUMBERS:]]
    for column in range(NUMBERS):
        angles = 2 * torch.pi * embedding.frequency[index, column][:, None] * features[column]
        if embedding.phase is not None:
            waves = torch.cos(angles + embedding.phase[index, column][:, None])
        else:
            waves = torch.cat([torch.cos(angles), torch.sin(angles)])
        own = slice(column * own_outputs(kind), (column + 1) * own_outputs(kind))
        outputs.append(embedding.weight[index, own] @ waves + embedding.bias[index, own])
    return torch.cat(outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_each_member_is_embedded_by_its_own_waves(kind: NumericEmbedding) -> None:
    embedding, features = make(kind)
    inputs = embed(embedding, features).inputs
    kept = INPUTS if kind == "pbld" else INPUTS - NUMBERS
    assert inputs.shape == (FOLDS * TRIALS, kept + NUMBERS * own_outputs(kind), ROWS)
    for index in range(FOLDS * TRIALS):
        truth = member(kind, embedding, index, features[index // TRIALS])
        torch.testing.assert_close(inputs[index], truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_waves_in_float32_are_those_in_float64(kind: NumericEmbedding) -> None:
    embedding, features = make(kind)
    features = 100.0 * features
    features[0, 0, 0] = torch.inf
    exact, rounded = (
        embed(Embedding.joined([embedding], torch.empty(0, dtype=dtype)), features.to(dtype))
        for dtype in (torch.float64, torch.float32)
    )
    assert exact.waves.isnan().equal(rounded.waves.isnan())
    # The angles themselves are rounded.
    torch.testing.assert_close(
        rounded.waves.double(), exact.waves, rtol=0, atol=2e-3, equal_nan=True
    )
    given = rounded.angles.double()
    truth = given.cos() if kind == "pbld" else torch.cat([given.cos(), given.sin()], dim=2)
    torch.testing.assert_close(rounded.waves.double(), truth, rtol=0, atol=3e-7, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_autograd(kind: NumericEmbedding) -> None:
    embedding, features = make(kind)
    learned = embedding.tensors()
    for tensor in learned.values():
        tensor.requires_grad_()
    embedded = embed(embedding, features)
    delta = torch.randn(
        embedded.inputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    delta[:, : -NUMBERS * own_outputs(kind)] = 0.0  # of features, nothing is learned
    truth = torch.autograd.grad(embedded.inputs, list(learned.values()), delta)
    delta = delta[:, -NUMBERS * own_outputs(kind) :]
    with torch.no_grad():
        found = gradients(embedding, embed(embedding, features), delta)
    assert list(found) == list(learned)
    for own, other in zip(found.values(), truth, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)


def test_trials_differ_in_the_scale_of_their_frequencies_only() -> None:
    one = initial_embedding("pbld", (1.0,), NUMBERS, 3, 0, 0)
    several = initial_embedding("pbld", (0.25, 1.0), NUMBERS, 3, 0, 0)
    assert torch.equal(several.frequency[0], 0.25 * one.frequency[0])
    for name, tensor in several.part(slice(1, 2)).tensors().items():
        assert torch.equal(tensor, one.tensors()[name])
    another = initial_embedding("pbld", (1.0,), NUMBERS, 3, 0, 1)
    assert not torch.equal(another.frequency, one.frequency)


@pytest.mark.parametrize("kind", KINDS)
def test_pytabkit_computes_the_same(kind: NumericEmbedding) -> None:
    nn = pytest.importorskip("pytabkit.models.nn_models.nn")
    base: Any = pytest.importorskip("pytabkit.models.nn_models.base")
    embedding, features = make(kind)

    def columns(tensor: Tensor) -> Any:
        """(n * J, 16) of one member as (n, 16, J)."""
        return base.Variable(tensor.view(NUMBERS, -1, tensor.shape[1]).mT.contiguous())

    layers = {
        "weight_1": base.Variable(embedding.frequency[0][:, None]),
        "weight_2": columns(embedding.weight[0]),
        "bias_2": columns(embedding.bias[0]),
        "plr_act_name": "linear",
        "plr_use_densenet": kind == "pbld",
    }
    if embedding.phase is not None:
        layers["bias_1"] = base.Variable(embedding.phase[0][:, None])
    make_layer = nn.PLREmbeddingsLayerCosBias if kind == "pbld" else nn.PLREmbeddingsLayer
    layer = make_layer(fitter=nn.PLREmbeddingsFactory(), **layers)
    theirs = layer.forward_cont(features[0, :NUMBERS].T).detach().numpy()
    ours = embed(embedding, features).inputs[0].T.numpy()
    outputs = NUMBERS * own_outputs(kind)
    np.testing.assert_allclose(ours[:, -outputs:], theirs[:, :outputs], rtol=1e-9, atol=1e-9)
