"""Results as pandas DataFrames, with the columns that the CSV files have."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from selection.report.curve_values import curve_value, curve_values
from selection.report.values import trial_rows
from selection.stats.fit_diagnosis import Diagnosis
from selection.store.curve_points import CurvePoint
from selection.store.study_record import StudyRecord
from selection.study.trial import CURVE_COLUMNS, FoldResult, Trial


def trials_frame(study: StudyRecord, trials: Sequence[Trial]) -> pd.DataFrame:
    """Return one row a trial, by number: its state, params (param_*) and fold scores (fold_*)."""
    rows = trial_rows(study, trials)
    return pd.DataFrame(rows, columns=None if rows else ["number", "state"]).set_index("number")


def curves_frame(folds: Sequence[FoldResult]) -> pd.DataFrame:
    """Return losses and scores by repeat, fold and epoch."""
    index = ["repeat", "fold", "epoch"]
    return pd.DataFrame(curve_values(folds), columns=[*index, *CURVE_COLUMNS]).set_index(index)


def points_frame(found: Sequence[tuple[CurvePoint, Diagnosis | None]], metric: str) -> pd.DataFrame:
    """Return one row for each point of a validation or sample-size curve, by its value."""
    points, diagnoses = [point for point, _ in found], [own for _, own in found]
    return pd.DataFrame(curve_value(points, diagnoses, metric)).set_index("value")
