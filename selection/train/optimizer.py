"""Optimizers with one learning rate, penalty and momentum per member.

Each follows torch.optim step for step; biases are never penalised. torch.optim itself takes one
learning rate per group of parameters, not per slice of a tensor.
Source: torch.optim.SGD, Adam, AdamW; Kingma and Ba 2015; Loshchilov and Hutter 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selection.study.setting import OptimizerName, Setting
from selection.train.products import add_gradient, first, gradient_of

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
# Factors of the learning rate for the scale of inputs and the mix of a parametric activation.
# Source: Holzmueller et al. (2024), RealMLP, table A.1.
SCALE_RATE, MIX_RATE = 6.0, 0.1


@dataclass(eq=False)
class Layer:
    """Hold one layer of all members; scale and mix where their kind has them.

    scale multiplies the inputs of the layer, mix is the share of the activation behind it.
    Shape: weight (M, H, D), bias (M, H, 1), scale (M, 1, D), mix (M, H, 1).
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None
    mix: Tensor | None = None


class Optimizer:
    """Update members in place. Rates are (M, 1, 1); states are shaped like weights and biases."""

    state_tensors = 0

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        self.rate = _per_member([s.learning_rate for s in settings], folds, like)
        self.penalty = _per_member([s.weight_decay + s.l2 for s in settings], folds, like)
        self.is_penalised = any(s.weight_decay + s.l2 > 0 for s in settings)
        self.states: list[list[Tensor]] = []
        self.scale_states: list[list[Tensor]] = []
        self.mix_states: list[list[Tensor]] = []

    def watch(self, layers: Sequence[Layer]) -> None:
        """Lay out the states of every parameter."""
        self.states = [
            self._new_states(parameter)
            for layer in layers
            for parameter in (layer.weight, layer.bias)
        ]
        self.scale_states = [self._new_states(layer.scale) for layer in layers]
        self.mix_states = [self._new_states(layer.mix) for layer in layers]

    def _new_states(self, parameter: Tensor | None) -> list[Tensor]:
        if parameter is None:
            return []
        return [torch.zeros_like(parameter) for _ in range(self.state_tensors)]

    def keep(self, members: Tensor) -> None:
        """Drop all members but these. Shape: (M',) int64."""
        self.rate = self.rate[members]
        self.penalty = self.penalty[members]
        for states in (*self.states, *self.scale_states, *self.mix_states):
            for index, state in enumerate(states):
                states[index] = state[members]

    def begin_step(self, share: Tensor, trials: int) -> Tensor:
        """Prepare one step; return what the gradient of each row's outputs is multiplied by.

        Shape: share (F', 1, 1, B), the weight of each row in its minibatch -> (F', T or 1, 1, B).
        """
        return share

    def update(
        self, index: int, layer: Layer, delta: Tensor, rows: Tensor, scale: Tensor | None = None
    ) -> None:
        """Take one step with the gradient delta @ (scale * rows)^T.

        Shape: delta (M', H, B), rows (M' or F', D, B), scale (M', 1, 1): the first M' members take
        the step.
        """
        members = delta.size(0)
        weight, bias = first(layer.weight, members), first(layer.bias, members)
        gradient = gradient_of(_scaled(delta, scale), rows).to(weight.dtype)
        if layer.scale is not None:
            # Of the product of weight and scale so far: each has the other as its factor.
            factor = first(layer.scale, members)
            of_scale = (gradient * weight).sum(dim=1, keepdim=True)  # (M', 1, D)
            gradient.mul_(factor)
            self._move_at(factor, of_scale, self.scale_states[index], SCALE_RATE)
        if self.is_penalised:
            self._penalise(weight, gradient)
        self._move(weight, gradient, self.states[2 * index])
        self._move(bias, _sum_of_rows(delta, bias), self.states[2 * index + 1])

    def update_mix(self, index: int, mix: Tensor, gradient: Tensor) -> None:
        """Take one step with the shares of the activation behind a layer. Shape: (M', H, 1)."""
        own = first(mix, gradient.size(0))
        self._move_at(own, gradient.to(mix.dtype), self.mix_states[index], MIX_RATE)

    def _move_at(
        self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor], factor: float
    ) -> None:
        """Move a parameter that has a factor on its learning rate, and no penalty."""
        step = torch.zeros_like(parameter)
        self._move(step, gradient, states)
        parameter.add_(step, alpha=factor)

    def _penalise(self, weight: Tensor, gradient: Tensor) -> None:
        gradient.addcmul_(weight, first(self.penalty, weight.size(0)))

    def _move(self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor]) -> None:
        raise NotImplementedError


class Sgd(Optimizer):
    """Plain SGD: w <- (1 - lr * lambda) w - lr * g, without a gradient buffer.

    Backpropagation is linear in the gradient of the outputs: scaled by -lr once, every gradient
    arrives multiplied and is added to the weights by the product itself.
    """

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        super().__init__(settings, folds, like)
        self.shrink = 1.0 - self.rate * self.penalty
        self.step = -self.rate

    def keep(self, members: Tensor) -> None:
        super().keep(members)
        self.shrink = self.shrink[members]
        self.step = self.step[members]

    def begin_step(self, share: Tensor, trials: int) -> Tensor:
        folds = share.size(0)
        return share * first(self.step, folds * trials).view(folds, trials, 1, 1)

    def update(
        self, index: int, layer: Layer, delta: Tensor, rows: Tensor, scale: Tensor | None = None
    ) -> None:
        if layer.scale is not None:
            super().update(index, layer, delta, rows, scale)
            return
        members = delta.size(0)
        weight, bias = first(layer.weight, members), first(layer.bias, members)
        if self.is_penalised:
            weight.mul_(first(self.shrink, members))
        add_gradient(weight, _scaled(delta, scale), rows)
        bias.add_(_sum_of_rows(delta, bias))

    def _penalise(self, weight: Tensor, gradient: Tensor) -> None:
        weight.mul_(first(self.shrink, weight.size(0)))

    def _move(self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor]) -> None:
        parameter.add_(gradient)


