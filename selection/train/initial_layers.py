"""The initial weights of a bucket: every member at its true shape, padded with zeros.

Trials of one shape share one draw, which is copied to the device once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selection.study.activations import ACTIVATIONS
from selection.study.setting import Kind, Setting
from selection.train.batches import Rows
from selection.train.initial import initial_layer
from selection.train.input_embeddings import InputEmbeddings
from selection.train.optimizer import Layer


@dataclass(frozen=True, eq=False)
class InitialLayers:
    """Hold what the initial weights of F x T members follow from.

    folds are indices into rows.folds; embeddings are those of the inputs, if there are any.
    """

    settings: Sequence[Setting]
    folds: Sequence[int]
    rows: Rows
    seed: int
    embeddings: InputEmbeddings | None

    @property
    def kind(self) -> Kind:
        return self.settings[0].kind

    def layers(self) -> list[Layer]:
        """Return the layers of all members."""
        depth, like = self.kind.hidden_layers, self.rows.like
        widest = [max(setting.widths[index] for setting in self.settings) for index in range(depth)]
        width = self.rows.width if self.embeddings is None else self.embeddings.width
        trials = len(self.settings)
        members = len(self.folds) * trials
        layers = []
        for index, (fan_in, fan_out) in enumerate(
            itertools.pairwise([width, *widest, self.rows.outputs])
        ):
            weight = like.new_zeros(members, fan_out, fan_in)
            bias = like.new_full((members, fan_out, 1), self._padding(index))
            for line in range(len(self.folds)):
                span = slice(line * trials, (line + 1) * trials)
                self._draw(index, line, weight[span], bias[span])
            scale = like.new_ones(members, 1, fan_in) if self._has_scale(index) else None
            embeddings = self.embeddings if index == 0 else None
            layers.append(Layer(weight, bias, scale, self._mix(index, fan_out), embeddings))
        return layers

    def _has_scale(self, index: int) -> bool:
        return index == 0 and self.kind.input_scaling

    def _mix(self, index: int, units: int) -> Tensor | None:
        """Return the shares of the activation: 1, and 0 for padded units. Shape: (M, H, 1)."""
        if index == self.kind.hidden_layers or not self.kind.parametric_activation:
            return None
        widths = torch.tensor([setting.widths[index] for setting in self.settings])
        mix = torch.arange(units).view(1, -1, 1) < widths.view(-1, 1, 1)  # (T, H, 1)
        like = self.rows.like
        return mix.to(like.device, like.dtype).repeat(len(self.folds), 1, 1)

    def _padding(self, index: int) -> float:
        """Return the bias that makes padded units exactly 0, as their mix of 0 does anyway."""
        if index == self.kind.hidden_layers or self.kind.parametric_activation:
            return 0.0
        return ACTIVATIONS[self.kind.activation].zero_input

    def _draw(self, index: int, line: int, weight: Tensor, bias: Tensor) -> None:
        """Fill the true part of one layer of one fold's members.

        Each draw is copied to the device once and broadcast there, which is faster on a GPU.
        Shape: weight (T, H, D), bias (T, H, 1).
        """
        rows, fold = self.rows, self.folds[line]
        data = rows.folds[fold]
        same_shape: dict[tuple[int, int, float], list[int]] = {}
        for trial, setting in enumerate(self.settings):
            sizes = [self._inputs_of(setting, line), *setting.widths, rows.outputs]
            key = (sizes[index], sizes[index + 1], setting.init_std)
            same_shape.setdefault(key, []).append(trial)
        for (fan_in, fan_out, std), trials in same_shape.items():
            drawn, drawn_bias = initial_layer(
                self.kind.init, std, fan_in, fan_out, self.seed, data.repeat, data.fold, index
            )
            drawn, drawn_bias = rounded(drawn.T, rows.like), rounded(drawn_bias, rows.like)
            # One broadcast if all trials share the draw; else a loop, faster than a list.
            inputs = slice(fan_in) if index > 0 else self._columns(line, fan_in)
            for part in [slice(None)] if len(trials) == len(self.settings) else trials:
                weight[part, :fan_out, inputs] = drawn
                bias[part, :fan_out, 0] = drawn_bias

    def _inputs_of(self, setting: Setting, line: int) -> int:
        """Return the number of inputs of the first layer of one member."""
        if self.embeddings is None:
            return setting.seen_inputs(self.rows.fan_in[self.folds[line]])
        return len(self.embeddings.columns(line))

    def _columns(self, line: int, fan_in: int) -> slice | Tensor:
        """Return which inputs of the first layer one fold's members have."""
        return slice(fan_in) if self.embeddings is None else self.embeddings.columns(line)


def rounded(drawn: Tensor, like: Tensor) -> Tensor:
    """Round on the CPU, so that all devices start from the same numbers, and copy."""
    return drawn.to(like.dtype).contiguous().to(like.device)
