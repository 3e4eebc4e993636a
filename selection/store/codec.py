"""Encodes learning curves and predictions as bytes, little-endian, and decodes them exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from selection.data.row_hashes import HeldOutRows
from selection.store.rung_codec import decode_rungs, encode_rungs
from selection.study.trial import (
    CURVE_COLUMNS,
    LAYER_COLUMNS,
    FoldResult,
    LayerCurves,
    LearningCurve,
    Outputs,
)

# What the bytes of float64 predictions begin with.
_DOUBLE = b"d"


@dataclass(frozen=True)
class FoldRow:
    """Hold a member as one row of selection_fold, without its hash."""

    trial_uuid: str
    repeat: int
    fold: int
    attempt: int
    score: float | None
    train_score: float | None
    curve: bytes
    outputs_rows: int | None
    outputs_columns: int | None
    outputs: bytes | None
    layers: bytes | None
    rungs: bytes | None

    @property
    def row_hash(self) -> str:
        """The SHA-256 of the whole row, by which damage is detected."""
        head = (self.trial_uuid, self.repeat, self.fold, self.attempt)
        numbers = (self.score, self.train_score, self.outputs_rows, self.outputs_columns)
        digest = sha256(repr((head, numbers, len(self.curve))).encode())
        digest.update(self.curve)
        digest.update(self.outputs or b"")
        if self.layers is not None:
            digest.update(f"layers:{len(self.layers)}:".encode() + self.layers)
        if self.rungs is not None:
            digest.update(f"rungs:{len(self.rungs)}:".encode() + self.rungs)
        return digest.hexdigest()


def encode_fold(trial_uuid: str, attempt: int, result: FoldResult) -> FoldRow:
    """Return a member as its row."""
    outputs, curve = result.outputs, encode_curve(result.curve)
    return FoldRow(
        trial_uuid=trial_uuid,
        repeat=result.repeat,
        fold=result.fold,
        attempt=attempt,
        score=_number(result.score),
        train_score=_number(result.train_score),
        curve=curve,
        outputs_rows=None if outputs is None else outputs.shape[0],
        outputs_columns=None if outputs is None else outputs.shape[1],
        outputs=None if outputs is None else encode_outputs(outputs),
        layers=None if result.layers is None else _encode_layers(result.layers, result.curve),
        rungs=encode_rungs(result.rungs) if result.rungs else None,
    )


def decode_fold(row: FoldRow, *, outputs: bool, best_epoch: int | None = None) -> FoldResult:
    """Return the member of a row; with its predictions, and those at rungs, if outputs is true.

    best_epoch is that of its trial.
    """
    predictions: Outputs | None = None
    if outputs and row.outputs is not None:
        predictions = decode_outputs(row.outputs, row.outputs_columns or 0)
    rungs = decode_rungs(row.rungs) if outputs and row.rungs is not None else {}
    curve = decode_curve(row.curve)
    layers = None if row.layers is None else _decode_layers(row.layers, curve)
    return FoldResult(row.repeat, row.fold, curve, predictions, layers, rungs, best_epoch)


def encode_outputs(outputs: Outputs) -> bytes:
    """Return predictions as bytes: float32, or float64 behind a byte that says so."""
    if outputs.dtype == np.float64:
        return _DOUBLE + np.ascontiguousarray(outputs, dtype="<f8").tobytes()
    return np.ascontiguousarray(outputs, dtype="<f4").tobytes()


def decode_outputs(blob: bytes, columns: int) -> Outputs:
    """Return the predictions of their bytes. Shape: (N, C)."""
    # The bytes of float32 are four times as many.
    if len(blob) % 4 == len(_DOUBLE):
        doubles = np.frombuffer(blob, dtype="<f8", offset=len(_DOUBLE))
        return doubles.astype(np.float64).reshape(-1, columns)
    flat = np.frombuffer(blob, dtype="<f4").astype(np.float32, copy=False)
    return flat.reshape(-1, columns)


def encode_held_out(rows: HeldOutRows) -> bytes:
    """Return the hashes of held-out rows as bytes."""
    return np.concatenate([rows.named, rows.content, rows.seen]).astype("<u8").tobytes()


def decode_held_out(blob: bytes, table: str) -> HeldOutRows:
    """Return the hashes of held-out rows of their bytes."""
    named, content, seen = np.frombuffer(blob, dtype="<u8").astype(np.uint64).reshape(3, -1)
    return HeldOutRows(named, content, seen, table)


def encode_curve(curve: LearningCurve) -> bytes:
    """Return a learning curve as bytes."""
    points = np.ascontiguousarray(curve.points, dtype="<f8")
    assert points.ndim == 2, "a learning curve has epochs and columns"
    assert points.shape[1] == len(CURVE_COLUMNS), "a learning curve has six columns"
    return points.tobytes()


def _encode_layers(layers: LayerCurves, curve: LearningCurve) -> bytes:
    points = np.ascontiguousarray(layers.points, dtype="<f8")
    assert points.shape[::2] == (len(curve.points), len(LAYER_COLUMNS)), "layers have all epochs"
    return points.tobytes()


def _decode_layers(blob: bytes, curve: LearningCurve) -> LayerCurves:
    points = np.frombuffer(blob, dtype="<f8").astype(np.float64, copy=False)
    return LayerCurves(points.reshape(len(curve.points), -1, len(LAYER_COLUMNS)))


def decode_curve(blob: bytes) -> LearningCurve:
    """Return the learning curve of its bytes."""
    points = np.frombuffer(blob, dtype="<f8").astype(np.float64, copy=False)
    return LearningCurve(points.reshape(-1, len(CURVE_COLUMNS)))


def score_from_row(score: float | None) -> float:
    """Return a stored score as a float: NULL is NaN."""
    return math.nan if score is None else score


def _number(score: float) -> float | None:
    # SQLite stores -0.0 as 0.0, which would look like damage.
    return None if math.isnan(score) else score + 0.0
