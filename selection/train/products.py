"""Batched matrix products of a pack: each member its own weights, each fold its own rows.

Members are ordered fold by fold, and units lie before rows: an activation is (M, H, B). The rows
that enter a first layer belong to a fold and are shared by its trials. Their weights are stacked as
one tall matrix, so that each fold is one dense product.

Small networks spend as much time in calls as in arithmetic, so views are made only where they are
needed, and sizes are read with size(0), which is much faster than len().
"""

from __future__ import annotations

import torch
from torch import Tensor


def affine(weight: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
    """Return weight @ rows + bias for each member.

    Shape: weight (M, H, D), bias (M, H, 1), rows (G, D, B) for G = M members or G = F folds
    -> (M, H, B).
    """
    groups, members = rows.size(0), weight.size(0)
    if groups == members:
        return torch.baddbmm(bias, weight, rows)
    out = torch.baddbmm(_tall(bias, groups), _tall(weight, groups), rows)
    return out.view(members, -1, rows.size(2))


def add_product(out: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """Add weight @ rows to out, in place, and return out.

    Shape: out (M, H, B), weight (M, H, D), rows (G, D, B) as in affine.
    """
    groups = rows.size(0)
    _tall(out, groups).baddbmm_(_tall(weight, groups), rows)
    return out


def gradient_of(delta: Tensor, rows: Tensor) -> Tensor:
    """Return delta @ rows^T. Shape: delta (M, H, B), rows (G, D, B) as in affine -> (M, H, D)."""
    product = torch.bmm(_tall(delta, rows.size(0)), rows.mT)
    return product.view(delta.size(0), -1, rows.size(1))


def add_gradient(out: Tensor, delta: Tensor, rows: Tensor, keep: float = 1.0) -> None:
    """Add delta @ rows^T to keep * out, in place.

    Shape: out (M, H, D), delta (M, H, B), rows (G, D, B) as in affine.
    """
    if out.dtype == delta.dtype:
        groups = rows.size(0)
        _tall(out, groups).baddbmm_(_tall(delta, groups), rows.mT, beta=keep)
        return
    if keep != 1.0:
        out.mul_(keep)
    out.add_(gradient_of(delta, rows))


def first(tensor: Tensor, count: int) -> Tensor:
    """Return the first members, up to the given number."""
    return tensor if tensor.size(0) == count else tensor[:count]


def _tall(members: Tensor, groups: int) -> Tensor:
    """Stack the members that share rows. Shape: (M, H, D) -> (G, M / G * H, D)."""
    return members if members.size(0) == groups else members.view(groups, -1, members.size(2))
