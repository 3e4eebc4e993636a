"""Databases that earlier versions wrote, killed in mid-study: sound once upgraded, and trained on.

Each file in stored/ is what the version with that revision of our tables left of a study of iris
when it was killed behind the beginning of its second cohort, as sqlite3's and pg_dump's text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import selection
from selection.errors import StorageError
from selection.store.database import check_database, open_database, upgrade_database
from selection.store.doctor import examine, fix
from selection.store.records import Records
from selection.store.tables import trial_table
from selection.study.trial import Trial, TrialState
from tests.sweep_bench import Bench

STORED = Path(__file__).parent / "stored"
NewUrl = Callable[[], str]


def load(url: str, revision: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(sa.make_url(url).database or "") as connection:
            connection.executescript((STORED / f"{revision}.sqlite.sql").read_text())
        connection.close()
        return
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as server:
        server.exec_driver_sql((STORED / f"{revision}.postgres.sql").read_text())
    engine.dispose()


@pytest.fixture(params=["0001", "0002", "0003"])
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, revision: str) -> str:
    new_url: NewUrl = request.getfixturevalue(f"new_{request.param}")
    url = new_url()
    load(url, revision)
    return url


def test_an_older_database_is_refused_then_upgraded_and_trained_to_the_end(
    url: str, revision: str, bench: Bench
) -> None:
    with pytest.raises(StorageError, match=rf"but got {revision}\. Run selection db upgrade"):
        open_database(url, create=True, write=True)
    upgrade_database(url)
    assert check_database(url).is_ok
    with open_database(url, create=False, write=True) as database:
        records = Records(database)
        study = records.find_study("stored")
        assert study is not None
        before = records.trials(study)
        for trial in before[:2]:
            # Read back, so their hashes are still right.
            members = records.curves(study, trial.number, outputs=True)
            assert [member.score for member in members] == list(trial.fold_scores)
            assert {member.layers for member in members} == {None}
        with database.reading() as connection:
            sealed = sa.select(trial_table.c.row_hash.is_not(None)).order_by(trial_table.c.number)
            assert connection.scalars(sealed).all() == [True, True, False, False]
        states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.RUNNING]
        assert [trial.state for trial in before] == states
        (killed,) = examine(database)
        assert (killed.check, killed.is_fixable) == ("no_lease", True)
        assert [each.check for each in fix(database)] == ["no_lease"]
        assert examine(database) == []
        bench.use(database)
        bench.run(study.spec())
        after = records.trials(study)
        assert after[:2] == before[:2]
        assert examine(database) == []
    check_goes_on(before, after, study.spec().budget)


def check_goes_on(before: Sequence[Trial], after: Sequence[Trial], budget: int) -> None:
    """Check that trials that had begun were trained as asked; the rest follows today's pruner."""
    assert [trial.number for trial in after] == list(range(budget))
    for old, new in zip(before, after, strict=False):
        assert (dict(old.params), old.cohort) == (dict(new.params), new.cohort)
    states = [trial.state for trial in after]
    assert all(state.is_finished for state in states)
    assert states.count(TrialState.COMPLETE) >= min(5, budget - 1), "one was pruned before"
    assert all(np.isfinite(trial.fold_scores).all() for trial in after)


def test_a_study_interrupted_under_the_version_before_ends_with_its_own_trials(
    tmp_path: Path,
) -> None:
    """Version 0.1.0 was killed in the second of three cohorts."""
    storage = f"sqlite:///{tmp_path / 'old.db'}"
    load(storage, "0.1.0")
    upgrade_database(storage)
    old = selection.open_study("interrupted", storage=storage)
    begun, spec = old.trials, old.spec
    assert list(begun["state"]) == ["complete", "pruned", "running", "running"]
    with open_database(storage, create=False, write=False) as database:
        records = Records(database)
        study = records.find_study("interrupted")
        assert study is not None
        before = records.trials(study)
    finished = selection.run(spec, storage=storage, progress=False).trials
    with open_database(storage, create=False, write=False) as database:
        check_goes_on(before, Records(database).trials(study), spec.budget)
    assert list(finished["value"][:1]) == list(begun["value"][:1])
