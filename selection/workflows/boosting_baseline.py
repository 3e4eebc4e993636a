"""The baseline that people would try instead: gradient boosting of trees, as the library sets it.

Source: scikit-learn, HistGradientBoostingClassifier and HistGradientBoostingRegressor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from selection.data.prepare import FoldData
from selection.workflows.baseline_weights import training_weights
from selection.workflows.log_probabilities import log_probabilities

ITERATIONS = 100


def fit_boosting(fold: FoldData, seed: int) -> NDArray[np.floating[Any]]:
    """Fit the training rows of a fold and predict its validation rows.

    No training row is put aside to stop early: every fold has all its iterations.
    Shape: (N, C) log probabilities, or (N, 1) in units of the prepared target.
    """
    rows, targets = fold.features[fold.training], fold.targets[fold.training]
    unseen = fold.features[fold.validation]
    kind = HistGradientBoostingClassifier if fold.classes else HistGradientBoostingRegressor
    model = kind(max_iter=ITERATIONS, early_stopping=False, random_state=seed)
    model.fit(rows, targets, sample_weight=training_weights(fold))
    if fold.classes:
        return log_probabilities(model, unseen, fold.classes)
    predicted: NDArray[np.floating[Any]] = model.predict(unseen)
    return predicted[:, None]
