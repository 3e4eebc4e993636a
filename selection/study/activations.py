"""The activations of hidden layers: what is true of each, and its formula as an ONNX graph.

train.activations computes the same names on the device. A new activation is one entry in each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

Formula: TypeAlias = str | float | tuple[Any, ...]


@dataclass(frozen=True)
class Activation:
    """Hold what is true of one activation.

    onnx is an expression of ONNX operators: a tuple of an operator and its inputs, each of which is
    an expression, a number or "x". is_zero_below_zero means that every negative input gives exactly
    0: such units can be dead, and dropout can act through their bias. zero_input is an input that
    gives exactly 0; padded units have it as their bias.
    """

    onnx: Formula
    is_zero_below_zero: bool = False
    zero_input: float = 0.0


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": Activation(("Relu", "x"), is_zero_below_zero=True),
        "sigmoid": Activation(("Sigmoid", "x"), zero_input=-math.inf),
        "tanh": Activation(("Tanh", "x")),
        # Source: Hendrycks and Gimpel (2016), x / 2 * (1 + erf(x / sqrt(2))).
        "gelu": Activation(
            ("Mul", ("Mul", "x", 0.5), ("Add", ("Erf", ("Mul", "x", math.sqrt(0.5))), 1.0))
        ),
        # Source: Klambauer et al. (2017); the operator's constants are those of the paper.
        "selu": Activation(("Selu", "x")),
        # Source: Misra (2019), x tanh(log(1 + exp(x))).
        "mish": Activation(("Mul", "x", ("Tanh", ("Softplus", "x")))),
        # Source: Elfwing et al. (2017), x / (1 + exp(-x)).
        "silu": Activation(("Mul", "x", ("Sigmoid", "x"))),
        # As in torch, and as the operators have it, the slope is 0.01 and alpha is 1.
        "leaky_relu": Activation(("LeakyRelu", "x")),
        "elu": Activation(("Elu", "x")),
    }
)
DEFAULT_ACTIVATION = "relu"

if TYPE_CHECKING:
    ActivationName = str
else:
    ActivationName = Literal[tuple(ACTIVATIONS)]
