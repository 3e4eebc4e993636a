"""A bucket: F folds x T trials of one kind, padded to the widths of the widest, as stacked tensors.

Forward and backward are written out, about five products a step. Padded units stay exactly zero.
Members are ordered fold by fold, and units come before rows: rows are many and a multiple of what a
processor computes at once, while units and classes are few and often odd. In bfloat16 the products
of hidden layers are rounded; weights and everything about outputs stay float32.
Trial numbers, pruning and storage are not known here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from selection.study.activations import ACTIVATIONS
from selection.study.setting import Setting
from selection.train.activations import FUNCTIONS, Parametric
from selection.train.batches import Minibatch, Rows
from selection.train.dropout import Drop, dropped_bias, keep_mask, thresholds
from selection.train.embeddings import Embedded, Embedding
from selection.train.initial import initial_layer
from selection.train.input_embeddings import InputEmbeddings, is_embedded
from selection.train.loss import TrainingLoss
from selection.train.moving import Moving, moves_dropout
from selection.train.optimizer import Layer
from selection.train.optimizers import make_optimizer
from selection.train.products import add_product, affine, first
from selection.train.schedules import Clock


class Bucket:
    """Hold the weights of F x T members and move them step by step.

    folds are indices into rows.folds, the fold with most training rows first.
    """

    def __init__(
        self, settings: Sequence[Setting], folds: Sequence[int], rows: Rows, seed: int
    ) -> None:
        self.settings = list(settings)
        self.kind = settings[0].kind
        self._activation = ACTIVATIONS[self.kind.activation]
        self._function = FUNCTIONS[self.kind.activation]
        self.folds = list(folds)
        self.like = rows.like
        self.work = rows.work
        self.task = rows.task
        self._data = [rows.folds[fold] for fold in folds]
        self.embeddings: InputEmbeddings | None = None
        if is_embedded(self.kind, rows):
            self.embeddings = InputEmbeddings(settings, rows, folds, seed)
        self.layers = self._initial_layers(rows, seed)
        self.optimizer = make_optimizer(settings, len(folds), rows.like)
        self.optimizer.watch(self.layers)
        self._lay_out()

    @property
    def trials(self) -> int:
        return len(self.settings)

    @property
    def is_zero_below_zero(self) -> bool:
        """Whether every negative input of a hidden unit gives exactly 0."""
        return self._activation.is_zero_below_zero and not self.kind.parametric_activation

    @property
    def dropped_units(self) -> list[int]:
        """The number of units of each hidden layer that need noise; 0 where no member drops any."""
        pairs = zip(self.layers[:-1], self._drops, strict=True)
        return [layer.weight.shape[1] if drop.is_used else 0 for layer, drop in pairs]

    def keep(self, trials: Sequence[int]) -> None:
        """Drop all trials but these, and compact every tensor."""
        old = self.trials
        members = [fold * old + trial for fold in range(len(self.folds)) for trial in trials]
        index = torch.tensor(members, device=self.like.device)
        self.settings = [self.settings[trial] for trial in trials]
        # One layer at a time, so that memory need not hold all of them twice.
        for layer in self.layers:
            layer.weight = layer.weight[index]
            layer.bias = layer.bias[index]
            layer.scale = None if layer.scale is None else layer.scale[index]
            layer.mix = None if layer.mix is None else layer.mix[index]
        if self.embeddings is not None:
            self.embeddings.keep(index, self.trials)
        self.optimizer.keep(index)
        self._lay_out()

    def weights_of(
        self, line: int, trial: int, fan_in: int
    ) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Return one member's layers at their true shapes, without padding: weight, bias, mix.

        Shape: (fan_out, fan_in), (fan_out,) and (fan_out,) per layer.
        """
        outputs = self.layers[-1].weight.shape[1]
        sizes = [fan_in, *self.settings[trial].widths, outputs]
        parts = []
        for layer, (before, after) in zip(
            self.layers_of(line), itertools.pairwise(sizes), strict=True
        ):
            weight = layer.weight[trial, :after]
            if layer.embeddings is None:
                weight = weight[:, :before]
            else:
                weight = layer.embeddings.exported(weight, line)
            mix = None if layer.mix is None else layer.mix[trial, :after, 0]
            parts.append((weight, layer.bias[trial, :after, 0], mix))
        return parts

    def waves_of(self, line: int, trial: int) -> Embedding | None:
        """Return the embedding of one member's numbers, if it has one."""
        if self.embeddings is None or self.embeddings.numeric is None:
            return None
        member = line * self.trials + trial
        return self.embeddings.numeric.part(slice(member, member + 1))

    def cast_fold(self, line: int) -> list[Layer]:
        """Return the layers of one fold's members in the number format of their products."""
        return self.cast(self.layers_of(line))

    def layers_of(self, line: int) -> list[Layer]:
        """Return the layers of one fold's members; the scale of inputs is in the weights."""
        span = slice(line * self.trials, (line + 1) * self.trials)
        layers = [_folded(layer, span) for layer in self.layers]
        if self.embeddings is not None:
            layers[0].weight = self.embeddings.expand(layers[0].weight, line)
        return layers

    def forward(self, layers: Sequence[Layer], features: Tensor, line: int) -> Tensor:
        """Return the outputs of one fold's members in eval mode.

        Shape: features (1, D, B) -> (T, C, B).
        """
        unit = self.inputs(features, line)
        for hidden in self.hidden_units(layers, unit):
            unit = hidden
        return self.outputs(layers[-1], unit)

    def inputs(self, features: Tensor, line: int) -> Tensor:
        """Return what the first layer of one fold's members is given.

        Shape: (1, D, B) -> (1, D, B), or (T, E, B) where numbers are embedded.
        """
        embedded = None if self.embeddings is None else self.embeddings.embed(features, line)
        return features if embedded is None else embedded.inputs.to(self.work)

    def hidden_units(self, layers: Sequence[Layer], inputs: Tensor) -> Iterator[Tensor]:
        """Yield each hidden layer's units in eval mode. Shape: as inputs() gives -> (T, H, B)."""
        unit = inputs
        for layer in layers[:-1]:
            unit, _ = self._activate(affine(layer.weight, layer.bias, unit), layer.mix)
            yield unit

    def _activate(self, taken: Tensor, mix: Tensor | None) -> tuple[Tensor, Tensor | Parametric]:
        """Return hidden units, and what the way back needs; taken may be overwritten."""
        if mix is None:
            return self._function.forward(taken), taken
        parametric = Parametric.of(self._function, mix, taken)
        return parametric.outputs, parametric

    def begin_epoch(self, epoch: int, steps: Sequence[int]) -> None:
        """Work out what moves in an epoch; steps is how many of them each fold takes."""
        self._moving.begin_epoch(Clock(epoch, self.kind.epochs, tuple(steps)))

    def step(self, batch: Minibatch) -> Tensor:
        """Take one step of the members whose fold has rows left; return outputs in train mode.

        Shape: (F', T, C, B).
        """
        self._moving.begin_step(batch.step)
        members = batch.folds * self.trials
        layers = self.cast([self._scaled(index, members) for index in range(len(self.layers))])
        embedded = None if self.embeddings is None else self.embeddings.embed(batch.features)
        inputs = [batch.features if embedded is None else embedded.inputs.to(self.work)]
        kept: list[Tensor | Parametric] = []
        masks: list[Tensor | None] = []
        for index, layer in enumerate(layers[:-1]):
            noise = self._noise(index, batch)
            mask = None
            if noise is not None and self.is_zero_below_zero:
                base = dropped_bias(noise, self._below(index, batch), self._bias(index, members))
                taken = add_product(base.to(self.work), layer.weight, inputs[-1])  # (M', H, B)
            else:
                taken = affine(layer.weight, layer.bias, inputs[-1])  # (M', H, B)
                if noise is not None:
                    mask = keep_mask(noise, self._below(index, batch)).to(self.work)
            unit, left = self._activate(taken, layer.mix)
            kept.append(left)
            masks.append(mask)
            inputs.append(unit if mask is None else unit * mask)
        outputs = self.outputs(layers[-1], inputs[-1])  # (M', C, B)
        outputs = outputs.view(batch.folds, self.trials, *outputs.shape[1:])
        factor = self.optimizer.begin_step(batch.share, self.trials)
        delta = self._loss.gradient(outputs, batch.wanted, batch.share, factor)  # (M', C, B)
        for index in range(self.kind.hidden_layers, -1, -1):
            rows = inputs[index].to(delta.dtype)
            # The gradient below is taken before the weights move.
            below = _below(layers[index].weight, delta).to(self.work) if index > 0 else None
            if index == 0 and embedded is not None:
                self._move_waves(embedded, layers[0].weight, delta)
            self.optimizer.update(
                index, self.layers[index], delta, rows, self._scale(index, members)
            )
            if below is not None:
                delta = self._pass_back(index - 1, below, kept[index - 1], masks[index - 1])
        self.optimizer.end_step(self.seen)
        if self.seen is not None:
            first(self.layers[0].weight, members).mul_(first(self.seen, members))
        return outputs

    def _move_waves(self, embedded: Embedded, weight: Tensor, delta: Tensor) -> None:
        """Move the embedding of numbers. Shape: weight (M', H, E), delta (M', H, B)."""
        assert self.embeddings is not None, "it has embedded them"
        assert self.embeddings.numeric is not None, "it has embedded them"
        own = weight[:, :, -self.embeddings.wave_inputs :].to(self.like.dtype)
        of_waves = torch.bmm(own.mT, delta.to(self.like.dtype))
        gradients = self.embeddings.wave_gradients(embedded, of_waves)
        for name, value in self.embeddings.numeric.tensors().items():
            self.optimizer.move(0, name, first(value, delta.size(0)), gradients[name])

    def _initial_layers(self, rows: Rows, seed: int) -> list[Layer]:
        """Lay out the weights of every member at its true shape, padded with zeros."""
        depth = self.kind.hidden_layers
        widest = [max(setting.widths[index] for setting in self.settings) for index in range(depth)]
        width = rows.width if self.embeddings is None else self.embeddings.width
        sizes = [width, *widest, rows.outputs]
        members = len(self.folds) * self.trials
        layers = []
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            weight = self.like.new_zeros(members, fan_out, fan_in)
            bias = self.like.new_full((members, fan_out, 1), self._padding(index))
            for line, fold in enumerate(self.folds):
                span = slice(line * self.trials, (line + 1) * self.trials)
                self._draw(index, rows, fold, seed, Layer(weight[span], bias[span]))
            layers.append(
                Layer(
                    weight,
                    bias,
                    self._initial_scale(index, fan_in),
                    self._initial_mix(index, fan_out),
                    self.embeddings if index == 0 else None,
                )
            )
        return layers

    def _initial_scale(self, index: int, inputs: int) -> Tensor | None:
        """Return the factors of the inputs. Shape: (M, 1, D)."""
        if index > 0 or not self.kind.input_scaling:
            return None
        return self.like.new_ones(len(self.folds) * self.trials, 1, inputs)

    def _initial_mix(self, index: int, units: int) -> Tensor | None:
        """Return the shares of the activation: 1, and 0 for padded units. Shape: (M, H, 1)."""
        if index == self.kind.hidden_layers or not self.kind.parametric_activation:
            return None
        widths = torch.tensor([setting.widths[index] for setting in self.settings])
        mix = torch.arange(units).view(1, -1, 1) < widths.view(-1, 1, 1)  # (T, H, 1)
        return mix.to(self.like.device, self.like.dtype).repeat(len(self.folds), 1, 1)

    def _draw(self, index: int, rows: Rows, fold: int, seed: int, layer: Layer) -> None:
        """Fill the true part of one layer of one fold; trials of one shape share one draw.

        Each draw is copied to the device once and broadcast there, which is faster on a GPU.
        """
        data = rows.folds[fold]
        line = self.folds.index(fold)
        same_shape: dict[tuple[int, int, float], list[int]] = {}
        for trial, setting in enumerate(self.settings):
            sizes = [self._inputs_of(setting, rows, fold), *setting.widths, rows.outputs]
            key = (sizes[index], sizes[index + 1], setting.init_std)
            same_shape.setdefault(key, []).append(trial)
        for (fan_in, fan_out, std), trials in same_shape.items():
            weight, bias = initial_layer(
                self.kind.init, std, fan_in, fan_out, seed, data.repeat, data.fold, index
            )
            weight, bias = self._on_device(weight.T), self._on_device(bias)
            # One broadcast if all trials share the draw; else a loop, faster than a list.
            inputs = slice(fan_in) if index > 0 else self._columns(line, fan_in)
            for part in [slice(None)] if len(trials) == self.trials else trials:
                layer.weight[part, :fan_out, inputs] = weight
                layer.bias[part, :fan_out, 0] = bias

    def _inputs_of(self, setting: Setting, rows: Rows, fold: int) -> int:
        """Return the number of inputs of the first layer of one member."""
        if self.embeddings is None:
            return setting.seen_inputs(rows.fan_in[fold])
        return len(self.embeddings.columns(self.folds.index(fold)))

    def _columns(self, line: int, fan_in: int) -> slice | Tensor:
        """Return which inputs of the first layer one fold's members have."""
        return slice(fan_in) if self.embeddings is None else self.embeddings.columns(line)

    def _on_device(self, drawn: Tensor) -> Tensor:
        """Round on the CPU, so that all devices start from the same weights, and copy."""
        return drawn.to(self.like.dtype).contiguous().to(self.like.device)

    def _padding(self, index: int) -> float:
        """Return the bias that makes padded units exactly 0, as their mix of 0 does anyway."""
        if index == self.kind.hidden_layers or self.kind.parametric_activation:
            return 0.0
        return self._activation.zero_input

    def _lay_out(self) -> None:
        """Lay out what depends on which trials are alive.

        seen marks the inputs that a member uses; None if all members use all of them.
        Shape: (M, 1, D).
        """
        # Where features are embedded, all of them are seen.
        width = self.layers[0].weight.shape[2]
        limits = [setting.seen_inputs(width) for setting in self.settings]
        self.seen: Tensor | None = None
        if min(limits) < width:
            seen = torch.arange(width) < torch.tensor(limits).view(-1, 1, 1)  # (T, 1, D)
            self.seen = seen.to(self.like.device, self.like.dtype).repeat(len(self.folds), 1, 1)
        self._loss = TrainingLoss(self.settings, self._data, self.task, self.like)
        self._drops: list[Drop] = []
        folds = len(self.folds)
        # Folds of unequal sizes are not at the same point of a schedule.
        lines = folds if any(map(moves_dropout, self.settings)) else 1
        for index in range(self.kind.hidden_layers):
            chances = np.array([setting.dropout[index] for setting in self.settings])
            below = self._on_device(torch.from_numpy(thresholds(chances)))
            scale = self._on_device(torch.from_numpy(1.0 / (1.0 - chances)))
            self._drops.append(
                Drop(
                    below.view(1, -1, 1, 1).repeat(lines, 1, 1, 1),
                    scale.view(-1, 1, 1).repeat(folds, 1, 1),
                    bool((chances > 0).any()),
                )
            )
        self._moving = Moving(self.settings, self.optimizer, self._drops)

    def cast(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return layers in the number format of their products."""
        if self.work == self.like.dtype:
            return list(layers)
        hidden = [
            Layer(
                layer.weight.to(self.work),
                layer.bias.to(self.work),
                mix=None if layer.mix is None else layer.mix.to(self.work),
            )
            for layer in layers[:-1]
        ]
        return [*hidden, layers[-1]]

    def outputs(self, layer: Layer, unit: Tensor) -> Tensor:
        """Return the outputs of the last layer. Shape: unit (M' or F', H, B) -> (M', C, B)."""
        return affine(layer.weight, layer.bias, unit.to(layer.weight.dtype))

    def _scale(self, index: int, members: int) -> Tensor | None:
        """Return the factor on the rows of a layer that dropout below it needs.

        It is applied to weights and to gradients of outputs, which are smaller than the rows.
        Shape: (M', 1, 1).
        """
        if index == 0 or not self._drops[index - 1].is_used:
            return None
        return first(self._drops[index - 1].scale, members)

    def _below(self, index: int, batch: Minibatch) -> Tensor:
        """Return the noise below which a layer's units are dropped. Shape: (1 or F', T, 1, 1)."""
        below = self._drops[index].below
        return below if below.size(0) == 1 else first(below, batch.folds)

    def _scaled(self, index: int, members: int) -> Layer:
        """Return a layer of the first members with its scales in the weights."""
        layer, scale = self.layers[index], self._scale(index, members)
        weight = first(layer.weight, members)
        if scale is not None:
            weight = weight * scale
        if layer.scale is not None:
            weight = weight * first(layer.scale, members)
        if layer.embeddings is not None:
            weight = layer.embeddings.expand(weight)
        mix = None if layer.mix is None else first(layer.mix, members)
        return Layer(weight, self._bias(index, members), mix=mix)

    def _bias(self, index: int, members: int) -> Tensor:
        return first(self.layers[index].bias, members)

    def _noise(self, index: int, batch: Minibatch) -> Tensor | None:
        """Return the dropout noise of a hidden layer, or None. Shape: (F', H, B)."""
        noise = batch.noise[index] if self._drops[index].is_used else None
        units = self.layers[index].weight.size(1)
        return noise if noise is None or noise.size(1) == units else noise[:, :units]

    def _pass_back(
        self, index: int, delta: Tensor, kept: Tensor | Parametric, mask: Tensor | None
    ) -> Tensor:
        """Take a gradient back through dropout and activation, in place. Shape: (M', H, B)."""
        if mask is not None:
            delta.mul_(mask)
        if not isinstance(kept, Parametric):
            self._function.backward(delta, kept)
            return delta
        of_mix = kept.backward(delta)  # (M', H, 1)
        mix = self.layers[index].mix
        assert mix is not None, "a parametric activation has a mix"
        members = of_mix.size(0)
        self.optimizer.move(index, "mix", first(mix, members), of_mix.to(mix.dtype))
        return delta


def _folded(layer: Layer, members: slice) -> Layer:
    """Return a layer of some members, with the scale of its inputs in the weights."""
    weight = layer.weight[members]
    if layer.scale is not None:
        weight = weight * layer.scale[members]
    mix = None if layer.mix is None else layer.mix[members]
    return Layer(weight, layer.bias[members], mix=mix, embeddings=layer.embeddings)


def _below(weight: Tensor, delta: Tensor) -> Tensor:
    """Take a gradient back through the weights of one layer. Shape: -> (M', D, B)."""
    return torch.bmm(weight.mT, delta)
