"""A bucket: F folds x T trials of one kind, padded to the widths of the widest, as stacked tensors.

Forward and backward are written out, about five products a step. Padded units stay exactly zero.
Members are ordered fold by fold. Nothing here knows of trial numbers, pruning or storage.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selection.study.setting import Setting
from selection.train.batches import Minibatch, Rows
from selection.train.dropout import threshold
from selection.train.initial import initial_layer
from selection.train.optimizer import Layer, make_optimizer
from selection.train.products import affine, lift

_ops: Any = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Drop:
    """Hold the dropout of one hidden layer. Shape: below and scale (T, 1, 1)."""

    below: Tensor
    scale: Tensor
    is_used: bool


class Bucket:
    """Hold the weights of F x T members and move them step by step.

    folds are places in rows.folds, the fold with most training rows first.
    """

    def __init__(
        self, settings: Sequence[Setting], folds: Sequence[int], rows: Rows, seed: int
    ) -> None:
        self.settings = list(settings)
        self.kind = settings[0].kind
        self.folds = list(folds)
        self.like = rows.like
        self.task = rows.task
        self.layers = self._initial_layers(rows, seed)
        self.optimizer = make_optimizer(settings, len(folds), rows.like)
        self.optimizer.watch(self.layers)
        self._lay_out()

    @property
    def trials(self) -> int:
        return len(self.settings)

    @property
    def dropped_units(self) -> list[int]:
        """How many units of each hidden layer need noise; 0 where no member drops any."""
        pairs = zip(self.layers[:-1], self._drops, strict=True)
        return [layer.weight.shape[2] if drop.is_used else 0 for layer, drop in pairs]

    def keep(self, trials: Sequence[int]) -> None:
        """Drop all trials but these, and compact every tensor."""
        old = self.trials
        members = [fold * old + trial for fold in range(len(self.folds)) for trial in trials]
        index = torch.tensor(members, device=self.like.device)
        self.settings = [self.settings[trial] for trial in trials]
        self.layers = [Layer(layer.weight[index], layer.bias[index]) for layer in self.layers]
        self.optimizer.keep(index)
        self._lay_out()

    def weights_of(self, line: int, trial: int, fan_in: int) -> list[tuple[Tensor, Tensor]]:
        """Return one member's layers at their true shapes, without padding.

        Shape: (fan_in, fan_out) and (fan_out,) per layer.
        """
        member = line * self.trials + trial
        outputs = self.layers[-1].weight.shape[2]
        sizes = [fan_in, *self.settings[trial].widths, outputs]
        return [
            (layer.weight[member, :before, :after], layer.bias[member, 0, :after])
            for layer, (before, after) in zip(self.layers, itertools.pairwise(sizes), strict=True)
        ]

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs in eval mode. Shape: features (F, B, D) -> (F, T, B, C)."""
        unit = lift(features, self.trials)
        members = len(features) * self.trials
        for place in range(self.kind.hidden_layers):
            unit = self._activate(place, affine(unit, *self._of(place, members)))  # (M, B, H)
        outputs = affine(unit, *self._of(-1, members))  # (M, B, C)
        return outputs.view(len(features), self.trials, *outputs.shape[1:])

    def step(self, batch: Minibatch) -> Tensor:
        """Take one step of the members whose fold has rows left; return outputs in train mode.

        Shape: (F', T, B, C).
        """
        members = batch.folds * self.trials
        inputs: list[Tensor] = [lift(batch.features, self.trials)]
        hidden: list[Tensor] = []
        masks: list[Tensor | None] = []
        for place in range(self.kind.hidden_layers):
            unit = self._activate(
                place, affine(inputs[-1], *self._of(place, members))
            )  # (M', B, H)
            mask = self._mask(place, batch)
            hidden.append(unit)
            masks.append(mask)
            inputs.append(unit if mask is None else unit * mask)
        outputs = affine(inputs[-1], *self._of(-1, members))  # (M', B, C)
        shaped = outputs.view(batch.folds, self.trials, *outputs.shape[1:])
        delta = self._output_gradient(shaped, batch)
        self.optimizer.begin_step(members, delta)
        for place in range(self.kind.hidden_layers, -1, -1):
            # The gradient below is taken before the weights move.
            below = self._below(place, delta) if place > 0 else None
            self.optimizer.update(place, self.layers[place], inputs[place], delta)
            if below is not None:
                delta = self._pass_back(below, hidden[place - 1], masks[place - 1])
        return shaped

    def _initial_layers(self, rows: Rows, seed: int) -> list[Layer]:
        """Draw the weights of every member at its true shape, padded with zeros."""
        depth = self.kind.hidden_layers
        widest = [max(setting.widths[place] for setting in self.settings) for place in range(depth)]
        sizes = [self.like.shape[1], *widest, rows.outputs]
        members = len(self.folds) * self.trials
        layers = []
        for place, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            weight = torch.zeros(members, fan_in, fan_out, dtype=self.like.dtype)
            bias = torch.zeros(members, 1, fan_out, dtype=self.like.dtype)
            for line, fold in enumerate(self.folds):
                span = slice(line * self.trials, (line + 1) * self.trials)
                self._draw(place, rows, fold, seed, Layer(weight[span], bias[span]))
            layers.append(Layer(weight.to(self.like.device), bias.to(self.like.device)))
        return layers

    def _draw(self, place: int, rows: Rows, fold: int, seed: int, layer: Layer) -> None:
        """Fill the true part of one layer of one fold; trials of one shape share one draw."""
        data = rows.folds[fold]
        drawn: dict[tuple[int, int, float], tuple[Tensor, Tensor]] = {}
        for trial, setting in enumerate(self.settings):
            sizes = [rows.fan_in[fold], *setting.widths, rows.outputs]
            fan_in, fan_out, std = sizes[place], sizes[place + 1], setting.init_std
            if (fan_in, fan_out, std) not in drawn:
                drawn[fan_in, fan_out, std] = initial_layer(
                    self.kind.init, std, fan_in, fan_out, seed, data.repeat, data.fold, place
                )
            weight, bias = drawn[fan_in, fan_out, std]
            layer.weight[trial, :fan_in, :fan_out] = weight
            layer.bias[trial, 0, :fan_out] = bias

    def _lay_out(self) -> None:
        """Lay out what depends on which trials are alive: unit masks and dropout."""
        self._units: list[Tensor | None] = []
        self._drops: list[Drop] = []
        for place in range(self.kind.hidden_layers):
            self._units.append(self._unit_mask(place))
            chances = [setting.dropout[place] for setting in self.settings]
            below = torch.tensor([threshold(p) for p in chances], dtype=torch.int32)
            scale = torch.tensor([1.0 / (1.0 - p) for p in chances], dtype=torch.float64)
            self._drops.append(
                Drop(
                    below.view(-1, 1, 1).to(self.like.device),
                    scale.view(-1, 1, 1).to(self.like.device, self.like.dtype),
                    any(p > 0 for p in chances),
                )
            )

    def _unit_mask(self, place: int) -> Tensor | None:
        """Return which units are real; None where padded units are zero by themselves.

        Shape: (F * T, 1, H).
        """
        widths = [setting.widths[place] for setting in self.settings]
        padded = self.layers[place].weight.shape[2]
        if self.kind.activation != "sigmoid" or min(widths) == padded:
            return None
        units = torch.arange(padded)
        mask = torch.stack([(units < width).double() for width in widths])[:, None, :]
        return mask.repeat(len(self.folds), 1, 1).to(self.like.device, self.like.dtype)

    def _of(self, place: int, members: int) -> tuple[Tensor, Tensor]:
        layer = self.layers[place]
        return layer.weight[:members], layer.bias[:members]

    def _activate(self, place: int, unit: Tensor) -> Tensor:
        """Apply the activation in place. Shape: (M', B, H)."""
        match self.kind.activation:
            case "relu":
                return unit.relu_()
            case "tanh":
                return unit.tanh_()
            case "sigmoid":
                unit.sigmoid_()
        mask = self._units[place]
        return unit if mask is None else unit.mul_(mask[: len(unit)])

    def _mask(self, place: int, batch: Minibatch) -> Tensor | None:
        """Return what dropout multiplies a hidden layer by, or None. Shape: (M', B, H)."""
        drop = self._drops[place]
        words = batch.noise[place] if drop.is_used else None
        if words is None:
            return None
        units = self.layers[place].weight.shape[2]
        kept = words[:, None, :, :units] >= drop.below  # (F', T, B, H)
        return (kept * drop.scale).flatten(0, 1)

    def _output_gradient(self, outputs: Tensor, batch: Minibatch) -> Tensor:
        """Return the gradient of each member's mean loss. Shape: (F', T, B, C) -> (M', B, C)."""
        wanted = batch.wanted.unsqueeze(1)  # (F', 1, B, C)
        if self.task == "regression":
            gradient = (outputs - wanted).mul_(2.0)
        else:
            gradient = torch.softmax(outputs, dim=-1).sub_(wanted)
        return gradient.mul_(batch.share.unsqueeze(1)).flatten(0, 1)

    def _below(self, place: int, delta: Tensor) -> Tensor:
        """Take a gradient back through the weights of one layer. Shape: -> (M', B, H)."""
        return torch.bmm(delta, self.layers[place].weight[: len(delta)].transpose(1, 2))

    def _pass_back(self, delta: Tensor, unit: Tensor, mask: Tensor | None) -> Tensor:
        """Take a gradient back through dropout and activation. Shape: (M', B, H)."""
        if mask is not None:
            delta.mul_(mask)
        match self.kind.activation:
            case "relu":
                return _ops.threshold_backward(delta, unit, 0.0)  # type: ignore[no-any-return]
            case "tanh":
                return _ops.tanh_backward(delta, unit)  # type: ignore[no-any-return]
            case "sigmoid":
                return _ops.sigmoid_backward(delta, unit)  # type: ignore[no-any-return]
