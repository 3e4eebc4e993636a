"""What the epochs of a study's trials say, as plain JSON values: curves and diagnoses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from selection.study.trial import CURVE_COLUMNS, LAYER_COLUMNS, FoldResult

if TYPE_CHECKING:
    # Only named here: every command would import it, with SciPy and SQLAlchemy behind it.
    from selection.stats.fit_diagnosis import Diagnosis, FoldMean
    from selection.store.curve_points import CurvePoint
    from selection.workflows.diagnose import DiagnosedTrial


def curve_values(folds: Sequence[FoldResult]) -> list[dict[str, Any]]:
    """Return one object per fold and epoch, as `curves -f json` prints them."""
    return [
        {
            "repeat": fold.repeat,
            "fold": fold.fold,
            "epoch": epoch,
            **{name: number_value(v) for name, v in zip(CURVE_COLUMNS, point, strict=True)},
        }
        for fold in folds
        for epoch, point in enumerate(fold.curve.points.tolist(), start=1)
    ]


def diagnosis_value(found: Diagnosis) -> dict[str, Any]:
    """Return what `diagnose --json` says of a trial: the verdict and the observed numbers."""
    return {
        "verdict": found.verdict.value,
        "rule": found.rule,
        "advice": found.advice,
        "training_loss": fold_mean_value(found.training_loss),
        "validation_loss": fold_mean_value(found.validation_loss),
        "training_score": fold_mean_value(found.training_score),
        "validation_score": fold_mean_value(found.validation_score),
        "gap": {
            **fold_mean_value(found.gap),
            "low": number_value(found.gap_low),
            "high": number_value(found.gap_high),
        },
    }


def diagnosed_value(
    study: str, found: DiagnosedTrial, folds: Sequence[FoldResult]
) -> dict[str, Any]:
    """Return what `diagnose --json` prints; folds are those of the trial."""
    return {
        "study": study,
        "trial": found.trial.number,
        **diagnosis_value(found.diagnosis),
        "baselines": {
            name: {"loss": fold_mean_value(line.loss), "score": fold_mean_value(line.score)}
            for name, line in found.baselines.items()
        },
        "layers": layer_rows(folds),
    }


def layer_rows(folds: Sequence[FoldResult]) -> list[dict[str, float | None]]:
    """Return what each layer of a trial did in each epoch, the mean over folds; None is no number.

    Layers are counted from 0, the last is that of the outputs. Empty where nobody asked for them.
    """
    known = [fold.layers.points for fold in folds if fold.layers is not None]
    if not known:
        return []
    return [
        {
            "epoch": epoch,
            "layer": layer,
            **{
                name: number_value(number)
                for name, number in zip(LAYER_COLUMNS, numbers, strict=True)
            },
        }
        for epoch, of_epoch in enumerate(np.mean(known, axis=0).tolist(), start=1)
        for layer, numbers in enumerate(of_epoch)
    ]


def fold_mean_value(found: FoldMean) -> dict[str, float | None]:
    """Return a mean over folds and its standard error."""
    return {
        "mean": number_value(found.mean),
        "standard_error": number_value(found.standard_error),
    }


def curve_value(
    points: Sequence[CurvePoint], found: Sequence[Diagnosis | None], metric: str
) -> list[dict[str, Any]]:
    """Return one flat object per point of a curve, as `curve` prints them; scores are observed.

    found holds the diagnosis of each point, None where there is none.
    """
    return [_point_row(point, own, metric) for point, own in zip(points, found, strict=True)]


def _point_row(point: CurvePoint, found: Diagnosis | None, metric: str) -> dict[str, Any]:
    return {
        "over": point.over,
        "value": point.value,
        "trial": point.number,
        "folds": len(point.folds),
        **_spread_columns(point, "validation_score", f"validation_{metric}"),
        **_spread_columns(point, "training_score", f"training_{metric}"),
        "validation_loss": _last_mean(point, "validation_loss")["mean"],
        "training_loss": _last_mean(point, "training_loss")["mean"],
        "gap": found and number_value(found.gap.mean),
        "gap_low": found and number_value(found.gap_low),
        "gap_high": found and number_value(found.gap_high),
        "verdict": found and found.verdict.value,
        "reason": point.reason,
    }


def _spread_columns(point: CurvePoint, column: str, name: str) -> dict[str, float | None]:
    found = _last_mean(point, column)
    return {name: found["mean"], f"{name}_standard_error": found["standard_error"]}


def _last_mean(point: CurvePoint, column: str) -> dict[str, float | None]:
    """Return a column of learning curves after the epoch that scores; nothing if it failed."""
    # At the top of the file it would load scipy for every command.
    from selection.stats.fit_diagnosis import over_folds

    if not point.is_complete:
        return {"mean": None, "standard_error": None}
    return fold_mean_value(
        over_folds(np.array([fold.scored.column(column)[-1] for fold in point.folds]))
    )


def number_value(value: float | None) -> float | None:
    """Return null for what JSON cannot say: a score that is not defined, a loss that diverged."""
    return value if value is not None and math.isfinite(value) else None
