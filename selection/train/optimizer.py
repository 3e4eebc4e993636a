"""Optimizers with one learning rate, penalty, momentum, betas and limit of the norm per member.

Each follows torch.optim step for step; biases are never penalised. torch.optim itself takes one
learning rate per group of parameters, not per slice of a tensor.
Source: torch.optim.SGD, Adam, AdamW; Kingma and Ba 2015; Loshchilov and Hutter 2019;
torch.nn.utils.clip_grad_norm_, Pascanu et al. 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from selection.study.setting import OptimizerName, Setting
from selection.train.first_layer import FirstLayer
from selection.train.products import add_gradient, first, gradient_of

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
    embeddings: FirstLayer | None = None


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
        self.rate = _per_member([s.learning_rate for s in settings], folds, like)
        self.penalty = _per_member([s.penalty for s in settings], folds, like)
        self.is_penalised = any(s.penalty > 0 for s in settings)
        self.limit: Tensor | None = None
        if settings[0].clip_norm > 0:
            self.limit = _per_member([s.clip_norm for s in settings], folds, like)
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
        of_weight = gradient_of(_scaled(delta, scale), rows).to(weight.dtype)
        self.move(index, "bias", bias, _sum_of_rows(delta, bias))
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


class Sgd(Optimizer):
    """Plain SGD: w <- (1 - lr * lambda) w - lr * g, without a gradient buffer.

    Backpropagation is linear in the gradient of the outputs: scaled by -lr once, every gradient
    arrives multiplied and is added to the weights by the product itself.
    """

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        super().__init__(settings, folds, like)
        self.step, self.shrink = self.lines(self.rate, self.penalty)

    @property
    def moved(self) -> list[Tensor]:
        return [self.step, self.shrink]

    def lines(self, rate: Tensor, penalty: Tensor) -> list[Tensor]:
        return [-rate, 1.0 - rate * penalty]

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
        if layer.scale is not None or layer.embeddings is not None:
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
        if (
            self.is_nesterov
            or self.limit is not None
            or layer.scale is not None
            or layer.embeddings is not None
        ):
            super().update(index, layer, delta, rows, scale)
            return
        members = delta.size(0)
        weight, bias = first(layer.weight, members), first(layer.bias, members)
        velocity = first(self._learned[index, "weight"].states[0], members)
        if self.shared is None:
            velocity.mul_(first(self.momentum, members))
        keep = 1.0 if self.shared is None else self.shared
        add_gradient(velocity, _scaled(delta, scale), rows, keep)
        if self.is_penalised:
            self._penalise(weight, velocity)
        weight.addcmul_(velocity, -first(self.rate, members))
        self.move(index, "bias", bias, _sum_of_rows(delta, bias))

    def _move(self, parameter: Tensor, gradient: Tensor, states: Sequence[Tensor]) -> None:
        members = parameter.size(0)
        velocity, momentum = first(states[0], members), first(self.momentum, members)
        velocity.mul_(momentum).add_(gradient)
        direction = gradient.addcmul_(velocity, momentum) if self.is_nesterov else velocity
        parameter.addcmul_(direction, -first(self.rate, members))


class Constants(NamedTuple):
    """Hold the constants of Adam: numbers where all members share them, or tensors (M, 1, 1).

    exact1 and exact2 are both betas in float64; rest1 and rest2 are 1 - beta.
    """

    exact1: float | Tensor
    exact2: float | Tensor
    rest1: float | Tensor
    beta2: float | Tensor
    rest2: float | Tensor
    epsilon: float | Tensor

    @property
    def are_shared(self) -> bool:
        return not any(isinstance(each, Tensor) for each in self)

    def of(self, members: Tensor | slice) -> Constants:
        """Return the constants of some of the members."""
        parts = (each[members] if isinstance(each, Tensor) else each for each in self)
        return Constants(*parts)


def make_constants(settings: Sequence[Setting], folds: int, like: Tensor) -> Constants:
    """Return the constants of these settings."""

    def spread(values: Sequence[float], like: Tensor = like) -> float | Tensor:
        # A number that all members share computes faster.
        return values[0] if len(set(values)) == 1 else _per_member(values, folds, like)

    beta1, beta2 = [s.beta1 for s in settings], [s.beta2 for s in settings]
    exact = like.new_empty(0, dtype=torch.float64)
    return Constants(
        exact1=spread(beta1, exact),
        exact2=spread(beta2, exact),
        rest1=spread([1.0 - beta for beta in beta1]),
        beta2=spread(beta2),
        rest2=spread([1.0 - beta for beta in beta2]),
        epsilon=spread([s.eps for s in settings]),
    )


class Adam(Optimizer):
    """Adam; its penalty is l2 in the gradient. As AdamW, the decay is decoupled from it."""

    state_tensors = 2

    def __init__(self, settings: Sequence[Setting], folds: int, like: Tensor) -> None:
        super().__init__(settings, folds, like)
        self.is_decoupled = settings[0].kind.optimizer == "adamw"
        self.constants = self._now = make_constants(settings, folds, like)
        self._is_shared = self.constants.are_shared
        self.steps = torch.zeros_like(self.rate, dtype=torch.float64)
        # In place, because a captured graph holds the address.
        self.first, self.second = torch.empty_like(self.rate), torch.empty_like(self.rate)

    def watch(self, layers: Sequence[Layer]) -> None:
        super().watch(layers)
        self._make_room()

    def _make_room(self) -> None:
        """Give all parameters one place to compute in, as a third state.

        To allocate it anew may cost as much as to compute.
        """
        sizes = [learned.states[0].numel() for learned in self._learned.values()]
        room = self.rate.new_empty(max(sizes))
        for learned, size in zip(self._learned.values(), sizes, strict=True):
            learned.states[2:] = [room[:size].view(learned.states[0].shape)]

    def keep(self, members: Tensor) -> None:
        super().keep(members)
        self.constants = self._now = self.constants.of(members)
        self.steps = self.steps[members]
        self.first, self.second = self.first[members], self.second[members]
        self._make_room()

    def begin_step(self, share: Tensor, trials: int) -> Tensor:
        members = share.size(0) * trials
        steps = first(self.steps, members).add_(1.0)
        if not self._is_shared:
            self._now = self.constants.of(slice(members))
        beta1, beta2 = self._now.exact1, self._now.exact2
        first(self.first, members).copy_(first(self.rate, members) / (1.0 - beta1**steps))
        first(self.second, members).copy_((1.0 - beta2**steps).sqrt())
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
        _, _, rest1, beta2, rest2, epsilon = self._now
        mean.lerp_(gradient, rest1)
        square.mul_(beta2)
        if isinstance(rest2, float):
            square.addcmul_(gradient, gradient, value=rest2)
        else:
            square.addcmul_(gradient * rest2, gradient)
        spread = first(states[2], members)
        torch.sqrt(square, out=spread).div_(first(self.second, members)).add_(epsilon)
        torch.mul(mean, first(self.first, members), out=gradient)
        parameter.sub_(gradient.div_(spread))


def make_optimizer(settings: Sequence[Setting], folds: int, like: Tensor) -> Optimizer:
    """Return the optimizer of a pack whose settings are of one kind."""
    return optimizer_class(settings[0])(settings, folds, like)


def optimizer_class(setting: Setting) -> type[Optimizer]:
    """Return the class that trains a setting."""
    name: OptimizerName = setting.kind.optimizer
    if name != "sgd":
        return Adam
    # Plain SGD has no gradient that could be clipped; without momentum the other is the same.
    return MomentumSgd if setting.momentum > 0 or setting.clip_norm > 0 else Sgd


def _clipping(gradients: Sequence[Tensor], limit: Tensor) -> Tensor:
    """Return what brings the norm over all gradients of each member down to its limit.

    Shape: gradients (M', ...), limit (M', 1, 1) -> (M', 1, 1).
    """
    norms = [torch.linalg.vector_norm(each, dim=(1, 2)) for each in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0).view(-1, 1, 1)
    return limit.div(norm.add_(NORM_EPSILON)).clamp_(max=1.0)


def _scaled(delta: Tensor, scale: Tensor | None) -> Tensor:
    return delta if scale is None else (delta * scale).to(delta.dtype)


def _sum_of_rows(delta: Tensor, bias: Tensor) -> Tensor:
    """Return the gradient of a bias. Shape: delta (M', H, B) -> (M', H, 1)."""
    return delta.sum(dim=2, keepdim=True, dtype=bias.dtype)


def _per_member(values: Sequence[float], folds: int, like: Tensor) -> Tensor:
    """Repeat one value per trial for every fold. Shape: (F * T, 1, 1)."""
    column = torch.tensor(values, dtype=torch.float64).repeat(folds)
    return column.to(like.device, like.dtype).view(-1, 1, 1)
