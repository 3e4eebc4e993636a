"""The gradient of each member's training loss: label smoothing and weights of classes.

Reported losses know neither, see metrics.py. Weights of rows are in the share of a row in its
minibatch, see batches.py.
Source: torch.nn.functional.cross_entropy(weight=..., label_smoothing=..., reduction="mean").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from selection.data.prepare import FoldData
from selection.metrics import Task
from selection.study.setting import Setting


class TrainingLoss:
    """Hold what the losses of F x T members differ in; nothing for what no member uses.

    Shape: kept and spread (1, T, 1, 1) with label smoothing; weights (F, T, C, 1) and is_weighted
    (1, T, 1, 1) with weights of classes.
    """

    def __init__(
        self, settings: Sequence[Setting], folds: Sequence[FoldData], task: Task, like: Tensor
    ) -> None:
        self.task = task
        self._kept: Tensor | None = None
        self._spread = like
        self._weights: Tensor | None = None
        self._is_weighted = like
        smoothing = [setting.label_smoothing for setting in settings]
        if any(smoothing):
            spread = [each / folds[0].classes for each in smoothing]
            self._kept = _per_trial([1.0 - each for each in smoothing], like)
            self._spread = _per_trial(spread, like)
        if any(setting.class_weights != "none" for setting in settings):
            weights = [[class_weights(setting, fold) for setting in settings] for fold in folds]
            self._weights = torch.tensor(weights, dtype=torch.float64).unsqueeze(3)  # (F, T, C, 1)
            self._weights = self._weights.to(like.device, like.dtype)
            is_weighted = [setting.class_weights != "none" for setting in settings]
            self._is_weighted = torch.tensor(is_weighted).view(1, -1, 1, 1).to(like.device)

    def gradient(self, outputs: Tensor, wanted: Tensor, share: Tensor, factor: Tensor) -> Tensor:
        """Return the gradient of each member's mean loss, times a factor.

        Shape: outputs (F', T, C, B), wanted (F', C, B), share (F', 1, 1, B), the weight of each row
        in its minibatch, and factor (F', T or 1, 1, B), which has it in it -> (M', C, B).
        """
        wanted = wanted.unsqueeze(1)  # (F', 1, C, B)
        if self.task == "regression":
            gradient = (outputs - wanted).mul_(2.0)
            return gradient.mul_(factor).flatten(0, 1)
        gradient = torch.softmax(outputs, dim=2)
        aim = wanted if self._kept is None else wanted * self._kept + self._spread
        if self._weights is not None:
            weights = self._weights[: outputs.size(0)]
            aim = aim * weights  # (F', T, C, B)
            # A member without weights keeps the very bits that it has among others without.
            gradient.mul_(torch.where(self._is_weighted, aim.sum(dim=2, keepdim=True), 1.0))
            chosen = (wanted * weights).sum(dim=2, keepdim=True)  # (F', T, 1, B)
            total = (chosen * share).sum(dim=3, keepdim=True)  # (F', T, 1, 1)
            tiny = torch.finfo(total.dtype).tiny  # of a minibatch that weighs nothing
            factor = factor / torch.where(self._is_weighted, total.clamp_(min=tiny), 1.0)
        return gradient.sub_(aim).mul_(factor).flatten(0, 1)


def class_weights(setting: Setting, fold: FoldData) -> list[float]:
    """Return the weight of each class of one member, in the order of the classes.

    "balanced" is n / (C n_c) over the training rows, where C counts the classes among them; a class
    that none of them has weighs 0.
    Source: scikit-learn, compute_class_weight("balanced").
    """
    match setting.class_weights:
        case "none":
            return [1.0] * fold.classes
        case "balanced":
            counts = np.bincount(fold.targets[fold.training], minlength=fold.classes)
            even = counts.sum() / np.count_nonzero(counts)
            return [even / count if count else 0.0 for count in counts.tolist()]
        case table:
            return [dict(table).get(name, 1.0) for name in fold.class_names]


def _per_trial(values: Sequence[float], like: Tensor) -> Tensor:
    """Shape: (1, T, 1, 1)."""
    column = torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
    return column.to(like.device, like.dtype)
