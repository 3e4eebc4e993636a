"""How long lists take in a database of thousands of studies: one is run, and its rows are cloned.

    python -m benchmarks.many_studies --studies 5000 --storage sqlite:///many.db

It prints the seconds of `selection studies` and of one poll of each page that lists studies.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from selection.api.run import run
from selection.store.database import Database, open_database
from selection.store.optuna_rows import studies, trials
from selection.store.repository import repository_of
from selection.store.study_record import StudyRecord
from selection.store.study_tables import COPIED, belongs_to
from selection.store.tables import study_table, trial_table
from tests.serve.serve_bench import open_server

SPEC = {
    "name": "many",
    "recipe": "book",
    "data": {"dataset": "iris"},
    "training": {"epochs": 2},
    "space": {"width": {"choices": [4, 8]}},
    "search": {"trials": 2, "pruner": "none", "sampler": "random"},
    "assessment": {"bootstraps": 100},
}
TABLES = (studies, *COPIED)
STUDY_IDS, TRIAL_IDS = ("study_id", "optuna_study_id"), ("trial_id", "optuna_trial_id")
PATHS = ("/selection/", "/selection/api/studies", "/selection/compare", "/api/studies")
CHUNK = 500
Row = dict[str, Any]


def clone_study(database: Database, study: StudyRecord, copies: int) -> None:
    """Add so many studies with the trials of this one, each with a name and uuids of its own."""
    with database.reading() as connection:
        rows = {
            table: [dict(row) for row in connection.execute(_rows(table, study)).mappings()]
            for table in TABLES
        }
        first = {
            name: 1 + int(connection.scalar(sa.select(sa.func.max(table.c[name]))) or 0)
            for name, table in (("study_id", studies), ("trial_id", trials))
        }
    for start in range(0, copies, CHUNK):
        made: dict[sa.Table, list[Row]] = {table: [] for table in TABLES}
        for number in range(start, min(start + CHUNK, copies)):
            for table, row in _clone(rows, first, number):
                made[table].append(row)
        with database.writing() as connection:
            for table, found in made.items():
                if found:
                    connection.execute(sa.insert(table), found)


def _rows(table: sa.Table, study: StudyRecord) -> sa.Select[Any]:
    return sa.select(table).where(belongs_to(table, study))


def _clone(
    rows: Mapping[sa.Table, list[Row]], first: Mapping[str, int], number: int
) -> Iterator[tuple[sa.Table, Row]]:
    """Yield the rows of one copy; keys that nothing points to are left to the database."""
    old_trials = [row["trial_id"] for row in rows[trials]]
    trial_id = first["trial_id"] + number * len(old_trials)
    new_trials = {old: trial_id + index for index, old in enumerate(old_trials)}
    uuids = {
        row["uuid"]: str(uuid4()) for table in (study_table, trial_table) for row in rows[table]
    }
    marks = {f'"{old}"': f'"{new}"' for old, new in uuids.items()}
    for table, found in rows.items():
        left = _counters(table)
        for row in found:
            new = {name: value for name, value in row.items() if name not in left}
            for name, value in new.items():
                if name in STUDY_IDS:
                    new[name] = first["study_id"] + number
                elif name in TRIAL_IDS:
                    new[name] = new_trials[value]
                elif name == "study_name":
                    new[name] = f"{value}-{number}"
                elif name == "value_json":
                    new[name] = marks.get(value, value)
                elif name in ("uuid", "study_uuid", "trial_uuid"):
                    new[name] = uuids[value]
            yield table, new


def _counters(table: sa.Table) -> set[str]:
    """Return the key of a table that counts its rows, if it is of no use to other tables."""
    keys = [column.name for column in table.primary_key]
    is_counted = len(keys) == 1 and isinstance(table.c[keys[0]].type, sa.Integer)
    return set(keys) - {*STUDY_IDS, *TRIAL_IDS} if is_counted else set()


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call takes, the shortest of three."""
    found = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    """Print one line for each list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--storage", default="sqlite:///many.db")
    parser.add_argument("--quick", action="store_true", help="a hundred studies")
    args = parser.parse_args()
    run(SPEC, storage=args.storage, progress=False)
    with open_database(args.storage, create=False, write=True) as database:
        repository = repository_of(database)
        missing = (100 if args.quick else args.studies) - len(repository.records.list_studies())
        clone_study(database, repository.study("many"), missing)
    _time_command(args.storage)
    _time_pages(args.storage)


def _time_command(storage: str) -> None:
    for words in (["studies"], ["studies", "--json"]):
        command = [sys.executable, "-m", "selection", *words, f"--storage={storage}"]
        seconds = seconds_of(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))  # noqa: B023
        print(f"selection {' '.join(words):15} {seconds:7.2f} s")


def _time_pages(storage: str) -> None:
    with open_server(storage) as client:
        for path in PATHS:
            seconds = seconds_of(lambda: client.get(path).raise_for_status())  # noqa: B023
            print(f"{path:25} {seconds:7.2f} s")


if __name__ == "__main__":
    main()
