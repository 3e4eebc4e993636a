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
    which it overwrites, and the tensor that forward was given, as forward left it: the outputs
    where it works in place, the inputs where it does not.

    Shape: any, the same throughout.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], object]


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


def _mish_backward(delta: Tensor, inputs: Tensor) -> None:
    # The one that torch cannot write in place.
    delta.copy_(_ops.mish_backward(delta, inputs))


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
    "gelu": Function(torch.nn.functional.gelu, _gelu_backward),
    "selu": Function(torch.selu_, _selu_backward),
    "mish": Function(torch.nn.functional.mish, _mish_backward),
    "silu": Function(torch.nn.functional.silu, _silu_backward),
    "leaky_relu": Function(
        partial(_ops.leaky_relu_, negative_slope=LEAKY_SLOPE), _leaky_relu_backward
    ),
    "elu": Function(_ops.elu_, _elu_backward),
}
