"""What becomes of a trained cohort that its SQLite file does not take."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from selection.errors import BusyError, MovedFileError
from selection.store.database import open_database
from selection.store.doctor import examine
from selection.store.retry import retry
from selection.train.fit import Trainer
from selection.workflows import sweep_record
from selection.workflows.sweep import SweepNews
from tests.sweep_bench import Bench, make_spec

SPEC = make_spec()


@pytest.fixture
def locked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A connection of another program to the database, for which nobody waits long."""
    monkeypatch.setattr("selection.store.engine.BUSY_MILLISECONDS", 50)
    monkeypatch.setattr(sweep_record, "retry", partial(retry, seconds=0.5))
    bench.database.engine.dispose()
    connection = sqlite3.connect(path_of(bench), isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


def path_of(bench: Bench) -> Path:
    path = bench.database.address.path
    assert path is not None
    return path


def kept_files(bench: Bench) -> list[Path]:
    return sorted(path_of(bench).parent.glob("*.cohort-*.json"))


def in_cohort(number: int, act: Any) -> Any:
    """Return a view that acts once, while a cohort trains."""
    done: list[int] = []

    def show(news: SweepNews) -> None:
        if news.cohort == number and news.epoch is not None and not done:
            done.append(number)
            act()

    return show


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the cohorts that are trained from now on."""
    sizes: list[int] = []
    train = Trainer.train

    def count(self: Trainer, settings: Any, *rest: Any) -> Any:
        sizes.append(len(settings))
        return train(self, settings, *rest)

    monkeypatch.setattr(Trainer, "train", count)
    return sizes


def test_a_cohort_waits_for_another_program_that_holds_the_lock(
    bench: Bench, other_bench: Bench, locked: sqlite3.Connection
) -> None:
    expected = other_bench.table(SPEC)
    timer = threading.Timer(0.3, lambda: locked.execute("ROLLBACK"))

    def lock() -> None:
        locked.execute("BEGIN IMMEDIATE")
        timer.start()

    assert bench.table(SPEC, in_cohort(1, lock)) == expected
    timer.join()
    assert kept_files(bench) == []


def test_a_cohort_that_the_database_does_not_take_is_kept_and_recorded_by_the_next_run(
    bench: Bench, other_bench: Bench, locked: sqlite3.Connection, trained: list[int]
) -> None:
    expected = other_bench.table(SPEC)
    every = list(trained)
    trained.clear()
    with pytest.raises(BusyError, match="one process writes an SQLite database at a time"):
        bench.run(SPEC, in_cohort(1, lambda: locked.execute("BEGIN IMMEDIATE")))
    (file,) = kept_files(bench)
    assert f"is trained and kept in {file}" in bench.lines[-1]
    assert trained == every[:2]
    locked.execute("ROLLBACK")
    trained.clear()
    assert bench.table(SPEC) == expected
    assert "cohort 1 was trained before, and is recorded" in " ".join(bench.lines)
    assert trained == every[2:]
    assert kept_files(bench) == []
    assert examine(bench.database) == []


def test_a_damaged_file_of_a_kept_cohort_is_left_and_the_cohort_trained(
    bench: Bench, other_bench: Bench, locked: sqlite3.Connection
) -> None:
    expected = other_bench.table(SPEC)
    with pytest.raises(BusyError):
        bench.run(SPEC, in_cohort(1, lambda: locked.execute("BEGIN IMMEDIATE")))
    locked.execute("ROLLBACK")
    (file,) = kept_files(bench)
    file.write_text(file.read_text()[:-100])
    assert bench.table(SPEC) == expected
    assert kept_files(bench) == []


def test_an_interrupt_while_the_database_is_waited_for_keeps_the_cohort(
    bench: Bench, other_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = other_bench.table(SPEC)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    finish = bench.repository.cohorts.finish
    monkeypatch.setattr(bench.repository.cohorts, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.run(SPEC)
    assert len(kept_files(bench)) == 1
    monkeypatch.setattr(bench.repository.cohorts, "finish", finish)
    assert bench.table(SPEC) == expected
    assert kept_files(bench) == []


def test_a_database_deleted_while_a_cohort_trains_is_saved_and_the_cohort_kept(
    bench: Bench, other_bench: Bench
) -> None:
    expected = other_bench.table(SPEC)
    path = path_of(bench)

    def delete() -> None:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()

    with pytest.raises(MovedFileError, match="no file of that name any more"):
        bench.run(SPEC, in_cohort(1, delete))
    assert len(kept_files(bench)) == 1
    saved = bench.database.save_file()
    assert saved is not None
    bench.database.close()
    assert not path.exists()
    saved.rename(path)
    bench.use(open_database(f"sqlite:///{path}", create=False, write=True))
    assert bench.table(SPEC) == expected
    assert "cohort 1 was trained before, and is recorded" in " ".join(bench.lines)
    assert kept_files(bench) == []
