"""Diagnostics of the layers of a pack after an epoch: gradients, weights, dead units.

Computed by autograd in eval mode on the training rows that are scored; nothing here trains. Used
only where a study asks for diagnostics.
Source: D2L section 5.4 (vanishing gradients); Glorot and Bengio (2010).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from selection.train import metrics
from selection.train.batches import Rows, take_features
from selection.train.bucket import Bucket
from selection.train.optimizer import Layer
from selection.train.plan import EVALUATION_ROWS


def layer_numbers(bucket: Bucket, line: int, rows: Rows) -> Tensor:
    """Return the columns of LAYER_COLUMNS for each layer of one fold's members.

    The gradient is that of the mean loss without the penalty, with respect to the weights of the
    layer. A dead unit is 0 for every row; the share is NaN where the activation cannot be dead.

    Shape: (T, L, 3) float64.
    """
    layers = [
        replace(layer, weight=layer.weight.detach().requires_grad_())
        for layer in bucket.layers_of(line)
    ]
    alive = _backward(bucket, layers, rows, line)
    numbers = torch.stack(
        [
            torch.stack(
                [_norm(_gradient(bucket, layers, position)) for position in range(len(layers))]
            ),
            torch.stack([_norm(layer.weight.detach()) for layer in layers]),
            _dead_shares(bucket, alive),
        ],
        dim=-1,
    )  # (L, T, 3)
    return numbers.transpose(0, 1)


def _backward(bucket: Bucket, layers: list[Layer], rows: Rows, line: int) -> list[Tensor]:
    """Leave the gradient of the mean loss in the weights; return which units are ever active.

    Shape: (T, H) of each hidden layer.
    """
    fold = bucket.folds[line]
    index = rows.scored[fold]
    alive = [layer.bias.new_zeros(layer.bias.shape[:2], dtype=torch.bool) for layer in layers[:-1]]
    for part in torch.split(index, EVALUATION_ROWS[index.device.type]):
        with torch.enable_grad():
            cast = bucket.cast(layers)
            unit = bucket.inputs(take_features(rows, fold, part), line)
            for position, hidden in enumerate(bucket.hidden_units(cast, unit)):
                unit = hidden
                alive[position] |= (unit.detach() > 0).any(dim=2)
            outputs = bucket.outputs(cast[-1], unit)
            loss = metrics.loss(rows.task, outputs, rows.targets[fold][part])
            loss.sum().mul(len(part) / len(index)).backward()  # type: ignore[no-untyped-call]
    return alive


def _gradient(bucket: Bucket, layers: list[Layer], position: int) -> Tensor:
    """Return the gradient of one layer, 0 for inputs that a member does not use."""
    gradient: Tensor | None = layers[position].weight.grad
    assert gradient is not None, "the loss depends on every weight"
    if position == 0 and bucket.seen is not None:
        return torch.mul(gradient, bucket.seen[: bucket.trials])
    return gradient


def _norm(weight: Tensor) -> Tensor:
    """Shape: (T, H, D) -> (T,) float64."""
    norm: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2), dtype=torch.float64)
    return norm


def _dead_shares(bucket: Bucket, alive: list[Tensor]) -> Tensor:
    """Return the share of units that are never active. Shape: (L, T) float64."""
    shares = torch.full((len(alive) + 1, bucket.trials), torch.nan, dtype=torch.float64)
    if bucket.is_zero_below_zero:
        widths = [setting.widths for setting in bucket.settings]
        for position, (fires, true) in enumerate(
            zip(alive, zip(*widths, strict=True), strict=True)
        ):
            counts = fires.sum(dim=1).cpu().tolist()  # a padded unit is never active
            dead = [1.0 - count / width for count, width in zip(counts, true, strict=True)]
            shares[position] = torch.tensor(dead, dtype=torch.float64)
    return shares.to(bucket.like.device)
