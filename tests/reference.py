"""The slow truth: one plain nn.Sequential, autograd and torch.optim, one member at a time.

Shares with the packed engine only what is defined by a seed (initial weights, order of rows) and
the study's values; dropout noise is written again in NumPy, scores come from scikit-learn.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.metrics as oracle
import torch
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from selection.data.prepare import FoldData
from selection.study import activations
from selection.study.setting import Setting
from selection.train.batches import training_order
from selection.train.dropout import dropout_key
from selection.train.embeddings import initial_embedding
from selection.train.initial import initial_layer
from selection.train.input_embeddings import initial_table

# nn.GELU under the name "gelu", nn.LeakyReLU under "leaky_relu", and so on.
_MODULES = {name.lower(): getattr(nn, name) for name in nn.modules.activation.__all__}
ACTIVATIONS = {name: _MODULES[name.replace("_", "")] for name in activations.ACTIVATIONS}


class Scale(nn.Module):
    """Multiply each input by a learned factor."""

    def __init__(self, inputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(inputs, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


class Parametric(nn.Module):
    """Apply a learned share of an activation."""

    def __init__(self, activation: nn.Module, units: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.activation = activation
        self.factor = nn.Parameter(torch.ones(units, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        bent: Tensor = self.activation(inputs)
        return inputs + self.factor * (bent - inputs)


class HashDropout(nn.Module):
    """Inverted dropout whose noise is a MurmurHash3 finaliser over key, row and unit."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.key = 0

    def forward(self, unit: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return unit
        rows = np.arange(1, unit.shape[0] + 1, dtype=np.int32)[:, None]
        units = np.arange(1, unit.shape[1] + 1, dtype=np.int32)[None, :]
        with np.errstate(over="ignore"):
            left = _finalise(rows * _signed(0x9E3779B1) ^ np.int32(self.key))
            word = (left ^ _finalise(units * _signed(0x7FEB352D))) * _signed(0x846CA68B)
            word = (word ^ (word >> 15)) * _signed(0xC2B2AE35)
        kept = (word >> 9) >= round(self.probability * 2**23) - 2**22
        return unit * torch.from_numpy(kept).to(unit.dtype) / (1.0 - self.probability)


def _finalise(word: NDArray[np.int32]) -> NDArray[np.int32]:
    word = (word ^ (word >> 16)) * _signed(0x85EBCA6B)
    word = (word ^ (word >> 13)) * _signed(0xC2B2AE35)
    return word ^ (word >> 16)


def _signed(word: int) -> np.int32:
    return np.uint32(word).astype(np.int32)


@dataclass
class Reference:
    """Hold what training one member left behind; layers are (L, 3), after the last epoch."""

    points: NDArray[np.float64]
    layers: NDArray[np.float64]
    outputs: NDArray[np.float64]
    model: nn.Sequential


class Embeddings(nn.Module):
    """Replace categorical columns of many categories by 8 numbers, and add waves of the numbers."""

    def __init__(
        self, setting: Setting, data: FoldData, columns: Sequence[int], seed: int, dtype: Any
    ) -> None:
        super().__init__()
        self.kind = setting.kind.numeric_embedding
        self.numeric = data.numeric if self.kind != "none" else 0
        self.blocks = [data.blocks[column] for column in columns]
        self.tables = nn.ParameterList(
            initial_table(block.stop - block.start, seed, data.repeat, data.fold, column).to(dtype)
            for column, block in zip(columns, self.blocks, strict=True)
        )
        self.waves = nn.ParameterDict()
        if self.numeric:
            drawn = initial_embedding(
                self.kind, [setting.embedding_scale], self.numeric, seed, data.repeat, data.fold
            )
            named = drawn.tensors().items()
            self.waves.update({name: nn.Parameter(each[0].to(dtype)) for name, each in named})
        kept = set(range(data.features.shape[1]))
        kept -= {column for block in self.blocks for column in range(block.start, block.stop)}
        if self.kind == "pl":
            kept -= set(range(self.numeric))
        self.kept = sorted(kept)
        self.width = len(kept) + 8 * len(self.blocks)
        self.width += self.numeric * {"none": 0, "pl": 4, "pbld": 3}[self.kind]

    def waves_with(self, names: Sequence[str]) -> list[nn.Parameter]:
        return [self.waves[name] for name in names if name in self.waves]

    def forward(self, features: Tensor) -> Tensor:
        parts = [features[:, self.kept]]
        for block, table in zip(self.blocks, self.tables, strict=True):
            parts.append(features[:, block] @ table)
        for column in range(self.numeric):
            angles = 2 * math.pi * features[:, column, None] * self.waves["frequency"][column]
            if self.kind == "pbld":
                waves = torch.cos(angles + self.waves["phase"][column])
            else:
                waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
            weight, bias = self.waves["waves"], self.waves["wave_bias"][:, 0]
            count = len(bias) // self.numeric
            own = slice(column * count, (column + 1) * count)
            parts.append(nn.functional.linear(waves, weight[own], bias[own]))
        return torch.cat(parts, dim=1)


def embedded(folds: Sequence[FoldData]) -> list[int]:
    """Return which categorical columns have more than 8 categories in some fold."""
    sizes = [[block.stop - block.start for block in fold.blocks] for fold in folds]
    most = [max(of_folds) for of_folds in zip(*sizes, strict=True)]
    return [column for column, size in enumerate(most) if size > 8]


def build(
    setting: Setting,
    data: FoldData,
    seed: int,
    dtype: torch.dtype,
    folds: Sequence[FoldData] = (),
) -> nn.Sequential:
    """Stack the layers of one MLP with their initial weights.

    folds say which categorical columns have many categories; without them, this fold does.
    """
    sizes = [setting.seen_inputs(data.features.shape[1]), *setting.widths, data.classes or 1]
    layers: list[nn.Module] = []
    if setting.kind.numeric_embedding != "none" or setting.kind.category_embedding:
        columns = embedded(folds or [data]) if setting.kind.category_embedding else []
        embeddings = Embeddings(setting, data, columns, seed, dtype)
        sizes[0] = embeddings.width
        layers.append(embeddings)
    if setting.kind.input_scaling:
        layers.append(Scale(sizes[0], dtype))
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out, dtype=dtype)
        weight, bias = initial_layer(
            setting.kind.init,
            setting.init_std,
            fan_in,
            fan_out,
            seed,
            data.repeat,
            data.fold,
            index,
        )
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias)
        layers.append(linear)
        if index < len(setting.widths):
            activation = ACTIVATIONS[setting.kind.activation]()
            if setting.kind.parametric_activation:
                activation = Parametric(activation, fan_out, dtype)
            layers += [activation, HashDropout(setting.dropout[index])]
    return nn.Sequential(*layers)


