"""Nested subsets of the training rows of a fold: every smaller one is part of each larger one.

Validation rows stay as they are, so that scores at different sizes are of the same rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selection.data.dataset import Dataset
from selection.data.folds import Split, fold_kind
from selection.seeds import seed_for
from selection.study.spec import StudySpec


def take_subset(split: Split, dataset: Dataset, spec: StudySpec, rows: int) -> Split:
    """Return a split whose training part is so many rows of the old one, ascending.

    They are drawn by the seed of the study, with like shares of classes; of a time series they are
    the last ones before the validation rows.
    """
    training = split.training
    if fold_kind(dataset, spec) == "time_series":
        return replace(split, training=training[len(training) - rows :])
    seed = seed_for(spec.seed, "subset", split.repeat, split.fold)
    shuffled = np.random.default_rng(seed).permutation(training)
    if dataset.task == "classification":
        shuffled = shuffled[_by_turns(dataset.target[shuffled])]
    return replace(split, training=np.sort(shuffled[:rows]))


def _by_turns(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order whose every beginning has the classes by their shares. Shape: (N,)."""
    ranks = np.empty(len(classes))
    for name in np.unique(classes):
        of_class = np.flatnonzero(classes == name)
        ranks[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return np.argsort(ranks, kind="stable")
