"""A trained cohort that the database did not take, beside it and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selection.store.address import read_address
from selection.store.recovery import RecoveryFiles
from selection.store.study_record import StudyRecord
from selection.study.trial import TrialResult, TrialState
from tests.store.store_examples import (
    ENVIRONMENT,
    FACTS,
    example_params,
    example_result,
    example_spec,
    same_members,
)
from tests.store.study_case import StudyCase, someone

SPEC = example_spec()
PARAMS = dict(enumerate(example_params(SPEC, 3)))
RESULTS = {
    0: example_result(0, layers=2),
    1: example_result(1, TrialState.PRUNED, epochs=3),
    2: example_result(2, TrialState.FAILED, epochs=1, folds=2),
}


@pytest.fixture
def study() -> StudyRecord:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    texts = ("s" * 64, "d" * 64, None)
    return StudyRecord("1" * 36, "example", 1, SPEC.to_json(), *texts, FACTS, ENVIRONMENT, at)


@pytest.fixture
def files(tmp_path: Path, study: StudyRecord) -> RecoveryFiles:
    return RecoveryFiles(read_address(f"sqlite:///{tmp_path}/a[1]*.db"), study)


def same(left: TrialResult, right: TrialResult) -> bool:
    ends = [(each.state, each.reason, each.epochs, each.seconds) for each in (left, right)]
    return ends[0] == ends[1] and same_members(left.folds, right.folds)


def test_a_cohort_comes_back_bit_for_bit(files: RecoveryFiles) -> None:
    rungs = {2: np.array([0.5, 1.0, 0.0], dtype=np.float64)}
    first = RESULTS[0]
    folds = tuple(replace(fold, rungs=rungs) for fold in first.folds)
    written = {**RESULTS, 0: replace(first, folds=folds)}
    path = files.keep(3, PARAMS, written)
    assert path is not None
    found = files.take(3, PARAMS)
    assert found is not None
    assert list(found) == [0, 1, 2]
    assert all(same(found[number], written[number]) for number in written)
    kept = found[0].folds[0].rungs
    assert list(kept) == [2]
    assert np.array_equal(kept[2], rungs[2])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_members_that_are_not_finite_come_back(files: RecoveryFiles) -> None:
    result = example_result(0, TrialState.FAILED)
    for fold in result.folds:
        fold.curve.points[-1] = [np.nan, -0.0, np.inf, -np.inf, 5e-324, np.nan]
    files.keep(0, {0: PARAMS[0]}, {0: result})
    found = files.take(0, {0: PARAMS[0]})
    assert found is not None
    assert same(found[0], result)


def test_a_cohort_of_other_settings_is_not_taken(files: RecoveryFiles) -> None:
    files.keep(0, PARAMS, RESULTS)
    assert files.take(1, PARAMS) is None
    assert files.take(0, {0: PARAMS[0]}) is None
    assert files.take(0, {**PARAMS, 1: {**PARAMS[1], "dropout": 0.1 + 0.2}}) is None
    assert files.take(0, PARAMS) is not None


DAMAGES: dict[str, Any] = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "a list": lambda _text: "[]",
    "another version": lambda text: text.replace('"version": 1', '"version": 2'),
    "another study": lambda text: text.replace("1" * 36, "2" * 36),
    "a changed score": lambda text: changed(text, score=0.99),
    "changed bytes": lambda text: changed(text, curve="AAAA"),
    "no base64": lambda text: changed(text, curve="?"),
    "another key": lambda text: changed(text, colour="red"),
}


def changed(text: str, **values: object) -> str:
    content = json.loads(text)
    content["trials"][0]["folds"][0] |= values
    return json.dumps(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_taken(files: RecoveryFiles, damage: str) -> None:
    path = files.keep(0, PARAMS, RESULTS)
    assert path is not None
    path.write_text(DAMAGES[damage](path.read_text()))
    assert files.take(0, PARAMS) is None


def test_files_are_removed_with_their_cohort_or_all(
    files: RecoveryFiles, study: StudyRecord, tmp_path: Path
) -> None:
    other = RecoveryFiles(
        read_address(f"sqlite:///{tmp_path}/a[1]*.db"), replace(study, uuid="2" * 36)
    )
    bystander = other.keep(0, PARAMS, RESULTS)
    assert bystander is not None
    for cohort in range(3):
        files.keep(cohort, PARAMS, RESULTS)
    files.remove(1)
    assert [files.take(cohort, PARAMS) is None for cohort in range(3)] == [False, True, False]
    files.remove()
    assert list(tmp_path.iterdir()) == [bystander]


def test_a_folder_that_is_gone_keeps_nothing(study: StudyRecord, tmp_path: Path) -> None:
    files = RecoveryFiles(read_address(f"sqlite:///{tmp_path}/none/a.db"), study)
    assert files.keep(0, PARAMS, RESULTS) is None
    assert files.take(0, PARAMS) is None
    files.remove()


def test_a_server_has_no_files_beside_it(study: StudyRecord) -> None:
    files = RecoveryFiles(read_address("postgresql+psycopg://user@/name"), study)
    assert files.keep(0, PARAMS, RESULTS) is None
    assert files.take(0, PARAMS) is None
    files.remove()


def test_the_database_takes_what_was_kept(case: StudyCase, tmp_path: Path) -> None:
    lease, numbers = case.train(someone())
    files = RecoveryFiles(read_address(f"sqlite:///{tmp_path}/a.db"), case.study)
    params = {trial.number: trial.params for trial in case.trials()}
    files.keep(0, params, {number: example_result(number) for number in numbers})
    found = files.take(0, params)
    assert found is not None
    case.cohorts.finish(case.study, lease, found, params)
    assert [trial.value for trial in case.trials()] == [example_result(n).value for n in numbers]
