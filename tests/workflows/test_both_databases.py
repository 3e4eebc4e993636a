"""The whole way from sweep to export, on both databases."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.command_line import STUDY, Cli


def test_sweep_verdict_evaluation_and_export(
    cli: Cli, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTION_STORAGE", storage_url)
    text = STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy")
    Path("s.toml").write_text(text + "[assessment]\nnested = true\nbootstraps = 100\n")
    done = cli("run", "s.toml")
    assert done.code == 0, done.err
    best = cli("best", "small", "--json").json
    assert best["corrected"]["rivals"]["complete"] >= 2
    assert len(best["nested"]["folds"]) == 3
    first = cli("evaluate", "small", "--json")
    assert first.code == 0, first.err
    again = cli("evaluate", "small", "--json")
    assert (again.code, again.json) == (3, first.json)
    assert cli("export", "small", "--to", "out").code == 0
    model = json.loads(Path("out/model.json").read_text())
    assert model["trial"] == first.json["number"]
    assert len(os.listdir("out")) == 9
    assert cli("run", "s.toml").code == 0, "a finished study has nothing to refuse"
