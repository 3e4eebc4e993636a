"""The optimizers of a bucket, with one learning rate, penalty, momentum and betas per member.

Each follows torch.optim step for step; biases are never penalised.
Source: torch.optim.SGD, Adam, AdamW; Kingma and Ba 2015; Loshchilov and Hutter 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selection.study.setting import OptimizerName, Setting
from selection.train.optimizer import Layer, Optimizer, per_member, scaled, sum_of_rows
from selection.train.products import add_gradient, first


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
        add_gradient(weight, scaled(delta, scale), rows)
        bias.add_(sum_of_rows(delta, bias))

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
        self.momentum = per_member(momenta, folds, like)
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
        add_gradient(velocity, scaled(delta, scale), rows, keep)
        if self.is_penalised:
            self._penalise(weight, velocity)
        weight.addcmul_(velocity, -first(self.rate, members))
        self.move(index, "bias", bias, sum_of_rows(delta, bias))

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
        return values[0] if len(set(values)) == 1 else per_member(values, folds, like)

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
        self._share_workspace()

    def _share_workspace(self) -> None:
        """Give all parameters one workspace to compute in, as a third state.

        Allocating it anew may cost as much as computing in it.
        """
        sizes = [learned.states[0].numel() for learned in self._learned.values()]
        workspace = self.rate.new_empty(max(sizes))
        for learned, size in zip(self._learned.values(), sizes, strict=True):
            learned.states[2:] = [workspace[:size].view(learned.states[0].shape)]

    def keep(self, members: Tensor) -> None:
        super().keep(members)
        self.constants = self._now = self.constants.of(members)
        self.steps = self.steps[members]
        self.first, self.second = self.first[members], self.second[members]
        self._share_workspace()

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