class MomentumSgd(Optimizer):
    """SGD with momentum, Nesterov's if asked; the penalty enters the velocity as in torch."""

    state_tensors = 1

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        super().__init__(settings, folds, like)
        momenta = [s.momentum for s in settings]
        self.momentum = _per_member(momenta, folds, like)
        # One momentum for all is a factor of the product that adds the gradient.
        self.shared = momenta[0] if len(set(momenta)) == 1 else None
        self.is_nesterov = settings[0].kind.nesterov

    def keep(self, members: Tensor) -> None:
        super().keep(members)
        self.momentum = self.momentum[members]

    def update(
        self, index: int, layer: Layer, delta: Tensor, rows: Tensor, scale: Tensor | None = None
    ) -> None:
        if self.is_nesterov or layer.scale is not None:
            super().update(index, layer, delta, rows, scale)
            return
        members = delta.size(0)
        weight, bias = first(layer.weight, members), first(layer.bias, members)
        velocity = first(self.states[2 * index][0], members)
        if self.shared is None:
            velocity.mul_(first(self.momentum, members))
        keep = 1.0 if self.shared is None else self.shared
        add_gradient(velocity, _scaled(delta, scale), rows, keep)
        if self.is_penalised:
            self._penalise(weight, velocity)
        weight.addcmul_(velocity, -first(self.rate, members))
        self._move(bias, _sum_of_rows(delta, bias), self.states[2 * index + 1])

    def _move(self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor]) -> None:
        members = parameter.size(0)
        velocity, momentum = first(states[0], members), first(self.momentum, members)
        velocity.mul_(momentum).add_(gradient)
        direction = gradient.addcmul_(velocity, momentum) if self.is_nesterov else velocity
        parameter.addcmul_(direction, -first(self.rate, members))


class Adam(Optimizer):
    """Adam; its penalty is l2 in the gradient. As AdamW, the decay is decoupled from it."""

    state_tensors = 2

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        super().__init__(settings, folds, like)
        self.is_decoupled = settings[0].kind.optimizer == "adamw"
        self.steps = torch.zeros_like(self.rate, dtype=torch.float64)
        # In place, because a captured graph holds the address.
        self.first, self.second = torch.empty_like(self.rate), torch.empty_like(self.rate)

    def keep(self, members: Tensor) -> None:
        super().keep(members)
        self.steps = self.steps[members]
        self.first, self.second = self.first[members], self.second[members]

    def begin_step(self, share: Tensor, trials: int) -> Tensor:
        members = share.size(0) * trials
        steps = first(self.steps, members).add_(1.0)
        first(self.first, members).copy_(first(self.rate, members) / (1.0 - BETA_1**steps))
        first(self.second, members).copy_((1.0 - BETA_2**steps).sqrt())
        return share

    def _penalise(self, weight: Tensor, gradient: Tensor) -> None:
        if self.is_decoupled:
            members = weight.size(0)
            weight.mul_(1.0 - first(self.rate, members) * first(self.penalty, members))
        else:
            super()._penalise(weight, gradient)

    def _move(self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor]) -> None:
        members = parameter.size(0)
        mean, square = first(states[0], members), first(states[1], members)
        mean.lerp_(gradient, 1.0 - BETA_1)
        square.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
        spread = square.sqrt().div_(first(self.second, members)).add_(EPSILON)
        parameter.sub_(mean * first(self.first, members) / spread)


def make_optimizer(settings: Sequence[Setting], folds: int, like: Tensor) -> Optimizer:
    """Return the optimizer of a pack whose settings are of one kind."""
    return optimizer_class(settings[0])(settings, folds, like)


def optimizer_class(setting: Setting) -> type[Optimizer]:
    """Return the class that trains a setting."""
    name: OptimizerName = setting.kind.optimizer
    if name != "sgd":
        return Adam
    return MomentumSgd if setting.momentum > 0 else Sgd


def _scaled(delta: Tensor, scale: Tensor | None) -> Tensor:
    return delta if scale is None else (delta * scale).to(delta.dtype)


def _sum_of_rows(delta: Tensor, bias: Tensor) -> Tensor:
    """Return the gradient of a bias. Shape: delta (M', H, B) -> (M', H, 1)."""
    return delta.sum(dim=2, keepdim=True, dtype=bias.dtype)


def _per_member(values: Sequence[float], folds: int, like: Tensor) -> Tensor:
    """Repeat one value per trial for every fold. Shape: (F * T, 1, 1)."""
    column = torch.tensor(values, dtype=torch.float64).repeat(folds)
    return column.to(like.device, like.dtype).view(-1, 1, 1)
