"""Study files and tables for the tests of the data package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selection.study.spec import StudySpec, parse_study


@pytest.fixture
def study() -> Callable[..., StudySpec]:
    """Make a study of [data] keys, with [cv] keys, a metric and a seed."""

    def make(
        data: dict[str, Any],
        cv: dict[str, Any] | None = None,
        metric: str = "accuracy",
        seed: int = 0,
    ) -> StudySpec:
        search = {"metric": metric, "trials": 1}
        content = {"name": "s", "seed": seed, "data": data, "cv": cv or {}, "search": search}
        return parse_study(content, "study.toml")

    return make


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a frame or a text into the working directory and return its relative path."""
    monkeypatch.chdir(tmp_path)

    def write(content: pd.DataFrame | str, name: str = "t.csv") -> str:
        if isinstance(content, str):
            Path(name).write_text(content, encoding="utf-8")
        elif name.endswith(".csv"):
            content.to_csv(name, index=False)
        else:
            content.to_parquet(name)
        return name

    return write


@pytest.fixture
def frame() -> pd.DataFrame:
    """Hold 60 rows whose first feature numbers them, of two classes and twelve groups."""
    generator = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "number": np.arange(60.0),
            "noise": generator.normal(size=60),
            "colour": generator.choice(["red", "green", "blue"], size=60),
            "site": np.repeat(np.arange(12), 5),
            "y": generator.permutation(np.repeat(["a", "b"], [40, 20])),
        }
    )
