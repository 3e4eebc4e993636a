"""Splits are scikit-learn's, by integer seeds; what cannot be split is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from selection.data.dataset import Dataset
from selection.data.folds import (
    Split,
    duplicate_rows_across_folds,
    fold_identity,
    make_splits,
)
from selection.errors import DataError
from selection.seeds import seed32_for
from selection.study.spec import StudySpec

Study = Callable[..., StudySpec]
SHUFFLED = {
    "kfold": KFold,
    "stratified": StratifiedKFold,
    "group": GroupKFold,
    "stratified_group": StratifiedGroupKFold,
}


def dataset_of(
    target: Any, groups: Any = None, features: Any = None, categories: Any = None
) -> Dataset:
    target = np.asarray(target)
    is_classes = np.issubdtype(target.dtype, np.integer)
    classes = int(target.max()) + 1 if is_classes else 0
    if features is None:
        features = np.arange(float(len(target))).reshape(-1, 1)
    return Dataset(
        name="t",
        task="classification" if is_classes else "regression",
        features=np.asarray(features),
        feature_names=("x",),
        categories=categories or {},
        target=target.astype(np.int64 if is_classes else np.float64),
        class_names=tuple("abcdefghij"[:classes]),
        groups=None if groups is None else np.asarray(groups, dtype=np.int64),
        fingerprint="f",
        held_out_fingerprint="h",
        held_out_rows=1,
    )


def spec_of(study: Study, seed: int = 0, groups: bool = False, **cv: Any) -> StudySpec:
    data = {"path": "t.csv", "target": "y"} | ({"groups": "g"} if groups else {})
    return study(data, cv=cv, seed=seed)


def refusal(dataset: Dataset, spec: StudySpec) -> str:
    with pytest.raises(DataError) as caught:
        make_splits(dataset, spec)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", sorted(SHUFFLED))
@pytest.mark.parametrize(("folds", "repeats"), [(2, 1), (3, 2), (5, 3)])
def test_splits_are_those_of_scikit_learn(
    study: Study, kind: str, folds: int, repeats: int
) -> None:
    generator = np.random.default_rng(folds)
    target, groups = generator.integers(0, 3, size=61), generator.integers(0, 17, size=61)
    dataset = dataset_of(target, groups if "group" in kind else None)
    spec = spec_of(study, 5, "group" in kind, folds=folds, repeats=repeats, kind=kind)
    plan = make_splits(dataset, spec)
    assert [(split.repeat, split.fold) for split in plan.splits] == [
        (repeat, fold) for repeat in range(repeats) for fold in range(folds)
    ]
    for repeat in range(repeats):
        seed = seed32_for(5, "folds", repeat)
        oracle = SHUFFLED[kind](folds, shuffle=True, random_state=seed)
        pairs = oracle.split(np.zeros(61), target, dataset.groups)
        ours = [split for split in plan.splits if split.repeat == repeat]
        for split, (training, validation) in zip(ours, pairs, strict=True):
            np.testing.assert_array_equal(split.training, training)
            np.testing.assert_array_equal(split.validation, validation)
            assert split.training.dtype == split.validation.dtype == np.int64
        validated = np.concatenate([split.validation for split in ours])
        np.testing.assert_array_equal(np.sort(validated), np.arange(61))


def test_repeats_are_drawn_anew(study: Study) -> None:
    plan = make_splits(dataset_of(np.arange(40) % 2), spec_of(study, folds=2, repeats=2))
    first, second = plan.splits[0], plan.splits[2]
    assert not np.array_equal(first.validation, second.validation)


def test_first_folds_get_one_row_more(study: Study) -> None:
    plan = make_splits(dataset_of(np.linspace(0, 1, 13)), spec_of(study, folds=5))
    assert [len(split.validation) for split in plan.splits] == [3, 3, 3, 2, 2]


@pytest.mark.parametrize(
    ("is_regression", "has_groups", "kind"),
    [
        (False, False, "stratified"),
        (True, False, "kfold"),
        (False, True, "stratified_group"),
        (True, True, "group"),
    ],
)
def test_kind_follows_the_data(
    study: Study, is_regression: bool, has_groups: bool, kind: str
) -> None:
    target = np.arange(30) % 2
    groups = np.arange(30) % 10 if has_groups else None
    dataset = dataset_of(target * 1.5 if is_regression else target, groups)
    silent = make_splits(dataset, spec_of(study, groups=has_groups, folds=3))
    said = make_splits(dataset, spec_of(study, groups=has_groups, folds=3, kind=kind))
    for ours, expected in zip(silent.splits, said.splits, strict=True):
        np.testing.assert_array_equal(ours.validation, expected.validation)


def test_groups_stay_on_one_side(study: Study) -> None:
    groups = np.arange(48) % 8
    dataset = dataset_of(np.arange(48) % 2, groups)
    for split in make_splits(dataset, spec_of(study, groups=True, folds=4)).splits:
        assert not set(groups[split.training]) & set(groups[split.validation])


def test_time_series_train_on_the_past(study: Study) -> None:
    spec = spec_of(study, folds=4, kind="time_series")
    plan = make_splits(dataset_of(np.linspace(0, 1, 23)), spec)
    for split, (training, validation) in zip(
        plan.splits, TimeSeriesSplit(4).split(np.zeros(23)), strict=True
    ):
        np.testing.assert_array_equal(split.training, training)
        np.testing.assert_array_equal(split.validation, validation)
        assert split.training.max() < split.validation.min()
    assert plan.warnings == ("the first 7 rows are trained on and never validated (time_series)",)


def test_same_seed_same_folds(study: Study) -> None:
    dataset = dataset_of(np.arange(40) % 2)

    def identities(seed: int) -> list[str]:
        plan = make_splits(dataset, spec_of(study, seed, folds=4))
        return [fold_identity(split) for split in plan.splits]

    assert identities(1) == identities(1)
    assert len(set(identities(1) + identities(2))) == 8


def test_identity_tells_training_from_validation() -> None:
    left, right = np.array([0, 1]), np.array([2])
    some = fold_identity(Split(0, 0, left, right))
    assert some == fold_identity(Split(1, 2, left.copy(), right.copy()))
    assert some != fold_identity(Split(0, 0, right, left))
    assert some != fold_identity(Split(0, 0, np.array([0]), np.array([1, 2])))


def test_rare_class_is_a_warning_with_name_and_count(study: Study) -> None:
    target = [0] * 12 + [1] * 3
    plan = make_splits(dataset_of(target), spec_of(study, folds=5))
    assert plan.warnings == (
        'class "b" has 3 development rows, fewer than 5 folds: some folds cannot score it',
    )


@pytest.mark.parametrize("kind", ["kfold", "stratified"])
def test_all_classes_below_the_number_of_folds(study: Study, kind: str) -> None:
    message = refusal(dataset_of([0, 1, 2] * 4), spec_of(study, folds=5, kind=kind))
    assert "5 folds need a class with at least 5 development rows, but got 4 rows" in message


def test_class_absent_from_some_training_rows(study: Study) -> None:
    message = refusal(dataset_of([0] * 12 + [1]), spec_of(study, folds=3))
    assert "every class needs a member among the training rows of every fold" in message
    assert 'none of ["b"] in repeat 0, fold ' in message


def test_more_folds_than_rows(study: Study) -> None:
    dataset = dataset_of([0.5, 1.5, 2.5, 3.5])
    assert "5 folds need at least 5 development rows, but got 4" in refusal(
        dataset, spec_of(study, folds=5)
    )
    assert "4 folds need at least 5 development rows, but got 4" in refusal(
        dataset, spec_of(study, folds=4, kind="time_series")
    )


def test_more_folds_than_groups(study: Study) -> None:
    dataset = dataset_of(np.arange(30) % 2, np.arange(30) % 3)
    message = refusal(dataset, spec_of(study, groups=True, folds=4))
    assert "4 folds need at least 4 groups, but got 3 in the development set" in message


def test_fold_without_rows(study: Study) -> None:
    # StratifiedGroupKFold balances classes and may leave a fold empty to do so.
    dataset = dataset_of([0, 0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 3, 2, 3, 2, 3, 3, 1])
    message = refusal(dataset, spec_of(study, seed=2, groups=True, folds=4))
    assert "every fold needs rows, but got none in repeat 0, fold " in message


def test_stratified_regression_is_refused(study: Study) -> None:
    spec = spec_of(study, kind="stratified")
    message = refusal(dataset_of(np.linspace(0, 1, 30)), spec)
    assert 'stratified folds need classes, but got regression. Write kind = "kfold"' in message


def slow_duplicates(dataset: Dataset, splits: tuple[Split, ...]) -> int:
    leaked = set()
    for split in splits:
        for row in split.validation:
            for other in split.training:
                if dataset.target[row] == dataset.target[other] and np.array_equal(
                    dataset.features[row], dataset.features[other], equal_nan=True
                ):
                    leaked.add(int(row))
    return len(leaked)


@pytest.mark.parametrize("seed", range(4))
def test_duplicates_across_folds_are_counted(study: Study, seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.choice([-0.0, 0.0, 1.0, np.nan], size=(40, 3))
    dataset = dataset_of(np.arange(40) % 2, features=features)
    plan = make_splits(dataset, spec_of(study, folds=4, repeats=2))
    expected = slow_duplicates(dataset, plan.splits)
    assert 0 < expected < 40
    assert duplicate_rows_across_folds(dataset, plan.splits) == expected


def test_copies_inside_one_part_do_not_leak() -> None:
    pixels = np.array([[1, 2], [1, 2], [3, 4], [3, 4]], dtype=np.uint8)
    split = Split(0, 0, np.array([0, 1]), np.array([2, 3]))
    assert duplicate_rows_across_folds(dataset_of([0, 0, 1, 1], features=pixels), [split]) == 0
    crossed = Split(0, 0, np.array([0, 2]), np.array([1, 3]))
    assert duplicate_rows_across_folds(dataset_of([0, 0, 1, 1], features=pixels), [crossed]) == 2
    assert duplicate_rows_across_folds(dataset_of([0, 1, 1, 1], features=pixels), [crossed]) == 1
    colours = {"colour": np.array(["red", "red", "red", "blue"], dtype=object)}
    dataset = dataset_of([0, 0, 1, 1], features=pixels, categories=colours)
    assert duplicate_rows_across_folds(dataset, [crossed]) == 1


ONE_CLASS_IN_A_FOLD: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "stratified": ([0] * 40 + [1] * 4, None, {"folds": 5}),
    "kfold": ([0] * 40 + [1] * 4, None, {"folds": 5, "kind": "kfold"}),
    "group": ([0, 1] * 8 + [0] * 8, np.arange(24) // 4, {"folds": 5, "kind": "group"}),
    "stratified_group": ([0, 1] * 4 + [0] * 16, np.arange(24) // 4, {"folds": 4}),
    "time_series": ([0, 1] * 12 + [0] * 6, None, {"folds": 4, "kind": "time_series"}),
}


@pytest.mark.parametrize("name", ONE_CLASS_IN_A_FOLD)
def test_roc_auc_needs_both_classes_in_every_fold(study: Study, name: str) -> None:
    target, groups, cv = ONE_CLASS_IN_A_FOLD[name]
    data = {"path": "t.csv", "target": "y"} | ({} if groups is None else {"groups": "g"})
    dataset = dataset_of(target, groups)
    message = refusal(dataset, study(data, cv=cv, metric="roc_auc"))
    fold = int(message.partition(" in fold ")[2].partition(".")[0])
    assert message == (
        "s: [cv] folds: roc_auc needs both classes among the validation rows of every fold, "
        f"but got only a in fold {fold}. Lower folds."
    )
    splits = make_splits(dataset, study(data, cv=cv, metric="accuracy")).splits
    one_class = [split.fold for split in splits if not dataset.target[split.validation].any()]
    assert fold == one_class[0]


@pytest.mark.parametrize(
    "metric", ["accuracy", "balanced_accuracy", "cross_entropy", "log_loss", "macro_f1"]
)
def test_other_class_metrics_are_defined_by_one_class(study: Study, metric: str) -> None:
    spec = study({"path": "t.csv", "target": "y"}, cv={"folds": 5}, metric=metric)
    assert len(make_splits(dataset_of([0] * 40 + [1] * 4), spec).splits) == 5


def test_roc_auc_of_several_classes_needs_two_of_them(study: Study) -> None:
    data = {"path": "t.csv", "target": "y"}
    late = dataset_of([0, 1, 2] * 6 + [2] * 6)
    spec = study(data, cv={"folds": 3, "kind": "time_series"}, metric="roc_auc")
    assert (
        "roc_auc needs 2 different classes among the validation rows of every fold, "
        "but got only c in fold 2." in refusal(late, spec)
    )
    two = dataset_of([0, 1, 2] * 6 + [1, 2] * 3)
    assert len(make_splits(two, spec).splits) == 3


def test_the_repeat_of_an_undefined_fold_is_named(study: Study) -> None:
    spec = study(
        {"path": "t.csv", "target": "y"},
        cv={"folds": 5, "kind": "kfold", "repeats": 2},
        metric="roc_auc",
    )
    assert "but got only a in repeat 0, fold " in refusal(dataset_of([0] * 40 + [1] * 4), spec)


def test_r2_needs_targets_that_differ_in_every_fold(study: Study) -> None:
    data = {"path": "t.csv", "target": "y"}
    flat = dataset_of([0.5, 1.5, 2.5] * 4 + [0.25] * 4)
    cv = {"folds": 3, "kind": "time_series"}
    assert (
        "r2 needs 2 different targets among the validation rows of every fold, "
        "but got only 0.25 in fold 2. Lower folds." in refusal(flat, study(data, cv, "r2"))
    )
    each = dataset_of(np.linspace(0, 1, 6))
    assert "r2 needs 2 different targets" in refusal(each, study(data, {"folds": 6}, "r2"))
    for metric in ("rmse", "mae"):
        assert make_splits(flat, study(data, cv, metric)).splits
        assert make_splits(each, study(data, {"folds": 6}, metric)).splits
