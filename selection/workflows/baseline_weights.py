"""The weights of training rows as the baselines get them.

Only their quotients count for an MLP, so they are given a mean of 1: a penalty or a least size of a
leaf then means the same for any unit of the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selection.data.prepare import FoldData


def training_weights(fold: FoldData) -> NDArray[np.float64] | None:
    """Return the weights of the training rows of a fold, None if all weigh the same.

    Shape: (N_training,).
    """
    if fold.weights is None:
        return None
    weights: NDArray[np.float64] = fold.weights[fold.training]
    return weights / float(weights.mean())