def make_optimizer(setting: Setting, model: nn.Sequential) -> torch.optim.Optimizer:
    """Put weights and biases into groups of their own: only weights are penalised."""
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    groups: list[dict[str, Any]] = [
        {
            "params": [linear.weight for linear in linears],
            "weight_decay": setting.weight_decay + setting.l2,
        },
        {"params": [linear.bias for linear in linears], "weight_decay": 0.0},
        *(
            {
                "params": [layer.factor],
                "weight_decay": 0.0,
                "lr": setting.learning_rate * (6.0 if isinstance(layer, Scale) else 0.1),
            }
            for layer in model
            if isinstance(layer, Scale | Parametric)
        ),
    ]
    for layer in model:
        if isinstance(layer, Embeddings):
            groups[0]["params"] += [*layer.tables, *layer.waves_with(["waves"])]
            groups[1]["params"] += layer.waves_with(["frequency", "phase", "wave_bias"])
    match setting.kind.optimizer:
        case "sgd":
            return torch.optim.SGD(
                groups,
                lr=setting.learning_rate,
                momentum=setting.momentum,
                nesterov=setting.kind.nesterov,
            )
        case "adam":
            return torch.optim.Adam(groups, **_of_adam(setting))
        case "adamw":
            return torch.optim.AdamW(groups, **_of_adam(setting))


def _of_adam(setting: Setting) -> dict[str, Any]:
    betas = (setting.beta1, setting.beta2)
    return {"lr": setting.learning_rate, "betas": betas, "eps": setting.eps}


def schedule_factors(name: str, steps: int) -> list[float]:
    """Return what torch's scheduler of this name multiplies a rate by in each of so many steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make_scheduler(name, optimizer, steps)
    factors = []
    for _ in range(steps):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return factors


def make_scheduler(
    name: str, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Build the scheduler of torch that is meant, or the formula of a paper where it has none."""
    schedulers = torch.optim.lr_scheduler
    match name:
        case "constant":
            return schedulers.ConstantLR(optimizer, factor=1.0)
        case "cosine":
            return schedulers.CosineAnnealingLR(optimizer, T_max=steps)
        case "one_cycle":
            # torch takes the last step at the lowest rate, and the highest rate a step early.
            rise = (0.3 * steps + 1) / (steps + 1)
            return schedulers.OneCycleLR(
                optimizer, 1.0, total_steps=steps + 1, pct_start=rise, cycle_momentum=False
            )
        case "step":
            return schedulers.MultiStepLR(optimizer, [-(-steps // 2), -(-3 * steps // 4)])
        case "coslog4":
            return schedulers.LambdaLR(
                optimizer,
                lambda step: 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * step / steps))),
            )
        case "flat_cos":
            return schedulers.LambdaLR(
                optimizer,
                lambda step: (
                    1.0 if 2 * step < steps else 0.5 - 0.5 * math.cos(2 * math.pi * step / steps)
                ),
            )
    raise AssertionError(name)


