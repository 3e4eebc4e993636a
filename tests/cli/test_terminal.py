"""The command line on a real terminal: nothing is wider than it, and no word is broken."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.command_line import STUDY

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def on_terminal(folder: Path, columns: int, *words: str) -> str:
    """Run a command on a terminal of so many columns and return what it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "selection", *words],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm"},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal of a process that ended
            break
        if not part:
            break
        written += part
    os.close(ours)
    process.wait(timeout=60)
    return written.decode()


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in CONTROL.sub("\n", text).replace("\r", "").split("\n")]


@pytest.mark.slow
def test_a_study_fits_its_terminal_from_start_to_end(tmp_path: Path) -> None:
    columns = 80
    study = tmp_path / "small.toml"
    study.write_text(STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy"))
    first = on_terminal(tmp_path, columns, "run", "small.toml")
    assert re.search(r"trials \d/5 ", first)
    assert "?" not in CONTROL.sub("", first), "no bar of an unknown length"
    again = on_terminal(tmp_path, columns, "run", "small.toml")
    assert "\x1b[2K" not in again, "nothing is drawn where nothing is trained"
    study.write_text(study.read_text() + 'direction = "maximize"\n')
    outputs = [
        first,
        again,
        on_terminal(tmp_path, columns, "best", "small"),
        on_terminal(tmp_path, columns, "trials", "small"),
        on_terminal(tmp_path, columns, "learning-curves", "small", "--trial", "0"),
        on_terminal(tmp_path, columns, "diagnose", "small"),
        on_terminal(tmp_path, columns, "evaluate", "small"),
        on_terminal(tmp_path, columns, "datasets"),
        on_terminal(tmp_path, columns, "run", "small.toml"),
    ]
    for output in outputs:
        assert "Traceback" not in output, output
        wide = [line for line in lines_of(output) if len(line) > columns]
        assert not [line for line in wide if "-m selection" not in line], wide
    error = " ".join(" ".join(lines_of(outputs[-1])).split())
    assert "The metric decides it: remove it, and choose metric in [search]." in error
