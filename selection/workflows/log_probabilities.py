"""What a classifier of scikit-learn predicts, in the form in which a record keeps predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.stats.scores import log_softmax

UNSEEN = -30.0  # the log probability of a class that a model never saw


def log_probabilities(model: Any, rows: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Return the log probabilities of a fitted classifier, which never round to -inf.

    Shape: (N, C), a column for each class, also for those that the model never saw.
    """
    scores = model.decision_function(rows)
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    logs = np.full((len(rows), classes), UNSEEN)
    logs[:, model.classes_] = log_softmax(scores)
    return logs
