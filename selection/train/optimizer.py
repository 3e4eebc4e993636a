"""What the optimizers of a bucket share: states, clipping, which gradient moves which parameter.

Every rate, penalty and limit is one number per member: torch.optim itself takes one per group of
parameters, not per slice of a tensor. The algorithms are in optimizers.py.
Source: torch.nn.utils.clip_grad_norm_, Pascanu et al. 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selection.study.setting import Setting
from selection.train.input_embeddings import InputEmbeddings
from selection.train.products import first, gradient_of

# What clip_grad_norm_ adds to a norm.
NORM_EPSILON = 1e-6
# Factors of the learning rate for the scale of inputs and the mix of a parametric activation.
# Source: Holzmueller et al. (2024), RealMLP, table A.1.
SCALE_RATE, MIX_RATE = 6.0, 0.1


@dataclass(eq=False)
class Layer:
    """Hold one layer of all members; scale, mix and embeddings where their kind has them.

    scale multiplies the inputs of the layer, mix is the share of the activation behind it.
    Shape: weight (M, H, D), bias (M, H, 1), scale (M, 1, D), mix (M, H, 1).
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None
    mix: Tensor | None = None
    embeddings: InputEmbeddings | None = None


@dataclass(eq=False)
class Learned:
    """Hold what a parameter needs to be moved: its states, its factor on the rate, its penalty."""

    states: list[Tensor]
    rate: float = 1.0
    is_penalised: bool = False


