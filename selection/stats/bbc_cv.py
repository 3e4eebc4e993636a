"""The winner's score corrected for having been chosen: BBC-CV.

Rows are resampled; the rule chooses on the drawn rows, and the chosen trial is scored on the rows
that were not drawn. No model is trained again. Pruned trials have no predictions and take no part.
Source: Tsamardinos, Greasidou, Borboudakis (2018), "Bootstrapping the out-of-sample predictions for
efficient and accurate cross-validation".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import METRICS
from selection.stats.intervals import bootstrap_counts
from selection.stats.scores import Floats, weighted_scores

METHOD = "bbc_cv"
Choose = Callable[[Floats], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Hold the development rows: targets, folds and groups.

    Shape: targets (N,); folds (R, N), the fold that validates each row in each repeat, -1 for
    none; groups (N,) or None.
    """

    metric: str
    targets: NDArray[Any]
    folds: NDArray[np.int64]
    groups: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Draws:
    """Hold the out-of-bag scores of each bootstrap's winner, and of competitors on the same rows.

    Shape: scores (B,); competitors (B,) each; NaN where a score is not defined.
    """

    scores: Floats
    competitors: Mapping[str, Floats]


def draw_out_of_bag(
    rows: Rows,
    predictions: NDArray[Any],
    choose: Choose,
    bootstraps: int,
    seed: int,
    competitors: Mapping[str, NDArray[Any]] | None = None,
) -> Draws:
    """Choose in-bag and score out-of-bag, bootstrap by bootstrap.

    choose takes the in-bag scores of every trial on every fold, (b, T, J), and returns the winners,
    (b,), by the same rule as on the whole record.
    Shape: predictions (R, T, N) or (R, T, N, C), reduced by scores.reduce_outputs; competitors
    (R, N) or (R, N, C).
    """
    others = {name: values[:, None] for name, values in (competitors or {}).items()}
    scores: list[Floats] = []
    beside: dict[str, list[Floats]] = {name: [] for name in others}
    for counts in bootstrap_counts(len(rows.targets), rows.groups, bootstraps, seed):
        chosen = choose(fold_scores(rows, predictions, counts))
        left_out = counts == 0  # (b, N)
        block = np.empty(len(counts))
        for trial in np.unique(chosen):
            lines = chosen == trial
            block[lines] = pooled_scores(rows, predictions[:, [trial]], left_out[lines])[:, 0]
        scores.append(block)
        for name, values in others.items():
            beside[name].append(pooled_scores(rows, values, left_out)[:, 0])
    return Draws(
        np.concatenate(scores), {name: np.concatenate(draws) for name, draws in beside.items()}
    )


def fold_scores(rows: Rows, predictions: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Return the score of every trial on every fold, repeat by repeat.

    Shape: predictions (R, T, N[, C]), weights (B, N) -> (B, T, J).
    """
    scores = []
    for repeat, folds in enumerate(rows.folds):
        for fold in range(int(folds.max()) + 1):
            numbers = np.flatnonzero(folds == fold)
            part = predictions[repeat][:, numbers]
            scores.append(
                weighted_scores(rows.metric, part, rows.targets[numbers], weights[:, numbers])
            )
    return np.stack(scores, axis=2)


def pooled_scores(rows: Rows, predictions: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Return the score of every trial over all its out-of-fold rows, averaged over repeats.

    A metric whose folds cannot be pooled, such as ROC AUC, is averaged over folds instead.
    Shape: predictions (R, T, N[, C]), weights (B, N) -> (B, T).
    """
    if METRICS[rows.metric].pooling == "folds":
        scores = fold_scores(rows, predictions, weights)  # (B, T, J)
        defined = np.isfinite(scores)
        with np.errstate(invalid="ignore"):
            mean: Floats = np.where(defined, scores, 0.0).sum(axis=2) / defined.sum(axis=2)
        return mean
    pooled = []
    for repeat, folds in enumerate(rows.folds):
        numbers = np.flatnonzero(folds >= 0)
        part = predictions[repeat][:, numbers]
        pooled.append(
            weighted_scores(rows.metric, part, rows.targets[numbers], weights[:, numbers])
        )
    over_repeats: Floats = np.mean(pooled, axis=0)
    return over_repeats
