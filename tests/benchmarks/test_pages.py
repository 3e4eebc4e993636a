"""The parts of the benchmark of pages: what they print is what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pages import COHORT, fill, get, loads, page_lines, read_sweep, server

pytestmark = pytest.mark.slow


def test_it_asks_a_real_server_about_a_real_study(tmp_path: Path) -> None:
    fill(f"sqlite:///{tmp_path}/selection.db", COHORT, tmp_path)
    with server(tmp_path) as (base, _):
        lines = list(page_lines(base, 2))
        assert all(line.startswith("| ") and line.count("|") == 4 for line in lines)
        assert [line for line in lines if "304" in line]
        study = f"{base}/selection/studies/many/"
        assert get(study, get(study)[1]["etag"])[0] == 304
        with pytest.raises(AssertionError):
            loads(f"{base}/selection/studies/none/", 1)


def test_a_sweep_is_read_while_it_runs(tmp_path: Path) -> None:
    seconds, read = read_sweep(tmp_path, 64)
    assert seconds > 0
    assert int(read.split(" pages")[0]) >= 1
