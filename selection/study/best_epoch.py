"""The epoch with the best mean over folds, and the epochs that compete to be it.

The choice is made among few epochs, for the corrected score makes it anew in every bootstrap from
predictions that are kept at each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# What is kept, and the time that the corrected score takes, grow with it; on a long curve the means
# of neighbours differ little: the measurements are in docs/decisions/0034. A record has predictions
# at these epochs alone, so that it can only be read with the number that it was written with.
_MOST_CANDIDATES = 16


def candidate_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs that may score a trial of so many: all, or an even grid with the last."""
    count = min(epochs, _MOST_CANDIDATES)
    return tuple(round(epochs * (index + 1) / count) for index in range(count))


def best_epoch(means: Sequence[float], epochs: int, *, is_minimised: bool) -> int:
    """Return the candidate, of a training of so many epochs, with the best mean; the first of ties.

    means are those over folds by epoch, fewer where training ended early.
    """
    candidates = [epoch for epoch in candidate_epochs(epochs) if epoch <= len(means)]
    scores = np.array([means[epoch - 1] for epoch in candidates])
    return candidates[int(scores.argmin() if is_minimised else scores.argmax())]


def has_run_out(means: Sequence[float], epochs: int, patience: int, *, is_minimised: bool) -> bool:
    """Say whether a trial ends here, its mean not having improved for so many epochs.

    It never ends before its first candidate; patience 0 ends nothing. means are those so far.
    """
    if not patience or len(means) < candidate_epochs(epochs)[0]:
        return False
    best = int(np.argmin(means) if is_minimised else np.argmax(means))
    return len(means) - 1 - best >= patience
