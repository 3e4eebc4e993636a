"""What goes wrong around workers: servers, disks, signals, pauses, other hands in the database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from selection.search import propose
from selection.store.claims import Limits, NewCohort
from selection.store.database import check_database, open_database
from selection.store.leases import Lease, new_worker
from selection.store.records import Records
from selection.store.repository import Repository, open_repository
from selection.store.study_record import StudyRecord
from selection.study.spec import parse_study
from selection.study.trial import Trial, TrialResult, TrialState
from selection.workflows.sweep import run_sweep
from tests.postgres_server import ThrowAwayServer, throw_away_server
from tests.store.store_examples import FACTS
from tests.store.test_worker_processes import begin, check_whole, finish, finished_rows, study_of
from tests.team_bench import Watch
from tests.worker_farm import Farm, MadeUpTrainer, Silent, farm_spec, made_up_result

pytestmark = pytest.mark.slow

NewUrl = Callable[[], str]
SPEC = farm_spec(trials=30, cohort=3)


@pytest.fixture(params=["sqlite", "postgres"])
def begun_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database in which the farm's study has begun."""
    new_url: NewUrl = request.getfixturevalue(f"new_{request.param}")
    url = new_url()
    begin(url, SPEC)
    return url


@pytest.fixture
def postgres_begun(new_postgres: NewUrl) -> str:
    url = new_postgres()
    begin(url, SPEC)
    return url


@pytest.fixture
def server() -> Iterator[ThrowAwayServer]:
    """A server of its own, to be restarted."""
    with throw_away_server() as server:
        yield server


def states(url: str) -> list[TrialState]:
    with open_database(url, create=False, write=False) as database:
        records = Records(database)
        return [trial.state for trial in records.trials(study_of(records))]


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not is_true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def wait_until_it_trains(url: str) -> None:
    wait_for(lambda: TrialState.RUNNING in states(url))


def wait_until_all_have_opened(farm: Farm, pids: list[int]) -> None:
    wait_for(lambda: all(map(farm.has_opened, pids)))


