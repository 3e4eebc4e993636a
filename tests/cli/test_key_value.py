"""KEY=VALUE as people type it."""

from __future__ import annotations

from typing import Any

import pytest

from selection.cli.key_value import read_pairs
from selection.errors import StudyStateError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=128", 128),
        ("a = 0.2", 0.2),
        ("a=1e-3", 1e-3),
        ("a=[64, 32]", [64, 32]),
        ("a=true", True),
        ("a=relu", "relu"),
        ('a="relu"', "relu"),
    ],
)
def test_values_are_those_of_a_study_file(text: str, value: Any) -> None:
    found = read_pairs([text])
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_all_errors_are_said_at_once() -> None:
    with pytest.raises(StudyStateError) as caught:
        read_pairs(["width", "=3", "a=1", "a=2", "b=[1", "c=1\nd=2"])
    lines = str(caught.value).splitlines()
    assert lines == [
        '--set: must be KEY=VALUE, but got "width". Write --set width=128.',
        '--set: must be KEY=VALUE, but got "=3". Write --set width=128.',
        "--set: each key may be set once, but got a. Remove one.",
        '--set b: the value must be written as in a study file, but got "[1". '
        "Write a number, a word, true, false, or a list such as [64, 32].",
        '--set c: the value must be written as in a study file, but got "1\\nd=2". '
        "Write a number, a word, true, false, or a list such as [64, 32].",
    ]
