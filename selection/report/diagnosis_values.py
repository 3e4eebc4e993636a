"""Diagnoses and curves as plain JSON values; what is no finite number is None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from selection.assess.diagnose import Diagnosis, FoldMean
from selection.store.curve_points import CurvePoint


def diagnosis_value(found: Diagnosis) -> dict[str, Any]:
    """Return what `diagnose --json` prints of a diagnosis."""
    means = ("training_loss", "validation_loss", "training_score", "validation_score", "gap")
    return {
        "verdict": found.verdict.value,
        "rule": found.rule,
        "advice": found.advice,
        **{name: fold_mean_value(getattr(found, name)) for name in means},
        "gap_low": _number(found.gap_low),
        "gap_high": _number(found.gap_high),
    }


def fold_mean_value(value: FoldMean) -> dict[str, float | None]:
    """Return a mean over folds and its standard error."""
    return {name: _number(number) for name, number in asdict(value).items()}


def curve_value(
    points: Sequence[CurvePoint], found: Sequence[Diagnosis | None], metric: str
) -> list[dict[str, Any]]:
    """Return what `curve --json` prints: a flat row for each point."""
    return [_point_value(point, own, metric) for point, own in zip(points, found, strict=True)]


def _point_value(point: CurvePoint, own: Diagnosis | None, metric: str) -> dict[str, Any]:
    validation, training = own and own.validation_score, own and own.training_score
    return {
        "over": point.over,
        "value": point.value,
        "trial": point.number,
        "folds": len(point.folds),
        f"validation_{metric}": validation and _number(validation.mean),
        f"validation_{metric}_standard_error": validation and _number(validation.standard_error),
        f"training_{metric}": training and _number(training.mean),
        f"training_{metric}_standard_error": training and _number(training.standard_error),
        "validation_loss": own and _number(own.validation_loss.mean),
        "training_loss": own and _number(own.training_loss.mean),
        "gap": own and _number(own.gap.mean),
        "gap_low": own and _number(own.gap_low),
        "gap_high": own and _number(own.gap_high),
        "verdict": own and own.verdict.value,
        "reason": point.reason,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
