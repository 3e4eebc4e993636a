"""Values in the place of those of a study file, merged by dotted key."""

from __future__ import annotations

from typing import Any

import pytest

from selection.errors import StudyFileError
from selection.study.overrides import with_overrides


def test_a_merged_file_has_the_new_values_and_keeps_the_rest() -> None:
    content: dict[str, Any] = {
        "name": "a",
        "training": {"epochs": 5, "batch_size": 16},
        "space": {"width": {"low": 2, "high": 8}},
    }
    merged = with_overrides(
        content, {"name": "b", "training.epochs": 20, "space.width.high": 64, "cv.folds": 3}, "s"
    )
    assert merged == {
        "name": "b",
        "training": {"epochs": 20, "batch_size": 16},
        "space": {"width": {"low": 2, "high": 64}},
        "cv": {"folds": 3},
    }
    assert content["name"] == "a"
    assert content["space"]["width"]["high"] == 8, "the file stays as it was"


def test_a_key_inside_a_value_is_refused() -> None:
    with pytest.raises(StudyFileError, match=r"space\.width must be a table, but got 8") as caught:
        with_overrides({"space": {"width": 8}}, {"space.width.high": 64}, "s.toml")
    assert str(caught.value).startswith("s.toml: space.width.high: ")
