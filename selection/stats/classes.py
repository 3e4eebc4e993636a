"""What a held-out score hides: each class, each confusion, and whether chances mean what they say.

Source: Brier (1950); Guo, Pleiss, Sun, Weinberger (2017) for the expected calibration error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selection.study.class_scores import Calibration, ClassScore

ECE_BINS = 15


def confusion(
    targets: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count rows by true class (lines) and predicted class (columns). Shape: (C, C)."""
    counts = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def class_scores(counts: NDArray[np.int64], names: tuple[str, ...]) -> list[ClassScore]:
    """Return precision, recall and F1 of each class from a confusion matrix."""
    lines = []
    for index, name in enumerate(names):
        hits, true, named = (
            int(number)
            for number in (counts[index, index], counts[index].sum(), counts[:, index].sum())
        )
        lines.append(
            ClassScore(
                name,
                true,
                _share(hits, named),
                _share(hits, true),
                _share(2 * hits, true + named),
            )
        )
    return lines


def calibration(chances: NDArray[np.float64], targets: NDArray[np.int64]) -> Calibration:
    """Measure the chances given to each class. Shape: (N, C), (N,)."""
    lines = np.arange(len(targets))
    of_truth = np.maximum(chances[lines, targets], np.finfo(np.float64).tiny)
    wanted = np.zeros_like(chances)
    wanted[lines, targets] = 1.0
    confidence = chances.max(axis=1)
    is_right = chances.argmax(axis=1) == targets
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=ECE_BINS)
    return Calibration(
        nll=float(-np.log(of_truth).mean()),
        brier=float(np.square(chances - wanted).sum(axis=1).mean()),
        ece=float(np.abs(gaps).sum() / len(targets)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
