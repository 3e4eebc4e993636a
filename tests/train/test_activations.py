"""The activations on the device beside torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch

from selection.train.activations import FUNCTIONS, Parametric
from tests import reference

LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5}


def grid(dtype: torch.dtype) -> torch.Tensor:
    """Return inputs far beyond what networks have, zero and its neighbours."""
    ends = torch.tensor([-1e30, -1e4, -0.0, 0.0, 1e-30, 1e4, 1e30], dtype=dtype)
    return torch.cat([torch.linspace(-60.0, 60.0, 20001, dtype=dtype), ends])


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_are_torch_s(name: str, dtype: torch.dtype) -> None:
    inputs = grid(dtype).requires_grad_()
    truth = reference.ACTIVATIONS[name]()(inputs)
    truth.sum().backward()
    given, delta = grid(dtype), torch.ones_like(inputs)
    outputs = FUNCTIONS[name].forward(given)
    assert (given.data_ptr() == outputs.data_ptr()) != FUNCTIONS[name].keeps_inputs
    limit = LIMITS[dtype]
    torch.testing.assert_close(outputs, truth.detach(), rtol=limit, atol=limit)
    FUNCTIONS[name].backward(delta, given)
    torch.testing.assert_close(delta, inputs.grad, rtol=limit, atol=limit)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_parametric_activation_is_its_formula(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, 5)
    inputs = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    mix = torch.randn(2, 3, 1, dtype=torch.float64, generator=generator).requires_grad_()
    pulled = torch.randn(shape, dtype=torch.float64, generator=generator)
    truth = inputs + mix * (reference.ACTIVATIONS[name]()(inputs) - inputs)
    truth.backward(pulled)
    own = Parametric.of(FUNCTIONS[name], mix.detach(), inputs.detach().clone())
    torch.testing.assert_close(own.outputs, truth.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(own.backward(pulled), mix.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pulled, inputs.grad, rtol=1e-12, atol=1e-12)
