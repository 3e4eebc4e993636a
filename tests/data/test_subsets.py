"""Subsets of training rows: nested, fair to classes, a function of seed, repeat and fold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selection.data.dataset import Dataset
from selection.data.folds import Split, make_splits
from selection.data.subsets import take_subset
from selection.study.spec import StudySpec, parse_study
from tests.data.test_folds import dataset_of


def spec_of(seed: int = 0, *, task: str = "classification", **cv: Any) -> StudySpec:
    metric = "accuracy" if task == "classification" else "rmse"
    content = {
        "name": "s",
        "seed": seed,
        "data": {"path": "t.csv", "target": "y"},
        "cv": cv,
        "search": {"metric": metric, "trials": 1},
    }
    return parse_study(content, "s.toml")


def split_of(rows: int, repeat: int = 0, fold: int = 0) -> Split:
    """Return a split that validates every third row."""
    is_validated = np.arange(rows) % 3 == 1
    return Split(repeat, fold, np.flatnonzero(~is_validated), np.flatnonzero(is_validated))


def subsets_of(dataset: Dataset, spec: StudySpec, split: Split) -> list[NDArray[np.int64]]:
    """Return the subsets of every size, from one row to all."""
    sizes = range(1, len(split.training) + 1)
    return [take_subset(split, dataset, spec, size).training for size in sizes]


@given(target=st.lists(st.integers(0, 4), min_size=6, max_size=60), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_subsets_of_classes_are_nested_and_keep_their_shares(target: list[int], seed: int) -> None:
    dataset, spec, split = dataset_of(target), spec_of(seed, folds=2), split_of(len(target))
    subsets = subsets_of(dataset, spec, split)
    check_nested(subsets, split)
    counts = np.bincount(dataset.target[split.training], minlength=5)
    shares, classes = counts / counts.sum(), np.count_nonzero(counts)
    for subset in subsets:
        found = np.bincount(dataset.target[subset], minlength=5)
        # Each class has rows up to one place in its order, that is to half a row; the pairs of
        # all classes together are off by as many halves as there are classes.
        assert (np.abs(found - shares * len(subset)) <= 0.5 + shares * classes / 2 + 1e-9).all()


def check_nested(subsets: Sequence[NDArray[np.int64]], split: Split) -> None:
    """Check every pair of sizes: each subset is within the next one, so within all later ones."""
    for size, subset in enumerate(subsets, start=1):
        assert len(subset) == size
        assert (np.diff(subset) > 0).all(), "ascending, no row twice"
        assert not set(subset.tolist()) & set(split.validation.tolist())
    for smaller, larger in itertools.pairwise(subsets):
        assert set(smaller.tolist()) < set(larger.tolist())
    np.testing.assert_array_equal(subsets[-1], split.training)


@given(rows=st.integers(4, 60), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_subsets_of_a_regression_are_nested(rows: int, seed: int) -> None:
    dataset = dataset_of(np.linspace(0.0, 1.0, rows))
    spec, split = spec_of(seed, task="regression", folds=2), split_of(rows)
    check_nested(subsets_of(dataset, spec, split), split)


@pytest.mark.parametrize("shares", [(50, 50, 50), (90, 60), (300, 30), (60, 50, 40), (40,) * 10])
def test_every_class_is_within_one_row_of_its_share(shares: tuple[int, ...]) -> None:
    target = np.random.default_rng(0).permutation(np.repeat(np.arange(len(shares)), shares))
    dataset, spec, split = dataset_of(target), spec_of(folds=2), split_of(len(target))
    counts = np.bincount(target[split.training])
    for subset in subsets_of(dataset, spec, split):
        wanted = counts * len(subset) / len(split.training)
        assert np.abs(np.bincount(target[subset], minlength=len(shares)) - wanted).max() <= 1


def test_all_else_of_a_split_stays() -> None:
    split = split_of(30, repeat=2, fold=1)
    found = take_subset(split, dataset_of(np.arange(30) % 2), spec_of(folds=2), 7)
    assert (found.repeat, found.fold) == (2, 1)
    np.testing.assert_array_equal(found.validation, split.validation)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_subsets_are_a_function_of_seed_repeat_and_fold(task: str) -> None:
    dataset = dataset_of(np.arange(300) % 3 if task == "classification" else np.arange(300.0))
    pairs = [(seed, repeat, fold) for seed in (0, 1) for repeat in (0, 1) for fold in (0, 1)]

    def draw() -> list[tuple[int, ...]]:
        return [
            tuple(
                take_subset(
                    split_of(300, repeat, fold), dataset, spec_of(seed, task=task, folds=2), 40
                ).training
            )
            for seed, repeat, fold in pairs
        ]

    first = draw()
    assert draw() == first
    assert len(set(first)) == len(pairs)


def test_subsets_of_a_time_series_are_the_last_rows_before_validation() -> None:
    dataset = dataset_of(np.arange(40) % 2)
    spec = spec_of(folds=3, kind="time_series")
    for split in make_splits(dataset, spec).splits:
        check_nested(subsets_of(dataset, spec, split), split)
        for size in (1, 4, len(split.training)):
            found = take_subset(split, dataset, spec, size)
            first = split.validation[0]
            np.testing.assert_array_equal(found.training, np.arange(first - size, first))
            np.testing.assert_array_equal(found.validation, split.validation)
