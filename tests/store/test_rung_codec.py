"""Predictions at rungs come back as they were, in as few bytes as that takes."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selection.store.codec import decode_fold, encode_fold
from selection.store.rung_codec import decode_rungs, encode_rungs
from selection.study.trial import CURVE_COLUMNS, FoldResult, LearningCurve

SHAPES = st.one_of(st.tuples(st.integers(0, 40)), st.tuples(st.integers(0, 20), st.integers(1, 4)))
VALUES = st.one_of(
    arrays.arrays(np.bool_, SHAPES),
    arrays.arrays(np.int16, SHAPES, elements=st.integers(0, 2**15 - 1)),
    arrays.arrays(np.uint32, SHAPES, elements=st.integers(0, 2**32 - 1)),
    arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)),
)


@given(st.dictionaries(st.integers(1, 10**6), VALUES, max_size=4))
def test_all_predictions_come_back(rungs: dict[int, Any]) -> None:
    back = decode_rungs(encode_rungs(rungs))
    assert list(back) == sorted(rungs)
    for epoch, values in rungs.items():
        assert back[epoch].shape == values.shape
        np.testing.assert_array_equal(back[epoch], values)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        (np.ones(8000, dtype=np.bool_), 1000),
        (np.arange(200, dtype=np.int16), 200),
        (np.arange(300, dtype=np.uint32), 600),
        (np.arange(70_000, dtype=np.uint32), 280_000),
        (np.ones(100, dtype=np.float32), 400),
    ],
)
def test_a_value_takes_as_few_bytes_as_hold_it(values: Any, size: int) -> None:
    assert len(encode_rungs({3: values})) - len(encode_rungs({3: values[:0]})) == size


def test_rungs_are_part_of_a_row_and_of_its_hash() -> None:
    curve = LearningCurve(np.zeros((2, len(CURVE_COLUMNS))))
    bare = encode_fold("uuid", 1, FoldResult(0, 1, curve))
    rungs = {1: np.array([True, False, True])}
    row = encode_fold("uuid", 1, FoldResult(0, 1, curve, rungs=rungs))
    assert bare.rungs is None
    assert row.row_hash != bare.row_hash
    np.testing.assert_array_equal(decode_fold(row, outputs=True).rungs[1], rungs[1])
    assert decode_fold(row, outputs=False).rungs == {}
