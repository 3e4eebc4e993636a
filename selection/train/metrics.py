"""Losses and scores of many members at once, from their outputs (T, C, N): classes before rows.

Tests compare every metric with scikit-learn. A class that is absent from the scored rows does not
count as 0: it is left out of the mean over classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from selection.metrics import (
    METRICS,
    ExplainedVariance,
    MeanOverClasses,
    MeanOverRows,
    RankArea,
    RowValue,
    Task,
)


def loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy or squared error over rows, without any penalty.

    Shape: outputs (T, C, N), targets (N,) -> (T,) float64.
    """
    value: RowValue = "squared_error" if task == "regression" else "negative_log_likelihood"
    return mean_over_rows(value, outputs, targets)


def score(metric: str, outputs: Tensor, targets: Tensor, unit: float = 1.0) -> Tensor:
    """Return the score of a metric, by the computation that its entry names.

    Shape: outputs (T, C, N), targets (N,) -> (T,) float64.
    Units: unit is the standard deviation that regression targets were divided by; RMSE and MAE are
    given in units of the target.
    """
    entry = METRICS[metric]
    match entry.computation:
        case MeanOverRows(value, is_rooted):
            scores = mean_over_rows(value, outputs, targets)
            scores = scores.sqrt() if is_rooted else scores
        case MeanOverClasses(rate):
            rates: Tensor = rate(count_classes(outputs, targets))  # (T, C)
            scores = rates.nanmean(dim=1)
        case RankArea():
            scores = roc_auc(outputs, targets)
        case ExplainedVariance():
            scores = r2(outputs[:, 0], targets)
    return scores * unit if entry.unit == "target" else scores


def mean_over_rows(value: RowValue, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over rows of one value per row. Shape: (T, C, N), (N,) -> (T,) float64."""
    match value:
        case "hit":
            return mean(hits(outputs, targets).double())
        case "negative_log_likelihood":
            return -mean(_chosen(log_softmax(outputs, dim=1), targets))
        case "squared_error":
            return mean(torch.square(outputs[:, 0] - targets))
        case "absolute_error":
            return mean((outputs[:, 0] - targets).abs())


def mean(rows: Tensor) -> Tensor:
    """Return the mean over the last axis, summed in float64. Shape: (T, N) -> (T,)."""
    return rows.sum(dim=-1, dtype=torch.float64) / rows.shape[-1]


def hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return where the target is the predicted class: the first of those with the largest output.

    Two maxima are many times faster than an argmax over classes.
    Shape: (T, C, N), (N,) -> (T, N).
    """
    chosen = _chosen(outputs, targets)
    classes = torch.arange(outputs.shape[1], device=targets.device)[:, None]
    never = torch.full((1, 1), -torch.inf, dtype=outputs.dtype, device=outputs.device)
    always = torch.zeros_like(never)
    before = (outputs + torch.where(classes < targets, always, never)).amax(dim=1)
    after = (outputs + torch.where(classes > targets, always, never)).amax(dim=1)
    return (chosen > before) & (chosen >= after)


def _chosen(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the output of each row's target. Shape: (T, C, N), (N,) -> (T, N)."""
    return outputs.gather(1, targets.expand(len(outputs), 1, -1))[:, 0]


@dataclass(frozen=True, eq=False)
class Counts:
    """Hold counts of rows by class, as metrics.ClassCounts names them. Shape: (T, C) float64."""

    hits: Tensor
    true: Tensor
    predicted: Tensor


def count_classes(outputs: Tensor, targets: Tensor) -> Counts:
    """Count the rows of each class. Shape: (T, C, N), (N,) -> (T, C)."""
    counts = confusion(outputs, targets)
    return Counts(counts.diagonal(dim1=1, dim2=2), counts.sum(dim=2), counts.sum(dim=1))


def confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Count rows by true class and predicted class. Shape: (T, C, N), (N,) -> (T, C, C) float64."""
    members, classes, _ = outputs.shape
    cells = targets * classes + outputs.max(dim=1).indices  # (T, N)
    counts = torch.zeros(members, classes * classes, dtype=torch.int64, device=outputs.device)
    counts.scatter_add_(1, cells, torch.ones_like(cells))
    return counts.view(members, classes, classes).double()


def roc_auc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the area under the ROC curve; one-vs-rest mean over classes where there are several.

    Shape: (T, C, N), (N,) -> (T,).
    Source: the rank statistic of Mann and Whitney, ties at their mean rank.
    """
    classes = outputs.shape[1]
    # Along the last axis equal outputs have equal probabilities in every row, so ties stay ties.
    chances = torch.softmax(outputs.double().transpose(1, 2).contiguous(), dim=-1)  # (T, N, C)
    if classes == 2:
        return _rank_area(chances[..., 1], targets == 1)
    areas = [_rank_area(chances[..., c], targets == c) for c in range(classes)]
    return torch.stack(areas).nanmean(dim=0)


def _rank_area(chances: Tensor, is_positive: Tensor) -> Tensor:
    """Shape: (T, N), (N,) -> (T,); NaN where one side is empty."""
    ordered = chances.sort(dim=-1).values
    chances = chances.contiguous()
    below = torch.searchsorted(ordered, chances, right=False)
    up_to = torch.searchsorted(ordered, chances, right=True)
    ranks = (below + up_to + 1).double() / 2.0
    positives = is_positive.sum().double()
    negatives = is_positive.numel() - positives
    above = torch.where(is_positive, ranks, 0.0).sum(dim=-1) - positives * (positives + 1) / 2
    area = above / (positives * negatives)
    return torch.where(torch.isfinite(chances).all(dim=-1), area, torch.nan)


def r2(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the coefficient of determination. Shape: (T, N), (N,) -> (T,)."""
    residual = torch.square(predictions - targets).sum(dim=-1, dtype=torch.float64)
    centred = targets.double() - targets.double().mean()
    total = torch.square(centred).sum()
    flat = torch.where(residual == 0, 1.0, 0.0).double()
    return torch.where(total > 0, 1.0 - residual / total, flat)
