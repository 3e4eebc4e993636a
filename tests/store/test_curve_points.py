"""Points of curves, on both databases: kept once, read back as they were written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy as sa

from selection.errors import StorageError, StudyStateError
from selection.store.curve_points import CurvePoint, CurvePoints
from selection.store.database import Database, open_database
from selection.store.doctor import examine
from selection.store.records import Records
from selection.store.tables import curve_table
from tests.store.store_examples import (
    CURVES,
    FOLDS,
    REPEATS,
    create_example,
    example_points,
    example_spec,
    point_bits,
)

MEMBERS = FOLDS * REPEATS


@pytest.fixture
def curves(database: Database) -> CurvePoints:
    return CurvePoints(database)


def contents(database: Database) -> list[Any]:
    with database.reading() as connection:
        return sorted((tuple(row) for row in connection.execute(sa.select(curve_table))), key=repr)


def test_points_are_read_back_bit_for_bit_and_in_order(
    records: Records, curves: CurvePoints
) -> None:
    study = create_example(records)
    points = [*example_points(2), *example_points(10)]
    curves.keep(study, points[::-1])
    read = curves.points(study)
    assert point_bits(read) == point_bits(points)
    assert [point.is_complete for point in read] == [not point.reason for point in points]
    assert {point.folds[0].curve.points.dtype.str for point in read} == {"<f8"}
    assert curves.count(study) == MEMBERS * len(points)


def test_kinds_of_values_stay_apart(records: Records, curves: CurvePoints) -> None:
    """1 and 1.0 and true are equal; as values of a curve they are three."""
    study = create_example(records)
    folds = example_points()[0].folds
    points = [CurvePoint(0, over, value, folds) for over, value in (("b", True), ("c", 1.0))]
    points.insert(0, CurvePoint(0, "a", 1, folds))
    curves.keep(study, points)
    assert [repr(point.value) for point in curves.points(study)] == ["1", "True", "1.0"]


def test_a_member_that_failed_before_its_first_epoch_has_an_empty_curve(
    records: Records, curves: CurvePoints
) -> None:
    study = create_example(records)
    (first, *_) = example_points()
    fold = replace(first.folds[0], curve=replace(first.folds[0].curve, points=np.empty((0, 6))))
    curves.keep(study, [replace(first, folds=(fold,), reason="none")])
    (point,) = curves.points(study)
    assert point.folds[0].curve.points.shape == (0, 6)


def test_a_point_that_is_there_stays_as_it_is(
    records: Records, curves: CurvePoints, database: Database
) -> None:
    study = create_example(records)
    curves.keep(study, example_points())
    before = contents(database)
    curves.keep(study, example_points(seed=1))
    assert contents(database) == before
    assert point_bits(curves.points(study)) == point_bits(example_points())


def test_points_belong_to_their_study(records: Records, curves: CurvePoints) -> None:
    study, other = create_example(records), create_example(records, example_spec("other"))
    assert (curves.points(study), curves.count(study)) == ([], 0)
    curves.keep(other, example_points())
    assert (curves.points(study), curves.count(study)) == ([], 0)
    curves.keep(study, example_points(seed=1))
    assert point_bits(curves.points(study)) == point_bits(example_points(seed=1))
    assert point_bits(curves.points(other)) == point_bits(example_points())


def test_a_point_is_kept_whole_or_not_at_all(
    records: Records, curves: CurvePoints, database: Database
) -> None:
    study = create_example(records)
    first, second, *_ = example_points()
    with pytest.raises(sa.exc.IntegrityError):
        curves.keep(study, [first, replace(second, folds=(*second.folds, second.folds[-1]))])
    assert point_bits(curves.points(study)) == point_bits([first])
    assert examine(database) == []


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "another"},
        {"value_json": '"rela"'},
        {"over": "activatiom"},
        {"number": 1},
        {"curve": b""},
        {"curve": bytes(192)},
    ],
    ids=["reason", "value", "over", "number", "empty", "zeros"],
)
def test_damage_is_seen_by_readers_and_by_the_doctor(
    records: Records, curves: CurvePoints, database: Database, change: dict[str, Any]
) -> None:
    study = create_example(records)
    curves.keep(study, example_points())
    column = curve_table.c
    is_it = (column.value_json == json.dumps("relu")) & (column.repeat + column.fold == 0)
    with database.writing() as connection:
        update = sa.update(curve_table).where(is_it).values(change)
        assert connection.execute(update).rowcount == 1
    with pytest.raises(StorageError, match="changed bytes in the curves") as caught:
        curves.points(study)
    assert "Restore the database from a backup." in str(caught.value)
    *partial, found = examine(database)
    assert (found.check, found.got) == (
        "damage",
        "changed bytes in rows of selection_curve, 1 in all",
    )
    # A row of another point now is missing from its own.
    is_moved = not change.keys().isdisjoint({"value_json", "over", "number"})
    assert [each.check for each in partial] == ["point"] * is_moved


def test_deleting_through_optuna_takes_the_points_of_that_study_only(
    records: Records, curves: CurvePoints, database: Database
) -> None:
    kept, study = create_example(records, example_spec("kept")), create_example(records)
    curves.keep(kept, example_points())
    before = contents(database)
    curves.keep(study, example_points())
    optuna.delete_study(study_name=study.name, storage=database.storage)
    assert contents(database) == before
    with pytest.raises(StudyStateError, match="a deleted study"):
        curves.keep(study, example_points())
    assert contents(database) == before


# A child says that it is ready, waits for the word, and keeps points of its own.
CHILD = """
import sys
from tests.store.store_examples import example_points
from selection.store.curve_points import CurvePoints
from selection.store.database import open_database
from selection.store.records import Records

url, seed = sys.argv[1], int(sys.argv[2])
with open_database(url, create=False, write=True) as database:
    study = Records(database).find_study("example")
    points = example_points(seed=seed)
    print("ready", flush=True)
    sys.stdin.readline()
    CurvePoints(database).keep(study, points)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_two_processes_that_keep_one_point_the_first_wins(
    kind: str, request: pytest.FixtureRequest
) -> None:
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{kind}")
    url = new_url()
    with open_database(url, create=True, write=True) as database:
        study = create_example(Records(database))
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CHILD, url, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for seed in (0, 1)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0, 0]
    with open_database(url, create=False, write=False) as database:
        read = point_bits(CurvePoints(database).points(study))
        assert examine(database) == []
    competitors = zip(point_bits(example_points()), point_bits(example_points(seed=1)), strict=True)
    assert len(read) == sum(map(len, CURVES.values()))
    for point, pair in zip(read, competitors, strict=True):
        assert point in pair, "no fold of one is beside a fold of the other"