def warm_up_factors(share: float, steps: int) -> list[float]:
    """Return the factors of a linear warm-up over a share of all steps."""
    return [min(1.0, (step + 1) / (share * steps)) if share else 1.0 for step in range(steps)]


class Schedules:
    """Set learning rate, weight decay and dropout before each step of one member."""

    def __init__(
        self, setting: Setting, model: nn.Sequential, optimizer: torch.optim.Optimizer, steps: int
    ) -> None:
        self.setting = setting
        self.groups = optimizer.param_groups
        self.own = [group["lr"] / setting.learning_rate for group in self.groups]
        self.drops = [layer for layer in model if isinstance(layer, HashDropout)]
        self.rate = schedule_factors(setting.schedule, steps)
        self.warm_up = warm_up_factors(setting.warmup, steps)
        self.decay = schedule_factors(setting.weight_decay_schedule, steps)
        self.dropout = schedule_factors(setting.dropout_schedule, steps)

    def set(self, step: int) -> None:
        rate = self.setting.learning_rate * self.rate[step] * self.warm_up[step]
        for group, own in zip(self.groups, self.own, strict=True):
            group["lr"] = rate * own
        decay = (self.setting.weight_decay + self.setting.l2) * self.decay[step]
        self.groups[0]["weight_decay"] = decay
        for drop, probability in zip(self.drops, self.setting.dropout, strict=True):
            drop.probability = probability * self.dropout[step]


def train(
    setting: Setting,
    data: FoldData,
    metric: str,
    seed: int,
    dtype: torch.dtype = torch.float64,
    epochs: int | None = None,
    folds: Sequence[FoldData] = (),
) -> Reference:
    """Train one member by the book."""
    model = build(setting, data, seed, dtype, folds)
    optimizer = make_optimizer(setting, model)
    batches = -(-len(data.training) // setting.kind.batch_size)
    epochs = epochs or setting.kind.epochs
    schedules = Schedules(setting, model, optimizer, batches * epochs)
    features = torch.from_numpy(data.features).to(dtype)
    features = features[:, : setting.seen_inputs(features.shape[1])]
    targets = torch.from_numpy(data.targets)
    # Training rows are scored on as many as are validated, at least 512, evenly spread.
    count = len(data.training)
    share = min(count, max(len(data.validation), 512))
    scored = data.training[np.arange(share) * count // share]
    if not data.classes:
        targets = targets.to(dtype)
    points = []
    for epoch in range(1, epochs + 1):
        model.train()
        order = training_order(seed, data, epoch)
        seen = []
        for step, batch in enumerate(order.split(setting.kind.batch_size)):  # type: ignore[no-untyped-call]
            _set_keys(model, data, seed, epoch, step)
            schedules.set((epoch - 1) * batches + step)
            outputs = model(features[batch])
            optimizer.zero_grad()
            training_loss(setting, data, outputs, targets, batch).backward()  # type: ignore[no-untyped-call]
            if setting.clip_norm > 0:
                nn.utils.clip_grad_norm_(model.parameters(), setting.clip_norm)
            optimizer.step()
            seen.append(outputs.detach())
        model.eval()
        with torch.no_grad():
            everything = model(features)
        row = []
        for rows, outputs in (
            (order, torch.cat(seen)),
            (scored, everything[scored]),
            (data.validation, everything[data.validation]),
        ):
            row += [
                float(_loss(outputs, targets[rows])),
                score(metric, outputs, targets[rows], data),
            ]
        points.append(row)
    outputs = everything[data.validation].numpy() * data.target_std + data.target_mean
    layers = layer_numbers(model, features[scored], targets[scored])
    return Reference(np.array(points), layers, outputs, model)


def folded(model: nn.Sequential) -> nn.Sequential:
    """Return the same function with the factors of the inputs in the first weights."""
    layers = list(copy.deepcopy(model))
    for scale, linear in itertools.pairwise(layers):
        if isinstance(scale, Scale):
            assert isinstance(linear, nn.Linear)
            with torch.no_grad():
                linear.weight *= scale.factor
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, Scale)))


