"""The activations of study.activations in torch: forward, and backward written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

_ops: Any = torch.ops.aten
# Source: Klambauer et al. (2017), as torch spells them.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class Function:
    """Hold one activation as a forward and a backward function.

    forward is given a tensor that it may overwrite with its outputs. backward is given a gradient,
    which it overwrites, and the tensor that forward was given, as forward left it: the inputs where
    it keeps_inputs, the outputs where it works in place.

    Shape: any, the same throughout.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], object]
    keeps_inputs: bool = False


@dataclass(frozen=True, eq=False)
class Parametric:
    """Hold a parametric activation's forward: x + mix * (f(x) - x), with mix learned by unit.

    left is what f left of its inputs, see Function.
    Shape: inputs, left, bent = f(x) and outputs are (M, H, B), mix is (M, H, 1).
    Source: Holzmueller et al. (2024), RealMLP.
    """

    function: Function
    mix: Tensor
    inputs: Tensor
    left: Tensor
    bent: Tensor

    @classmethod
    def of(cls, function: Function, mix: Tensor, inputs: Tensor) -> Parametric:
        """Apply f, and keep the inputs."""
        left = inputs if function.keeps_inputs else inputs.clone()
        return cls(function, mix, inputs, left, function.forward(left))

    @property
    def outputs(self) -> Tensor:
        return torch.lerp(self.inputs, self.bent, self.mix)

    def backward(self, delta: Tensor) -> Tensor:
        """Overwrite the gradient of the outputs with that of the inputs; return that of mix."""
        products = (self.bent - self.inputs).mul_(delta)
        of_mix = products.sum(
            dim=2, keepdim=True, dtype=torch.promote_types(delta.dtype, torch.float32)
        )
        through = delta.clone()
        self.function.backward(through, self.left)
        delta.lerp_(through, self.mix)
        return of_mix


def _relu_backward(delta: Tensor, unit: Tensor) -> None:
    _ops.threshold_backward.grad_input(delta, unit, 0.0, grad_input=delta)


def _sigmoid_backward(delta: Tensor, unit: Tensor) -> None:
    _ops.sigmoid_backward.grad_input(delta, unit, grad_input=delta)


def _tanh_backward(delta: Tensor, unit: Tensor) -> None:
    _ops.tanh_backward.grad_input(delta, unit, grad_input=delta)


def _gelu_backward(delta: Tensor, inputs: Tensor) -> None:
    _ops.gelu_backward.grad_input(delta, inputs, grad_input=delta)


def _selu_backward(delta: Tensor, unit: Tensor) -> None:
    _ops.elu_backward.grad_input(delta, SELU_ALPHA, SELU_SCALE, 1.0, True, unit, grad_input=delta)


def _is_own_mish_faster(inputs: Tensor) -> bool:
    """Return whether mish by a sigmoid is faster than torch's, as it is on a CPU: three times.

    In bfloat16 it would be less exact.
    """
    return inputs.device.type == "cpu" and inputs.dtype != torch.bfloat16


def _mish(inputs: Tensor) -> Tensor:
    """Return x tanh(log(1 + exp(x))), where the tanh is u / (2 - u), u = s (2 - s), s = sigmoid(x).

    The sum of positive numbers 1 + exp(x) is 1 / (1 - s), and nothing cancels or overflows.
    """
    if not _is_own_mish_faster(inputs):
        return torch.nn.functional.mish(inputs)
    part = torch.sigmoid(inputs)
    part = part * (2.0 - part)  # u
    return part / (2.0 - part) * inputs


def _mish_backward(delta: Tensor, inputs: Tensor) -> None:
    """Multiply by u / (2 - u) + 4 x s (1 - u) / (2 - u)^2, in the terms of _mish."""
    if not _is_own_mish_faster(inputs):
        delta.copy_(_ops.mish_backward(delta, inputs))
        return
    sigmoid = torch.sigmoid(inputs)
    part = (2.0 - sigmoid).mul_(sigmoid)  # u
    quotient = (2.0 - part).reciprocal_()
    slope = sigmoid.mul_(1.0 - part).mul_(quotient).mul_(inputs)
    delta.mul_(part.add_(slope, alpha=4.0).mul_(quotient))


def _silu_backward(delta: Tensor, inputs: Tensor) -> None:
    _ops.silu_backward.grad_input(delta, inputs, grad_input=delta)


def _leaky_relu_backward(delta: Tensor, unit: Tensor) -> None:
    _ops.leaky_relu_backward.grad_input(delta, unit, LEAKY_SLOPE, True, grad_input=delta)


def _elu_backward(delta: Tensor, unit: Tensor) -> None:
    _ops.elu_backward.grad_input(delta, 1.0, 1.0, 1.0, True, unit, grad_input=delta)


FUNCTIONS: Mapping[str, Function] = {
    "relu": Function(torch.relu_, _relu_backward),
    "sigmoid": Function(torch.sigmoid_, _sigmoid_backward),
    "tanh": Function(torch.tanh_, _tanh_backward),
    "gelu": Function(torch.nn.functional.gelu, _gelu_backward, keeps_inputs=True),
    "selu": Function(torch.selu_, _selu_backward),
    "mish": Function(_mish, _mish_backward, keeps_inputs=True),
    "silu": Function(torch.nn.functional.silu, _silu_backward, keeps_inputs=True),
    "leaky_relu": Function(
        partial(_ops.leaky_relu_, negative_slope=LEAKY_SLOPE), _leaky_relu_backward
    ),
    "elu": Function(_ops.elu_, _elu_backward),
}