def run_as_admin(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_server_that_restarts_in_mid_transaction_costs_nothing(
    farm: Farm, server: ThrowAwayServer
) -> None:
    url = server.new_database()
    begin(url, SPEC)
    pids = [farm.start(url, "worker", 0.2, FARM_LEASE_SECONDS="20") for _ in range(2)]
    wait_until_all_have_opened(farm, pids)
    wait_until_it_trains(url)
    for _ in range(3):
        seen = finished_rows(url)
        server.restart()
        after = finished_rows(url)
        assert {number: after[number] for number in seen} == seen
        time.sleep(0.3)
    assert [farm.wait(pid) for pid in pids] == [0, 0]
    check_whole(url, SPEC)


def test_connections_that_are_ended_cost_nothing(farm: Farm, postgres_begun: str) -> None:
    url = postgres_begun
    end_all = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    pids = [farm.start(url, "worker", 0.1, FARM_LEASE_SECONDS="20") for _ in range(2)]
    wait_until_all_have_opened(farm, pids)
    wait_until_it_trains(url)
    for _ in range(15):
        run_as_admin(url, end_all)
        time.sleep(0.1)
    assert [farm.wait(pid) for pid in pids] == [0, 0]
    check_whole(url, SPEC)


def test_full_disk_under_sqlite_stops_the_worker_and_keeps_the_record(
    farm: Farm, new_sqlite: NewUrl
) -> None:
    url = new_sqlite()
    begin(url, SPEC)
    path = Path(sa.make_url(url).database or "")
    pages = path.stat().st_size // 4096 + 12
    pid = farm.start(url, seconds=0.0, FARM_MAX_PAGES=str(pages))
    assert farm.wait(pid) == 1
    assert "the disk must have room" in farm.errors(pid)
    assert check_database(url).is_ok
    assert len(states(url)) < SPEC.budget
    seen = finished_rows(url)
    finish(farm, url, 1)
    check_whole(url, SPEC)
    after = finished_rows(url)
    assert {number: after[number] for number in seen} == seen


def test_full_disk_under_postgres_stops_the_worker_and_keeps_the_record(
    farm: Farm, postgres_begun: str
) -> None:
    url = postgres_begun
    run_as_admin(
        url,
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF (SELECT count(*) FROM selection_fold) >= 25 THEN RAISE EXCEPTION "
        "USING ERRCODE = '53100', MESSAGE = 'could not extend file'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER no_room BEFORE INSERT ON selection_fold "
        "FOR EACH ROW EXECUTE FUNCTION no_room()",
    )
    pid = farm.start(url, seconds=0.0)
    assert farm.wait(pid) == 1
    assert "the disk must have room" in farm.errors(pid)
    found = states(url)
    assert found.count(TrialState.COMPLETE) == 6
    assert TrialState.RUNNING not in found, "what it could not finish waits for the next"
    run_as_admin(url, "DROP TRIGGER no_room ON selection_fold")
    finish(farm, url, 2)
    check_whole(url, SPEC)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_cohort_back(farm: Farm, begun_url: str, number: signal.Signals) -> None:
    pid = farm.start(begun_url, "worker", 20.0, FARM_LEASE_SECONDS="600")
    wait_until_it_trains(begun_url)
    os.kill(pid, number)
    assert farm.wait(pid) == 75
    assert set(states(begun_url)) == {TrialState.WAITING}
    finish(farm, begun_url, 1)
    check_whole(begun_url, SPEC)


def test_a_second_signal_ends_at_once_and_loses_nothing(farm: Farm, begun_url: str) -> None:
    pid = farm.start(begun_url, "deaf", 20.0, FARM_LEASE_SECONDS="600")
    wait_until_it_trains(begun_url)
    os.kill(pid, signal.SIGTERM)
    # Two signals at once may reach it as one.
    wait_for(lambda: "heard signal" in farm.errors(pid))
    assert farm.exit_code(pid) is None
    os.kill(pid, signal.SIGTERM)
    assert farm.wait(pid) == -signal.SIGTERM
    assert set(states(begun_url)) == {TrialState.RUNNING}
    finish(farm, begun_url, 1)
    check_whole(begun_url, SPEC)


def test_a_worker_that_slept_past_its_lease_is_refused(farm: Farm, postgres_begun: str) -> None:
    url = postgres_begun
    sleeper = farm.start(url, "worker", 8.0, FARM_LEASE_SECONDS="1")
    wait_until_it_trains(url)
    Watch(url).stop_outside_of_transactions(sleeper)
    finish(farm, url, 1)
    seen = finished_rows(url)
    assert len(seen) == SPEC.budget
    os.kill(sleeper, signal.SIGCONT)
    assert farm.wait(sleeper) == 0
    assert "cohort 0 given to another worker meanwhile" in farm.errors(sleeper)
    check_whole(url, SPEC)
    assert finished_rows(url) == seen


def test_sessions_in_different_time_zones_agree(farm: Farm, postgres_begun: str) -> None:
    url = postgres_begun
    run_as_admin(url, f"ALTER DATABASE {sa.make_url(url).database} SET timezone = 'Asia/Tokyo'")
    before = datetime.now(UTC).replace(tzinfo=None)
    pids = [
        farm.start(url, seconds=0.1, FARM_LEASE_SECONDS="60", TZ=zone, PGTZ=zone)
        for zone in ("Pacific/Kiritimati", "America/Los_Angeles")
    ]
    assert [farm.wait(pid) for pid in pids] == [0, 0]
    after = datetime.now(UTC).replace(tzinfo=None)
    check_whole(url, SPEC)
    assert [farm.errors(pid) for pid in pids] == ["", ""]
    for row in finished_rows(url).values():
        times = [value for value in row if isinstance(value, datetime)]
        assert len(times) == 2
        assert all(before <= value <= after for value in times)


def test_a_study_deleted_underneath_ends_its_worker(farm: Farm, begun_url: str) -> None:
    pid = farm.start(begun_url, seconds=2.0)
    wait_until_it_trains(begun_url)
    with open_database(begun_url, create=False, write=True) as database:
        optuna.delete_study(study_name="farm", storage=database.storage)
    assert farm.wait(pid) == 1
    assert "the study must still exist, but got a deleted study" in farm.errors(pid)
    begin(begun_url, SPEC)
    finish(farm, begun_url, 1)
    check_whole(begun_url, SPEC)


def test_a_study_renamed_underneath_goes_on(farm: Farm, begun_url: str) -> None:
    pid = farm.start(begun_url, "worker", 0.2)
    wait_until_it_trains(begun_url)
    run_as_admin(begun_url, "UPDATE studies SET study_name = 'renamed'")
    assert farm.wait(pid) == 0
    run_as_admin(begun_url, "UPDATE studies SET study_name = 'farm'")
    check_whole(begun_url, SPEC)


def test_the_dashboards_rename_is_a_deletion_to_a_worker(farm: Farm, begun_url: str) -> None:
    """It copies the study to new ids and deletes the old one."""
    pid = farm.start(begun_url, seconds=2.0)
    wait_until_it_trains(begun_url)
    with open_database(begun_url, create=False, write=True) as database:
        optuna.copy_study(
            from_study_name="farm",
            from_storage=database.storage,
            to_storage=database.storage,
            to_study_name="renamed",
        )
        optuna.delete_study(study_name="farm", storage=database.storage)
    assert farm.wait(pid) == 1
    assert "the study must still exist" in farm.errors(pid)
    with open_database(begun_url, create=False, write=False) as database:
        assert optuna.get_all_study_names(database.storage) == ["renamed"]


def test_a_server_whose_default_is_a_stricter_isolation_changes_nothing(
    farm: Farm, postgres_begun: str
) -> None:
    """What is decided under the lock of the study is read after the lock was got."""
    url = postgres_begun
    name = sa.make_url(url).database
    run_as_admin(url, f"ALTER DATABASE {name} SET default_transaction_isolation='repeatable read'")
    pids = [farm.start(url, seconds=0.0, FARM_LEASE_SECONDS="60") for _ in range(5)]
    assert [farm.wait(pid) for pid in pids] == [0] * 5
    assert [farm.errors(pid) for pid in pids] == [""] * 5
    check_whole(url, SPEC)


def test_a_grid_gives_each_point_once_whoever_finishes_meanwhile(postgres_begun: str) -> None:
    spec = parse_study(
        {
            "name": "grid",
            "data": {"dataset": "digits"},
            "cv": {"folds": 3},
            "training": {"epochs": 4},
            "space": {"width": {"choices": [8, 16, 32, 64, 128, 256]}},
            "search": {
                "sampler": "grid",
                "trials": 6,
                "cohort": 2,
                "pruner": "none",
                "default": {"width": 8},
            },
        },
        "grid.toml",
    )
    with open_repository(postgres_begun, write=True) as repository:
        study = repository.records.create_study(spec, "d" * 64, None, FACTS, {})
        other, me = (new_worker(600.0, is_alone=False) for _ in range(2))
        claim = repository.cohorts.claim(study, other, Limits(6, 2))
        assert isinstance(claim, NewCohort)
        asked = propose(spec, [], claim.new_trials, 0)
        numbers = repository.cohorts.begin(study, claim.lease, asked, spec.space)
        results = {
            number: made_up_result(spec.setting(params))
            for number, params in zip(numbers, asked, strict=True)
        }
        finishing = FinishingRecords(repository, study, claim.lease, results)
        trainer: Any = MadeUpTrainer(0.0)
        run_sweep(spec, study, replace(repository, records=finishing), trainer, me, Silent())
        found = repository.records.trials(study)
    widths = [trial.params["width"] for trial in found]
    assert sorted(map(int, map(str, widths))) == [8, 16, 32, 64, 128, 256]


class FinishingRecords(Records):
    """Let another worker finish its cohort between two looks at the record."""

    def __init__(
        self,
        repository: Repository,
        study: StudyRecord,
        lease: Lease,
        results: Mapping[int, TrialResult],
    ) -> None:
        super().__init__(repository.database)
        self._finish: Callable[[], None] = lambda: repository.cohorts.finish(study, lease, results)
        self._looks = 0

    def finished_numbers(self, study: StudyRecord, *, since: int = 0) -> list[int]:
        found = super().finished_numbers(study, since=since)
        self._look()
        return found

    def pending(
        self,
        study: StudyRecord,
        *,
        since: int = 0,
        known: Mapping[int, Trial] = MappingProxyType({}),
    ) -> list[Trial]:
        found = super().pending(study, since=since, known=known)
        self._look()
        return found

    def _look(self) -> None:
        self._looks += 1
        if self._looks == 1:
            self._finish()
