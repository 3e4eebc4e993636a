"""A killed export leaves a folder behind, and the next one removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selection.report import work_folder as module
from selection.report.work_folder import PREFIX, work_folder


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*"))


def test_nothing_is_left_after_the_block(tmp_path: Path) -> None:
    with work_folder(tmp_path) as folder:
        (folder / "file").write_text("x")
    assert left_behind(tmp_path) == []
    with pytest.raises(KeyError), work_folder(tmp_path):
        raise KeyError
    assert left_behind(tmp_path) == []


def test_what_was_moved_away_stays(tmp_path: Path) -> None:
    with work_folder(tmp_path) as folder:
        (folder / "file").write_text("x")
        os.replace(folder, tmp_path / "whole")
    assert (tmp_path / "whole/file").read_text() == "x"


def test_what_a_killed_process_left_is_removed_and_a_living_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from selection.report.work_folder import work_folder\n"
        "with work_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    print(folder.name, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = [process.stdout.readline().strip() for process in processes if process.stdout]
    dead, alive = processes
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    mine = tmp_path / f"{PREFIX}link"
    mine.symlink_to(tmp_path)
    with work_folder(tmp_path):
        pass
    assert left_behind(tmp_path) == sorted([names[1], mine.name])
    alive.kill()
    alive.wait()
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()


def test_without_locks_nothing_of_others_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_has_locks", lambda: False)
    (tmp_path / f"{PREFIX}other").mkdir()
    with work_folder(tmp_path) as folder:
        assert folder.is_dir()
    assert left_behind(tmp_path) == [f"{PREFIX}other"]
