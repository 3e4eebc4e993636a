"""Columns of any scale are read, or refused by name; none becomes a column of zeros."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from selection.data.dataset import load_development
from selection.data.prepare import fit_preparation
from selection.data.scale_check import check_scale
from selection.errors import DataError
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
Table = Callable[..., str]
NORMAL = np.random.default_rng(5).normal(size=50)


def check(study: Study, path: str, metric: str = "rmse", **data: Any) -> Any:
    spec = study({"path": path, "target": "y", **data}, metric=metric)
    dataset = load_development(spec, Path("nowhere"))
    check_scale(dataset, spec)
    everything = np.arange(len(dataset))
    preparation = fit_preparation(dataset, everything, spec)
    return dataset, preparation.apply(dataset.features, dataset.categories)


def frame_of(a: Any = NORMAL, y: Any = NORMAL[::-1]) -> pd.DataFrame:
    return pd.DataFrame({"a": a, "b": NORMAL, "y": y})


@pytest.mark.parametrize("prepare", ["standardize", "scale"])
@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e-30, 1.0, 1e30, 1e99])
def test_units_do_not_matter(study: Study, table: Table, unit: float, prepare: str) -> None:
    path = table(frame_of(NORMAL * unit))
    dataset, prepared = check(study, path, prepare=prepare)
    scaler = StandardScaler() if prepare == "standardize" else MinMaxScaler()
    truth = scaler.fit_transform(dataset.features[:, :1] / unit)
    np.testing.assert_allclose(prepared[:, 0], truth[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [1e6, 1.7e12, -1e15])
def test_an_offset_is_taken_away(study: Study, table: Table, offset: float) -> None:
    _, prepared = check(study, table(frame_of(np.round(NORMAL * 1000) + offset)))
    assert len(np.unique(prepared[:, 0])) > 30


REFUSED = {
    "large": (NORMAL * 1e200, "column a: values must be at most 1e+100 in size"),
    "one large cell": (np.r_[NORMAL[:-1], 1e300], "but got 1e+300 in row 50"),
    "the largest number": (np.r_[1.7976931348623157e308, NORMAL[1:]], "1.79769e+308 in row 1"),
    "one far cell": (np.r_[NORMAL[1:], 1e30], "column a: float32 must tell most of its values"),
    "a few far cells": (np.r_[NORMAL[4:], [1e30] * 4], "values near"),
    "zeros, ones, and a far cell": (np.r_[np.arange(49.0) % 2, 1e30], "one of 1e+30"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_flatten_a_column_is_refused_by_its_name(
    study: Study, table: Table, kind: str
) -> None:
    values, said = REFUSED[kind]
    # The far cells are development rows under this seed and fraction.
    with pytest.raises(DataError) as caught:
        check(study, table(frame_of(values)), held_out={"column": "b", "value": float(NORMAL[20])})
    assert said in str(caught.value)
    assert "t.csv: column a: " in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (NORMAL * 1e155, "column y: values must be at most 1e+100"),
        (NORMAL * 1e-170, "the target: values must differ by more than 1e-100"),
        (np.ones(50), "column y: regression needs a target of at least two values, but got only 1"),
        (np.r_[NORMAL[1:], 1e40], "the target: float32 must tell most of its values apart"),
    ],
)
def test_targets_are_checked_alike(study: Study, table: Table, values: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        check(
            study, table(frame_of(y=values)), held_out={"column": "b", "value": float(NORMAL[20])}
        )
    assert said in str(caught.value)


@pytest.mark.parametrize("values", [NORMAL * 1e-60, 1e9 + NORMAL, NORMAL * 1e60])
def test_rows_that_are_not_prepared_must_fit_float32(
    study: Study, table: Table, values: Any
) -> None:
    with pytest.raises(DataError, match="float32 must tell"):
        check(study, table(frame_of(values)), prepare="none")


@pytest.mark.parametrize(
    "values",
    [
        np.r_[np.zeros(49), 1.0],
        np.r_[np.zeros(45), np.arange(5) * 1e6],
        np.exp(12 * NORMAL),
        NORMAL**21,
        np.full(50, 3.0),
        np.arange(50.0) ** 9,
    ],
)
def test_sparse_and_skewed_columns_are_no_error(study: Study, table: Table, values: Any) -> None:
    check(study, table(frame_of(values)))


@pytest.mark.parametrize("prepare", ["robust", "quantile"])
def test_far_cells_are_no_error_where_they_are_clipped(
    study: Study, table: Table, prepare: str
) -> None:
    values = np.r_[NORMAL[4:], [1e30] * 4]
    _, prepared = check(study, table(frame_of(values)), prepare=prepare)
    assert len(np.unique(prepared[:, 0])) > 30
    assert np.abs(prepared).max() < 6.0


@pytest.mark.parametrize("prepare", ["robust", "quantile"])
@pytest.mark.parametrize(
    "values", [np.r_[np.zeros(49), 1.0], np.exp(12 * NORMAL), np.full(50, 3.0), 1.7e12 + NORMAL]
)
def test_sparse_skewed_and_far_columns_are_no_error_otherwise_scaled(
    study: Study, table: Table, values: Any, prepare: str
) -> None:
    check(study, table(frame_of(values)), prepare=prepare)


def test_what_clipping_flattens_is_still_refused(study: Study, table: Table) -> None:
    values = np.r_[np.arange(49.0) % 2 * (np.arange(49) < 10), 1e60]  # all quartiles are 0
    with pytest.raises(DataError, match="float32 must tell most of its values"):
        check(
            study,
            table(frame_of(values)),
            prepare="robust",
            held_out={"column": "b", "value": float(NORMAL[20])},
        )