def layer_numbers(model: nn.Sequential, features: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Return gradient norm, weight norm and share of dead ReLU units of each layer."""
    model = folded(model)
    model.zero_grad()
    outputs = features
    units = []
    for layer in model:
        outputs = layer(outputs)
        if isinstance(layer, nn.ReLU):
            units.append(outputs.detach())
    _loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    dead = [float((unit == 0).all(dim=0).double().mean()) for unit in units]
    dead += [float("nan")] * (len(linears) - len(dead))
    return np.array(
        [
            [float(_gradient(linear).norm()), float(linear.weight.detach().norm()), share]
            for linear, share in zip(linears, dead, strict=True)
        ]
    )


def _set_keys(model: nn.Sequential, data: FoldData, seed: int, epoch: int, step: int) -> None:
    drops = [layer for layer in model if isinstance(layer, HashDropout)]
    for layer, drop in enumerate(drops):
        drop.key = dropout_key(seed, data.repeat, data.fold, layer, epoch, step)


def _gradient(linear: nn.Linear) -> torch.Tensor:
    assert linear.weight.grad is not None
    return linear.weight.grad


def training_loss(
    setting: Setting, data: FoldData, outputs: Tensor, targets: Tensor, batch: Tensor
) -> Tensor:
    """Return the loss that is trained: row by row by torch, averaged by the weights of the rows."""
    wanted = targets[batch]
    of_rows = torch.ones(len(batch), dtype=outputs.dtype)
    if data.weights is not None:
        of_rows = torch.from_numpy(data.weights)[batch].to(outputs.dtype)
    if not data.classes:
        losses = nn.functional.mse_loss(outputs[:, 0], wanted, reduction="none")
        return (of_rows * losses).sum() / of_rows.sum()
    of_classes = _class_weights(setting, data)
    weight = None if of_classes is None else torch.from_numpy(of_classes).to(outputs.dtype)
    options: Any = {"weight": weight, "label_smoothing": setting.label_smoothing}
    if data.weights is None:
        return nn.functional.cross_entropy(outputs, wanted, **options)
    losses = nn.functional.cross_entropy(outputs, wanted, reduction="none", **options)
    total = of_rows if weight is None else of_rows * weight[wanted]
    return (of_rows * losses).sum() / total.sum()


def _class_weights(setting: Setting, data: FoldData) -> NDArray[np.float64] | None:
    """Ask scikit-learn; a class that no training row has is never asked for."""
    if setting.class_weights == "none":
        return None
    names = np.arange(data.classes)
    if setting.class_weights == "balanced":
        found: NDArray[np.float64] = compute_class_weight(
            "balanced", classes=names, y=data.targets[data.training]
        )
        return found
    return np.array([dict(setting.class_weights)[name] for name in data.class_names])


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.dtype == torch.int64:
        return nn.functional.cross_entropy(outputs, targets)
    return nn.functional.mse_loss(outputs[:, 0], targets)


def score(metric: str, outputs: Tensor, targets: Tensor, data: FoldData) -> float:
    """Ask scikit-learn."""
    true = targets.numpy()
    if targets.dtype != torch.int64:
        predicted = outputs[:, 0].numpy() * data.target_std
        true = true * data.target_std
        match metric:
            case "rmse":
                return float(oracle.root_mean_squared_error(true, predicted))
            case "mae":
                return float(oracle.mean_absolute_error(true, predicted))
            case "r2":
                return float(oracle.r2_score(true, predicted))
    chances = torch.softmax(outputs.double(), dim=-1).numpy()
    labels = np.arange(outputs.shape[1])
    predicted = chances.argmax(axis=1)
    match metric:
        case "accuracy":
            return float(oracle.accuracy_score(true, predicted))
        case "balanced_accuracy":
            return float(oracle.balanced_accuracy_score(true, predicted))
        case "macro_f1":
            return float(oracle.f1_score(true, predicted, average="macro"))
        case "cross_entropy":
            return float(oracle.log_loss(true, chances, labels=labels))
        case "roc_auc" if len(labels) == 2:
            return float(oracle.roc_auc_score(true, chances[:, 1]))
        case "roc_auc":
            return float(oracle.roc_auc_score(true, chances, multi_class="ovr", labels=labels))
    raise AssertionError(metric)
