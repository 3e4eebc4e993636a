"""The server that `make postgres` starts: found again, usable, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests.command_line import Cli
from tests.postgres_server import stop_server, throw_away_server
from tests.team_bench import is_alive, wait_for

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def tell(folder: Path, verb: str) -> subprocess.CompletedProcess[str]:
    """Do what `make postgres` and `make postgres-stop` do, in another folder."""
    words = [sys.executable, "-m", "tests.postgres_server", verb, "data/postgres"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def started_url(folder: Path) -> str:
    """Start the server and return the URL that a shell would take from the printed line."""
    started = tell(folder, "start")
    assert started.returncode == 0, started.stderr
    assert "Warning" not in started.stderr
    assert "make postgres-stop" in started.stderr
    shell = subprocess.run(
        ["sh", "-c", f'{started.stdout}\nprintf %s "$SELECTION_STORAGE"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return shell.stdout


def postmaster(folder: Path) -> int:
    return int((folder / "data/postgres/postmaster.pid").read_text().splitlines()[0])


@pytest.fixture(params=["short", "long" * 30])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder; below the long one, the path of a socket would be too long."""
    # Not in pytest's folder, which each start of pytest shuts other users out of.
    with tempfile.TemporaryDirectory(prefix="selection-", ignore_cleanup_errors=True) as outer:
        made = Path(outer).resolve() / request.param
        made.mkdir()
        yield made
        stop_server(made / "data/postgres")


def test_server_is_started_once_used_and_stopped(folder: Path, cli: Cli) -> None:
    url = started_url(folder)
    first = postmaster(folder)
    assert url.startswith("postgresql+psycopg://postgres@/selection?host=/")
    assert started_url(folder) == url
    assert postmaster(folder) == first

    listed = cli("studies", "--storage", url)
    assert listed.code == 1
    assert listed.out == ""
    assert listed.err.count("\n") == 1, listed.err
    assert "but got an empty database" in listed.err

    assert "stopped; data stays" in tell(folder, "stop").stderr
    unreachable = cli("studies", "--storage", url)
    assert unreachable.code == 4
    assert unreachable.err.count("\n") == 1, unreachable.err
    again = tell(folder, "stop")
    assert (again.returncode, again.stdout) == (0, "")
    assert "no server runs" in again.stderr


def test_data_outlives_a_machine_that_went_down(folder: Path) -> None:
    url = started_url(folder)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT 7 AS seven")
    engine.dispose()
    # They end by themselves after their head, and a new server waits for none of them.
    others = [child.pid for child in psutil.Process(postmaster(folder)).children(recursive=True)]
    os.kill(postmaster(folder), signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, [postmaster(folder), *others])))
    # After a reboot, the number that was left behind is that of some other process.
    left = folder / "data/postgres/postmaster.pid"
    left.write_text(left.read_text().replace(str(postmaster(folder)), str(os.getpid()), 1))

    assert started_url(folder) == url
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT seven FROM kept").scalar() == 7
    engine.dispose()


def test_server_listens_on_no_network_interface(folder: Path) -> None:
    engine = sa.create_engine(started_url(folder))
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SHOW listen_addresses").scalar() == ""
        socket_folder = connection.exec_driver_sql("SHOW unix_socket_directories").scalar()
    engine.dispose()
    assert Path(str(socket_folder)).stat().st_mode & 0o077 == 0


def test_folder_that_is_not_a_server_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data/postgres").mkdir(parents=True)
    (tmp_path / "data/postgres/mine").touch()
    refused = tell(tmp_path, "start")
    assert refused.returncode == 1
    assert refused.stderr.count(", but got ") == 1
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""


def test_restart_breaks_connections_and_keeps_what_was_committed() -> None:
    with throw_away_server() as server:
        engine = sa.create_engine(server.new_database())
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE kept AS SELECT 7 AS seven")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT seven FROM kept").scalar() == 7
            server.restart()
            with pytest.raises(sa.exc.OperationalError):
                connection.exec_driver_sql("SELECT seven FROM kept")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT seven FROM kept").scalar() == 7
        engine.dispose()
