"""Values in the place of those of a study file: read like TOML, merged by dotted key."""

from __future__ import annotations

from typing import Any

import pytest

from selection.errors import StudyFileError
from selection.study.overrides import read_override, with_overrides


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training.epochs=20", "training.epochs", 20),
        ("training.epochs = 20", "training.epochs", 20),
        ("space.learning_rate=1e-3", "space.learning_rate", 0.001),
        ("assessment.nested=true", "assessment.nested", True),
        ('data.path="a=b.csv"', "data.path", "a=b.csv"),
        ("space.width=[8, 16]", "space.width", [8, 16]),
        ("space.width={choices=[8, 16]}", "space.width", {"choices": [8, 16]}),
        ("search.sampler=random", "search.sampler", "random"),
        ("data.path=tables/a-b.csv", "data.path", "tables/a-b.csv"),
    ],
)
def test_a_value_is_read_as_in_a_study_file(text: str, key: str, value: Any) -> None:
    found = read_override(text)
    assert found == (key, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training.epochs", 'must be KEY=VALUE, but got "training.epochs"'),
        ("=3", 'must be KEY=VALUE, but got "=3"'),
        ("training.epochs=", '--set training.epochs: the value must be written as .* got ""'),
        ("a.b=1\nc = 2", "--set a.b: the value must be written as in a study file"),
        ("space.width=[8", "--set space.width: the value must be written as in a study file"),
        ("name=two words", "--set name: the value must be written as in a study file"),
    ],
)
def test_what_is_no_value_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(StudyFileError, match=said) as caught:
        read_override(text)
    assert "\n" not in str(caught.value)


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
