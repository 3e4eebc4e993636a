"""What a seed draws: initial weights at the spread of torch's own, orders that are permutations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from selection.train.batches import training_order
from selection.train.initial import initial_layer
from tests.train.examples import make_folds

FAN_IN, FAN_OUT = 300, 500


def torch_layer(init: str) -> nn.Linear:
    torch.manual_seed(0)
    linear = nn.Linear(FAN_IN, FAN_OUT, dtype=torch.float64)
    match init:
        case "normal":
            nn.init.normal_(linear.weight, std=0.01)
        case "xavier_uniform":
            nn.init.xavier_uniform_(linear.weight)
        case "xavier_normal":
            nn.init.xavier_normal_(linear.weight)
    return linear.requires_grad_(False)


@pytest.mark.parametrize("init", ["default", "normal", "xavier_uniform", "xavier_normal"])
def test_weights_have_the_spread_and_range_of_torch(init: Any) -> None:
    weight, bias = initial_layer(init, 0.01, FAN_IN, FAN_OUT, 1, 0, 0, 0)
    linear = torch_layer(init)
    assert weight.shape == (FAN_IN, FAN_OUT)
    assert float(weight.std()) == pytest.approx(float(linear.weight.std()), rel=0.01)
    assert abs(float(weight.mean())) < 4 * float(weight.std()) / math.sqrt(weight.numel())
    if init in ("default", "xavier_uniform"):
        assert float(weight.abs().max()) == pytest.approx(
            float(linear.weight.abs().max()), rel=0.01
        )
    if init == "default":
        assert float(bias.std()) == pytest.approx(float(linear.bias.std()), rel=0.15)
    else:
        assert not bias.any()


def test_every_place_has_weights_of_its_own() -> None:
    pairs = [(1, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]
    draws = [initial_layer("default", 0.0, 4, 4, *index)[0] for index in pairs]
    again = initial_layer("default", 0.0, 4, 4, *pairs[0])[0]
    assert torch.equal(draws[0], again)
    for index, draw in enumerate(draws):
        assert not any(torch.equal(draw, other) for other in draws[:index])


def test_orders_are_permutations_that_change_with_epoch_and_fold() -> None:
    folds = make_folds()
    orders = [training_order(1, folds[0], epoch) for epoch in (1, 2)]
    for order in orders:
        assert sorted(order.tolist()) == folds[0].training.tolist()
    assert not torch.equal(*orders)
    assert sorted(training_order(1, folds[1], 1).tolist()) == folds[1].training.tolist()
    assert torch.equal(orders[0], training_order(1, folds[0], 1))
    assert not torch.equal(orders[0], training_order(2, folds[0], 1))
