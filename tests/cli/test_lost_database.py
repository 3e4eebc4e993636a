"""What the page on crashes says to do after a database was lost under a run, done to the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selection.store import leases
from selection.store.cohorts import Cohorts
from tests.command_line import STUDY, Cli

DATABASE, SAVED = Path("selection.db"), Path("selection.db.saved")


@pytest.fixture
def run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a study; before its second cohort ends, do something to its database."""
    Path("small.toml").write_text(STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy"))

    def run(lose: Callable[[], None]) -> str:
        finish = Cohorts.finish

        def finish_without_it(self: Any, own: Any, lease: Any, *rest: Any) -> Any:
            if lease.cohort == 1:
                lose()
            return finish(self, own, lease, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Cohorts, "finish", finish_without_it)
            done = cli("run", "small.toml")
        assert done.code == 1
        # The process of a run that has stopped is gone; here it is the one of the test.
        monkeypatch.setattr(leases, "is_dead", lambda _: True)
        return done.err

    return run


def logs() -> list[Path]:
    return [path for path in (Path("selection.db-wal"), Path("selection.db-shm")) if path.exists()]


def test_a_deleted_database_goes_on_as_the_file_that_was_saved(
    cli: Cli, run: Callable[..., str]
) -> None:
    error = run(DATABASE.unlink)
    assert "all that is on record is in selection.db.saved" in error
    assert logs() == []
    SAVED.rename(DATABASE)
    assert sum(cli("studies", "--json").json[0]["trials"].values()) >= 3
    done = cli("run", "small.toml")
    assert done.code == 0, done.err
    assert "cohort 1 was trained before, and is recorded" in done.err
    assert cli("studies", "--json").json[0]["trials"]["running"] == 0
    assert cli("doctor").code == 0


def test_a_moved_database_that_is_put_back_goes_on(cli: Cli, run: Callable[..., str]) -> None:
    moved = Path("moved.db")
    run(lambda: DATABASE.rename(moved) and None)
    assert logs() == []
    moved.rename(DATABASE)
    assert cli("run", "small.toml").code == 0
    assert cli("doctor").code == 0


def test_another_database_in_its_place_stays_as_it_is(cli: Cli, run: Callable[..., str]) -> None:
    other = Path("other.toml")
    other.write_text(f'name = "other"{Path("small.toml").read_text().split("small", 1)[1][1:]}')
    assert cli("run", other, "--storage", "sqlite:///base.db").code == 0
    before = Path("base.db").read_bytes()

    def replace() -> None:
        shutil.copy("base.db", "copy.db")
        Path("copy.db").replace(DATABASE)

    assert "another file in its place" in run(replace)
    assert logs() == []
    assert [each["study"] for each in cli("studies", "--json").json] == ["other"]
    assert DATABASE.read_bytes() == before
    assert cli("doctor").code == 0
