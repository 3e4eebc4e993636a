"""Changes of a study's file are stored with it, shown to Optuna's tools, and copied."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest

from selection.errors import RefusedError, StorageError, StudyStateError
from selection.store.copy_study import copy_study
from selection.store.database import Database, open_database
from selection.store.evidence import Evidence, OuterFold
from selection.store.ledger import Ledger
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.study.changes import Difference, RecordedChange, differences
from selection.study.spec import StudySpec
from tests.store.store_examples import begin_example, create_example, example_spec

LONGER = example_spec(trials=20)


def keep(records: Records, study: StudyRecord, spec: StudySpec) -> StudyRecord:
    found = differences(study.spec().to_json(), spec.to_json())
    return records.keep_file(study, spec, found)


def test_a_recorded_change_is_read_back_with_the_study(
    database: Database, records: Records
) -> None:
    study = create_example(records)
    assert study.changes == ()
    begin_example(records, study, 3)
    kept = keep(records, study, LONGER)
    (change,) = kept.changes
    assert change == RecordedChange(Difference("search.trials", 12, 20), change.at, 3)
    assert study.created_at <= change.at
    assert (kept.spec_fingerprint, kept.spec().budget) == (LONGER.fingerprint, 20)
    assert (kept.uuid, kept.created_at) == (study.uuid, study.created_at)
    for read in (records.find_study("example"), *records.all_studies()):
        assert read is not None
        assert (read.changes, read.spec_fingerprint) == (kept.changes, LONGER.fingerprint)
    shown = optuna.load_study(study_name="example", storage=database.storage)
    assert shown.user_attrs["selection_changes"] == [change.to_json()]


def test_a_change_that_is_not_recorded_leaves_no_trace(records: Records) -> None:
    study = create_example(records)
    kept = records.keep_file(study, example_spec(max_retries=9))
    assert kept.changes == ()
    assert kept.spec().sections.search.max_retries == 9


def test_fewer_trials_than_have_begun_are_refused_and_nothing_is_written(records: Records) -> None:
    study = create_example(records)
    begin_example(records, study, 3)
    with pytest.raises(StudyStateError, match="at least the 3 trials that have begun, but got 2"):
        keep(records, study, example_spec(trials=2))
    assert records.find_study("example") is not None
    (read,) = records.all_studies()
    assert (read.changes, read.spec_fingerprint) == ((), study.spec_fingerprint)
    assert keep(records, study, example_spec(trials=3)).spec().budget == 3


def test_a_study_whose_held_out_set_was_opened_records_no_change(
    database: Database, records: Records
) -> None:
    study = create_example(records)
    assert Ledger(database).claim(study, 0, "best", evaluation=1, reason="", finished=0)
    with pytest.raises(RefusedError, match=r"was opened, but got search\.trials: 12 -> 20"):
        keep(records, study, LONGER)
    (read,) = records.all_studies()
    assert (read.changes, read.spec_fingerprint) == ((), study.spec_fingerprint)


def test_an_opening_by_another_study_changes_nothing(database: Database, records: Records) -> None:
    study, other = create_example(records), create_example(records, example_spec("other"))
    assert Ledger(database).claim(other, 0, "best", evaluation=1, reason="", finished=0)
    assert keep(records, study, LONGER).spec().budget == 20


def test_only_another_procedure_drops_the_outer_folds(database: Database, records: Records) -> None:
    study, evidence = create_example(records), Evidence(database)
    outer = OuterFold(0, 3, {"dropout": 0.5}, 0.9, 0.8)
    evidence.keep_outer_fold(study, outer)
    other = create_example(records, example_spec("other"))
    evidence.keep_outer_fold(other, outer)
    study = keep(records, study, example_spec(timeout_seconds=9.0))
    assert evidence.outer_folds(study) == [outer]
    study = keep(records, study, example_spec(timeout_seconds=9.0, trials=20))
    assert evidence.outer_folds(study) == []
    assert evidence.outer_folds(other) == [outer]


@pytest.mark.parametrize("kind", ["new_sqlite", "new_postgres"])
def test_a_copy_has_the_changes(
    database: Database, records: Records, kind: str, request: pytest.FixtureRequest
) -> None:
    study = keep(records, create_example(records), LONGER)
    new_url: Callable[[], str] = request.getfixturevalue(kind)
    with open_database(new_url(), create=True, write=True) as target:
        if not database.storage.is_batched:
            with pytest.raises(StorageError, match="can be copied, but got another revision"):
                copy_study(database, study, target)
            return
        copy_study(database, study, target)
        (copied,) = Records(target).all_studies()
    assert (copied.uuid, copied.changes) == (study.uuid, study.changes)
