"""Batched matrix products of a pack: each member its own weights, each fold its own rows.

Members are ordered fold by fold. The rows of a first layer belong to a fold and are shared by its
trials; the rows of a later layer belong to one member.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below this many elements, one copy of the rows per member is cheaper than one call per fold.
SMALL_ROWS = 16_384


def lift(rows: Tensor, trials: int) -> Tensor:
    """Give each member its own copy of its fold's rows where they are few.

    Shape: (F, B, D) -> (F * T, B, D) or, unchanged, (F, B, D).
    """
    folds, count, width = rows.shape
    if count * width > SMALL_ROWS:
        return rows
    return rows.unsqueeze(1).expand(folds, trials, count, width).reshape(-1, count, width)


def affine(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return rows @ weight + bias for each member.

    Shape: rows (F, B, D) or (M, B, D), weight (M, D, H), bias (M, 1, H) -> (M, B, H).
    """
    members = len(weight)
    if len(rows) == members:
        return torch.baddbmm(bias, rows, weight)
    out = rows.new_empty(members, rows.shape[1], weight.shape[2])
    for span, shared in _shared(rows, members):
        torch.baddbmm(bias[span], shared, weight[span], out=out[span])
    return out


def add_gradient(out: Tensor, rows: Tensor, delta: Tensor, keep: float = 1.0) -> Tensor:
    """Add rows^T @ delta to keep * out, in place, and return out.

    Shape: out (M, D, H), rows (F, B, D) or (M, B, D), delta (M, B, H).
    """
    if len(rows) == len(out):
        return out.baddbmm_(rows.transpose(1, 2), delta, beta=keep)
    for span, shared in _shared(rows, len(out)):
        out[span].baddbmm_(shared.transpose(1, 2), delta[span], beta=keep)
    return out


def _shared(rows: Tensor, members: int) -> list[tuple[slice, Tensor]]:
    """Return each fold's members and its rows, seen by each of them without a copy."""
    trials = members // len(rows)
    return [
        (slice(fold * trials, (fold + 1) * trials), shared.expand(trials, -1, -1))
        for fold, shared in enumerate(rows)
    ]
