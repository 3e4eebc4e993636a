"""What the out-of-fold predictions of one trial say: each class, each confusion, each mistake.

Every development row is predicted by a model that was not trained on it, so all numbers here are
observed ones. Never sees a held-out row, and trains nothing.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selection.data.dataset import Dataset
from selection.stats.classes import class_scores, confusion
from selection.stats.scores import log_softmax
from selection.store.evidence import RowFacts
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.class_scores import ClassScore
from selection.study.trial import FoldResult, Outputs

LEAST_PIXELS = 64
LEAST_SIDE = 56
DIGITS_INK = 16  # scikit-learn's digits count ink from 0 to 16


@dataclass(frozen=True)
class Residuals:
    """Hold how far predictions are from targets, target minus prediction.

    Units: those of the target; deviation has ddof = 1, None for one row.
    """

    mean: float
    deviation: float | None
    median: float
    median_absolute: float
    largest_absolute: float


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Hold what is observed of one trial's out-of-fold predictions.

    rows are predicted in each repeat. Classification has class_scores and counts, pooled over
    repeats: lines are the true class, columns the predicted one. Regression has the rest, of the
    first repeat in the order of the development rows.
    Shape: counts (C, C); targets and predictions (N,).
    """

    rows: int
    repeats: int
    class_scores: list[ClassScore] | None = None
    counts: NDArray[np.int64] | None = None
    targets: NDArray[np.float64] | None = None
    predictions: NDArray[np.float64] | None = None
    residuals: Residuals | None = None


@dataclass(frozen=True)
class Mistake:
    """Hold a development row that was given a wrong class, with the chance it was given."""

    row: int
    truth: str
    predicted: str
    confidence: float


def out_of_fold(study: StudyRecord, repository: Repository, number: int) -> OutOfFold | None:
    """Return what a trial's predictions say; None unless it is complete and rows were kept.

    Raises: StudyStateError without such a trial; StorageError where a row is damaged.
    """
    facts = repository.evidence.rows(study)
    folds = repository.records.curves(study, number, outputs=True)
    if facts is None or not _are_predicted(folds):
        return None
    repeats = [_predictions(facts, folds, repeat) for repeat in range(len(facts.folds))]
    numbers, outputs = repeats[0]
    rows, count = len(numbers), len(repeats)
    names = _class_names(study)
    if not names:
        targets = facts.targets[numbers].astype(np.float64)
        predictions = outputs[:, 0].astype(np.float64)
        return OutOfFold(
            rows,
            count,
            targets=targets,
            predictions=predictions,
            residuals=_residuals(targets - predictions),
        )
    counts = sum(
        (
            confusion(facts.targets[numbers], outputs.argmax(axis=1), len(names))
            for numbers, outputs in repeats
        ),
        start=np.zeros((len(names), len(names)), dtype=np.int64),
    )
    return OutOfFold(rows, count, class_scores=class_scores(counts, names), counts=counts)


def most_confident_mistakes(
    study: StudyRecord, repository: Repository, number: int, count: int = 12
) -> list[Mistake]:
    """Return the rows that the first repeat has wrong, the surest first; [] for regression.

    Also [] where out_of_fold is None.

    Raises: StudyStateError without such a trial; StorageError where a row is damaged.
    """
    facts = repository.evidence.rows(study)
    folds = repository.records.curves(study, number, outputs=True)
    names = _class_names(study)
    if facts is None or not names or not _are_predicted(folds):
        return []
    numbers, outputs = _predictions(facts, folds, 0)
    chances = np.exp(log_softmax(outputs))
    predicted, confidence = outputs.argmax(axis=1), chances.max(axis=1)
    wrong = np.flatnonzero(predicted != facts.targets[numbers])
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        Mistake(
            row=int(numbers[index]),
            truth=names[facts.targets[numbers[index]]],
            predicted=names[predicted[index]],
            confidence=float(confidence[index]),
        )
        for index in surest
    ]


def is_image(dataset: Dataset) -> bool:
    """Say whether a row of features is a square grey image that picture can draw."""
    columns = dataset.features.shape[1]
    if dataset.categories or columns < LEAST_PIXELS or math.isqrt(columns) ** 2 != columns:
        return False
    if dataset.features.dtype == np.uint8:
        return True
    is_digits = columns == LEAST_PIXELS and all(
        name.startswith("pixel_") for name in dataset.feature_names
    )
    return is_digits and bool(
        dataset.features.min() >= 0 and dataset.features.max() <= DIGITS_INK  # neither for NaN
    )


def picture(features_row: NDArray[Any]) -> bytes:
    """Return a row of features as a grey PNG, the same bytes each time.

    is_image must hold of its data. Shape: (D,), uint8, or float64 ink from 0 to 16.
    """
    side = math.isqrt(len(features_row))
    grey = features_row
    if grey.dtype != np.uint8:
        grey = np.rint(grey * (255 / DIGITS_INK)).astype(np.uint8)
    times = -(-LEAST_SIDE // side)
    large = np.kron(grey.reshape(side, side), np.ones((times, times), dtype=np.uint8))
    file = io.BytesIO()
    Image.fromarray(large).save(file, format="PNG")
    return file.getvalue()


def _are_predicted(folds: Sequence[FoldResult]) -> bool:
    """Say whether every fold has predictions, as those of a complete trial do."""
    return bool(folds) and all(fold.outputs is not None for fold in folds)


def _predictions(
    facts: RowFacts, folds: Sequence[FoldResult], repeat: int
) -> tuple[NDArray[np.int64], Outputs]:
    """Return the rows that a repeat predicts, in ascending order, and its outputs for them.

    Rows that no fold validates, as the first of a time series, are left out. Shape: (N,), (N, C).
    """
    numbers, outputs = [], []
    for fold in folds:
        if fold.repeat == repeat and fold.outputs is not None:
            numbers.append(np.flatnonzero(facts.folds[repeat] == fold.fold))
            outputs.append(fold.outputs)
    together = np.concatenate(numbers)
    order = np.argsort(together)
    return together[order], np.concatenate(outputs)[order]


def _class_names(study: StudyRecord) -> tuple[str, ...]:
    """Return the names of the classes by their index; () for regression."""
    return tuple(study.facts.class_counts)


def _residuals(residuals: NDArray[np.float64]) -> Residuals:
    sizes = np.abs(residuals)
    return Residuals(
        mean=float(residuals.mean()),
        deviation=float(residuals.std(ddof=1)) if len(residuals) > 1 else None,
        median=float(np.median(residuals)),
        median_absolute=float(np.median(sizes)),
        largest_absolute=float(sizes.max()),
    )
