"""Several processes at one database at once: exactly one wins, and nobody breaks anything."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from selection.errors import LostCohortError
from selection.store.cohorts import Cohorts
from selection.store.database import check_database, open_database
from selection.store.records import Records
from tests.store.store_examples import (
    begin_example,
    create_example,
    example_result,
    finish_example,
    lease_of,
    release_example,
)

CHILDREN, TRIALS, SIZE = 5, 31, 2
# A child says that it is ready, waits for the word, races, and prints what it won; once for each
# database that it is given.
CHILD = """
import json, sys, time
from tests.store.store_examples import create_example, example_params, example_result
from selection.errors import StudyStateError
from selection.store.claims import Limits, Spent, Wait
from selection.store.cohorts import Cohorts
from selection.store.database import open_database
from selection.store.leases import new_worker
from selection.store.records import Records

trials, size = int(sys.argv[1]), int(sys.argv[2])
for url in sys.argv[3:]:
    won = {"created": [], "begun": [], "finished": []}
    print("ready", flush=True)
    sys.stdin.readline()
    with open_database(url, create=True, write=True) as database:
        records = Records(database)
        try:
            create_example(records)
            won["created"].append(0)
        except StudyStateError:
            pass
        study = records.find_study("example")
        cohorts, worker = Cohorts(database), new_worker(60.0, is_alone=False)
        params = example_params(study.spec(), size)
        while True:
            claim = cohorts.claim(study, worker, Limits(trials, size))
            if isinstance(claim, Spent):
                break
            if isinstance(claim, Wait):
                time.sleep(0.001)
                continue
            numbers = cohorts.begin(study, claim.lease, params[: claim.new_trials], study.space)
            cohorts.finish(study, claim.lease, {n: example_result(n) for n in numbers})
            won["begun"].append(claim.lease.cohort)
            won["finished"] += numbers
    print(json.dumps(won), flush=True)
"""


# A server and twenty processes; test_database and test_ledger cover the same code one by one.
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Race:
    """Hold a database after the race, and what each child won."""

    url: str
    won: list[dict[str, list[int]]]

    def all_won(self, kind: str) -> list[int]:
        return sorted(index for one in self.won for index in one[kind])


@pytest.fixture(scope="module")
def races(new_sqlite: Callable[[], str], new_postgres: Callable[[], str]) -> dict[str, Race]:
    """Let children loose, all at the same moment, at databases that are not there yet."""
    urls = {"sqlite": new_sqlite(), "postgres": new_postgres()}
    arguments = [str(TRIALS), str(SIZE), *urls.values()]
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CHILD, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(CHILDREN)
    ]
    races = {kind: Race(url, _run_race(children)) for kind, url in urls.items()}
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0] * CHILDREN
    return races


def _run_race(children: list[subprocess.Popen[str]]) -> list[dict[str, list[int]]]:
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return [json.loads(child.stdout.readline()) for child in children if child.stdout is not None]


@pytest.fixture(params=["sqlite", "postgres"])
def race(request: pytest.FixtureRequest, races: dict[str, Race]) -> Race:
    return races[request.param]


def test_first_opening_makes_one_whole_database(race: Race) -> None:
    assert check_database(race.url).is_ok


def test_study_is_created_by_one_process(race: Race) -> None:
    assert race.all_won("created") == [0]


def test_each_cohort_is_begun_by_one_process(race: Race) -> None:
    assert race.all_won("begun") == list(range((TRIALS + 1) // SIZE))


def test_each_trial_is_finished_by_one_process(race: Race) -> None:
    numbers = list(range(TRIALS))
    assert race.all_won("finished") == numbers
    with open_database(race.url, create=False, write=False) as database:
        records = Records(database)
        study = records.find_study("example")
        assert study is not None
        trials = records.trials(study)
    assert [trial.number for trial in trials] == numbers
    assert [trial.cohort for trial in trials] == [number // SIZE for number in numbers]
    assert [trial.value for trial in trials] == [example_result(n).value for n in numbers]


def test_reader_sees_whole_cohorts_while_they_are_written(new_url: str) -> None:
    cohorts, size = 12, 4
    with open_database(new_url, create=True, write=True) as database:
        records = Records(database)
        study = create_example(records)
        errors: list[BaseException] = []
        looked = threading.Event()

        def write() -> None:
            try:
                for cohort in range(cohorts):
                    if cohort == 1:
                        looked.wait(30)
                    numbers = begin_example(records, study, size, cohort)
                    results = {n: example_result(n) for n in numbers}
                    finish_example(records, study, results, cohort)
            except BaseException as error:  # handed to the test
                errors.append(error)

        writer = threading.Thread(target=write)
        with open_database(new_url, create=False, write=False) as other:
            reader = Records(other)
            writer.start()
            seen = 0
            while writer.is_alive():
                trials = reader.trials(study)
                seen += 1
                looked.set()
                assert len(trials) % size == 0
                for start in range(0, len(trials), size):
                    cohort_trials = trials[start : start + size]
                    assert len({trial.state for trial in cohort_trials}) == 1
                    for trial in cohort_trials:
                        assert len(trial.fold_scores) == (6 if trial.state.is_finished else 0)
            writer.join()
            assert errors == []
            assert seen > 0
            assert len(reader.trials(study)) == cohorts * size


def test_study_has_one_writer_at_a_time_on_a_server(postgres_url: str) -> None:
    with open_database(postgres_url, create=True, write=True) as database:
        study_id = create_example(Records(database)).optuna_study_id
        with database.engine.begin() as first, database.engine.begin() as second:
            assert database.storage.lock_study(first, study_id)
            second.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(OperationalError, match="lock timeout"):
                database.storage.lock_study(second, study_id)


def test_late_finisher_of_a_released_cohort_is_refused(new_url: str) -> None:
    with (
        open_database(new_url, create=True, write=True) as first,
        open_database(new_url, create=True, write=True) as second,
    ):
        study = create_example(Records(first))
        begin_example(Records(first), study, 1)
        lease = lease_of(Records(first), study, 0)
        release_example(Records(second), study)
        with pytest.raises(LostCohortError, match="cohort 0 given to another worker"):
            Cohorts(first).finish(study, lease, {0: example_result(0)})
