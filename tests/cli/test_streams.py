"""Streams that are closed, full or abandoned end a command in one line, and never in a stack."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import STUDY, start

SELECTION = f"{shlex.quote(sys.executable)} -m selection"
COMMANDS = ["studies", "status --json", "--version"]
LOST = "stdout: results must be written, but got {}. Free space, or write them elsewhere.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study and its database."""
    folder = tmp_path_factory.mktemp("streams")
    text = STUDY.format(data='dataset = "iris"', folds=2, metric="accuracy")
    (folder / "small.toml").write_text(text)
    done = start(folder, "run", "small.toml")
    done.communicate(timeout=120)
    assert done.returncode == 0
    return folder


def shell(folder: Path, line: str, **environment: str) -> tuple[int, str, str]:
    """Run a line of bash; return its exit code, stdout and stderr."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_behind_stdout(folder: Path, command: str, unbuffered: str) -> None:
    line = f"{SELECTION} {command} > /dev/full"
    expected = (1, "", LOST.format("No space left on device"))
    assert shell(folder, line, PYTHONUNBUFFERED=unbuffered) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_stdout(folder: Path, command: str) -> None:
    line = f"{SELECTION} {command} >&-"
    assert shell(folder, line) == (1, "", LOST.format("Bad file descriptor"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone(folder: Path, command: str) -> None:
    line = f"{SELECTION} {command} | true; exit ${{PIPESTATUS[0]}}"
    assert shell(folder, line) == (1, "", "")


@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_progress_that_nobody_reads_stops_no_sweep(folder: Path, to: str, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    line = f"{SELECTION} run small.toml --storage {shlex.quote(storage)} {to}"
    code, out, _ = shell(folder, line)
    assert code == 0
    assert "what next:" in out


def test_an_error_keeps_its_code_where_nobody_reads_it(folder: Path) -> None:
    assert shell(folder, f"{SELECTION} status nowhere 2>/dev/full") == (1, "", "")


def test_a_terminal_without_a_character_gets_an_escape(folder: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    text = (folder / "small.toml").read_text().replace('"small"', '"größer"')
    (tmp_path / "s.toml").write_text(text)
    line = f"{SELECTION} run s.toml --storage {storage} && {SELECTION} studies --storage {storage}"
    code, out, err = shell(tmp_path, line, PYTHONIOENCODING="ascii")
    assert (code, "Traceback" in err) == (0, False)
    assert "gr\\xf6\\xdfer" in out


@pytest.mark.parametrize("command", ["status", "run small.toml", "export small --to x"])
def test_a_working_directory_that_was_deleted(folder: Path, tmp_path: Path, command: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"cd {gone} && rmdir {gone} && {SELECTION} {command}"
    code, out, err = shell(folder, line)
    assert (code, out) == (1, "")
    assert err == (
        "working directory: it must exist, but got a deleted folder. "
        "Change into another folder: cd DIR.\n"
    )


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.4, 0.6])
def test_ctrl_c_while_libraries_are_loaded(folder: Path, seconds: float) -> None:
    process = start(folder, "run", "small.toml")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
