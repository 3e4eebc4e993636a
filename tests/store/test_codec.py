"""Curves and predictions as bytes, and the few points that Optuna is shown."""

from __future__ import annotations

import math
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selection.store.codec import decode_fold, encode_fold
from selection.store.trial_writer import shown_attrs, thinned_points
from selection.study.trial import (
    FoldResult,
    LayerCurves,
    LearningCurve,
    TrialResult,
    TrialState,
)


@given(
    points=arrays(np.float64, st.tuples(st.integers(1, 9), st.just(6)), elements=st.floats()),
    outputs=st.none()
    | arrays(
        np.float32, st.tuples(st.integers(0, 9), st.integers(1, 4)), elements=st.floats(width=32)
    ),
)
@settings(deadline=None)
def test_member_comes_back_bit_for_bit(points: np.ndarray, outputs: np.ndarray | None) -> None:
    row = encode_fold("uuid", 1, FoldResult(2, 3, LearningCurve(points), outputs))
    back = decode_fold(row, outputs=True)
    assert (back.repeat, back.fold) == (2, 3)
    assert back.curve.points.dtype == np.float64
    assert back.curve.points.tobytes() == points.tobytes()
    if outputs is None:
        assert back.outputs is None
    else:
        assert back.outputs is not None
        assert (back.outputs.shape, back.outputs.dtype) == (outputs.shape, np.dtype(np.float32))
        assert back.outputs.tobytes() == outputs.tobytes()


@given(
    points=st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
        lambda shape: arrays(np.float64, (*shape, 3), elements=st.floats())
    )
)
@settings(deadline=None)
def test_layers_come_back_bit_for_bit(points: np.ndarray) -> None:
    curve = LearningCurve(np.zeros((len(points), 6)))
    row = encode_fold("uuid", 1, FoldResult(2, 3, curve, None, LayerCurves(points)))
    back = decode_fold(row, outputs=False).layers
    assert back is not None
    assert (back.points.dtype, back.points.shape) == (np.dtype(np.float64), points.shape)
    assert back.points.tobytes() == points.tobytes()
    odd = LayerCurves(np.asfortranarray(points.astype(">f8")))
    assert encode_fold("uuid", 1, FoldResult(2, 3, curve, None, odd)) == row


def test_hash_of_a_row_without_layers_is_what_it_was_before_there_were_any() -> None:
    curve = LearningCurve(np.arange(12.0).reshape(2, 6))
    outputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    row = encode_fold("uuid", 1, FoldResult(2, 3, curve, outputs))
    head, numbers = ("uuid", 2, 3, 1), (11.0, 9.0, 2, 3)
    said = repr((head, numbers, 96)).encode() + curve.points.tobytes() + outputs.tobytes()
    assert row.row_hash == sha256(said).hexdigest()
    layers = LayerCurves(np.zeros((2, 1, 3)))
    assert encode_fold("uuid", 1, FoldResult(2, 3, curve, outputs, layers)).row_hash != row.row_hash


def test_layers_of_other_epochs_are_our_mistake() -> None:
    curve, layers = LearningCurve(np.zeros((3, 6))), LayerCurves(np.zeros((2, 1, 3)))
    with pytest.raises(AssertionError, match="layers have all epochs"):
        encode_fold("uuid", 1, FoldResult(0, 0, curve, None, layers))


def test_bytes_do_not_depend_on_the_layout_in_memory() -> None:
    points = np.arange(24.0).reshape(4, 6)
    outputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain = encode_fold("uuid", 1, FoldResult(0, 0, LearningCurve(points), outputs))
    odd = FoldResult(
        0, 0, LearningCurve(np.asfortranarray(points.astype(">f8"))), outputs.astype(">f4")
    )
    assert encode_fold("uuid", 1, odd) == plain
    assert plain.curve == points.astype("<f8").tobytes()


def test_curve_of_another_width_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="six columns"):
        encode_fold("uuid", 1, FoldResult(0, 0, LearningCurve(np.zeros((3, 5)))))


@given(st.lists(st.floats(allow_nan=False), max_size=300))
@settings(deadline=None)
def test_points_are_few_and_keep_both_ends(means: list[float]) -> None:
    points = thinned_points(tuple(means))
    assert len(points) == min(len(means), 20)
    assert list(points) == sorted(points)
    assert all(means[epoch - 1] == mean for epoch, mean in points.items())
    if means:
        assert {1, len(means)} <= set(points)
        gaps = np.diff(list(points))
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_shown_numbers_leave_out_what_json_cannot_say() -> None:
    curves = [np.full((2, 6), 0.25), np.full((2, 6), math.nan), np.full((2, 6), math.inf)]
    folds = tuple(FoldResult(0, index, LearningCurve(curve)) for index, curve in enumerate(curves))
    result = TrialResult(TrialState.FAILED, "diverged", folds, epochs=2, seconds=1.0)
    with np.errstate(invalid="ignore"):
        assert shown_attrs(result) == {"fold_0": 0.25, "epochs": 2}


def test_shown_numbers_of_a_trial_without_members() -> None:
    result = TrialResult(TrialState.FAILED, "out of memory", (), epochs=0, seconds=0.0)
    assert shown_attrs(result) == {"epochs": 0}
