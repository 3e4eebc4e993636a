"""Out-of-fold predictions of small studies, beside plain loops; pictures beside their pixels."""

from __future__ import annotations

import io
import statistics
from typing import Any, cast

import numpy as np
import pytest
import sklearn.metrics as oracle
from PIL import Image
from scipy.special import softmax

from selection.data.dataset import Dataset
from selection.errors import StudyStateError
from selection.store.study_record import StudyRecord
from selection.study.spec import StudySpec
from selection.study.trial import TrialState
from selection.workflows.out_of_fold import (
    Mistake,
    is_image,
    most_confident_mistakes,
    out_of_fold,
    picture,
)
from selection.workflows.study_data import StudyData, load_study_data
from tests.sweep_bench import Bench, make_spec

FEW = {"trials": 2, "cohort": 2, "pruner": "none", "pruner_options": {}}


def small_spec(dataset: str = "iris", cv: dict[str, Any] | None = None, **search: Any) -> StudySpec:
    training = {"epochs": 2 if dataset == "digits" else 4, "batch_size": 32}
    sections = {
        "data": {"dataset": dataset},
        "training": training,
        "cv": {"folds": 3, **(cv or {})},
    }
    return make_spec(sections, **{**FEW, **search})


def slow_outputs(bench: Bench, study: StudyRecord, data: StudyData, number: int) -> Any:
    """Return the outputs for every row of every repeat, NaN for none. Shape: (R, N, C)."""
    folds = bench.records.curves(study, number, outputs=True)
    repeats = 1 + max(fold.repeat for fold in folds)
    outputs = np.full((repeats, len(data.dataset), folds[0].outputs.shape[1]), np.nan)  # type: ignore[union-attr]
    for split, fold in zip(data.plan.splits, folds, strict=True):
        assert (split.repeat, split.fold) == (fold.repeat, fold.fold)
        assert fold.outputs is not None
        for row, line in zip(split.validation, fold.outputs, strict=True):
            outputs[split.repeat, row] = line
    return outputs


@pytest.mark.parametrize(
    ("dataset", "repeats"),
    [("iris", 1), ("iris", 3), ("digits", 2)],  # only the rows of digits are not sorted by class
)
def test_classes_are_those_of_a_plain_loop(bench: Bench, dataset: str, repeats: int) -> None:
    study, data = bench.procedure(small_spec(dataset, {"repeats": repeats}))
    outputs = slow_outputs(bench, study, data, 1)
    target, names = data.dataset.target, data.dataset.class_names
    found = out_of_fold(study, bench.repository, 1)
    assert found is not None
    assert (found.rows, found.repeats) == (len(target), repeats)
    truth, predicted = np.tile(target, repeats), outputs.argmax(axis=2).reshape(-1)
    expected = oracle.confusion_matrix(truth, predicted, labels=np.arange(len(names)))
    np.testing.assert_array_equal(found.counts, expected)
    assert found.counts is not None
    assert found.counts.sum() == found.rows * found.repeats
    assert found.class_scores is not None
    assert tuple(line.name for line in found.class_scores) == names
    recalls = oracle.recall_score(truth, predicted, average=None)
    assert [line.recall for line in found.class_scores] == pytest.approx(list(recalls))
    assert found.targets is None
    assert found.predictions is None
    assert found.residuals is None


@pytest.mark.parametrize("repeats", [1, 2])
def test_mistakes_are_wrong_and_the_surest_first(bench: Bench, repeats: int) -> None:
    study, data = bench.procedure(small_spec("digits", {"repeats": repeats}))
    chances = softmax(slow_outputs(bench, study, data, 0)[0], axis=1)
    target, names = data.dataset.target, data.dataset.class_names
    expected = sorted(
        (
            Mistake(
                row, names[target[row]], names[line.argmax()], cast(Any, pytest.approx(line.max()))
            )
            for row, line in enumerate(chances)
            if line.argmax() != target[row]
        ),
        key=lambda mistake: -chances[mistake.row].max(),
    )
    found = most_confident_mistakes(study, bench.repository, 0)
    assert len(found) == 12
    assert found == expected[:12]
    everyone = most_confident_mistakes(study, bench.repository, 0, count=10_000)
    assert len(everyone) == len(expected) > 12
    assert [one.confidence for one in everyone] == sorted(
        (one.confidence for one in everyone), reverse=True
    )
    assert all(one.truth != one.predicted for one in everyone)


def test_rows_that_no_fold_validates_are_left_out(bench: Bench) -> None:
    study, data = bench.procedure(small_spec("diabetes", {"kind": "time_series"}, metric="rmse"))
    found = out_of_fold(study, bench.repository, 0)
    outputs = slow_outputs(bench, study, data, 0)[0, :, 0]
    known = np.isfinite(outputs)
    assert found is not None
    assert 0 < found.rows == known.sum() < len(data.dataset)
    np.testing.assert_array_equal(found.targets, data.dataset.target[known])
    np.testing.assert_array_equal(found.predictions, outputs[known])


def test_a_mistake_keeps_its_row_where_others_are_left_out(bench: Bench) -> None:
    study, data = bench.procedure(small_spec("digits", {"kind": "time_series"}))
    outputs = slow_outputs(bench, study, data, 0)[0]
    known = np.isfinite(outputs).all(axis=1)
    wrong = known & (outputs.argmax(axis=1) != data.dataset.target)
    found = most_confident_mistakes(study, bench.repository, 0, count=10_000)
    assert not known[0]
    assert sorted(one.row for one in found) == np.flatnonzero(wrong).tolist()


