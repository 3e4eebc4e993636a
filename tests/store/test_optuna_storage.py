"""Our batches against Optuna's public methods, on both databases."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from selection.store.database import Database
from selection.store.optuna_rows import Ending
from selection.store.optuna_storage import KNOWN_REVISION, BatchedStorage

# Both paths are compared here, so that each database is needed once.
pytestmark = pytest.mark.parametrize(
    "shared_database", ["sqlite", "postgres"], indirect=True, scope="session"
)

DISTRIBUTIONS = {
    "width": CategoricalDistribution(["[64]", "[32, 16]"]),
    "rate": FloatDistribution(1e-6, 1.0, log=True),
    "size": IntDistribution(16, 128, step=16),
}


@pytest.fixture
def storage(database: Database) -> BatchedStorage:
    return database.storage


def templates(count: int) -> list[FrozenTrial]:
    return [
        create_trial(
            state=TrialState.RUNNING,
            params={
                "width": ("[64]", "[32, 16]")[index % 2],
                "rate": 0.1**index,
                "size": 16 * (index + 1),
            },
            distributions=DISTRIBUTIONS,
            user_attrs={"outside_space": {"width": [128]}} if index == 0 else {},
        )
        for index in range(count)
    ]


def endings(ids: Sequence[int]) -> list[Ending]:
    points: dict[int, float] = {1: 0.1 + 0.2, 5: float("nan"), 9: float("inf"), 10: float("-inf")}
    complete, pruned, failed, infinite = ids
    return [
        Ending(complete, TrialState.COMPLETE, 1 / 3, points, {"fold_0": 0.1 + 0.2, "epochs": 10}),
        Ending(pruned, TrialState.PRUNED, None, {1: 0.5}, {"epochs": 1}),
        Ending(failed, TrialState.FAIL, None, {}, {}),
        Ending(
            infinite, TrialState.COMPLETE, float("-inf"), {}, {"text": "a\u0000b", "none": None}
        ),
    ]


def comparable(trial: FrozenTrial) -> dict[str, Any]:
    """Return all that two trials of the same content have in common: NaN by its name, no ids."""
    content = {name.strip("_"): value for name, value in vars(trial).items()}
    for unique in ("trial_id", "datetime_start", "datetime_complete"):
        content.pop(unique)
    content["intermediate_values"] = {
        step: repr(value) for step, value in trial.intermediate_values.items()
    }
    content["kinds"] = {name: type(value) for name, value in trial.params.items()}
    return content


def run_trials(storage: BatchedStorage, name: str) -> list[FrozenTrial]:
    """Create five trials and finish four of them, on whatever path the storage takes."""
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], name)
    with storage.engine.begin() as connection:
        assert storage.lock_study(connection, study_id)
        created = storage.create_trials(connection, study_id, templates(5))
    assert [number for _, number in created] == [0, 1, 2, 3, 4]
    with storage.engine.begin() as connection:
        storage.finish_trials(connection, endings([trial_id for trial_id, _ in created[:4]]))
    return storage.get_all_trials(study_id)


def test_batches_write_what_the_public_methods_write(storage: BatchedStorage) -> None:
    storage.is_batched = True
    batched = run_trials(storage, "batched")
    storage.is_batched = False
    public = run_trials(storage, "public")
    assert [comparable(trial) for trial in batched] == [comparable(trial) for trial in public]
    for left, right in zip(batched, public, strict=True):
        for moment in ("datetime_start", "datetime_complete"):
            times = getattr(left, moment), getattr(right, moment)
            assert (times[0] is None) == (times[1] is None)
            assert times[0] is None or abs((times[0] - times[1]).total_seconds()) < 60


@pytest.mark.parametrize("is_batched", [True, False])
def test_times_are_right_far_from_greenwich(
    storage: BatchedStorage, monkeypatch: pytest.MonkeyPatch, is_batched: bool
) -> None:
    storage.is_batched = is_batched
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        trial = run_trials(storage, "study")[0]
        study_id = storage.get_study_id_from_name("study")
        with storage.engine.begin() as connection:
            read = storage.read_trials(connection, study_id)[0]
        local, utc = datetime.now(), datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    for moment in (trial.datetime_start, trial.datetime_complete):
        assert moment is not None
        assert abs((local - moment).total_seconds()) < 60
    for instant in (read.started_at, read.completed_at):
        assert instant is not None
        assert abs((utc - instant).total_seconds()) < 60


def test_both_paths_read_the_same_trials(storage: BatchedStorage) -> None:
    storage.is_batched = True
    run_trials(storage, "study")
    study_id = storage.get_study_id_from_name("study")
    with storage.engine.begin() as connection:
        batched = storage.read_trials(connection, study_id, attrs=["outside_space"])
        storage.is_batched = False
        public = storage.read_trials(connection, study_id, attrs=["outside_space"])
    assert len(batched) == len(public) == 5
    for left, right in zip(batched, public, strict=True):
        attr = right.user_attrs.get("outside_space")
        wanted = {} if attr is None else {"outside_space": attr}
        assert vars(left) == {**vars(right), "user_attrs": wanted}


def test_numbers_have_no_gaps_whoever_creates_trials(storage: BatchedStorage) -> None:
    study = optuna.create_study(storage=storage)
    other = optuna.create_study(storage=storage)
    for _ in range(3):
        study.ask()
        other.ask()
        with storage.engine.begin() as connection:
            storage.create_trials(connection, study._study_id, templates(3))
    assert [trial.number for trial in study.trials] == list(range(12))
    assert [trial.number for trial in other.trials] == list(range(3))


def test_cache_of_optuna_sees_batches(storage: BatchedStorage) -> None:
    cached = get_storage(storage)
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "cached")
    seen = []
    for _ in range(2):
        with storage.engine.begin() as connection:
            created = storage.create_trials(connection, study_id, templates(4))
        seen.append(cached.get_all_trials(study_id))
        with storage.engine.begin() as connection:
            storage.finish_trials(connection, endings([trial_id for trial_id, _ in created]))
        seen.append(cached.get_all_trials(study_id))
    states = [[trial.state.name for trial in trials] for trials in seen]
    ended = ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert states == [["RUNNING"] * 4, ended, [*ended, *["RUNNING"] * 4], ended * 2]
    fresh = [comparable(trial) for trial in storage.get_all_trials(study_id)]
    assert [comparable(trial) for trial in seen[-1]] == fresh


def test_trial_that_is_not_running_is_never_finished(storage: BatchedStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "study")
    with storage.engine.begin() as connection:
        created = storage.create_trials(connection, study_id, templates(4))
    ids = [trial_id for trial_id, _ in created]
    with storage.engine.begin() as connection:
        storage.finish_trials(connection, endings(ids))
    before = copy.deepcopy(storage.get_all_trials(study_id))
    twice = (AssertionError, optuna.exceptions.UpdateFinishedTrialError)
    with pytest.raises(twice), storage.engine.begin() as connection:
        storage.finish_trials(connection, endings(ids))
    after = storage.get_all_trials(study_id)
    assert [comparable(trial) for trial in after] == [comparable(trial) for trial in before]


def test_lock_of_an_absent_study_fails(storage: BatchedStorage) -> None:
    with storage.engine.begin() as connection:
        assert not storage.lock_study(connection, 12345)


def test_joined_methods_are_undone_with_the_transaction(storage: BatchedStorage) -> None:
    connection = storage.engine.connect()
    transaction = connection.begin()
    joined = storage.joined(connection)
    study_id = joined.create_new_study([StudyDirection.MAXIMIZE], "undone")
    joined.create_new_trial(study_id)
    assert [study.study_name for study in joined.get_all_studies()] == ["undone"]
    transaction.rollback()
    connection.close()
    assert storage.get_all_studies() == []


def test_known_revision_is_the_one_of_the_installed_optuna(storage: BatchedStorage) -> None:
    assert storage.get_head_version() == storage.get_current_version() == KNOWN_REVISION


def test_columns_are_the_ones_the_batches_know(storage: BatchedStorage) -> None:
    # The batches name these columns; a new schema of Optuna must be looked at by a person.
    inspector = sa.inspect(storage.engine)
    columns = {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in ("trials", "trial_params", "trial_values", "trial_user_attributes")
    }
    assert columns == {
        "trials": {
            "trial_id",
            "number",
            "study_id",
            "state",
            "datetime_start",
            "datetime_complete",
        },
        "trial_params": {
            "param_id",
            "trial_id",
            "param_name",
            "param_value",
            "distribution_json",
        },
        "trial_values": {"trial_value_id", "trial_id", "objective", "value", "value_type"},
        "trial_user_attributes": {
            "trial_user_attribute_id",
            "trial_id",
            "key",
            "value_json",
        },
    }
