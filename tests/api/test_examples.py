"""The examples in the docstrings of the public API run and print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import selection.api.run
import selection.api.study
import selection.model.files

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("module", [selection.api.run, selection.api.study, selection.model.files])
def test_examples_run(module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(module, optionflags=FLAGS)  # type: ignore[arg-type]
    assert tried > 3
    assert failed == 0
