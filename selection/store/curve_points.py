"""Stores the points of validation and sample-size curves, and pruned trials trained to their end.

Each is written in one transaction and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import sqlalchemy as sa

from selection.store.codec import decode_curve, encode_curve
from selection.store.database import Database
from selection.store.hashed_rows import HashedRows
from selection.store.study_record import StudyRecord
from selection.store.tables import curve_table
from selection.study.trial import FoldResult, Scalar

ROWS = "rows"
AUDIT = "audit"


@dataclass(frozen=True, eq=False)
class CurvePoint:
    """Hold the results of one trial's setting with one thing changed.

    over is the hyperparameter that has the value instead, or "rows", the number of training rows.
    For an audited trial nothing is changed: over is "audit", value the epochs of its training.
    folds are ordered by repeat and fold, without predictions. reason says why training failed; it
    is empty otherwise.
    """

    number: int
    over: str
    value: Scalar
    folds: tuple[FoldResult, ...]
    reason: str = ""

    @property
    def is_complete(self) -> bool:
        return not self.reason


class CurvePoints:
    """Read and write the curves of the studies of one database.

    Every method raises StorageError if the database fails or a row is damaged.
    """

    def __init__(self, database: Database) -> None:
        self._rows = HashedRows(database)

    def points(self, study: StudyRecord) -> list[CurvePoint]:
        """Return all points of the curves of a study, by trial, name and value."""
        return self._read(study, curve_table.c.over != AUDIT)

    def audited(self, study: StudyRecord) -> list[CurvePoint]:
        """Return the pruned trials that were trained to their end, by number."""
        return self._read(study, curve_table.c.over == AUDIT)

    def _read(self, study: StudyRecord, condition: sa.ColumnElement[bool]) -> list[CurvePoint]:
        columns = curve_table.c
        query = (
            sa.select(curve_table)
            .where(columns.study_uuid == study.uuid, condition)
            .order_by(
                columns.number, columns.over, columns.value_json, columns.repeat, columns.fold
            )
        )
        key = attrgetter("number", "over", "value_json")
        points = []
        for (number, over, value), group in groupby(self._rows.read(query, "curves"), key):
            rows = list(group)
            folds = tuple(
                FoldResult(row.repeat, row.fold, decode_curve(row.curve), best_epoch=row.best_epoch)
                for row in rows
            )
            points.append(CurvePoint(number, over, json.loads(value), folds, rows[0].reason))
        return sorted(points, key=_order)

    def count(self, study: StudyRecord) -> int:
        """Return how many folds of curves are stored, without reading them."""
        return self._rows.count(study, curve_table, curve_table.c.over != AUDIT)

    def count_audited(self, study: StudyRecord) -> int:
        """Return how many folds of audited trials are stored, without reading them."""
        return self._rows.count(study, curve_table, curve_table.c.over == AUDIT)

    def keep(self, study: StudyRecord, points: Sequence[CurvePoint]) -> None:
        """Write the points that are not stored yet."""
        for point in points:
            rows = [
                {
                    "study_uuid": study.uuid,
                    "number": point.number,
                    "over": point.over,
                    "value_json": json.dumps(point.value),
                    "repeat": fold.repeat,
                    "fold": fold.fold,
                    "reason": point.reason,
                    "curve": encode_curve(fold.curve),
                    "best_epoch": fold.best_epoch,
                }
                for fold in point.folds
            ]
            self._rows.insert(study, curve_table, rows)


def _order(point: CurvePoint) -> tuple[int, str, bool, float, str]:
    """Return the sort key of a point: numbers are ordered by size, words by the alphabet."""
    is_text = isinstance(point.value, str)
    size = 0.0 if isinstance(point.value, str) else float(point.value)
    return point.number, point.over, is_text, size, str(point.value)
