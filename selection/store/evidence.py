"""Stores what the assessment of a study is based on: rows, baselines, outer folds, final models.

Each part is written in one transaction and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from selection.data.row_hashes import HeldOutRows
from selection.store.codec import decode_held_out, decode_outputs, encode_held_out, encode_outputs
from selection.store.database import Database
from selection.store.hashed_rows import HashedRows
from selection.store.study_record import StudyRecord
from selection.store.tables import (
    baseline_table,
    held_out_table,
    model_table,
    nested_table,
    rows_table,
)
from selection.study.space import value_from_json, value_to_json
from selection.study.trial import Outputs, Params


@dataclass(frozen=True, eq=False)
class RowFacts:
    """Hold the development rows without their features.

    Shape: targets (N,), int64 class indices or float64; folds (R, N), the fold that validates a
    row in each repeat, -1 if none does; groups (N,) or None.
    """

    targets: NDArray[Any]
    folds: NDArray[np.int64]
    groups: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class BaselineFold:
    """Hold the result of a baseline on one fold.

    Shape: outputs as those of FoldResult.
    """

    name: str
    repeat: int
    fold: int
    score: float
    note: str
    outputs: Outputs


@dataclass(frozen=True)
class OuterFold:
    """Hold what the whole procedure chose on one outer training set, and its score on the rest."""

    fold: int
    number: int
    params: Params
    inner_score: float
    score: float


@dataclass(frozen=True, eq=False)
class StoredModel:
    """Hold a final model: its weights as a safetensors file, and what they mean."""

    seed: int
    document: Mapping[str, Any]
    weights: bytes


class Evidence:
    """Read and write the evidence of the studies of one database.

    Every method raises StorageError if the database fails or a row is damaged.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = HashedRows(database)

    def rows(self, study: StudyRecord) -> RowFacts | None:
        """Return the rows of a study; None if the version that started it did not store them."""
        query = sa.select(rows_table).where(rows_table.c.study_uuid == study.uuid)
        row = next(iter(self._rows.read(query, "rows")), None)
        if row is None:
            return None
        kind = "<f8" if study.spec().task == "regression" else "<i8"
        targets = np.frombuffer(row.targets, dtype=kind)
        folds = np.frombuffer(row.folds, dtype="<i4").reshape(-1, len(targets))
        groups = None if row.row_groups is None else np.frombuffer(row.row_groups, dtype="<i8")
        return RowFacts(targets, folds.astype(np.int64), groups)

    def keep_rows(self, study: StudyRecord, facts: RowFacts) -> None:
        """Write the rows of a study, unless they are stored already."""
        kind = "<f8" if study.spec().task == "regression" else "<i8"
        row = {
            "study_uuid": study.uuid,
            "targets": facts.targets.astype(kind).tobytes(),
            "folds": facts.folds.astype("<i4").tobytes(),
            "row_groups": None if facts.groups is None else facts.groups.astype("<i8").tobytes(),
        }
        self._rows.insert(study, rows_table, [row])

    def held_out_rows(self, study: StudyRecord) -> HeldOutRows | None:
        """Return that by which held-out rows are known again; None if it was not stored."""
        query = sa.select(held_out_table).where(held_out_table.c.study_uuid == study.uuid)
        row = next(iter(self._rows.read(query, "held-out rows")), None)
        return None if row is None else decode_held_out(row.held_out_rows, row.table_hash)

    def keep_held_out_rows(self, study: StudyRecord, rows: HeldOutRows | None) -> None:
        """Write that by which held-out rows are known again, unless it is stored already."""
        if rows is not None:
            row = {
                "study_uuid": study.uuid,
                "table_hash": rows.table,
                "held_out_rows": encode_held_out(rows),
            }
            self._rows.insert(study, held_out_table, [row])

    def baselines(self, study: StudyRecord) -> list[BaselineFold]:
        """Return all folds of all baselines, by name, repeat and fold."""
        columns = baseline_table.c
        query = (
            sa.select(baseline_table)
            .where(columns.study_uuid == study.uuid)
            .order_by(columns.name, columns.repeat, columns.fold)
        )
        return [
            BaselineFold(
                row.name,
                row.repeat,
                row.fold,
                row.score,
                row.note,
                decode_outputs(row.outputs, row.outputs_columns),
            )
            for row in self._rows.read(query, "baselines")
        ]

    def keep_baselines(self, study: StudyRecord, folds: Iterable[BaselineFold]) -> None:
        """Write all folds of all baselines, unless they are stored already."""
        rows = [
            {
                "study_uuid": study.uuid,
                "name": fold.name,
                "repeat": fold.repeat,
                "fold": fold.fold,
                "score": fold.score + 0.0,
                "note": fold.note,
                "outputs_columns": fold.outputs.shape[1],
                "outputs": encode_outputs(fold.outputs),
            }
            for fold in folds
        ]
        self._rows.insert(study, baseline_table, rows)

    def outer_folds(self, study: StudyRecord) -> list[OuterFold]:
        """Return the finished outer folds, in order."""
        columns = nested_table.c
        query = sa.select(nested_table).where(columns.study_uuid == study.uuid)
        return [
            OuterFold(row.fold, row.number, _params(row), row.inner_score, row.score)
            for row in self._rows.read(query.order_by(columns.fold), "outer folds")
        ]

    def keep_outer_fold(self, study: StudyRecord, outer: OuterFold) -> None:
        """Write one outer fold, unless it is there."""
        params = {name: value_to_json(value) for name, value in outer.params.items()}
        row = {
            "study_uuid": study.uuid,
            "fold": outer.fold,
            "number": outer.number,
            "params_json": json.dumps(params),
            # SQLite stores -0.0 as 0.0, which would look like damage.
            "inner_score": outer.inner_score + 0.0,
            "score": outer.score + 0.0,
        }
        self._rows.insert(study, nested_table, [row])

    def counts(self, study: StudyRecord) -> tuple[int, int]:
        """Return how many baseline folds and outer folds are stored, without reading them."""
        return self._rows.count(study, baseline_table), self._rows.count(study, nested_table)

    def models(self, study: StudyRecord, number: int) -> list[StoredModel]:
        """Return the final models of one trial, by seed."""
        columns = model_table.c
        query = sa.select(model_table).where(
            columns.study_uuid == study.uuid, columns.number == number
        )
        rows = self._rows.read(query.order_by(columns.seed), f"final model of trial {number}")
        return [StoredModel(row.seed, json.loads(row.document_json), row.weights) for row in rows]

    def keep_models(self, study: StudyRecord, number: int, models: Sequence[StoredModel]) -> None:
        """Write the final models of one trial, unless they are stored already."""
        rows = [
            {
                "study_uuid": study.uuid,
                "number": number,
                "seed": model.seed,
                "document_json": json.dumps(model.document, allow_nan=False),
                "weights": model.weights,
            }
            for model in models
        ]
        self._rows.insert(study, model_table, rows)


def _params(row: Any) -> Params:
    return {name: value_from_json(value) for name, value in json.loads(row.params_json).items()}
