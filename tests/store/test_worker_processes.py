"""Real workers of one study, killed at every point: nothing is lost and nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from selection.store.database import open_database
from selection.store.leases import Leases
from selection.store.optuna_rows import trial_params, trial_values, trials
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.store.tables import fold_table, lease_table, trial_table
from selection.study.spec import StudySpec
from selection.study.trial import TrialState
from tests.store.store_examples import FACTS
from tests.worker_farm import FOLDS, Farm, farm_spec, made_up_result

pytestmark = pytest.mark.slow

NewUrl = Callable[[], str]


def begin(url: str, spec: StudySpec) -> None:
    with open_database(url, create=True, write=True) as database:
        Records(database).create_study(spec, "d" * 64, None, FACTS, {})


def finished_rows(url: str) -> dict[int, tuple[Any, ...]]:
    """Return all that the database says of each finished trial, Optuna's part and ours."""
    columns = (trial_table, trials.c.state, trials.c.datetime_start, trials.c.datetime_complete)
    query = (
        sa.select(*columns, trial_values.c.value)
        .join(trials, trials.c.trial_id == trial_table.c.optuna_trial_id)
        .outerjoin(trial_values, trial_values.c.trial_id == trials.c.trial_id)
        .where(trials.c.datetime_complete.is_not(None))
    )
    with open_database(url, create=False, write=False) as database, database.reading() as found:
        rows = found.execute(query).all()
        hashes = found.execute(
            sa.select(fold_table.c.trial_uuid, fold_table.c.row_hash).order_by(
                fold_table.c.trial_uuid, fold_table.c.fold
            )
        ).all()
    folds: dict[str, list[str]] = {}
    for uuid, row_hash in hashes:
        folds.setdefault(uuid, []).append(row_hash)
    return {row.number: (*row, *folds.get(row.uuid, [])) for row in rows}


def table(url: str) -> list[tuple[Any, ...]]:
    """Return the trial table but for the times."""
    with open_database(url, create=False, write=False) as database:
        records = Records(database)
        found = records.trials(study_of(records))
    return [
        (t.number, t.cohort, t.state, dict(t.params), t.reason, t.value, t.fold_scores)
        for t in found
    ]


def study_of(records: Records) -> StudyRecord:
    study = records.find_study("farm")
    assert study is not None
    return study


def check_whole(url: str, spec: StudySpec) -> None:
    """Check I1 to I3 and I8: the exact budget, each trial once, with every fold of its attempt."""
    with open_database(url, create=False, write=False) as database:
        records = Records(database)
        study = study_of(records)
        found = records.trials(study)
        assert [trial.number for trial in found] == list(range(spec.budget))
        assert {trial.state for trial in found} == {TrialState.COMPLETE}
        for trial in found:
            result = made_up_result(spec.setting(trial.params))
            assert trial.value == result.value
            assert trial.fold_scores == tuple(fold.score for fold in result.folds)
        assert dict(found[0].params) == dict(spec.default)
        size = spec.sections.search.cohort
        assert [trial.cohort for trial in found] == [n // size for n in range(spec.budget)]
        assert Leases(database).running(study) == []
        with database.reading() as connection:
            query = (
                sa.select(trial_table.c.attempt, fold_table.c.attempt.label("of_fold"))
                .join(fold_table, fold_table.c.trial_uuid == trial_table.c.uuid)
                .where(trial_table.c.study_uuid == study.uuid)
            )
            folds = connection.execute(query).all()
            leases = connection.execute(sa.select(lease_table)).all()
            numbers = connection.scalars(sa.select(trials.c.number).order_by(trials.c.number)).all()
            params = connection.scalar(sa.select(sa.func.count()).select_from(trial_params))
    assert len(folds) == spec.budget * FOLDS
    assert all(fold.attempt == fold.of_fold for fold in folds)
    assert all(lease.trials == 0 for lease in leases), "one that a kill left, of a finished cohort"
    assert numbers == list(range(spec.budget))
    assert params == spec.budget * len(spec.space)


def finish(farm: Farm, url: str, count: int) -> None:
    """Let workers run to the end of the study."""
    pids = [farm.start(url, seconds=0.02) for _ in range(count)]
    assert [farm.wait(pid) for pid in pids] == [0] * count


def test_a_hundred_kills_of_two_workers(farm: Farm, new_postgres: NewUrl) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments: {seed}")
    rng = random.Random(seed)
    kills = 0
    while kills < 100:
        url, spec = new_postgres(), farm_spec(trials=119, cohort=3)
        begin(url, spec)
        kills += kill_for_a_while(farm, url, rng, 100 - kills)
        seen = finished_rows(url)
        finish(farm, url, 2)
        check_whole(url, spec)
        after = finished_rows(url)
        assert {number: after[number] for number in seen} == seen, "a finished trial stays as it is"


def kill_for_a_while(farm: Farm, url: str, rng: random.Random, most: int) -> int:
    """Keep two workers running and kill them, half of them between two statements."""
    alive: dict[int, float] = {}
    kills = 0
    while kills < most:
        while len(alive) < 2:
            is_timed = rng.random() < 0.5
            kind = "worker" if is_timed else f"at:{rng.randrange(1, 90)}"
            pid = farm.start(url, kind, rng.uniform(0.0, 0.05))
            alive[pid] = time.monotonic() + (rng.uniform(0.05, 0.6) if is_timed else 60.0)
        for pid, moment in list(alive.items()):
            if time.monotonic() > moment:
                os.kill(pid, signal.SIGKILL)
            code = farm.exit_code(pid)
            if code is not None:
                assert code in (0, -signal.SIGKILL)
                del alive[pid]
                kills += code != 0
                if code == 0:
                    return kills
        time.sleep(0.002)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        farm.wait(pid)
    return kills + len(alive)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_one_worker_killed_at_every_statement_gives_the_calm_table(
    farm: Farm, kind: str, request: pytest.FixtureRequest
) -> None:
    new_url: NewUrl = request.getfixturevalue(f"new_{kind}")
    spec = farm_spec(trials=20, cohort=10, sampler="tpe")
    calm, killed = new_url(), new_url()
    begin(calm, spec)
    finish(farm, calm, 1)
    begin(killed, spec)
    kills = 0
    for statement in range(1, 400):
        pid = farm.start(killed, f"at:{statement}", 0.0, FARM_LEASE_SECONDS="600")
        code = farm.wait(pid)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    else:
        pytest.fail("the study never ended")
    assert kills > 20
    check_whole(killed, spec)
    assert table(killed) == table(calm)
