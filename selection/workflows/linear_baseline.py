"""The linear baseline: logistic or ridge regression, with a penalty chosen inside each fold.

Features are standardized over the training rows of the fold. Penalties are compared on further
splits of these rows, which have the kind of the study's folds; validation rows are predicted once.
Source: scikit-learn, LogisticRegression (L-BFGS) and Ridge.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit
from sklearn.preprocessing import StandardScaler

from selection.data.prepare import FoldData
from selection.workflows.baseline_weights import training_weights
from selection.workflows.log_probabilities import log_probabilities

# Strongest first. Weaker ones are tried while the weakest so far is the best, but not for classes:
# where a plane separates them, ever weaker penalties raise the confidence and nothing else.
PENALTIES = (1e4, 1e3, 1e2, 1e1, 1e0, 1e-1)
WEAKER = (1e-2, 1e-3, 1e-4, 1e-5)
USUAL = 1.0  # scikit-learn's own, for rows that cannot be split further
CHOICE_FOLDS = 3
CHOICE_ROWS = 2000
# Iterations, and values (rows x inputs x outputs) that all iterations of one fit may pass over.
FEWEST_ITERATIONS, MOST_ITERATIONS = 100, 1000
MOST_VALUES = 4e10


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Hold the predictions of a linear model on validation rows; penalty is the one chosen.

    Shape: outputs (N, C) log probabilities, or (N, 1) in units of the prepared target.
    """

    outputs: NDArray[np.floating[Any]]
    penalty: float
    is_converged: bool


def fit_linear(
    fold: FoldData, groups: NDArray[np.int64] | None, seed: int, *, is_time_series: bool
) -> LinearFit:
    """Fit the training rows of a fold and predict its validation rows.

    Shape: groups (N,) over all development rows, or None.
    """
    training = fold.training
    rows, targets = fold.features[training], fold.targets[training]
    chosen = np.arange(len(training))
    if len(chosen) > CHOICE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, CHOICE_ROWS, replace=False))
    splits = _splits(
        targets[chosen],
        None if groups is None else groups[training[chosen]],
        seed,
        is_classes=fold.classes > 0,
        is_time_series=is_time_series,
    )
    weights = training_weights(fold)
    penalty = _choose_penalty(
        rows[chosen],
        targets[chosen],
        None if weights is None else weights[chosen],
        splits,
        fold.classes,
    )
    values = len(training) * rows.shape[1] * max(fold.classes, 1)
    most = min(MOST_ITERATIONS, max(FEWEST_ITERATIONS, int(MOST_VALUES / values)))
    outputs, is_converged = _predict(
        rows, targets, weights, fold.features[fold.validation], fold.classes, penalty, most
    )
    return LinearFit(outputs, penalty, is_converged)


def _splits(
    targets: NDArray[Any],
    groups: NDArray[np.int64] | None,
    seed: int,
    *,
    is_classes: bool,
    is_time_series: bool,
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split training rows once more, as the study splits its own; nothing where they cannot be."""
    folds = CHOICE_FOLDS
    splitter: Any
    if groups is not None:
        folds = min(folds, len(np.unique(groups)))
        splitter = GroupKFold
    elif is_time_series:
        splitter = TimeSeriesSplit
    else:
        splitter = StratifiedKFold if is_classes else KFold
    if folds < 2 or len(targets) < 2 * folds:
        return []
    options = {} if is_time_series else {"shuffle": True, "random_state": seed}
    if splitter is StratifiedKFold and np.bincount(targets).max() < folds:
        splitter = KFold
    with warnings.catch_warnings():
        # A class with few members is in the study's own warnings.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter(folds, **options).split(targets, targets, groups))


def _choose_penalty(
    rows: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    classes: int,
) -> float:
    """Return the penalty with the least mean loss over splits of the rows, of equals the weaker.

    weights count for fits, not for losses.
    """

    def mean_loss(penalty: float) -> float:
        losses = []
        for inside, outside in usable:
            outputs, _ = _predict(
                rows[inside],
                targets[inside],
                None if weights is None else weights[inside],
                rows[outside],
                classes,
                penalty,
                FEWEST_ITERATIONS,
            )
            losses.append(_loss(outputs, targets[outside], classes))
        return float(np.mean(losses))

    usable = [split for split in splits if not classes or len(np.unique(targets[split[0]])) > 1]
    if weights is not None:
        usable = [split for split in usable if weights[split[0]].any()]
    if not usable:
        return USUAL
    losses = {penalty: mean_loss(penalty) for penalty in PENALTIES}
    for penalty in () if classes else WEAKER:
        if _best(losses) > min(losses):
            break
        losses[penalty] = mean_loss(penalty)
    return _best(losses)


def _best(losses: Mapping[float, float]) -> float:
    return min(losses, key=lambda penalty: (losses[penalty], penalty))


def _loss(outputs: NDArray[Any], targets: NDArray[Any], classes: int) -> float:
    if classes:
        return -float(outputs[np.arange(len(targets)), targets].mean())
    return float(np.square(outputs[:, 0] - targets).mean())


def _predict(
    rows: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    unseen: NDArray[Any],
    classes: int,
    penalty: float,
    iterations: int,
) -> tuple[NDArray[np.floating[Any]], bool]:
    """Fit a linear model and predict other rows; say whether it converged."""
    scaler = StandardScaler().fit(rows)
    inside, outside = scaler.transform(rows), scaler.transform(unseen)
    if not classes:
        # The other solvers lose digits, and warn, where there are more inputs than rows.
        ridge = Ridge(alpha=penalty, solver="svd")
        ridge.fit(inside, targets.astype(np.float64), sample_weight=weights)
        return ridge.predict(outside)[:, None], True
    model = LogisticRegression(C=1.0 / penalty, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inside, targets, sample_weight=weights)
    return log_probabilities(model, outside, classes), int(model.n_iter_.max()) < iterations