class Optimizer:
    """Update members in place. Rates are (M, 1, 1); states are shaped like weights and biases.

    Either all members clip their gradients or none does.
    """

    state_tensors = 0

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        self.rate = per_member([s.learning_rate for s in settings], folds, like)
        self.penalty = per_member([s.penalty for s in settings], folds, like)
        self.is_penalised = any(s.penalty > 0 for s in settings)
        self.limit: Tensor | None = None
        if settings[0].clip_norm > 0:
            self.limit = per_member([s.clip_norm for s in settings], folds, like)
        # By layer and name.
        self._learned: dict[tuple[int, str], Learned] = {}
        # Parameters and gradients that wait until the gradients of all are known.
        self._held: list[tuple[Learned, Tensor, Tensor]] = []

    @property
    def moved(self) -> list[Tensor]:
        """The tensors that follow from learning rate and penalty."""
        return [self.rate, self.penalty]

    def lines(self, rate: Tensor, penalty: Tensor) -> list[Tensor]:
        """Return the values of `moved` for other rates and penalties. Shape: any, the same."""
        return [rate, penalty]

    def watch(self, layers: Sequence[Layer]) -> None:
        """Lay out the states of every parameter."""
        for index, layer in enumerate(layers):
            self._watch(index, "weight", layer.weight, is_penalised=True)
            self._watch(index, "bias", layer.bias)
            if layer.scale is not None:
                self._watch(index, "scale", layer.scale, SCALE_RATE)
            if layer.mix is not None:
                self._watch(index, "mix", layer.mix, MIX_RATE)
            if layer.embeddings is not None:
                for name, value in layer.embeddings.learned().items():
                    self._watch(index, name, value, is_penalised=name in layer.embeddings.decayed)

    def _watch(
        self, index: int, name: str, value: Tensor, rate: float = 1.0, *, is_penalised: bool = False
    ) -> None:
        states = [torch.zeros_like(value) for _ in range(self.state_tensors)]
        self._learned[index, name] = Learned(states, rate, is_penalised)

    def keep(self, members: Tensor) -> None:
        """Drop all members but these. Shape: (M',) int64."""
        self.rate = self.rate[members]
        self.penalty = self.penalty[members]
        if self.limit is not None:
            self.limit = self.limit[members]
        for learned in self._learned.values():
            learned.states = [state[members] for state in learned.states]

    def begin_step(self, share: Tensor, trials: int) -> Tensor:
        """Prepare one step; return what the gradient of each row's outputs is multiplied by.

        Shape: share (F', 1, 1, B), the weight of each row in its minibatch -> (F', T or 1, 1, B).
        """
        return share

    def update(
        self, index: int, layer: Layer, delta: Tensor, rows: Tensor, scale: Tensor | None = None
    ) -> None:
        """Take one step with the gradient delta @ (scale * rows)^T, or keep it until end_step.

        Shape: delta (M', H, B), rows (M' or F', D, B), scale (M', 1, 1): the first M' members take
        the step.
        """
        members = delta.size(0)
        weight, bias = first(layer.weight, members), first(layer.bias, members)
        of_weight = gradient_of(scaled(delta, scale), rows).to(weight.dtype)
        self.move(index, "bias", bias, sum_of_rows(delta, bias))
        factor = None if layer.scale is None else first(layer.scale, members)
        if layer.embeddings is not None:
            own = weight if factor is None else weight * factor
            of_weight, of_tables = layer.embeddings.collect(of_weight, own)
            for name, gradient in of_tables.items():
                table = layer.embeddings.tables[name]
                self.move(index, name, first(table, members), gradient)
        if factor is not None:
            # Of the product of weight and scale so far: each has the other as its factor.
            of_scale = (of_weight * weight).sum(dim=1, keepdim=True)  # (M', 1, D)
            of_weight.mul_(factor)
            self.move(index, "scale", factor, of_scale)
        self.move(index, "weight", weight, of_weight)

    def move(self, index: int, name: str, parameter: Tensor, gradient: Tensor) -> None:
        """Move a parameter of the first M' members, or keep its gradient until end_step.

        The gradient is overwritten. Shape: (M', ...) each.
        """
        learned = self._learned[index, name]
        if self.limit is None:
            self._take(learned, parameter, gradient)
        else:
            self._held.append((learned, parameter, gradient))

    def end_step(self, seen: Tensor | None) -> None:
        """Take the step with the gradients that were kept, clipped by the norm of each member's.

        seen marks the inputs of the first layer that a member uses: others do not count.
        Shape: (M, 1, D).
        """
        if self.limit is None:
            return
        gradients = [gradient for _, _, gradient in self._held]
        for learned, _, gradient in self._held:
            if seen is not None and learned is self._learned[0, "weight"]:
                gradient.mul_(first(seen, gradient.size(0)))
        factor = _clipping(gradients, first(self.limit, gradients[0].size(0)))
        for held in self._held:
            held[2].mul_(factor)
            self._take(*held)
        self._held.clear()

    def _take(self, learned: Learned, parameter: Tensor, gradient: Tensor) -> None:
        """Move a parameter along its gradient."""
        if learned.is_penalised and self.is_penalised:
            self._penalise(parameter, gradient)
        if learned.rate == 1.0:
            self._move(parameter, gradient, learned.states)
            return
        step = torch.zeros_like(parameter)
        self._move(step, gradient, learned.states)
        parameter.add_(step, alpha=learned.rate)

    def _penalise(self, weight: Tensor, gradient: Tensor) -> None:
        gradient.addcmul_(weight, first(self.penalty, weight.size(0)))

    def _move(self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor]) -> None:
        raise NotImplementedError


def _clipping(gradients: Sequence[Tensor], limit: Tensor) -> Tensor:
    """Return what brings the norm over all gradients of each member down to its limit.

    Shape: gradients (M', ...), limit (M', 1, 1) -> (M', 1, 1).
    """
    norms = [torch.linalg.vector_norm(each, dim=(1, 2)) for each in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0).view(-1, 1, 1)
    return limit.div(norm.add_(NORM_EPSILON)).clamp_(max=1.0)


def scaled(delta: Tensor, scale: Tensor | None) -> Tensor:
    return delta if scale is None else (delta * scale).to(delta.dtype)


def sum_of_rows(delta: Tensor, bias: Tensor) -> Tensor:
    """Return the gradient of a bias. Shape: delta (M', H, B) -> (M', H, 1)."""
    return delta.sum(dim=2, keepdim=True, dtype=bias.dtype)


def per_member(values: Sequence[float], folds: int, like: Tensor) -> Tensor:
    """Repeat one value per trial for every fold. Shape: (F * T, 1, 1)."""
    column = torch.tensor(values, dtype=torch.float64).repeat(folds)
    return column.to(like.device, like.dtype).view(-1, 1, 1)