def test_regression_has_residuals_and_no_classes(bench: Bench) -> None:
    study, data = bench.procedure(small_spec("diabetes", {"repeats": 2}, metric="rmse"))
    found = out_of_fold(study, bench.repository, 1)
    assert found is not None
    assert found.class_scores is None
    assert found.counts is None
    assert (found.rows, found.repeats) == (len(data.dataset), 2)
    outputs = slow_outputs(bench, study, data, 1)[0, :, 0]
    np.testing.assert_array_equal(found.predictions, outputs)
    np.testing.assert_array_equal(found.targets, data.dataset.target)
    residuals = (data.dataset.target - outputs).tolist()
    sizes = [abs(residual) for residual in residuals]
    assert found.residuals is not None
    assert found.residuals.mean == pytest.approx(sum(residuals) / len(residuals))
    assert found.residuals.deviation == pytest.approx(np.std(residuals, ddof=1))
    assert found.residuals.median == pytest.approx(statistics.median(residuals))
    assert found.residuals.median_absolute == pytest.approx(statistics.median(sizes))
    assert found.residuals.largest_absolute == pytest.approx(max(sizes))
    assert most_confident_mistakes(study, bench.repository, 1) == []


def test_without_rows_or_a_complete_trial_there_is_nothing_to_say(bench: Bench) -> None:
    study = bench.run(small_spec())
    assert out_of_fold(study, bench.repository, 0) is None
    assert most_confident_mistakes(study, bench.repository, 0) == []


def test_a_pruned_trial_has_none_and_one_that_is_not_there_is_refused(bench: Bench) -> None:
    study, _ = bench.procedure(make_spec())
    trials = bench.records.trials(study)
    pruned = next(trial.number for trial in trials if trial.state is TrialState.PRUNED)
    assert out_of_fold(study, bench.repository, pruned) is None
    assert most_confident_mistakes(study, bench.repository, pruned) == []
    with pytest.raises(StudyStateError, match="trial 99 must exist"):
        out_of_fold(study, bench.repository, 99)


def as_dataset(features: Any, names: tuple[str, ...] = (), categories: Any = None) -> Dataset:
    rows, columns = features.shape
    return Dataset(
        name="made",
        task="classification",
        features=features,
        feature_names=names or tuple(f"x{index}" for index in range(columns)),
        categories=categories or {},
        target=np.zeros(rows, dtype=np.int64),
        class_names=("a", "b"),
        groups=None,
        fingerprint="",
        held_out_fingerprint="",
        held_out_rows=0,
    )


def decode(png: bytes, side: int) -> Any:
    """Return the pixels of a picture, one for each of its equal squares. Shape: (side, side)."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.mode == "L"
    assert image.size[0] == image.size[1] >= 56
    assert image.size[0] % side == 0
    times = image.size[0] // side
    blocks = np.asarray(image).reshape(side, times, side, times)
    assert (np.ptp(blocks, axis=(1, 3)) == 0).all(), "nearest neighbours"
    return blocks[:, 0, :, 0]


@pytest.mark.parametrize("side", [8, 10, 28, 60])
def test_a_picture_of_bytes_is_its_pixels(side: int) -> None:
    rows = np.random.default_rng(side).integers(0, 256, size=(3, side * side), dtype=np.uint8)
    assert is_image(as_dataset(rows))
    for row in rows:
        png = picture(row)
        np.testing.assert_array_equal(decode(png, side), row.reshape(side, side))
        assert picture(row.copy()) == png
    assert len({picture(row) for row in rows}) == 3


def test_digits_are_pictures_of_their_ink(bench: Bench) -> None:
    dataset = load_study_data(small_spec("digits"), bench.folder).dataset
    assert is_image(dataset)
    for row in dataset.features[:20]:
        pixels = decode(picture(row), 8)
        np.testing.assert_array_equal(np.rint(pixels / 255 * 16), row.reshape(8, 8))
    drawn = decode(picture(np.repeat([0.0, 16.0], 32)), 8)
    assert set(drawn[:4].flat) == {0}, "no ink is black"
    assert set(drawn[4:].flat) == {255}


def test_what_is_no_image_is_not_drawn(bench: Bench) -> None:
    assert not is_image(load_study_data(small_spec(), bench.folder).dataset)
    pixels = tuple(f"pixel_{index}" for index in range(64))
    grey = np.full((2, 64), 16.0)
    assert is_image(as_dataset(grey, pixels))
    assert not is_image(as_dataset(grey)), "other names"
    assert not is_image(as_dataset(grey + 1, pixels)), "more ink than a digit has"
    assert not is_image(as_dataset(-grey, pixels))
    assert not is_image(as_dataset(np.where(np.eye(2, 64), np.nan, grey), pixels))
    assert not is_image(as_dataset(np.zeros((2, 100)), tuple(f"pixel_{p}" for p in range(100))))
    assert not is_image(as_dataset(np.zeros((2, 63), dtype=np.uint8)))
    assert not is_image(as_dataset(np.zeros((2, 49), dtype=np.uint8)))
    labels = np.array(["a", "b"], dtype=np.object_)
    assert not is_image(as_dataset(np.zeros((2, 64), dtype=np.uint8), (), {"kind": labels}))
