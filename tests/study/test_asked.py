"""Settings that somebody asks for: what the space has is made whole, what it has not is refused."""

from __future__ import annotations

from typing import Any

import pytest

from selection.errors import StudyStateError
from selection.study.asked import asked_setting
from tests.store.store_examples import example_spec

SPEC = example_spec()


def test_what_is_left_out_is_that_of_the_default() -> None:
    found = asked_setting(SPEC, {"batch_size": 32, "dropout": 0.2})
    assert found.params == {**SPEC.default, "batch_size": 32, "dropout": 0.2}
    assert list(found.params) == list(SPEC.space)
    assert found.from_default == ("width", "weight_decay", "activation", "nesterov")
    assert found.params["weight_decay"] == 0.0, "the default may lie outside the space"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("width", [32], (32,)),
        ("width", (32,), (32,)),
        ("width", "[32]", (32,)),
        ("width", [128], (128,)),
        ("weight_decay", 1e-6, 1e-6),
        ("weight_decay", 0, 0.0),
        ("weight_decay", 0.01, 0.01),
        ("dropout", 0.1 + 0.2, 0.3),
        ("dropout", 0.25, 0.25),
        ("batch_size", 32.0, 32),
        ("batch_size", 4, 4),
        ("activation", "tanh", "tanh"),
        ("nesterov", False, False),
    ],
)
def test_a_point_of_the_space_or_the_default_is_taken(name: str, value: Any, wanted: Any) -> None:
    found = asked_setting(SPEC, {name: value}).params[name]
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("width", [48], "width must be one of [[64], [32], [16]], but got [48]"),
        ("width", 64, "width must be one of [[64], [32], [16]], but got 64"),
        ("width", "[48]", 'width must be one of [[64], [32], [16]], but got "[48]"'),
        ("weight_decay", 0.02, "weight_decay must be a number from 1e-06 to 0.01, but got 0.02"),
        ("dropout", 0.15, "dropout must be a number from 0 to 0.65 in steps of 0.1, but got 0.15"),
        ("dropout", True, "dropout must be a number from 0 to 0.65 in steps of 0.1, but got true"),
        (
            "dropout",
            "0.1",
            'dropout must be a number from 0 to 0.65 in steps of 0.1, but got "0.1"',
        ),
        ("batch_size", 32.5, "batch_size must be a whole number from 16 to 128, but got 32.5"),
        (
            "batch_size",
            float("nan"),
            "batch_size must be a whole number from 16 to 128, but got nan",
        ),
        ("batch_size", None, "batch_size must be a whole number from 16 to 128, but got None"),
        ("activation", "gelu", 'activation must be one of ["relu", "tanh"], but got "gelu"'),
        ("nesterov", 1, "nesterov must be one of [true, false], but got 1"),
        ("momentum", 0.5, "a setting may only set what [space] searches, but got momentum = 0.5"),
        (
            "wd",
            0.5,
            "a setting may only set what [space] searches, but got wd = 0.5. Did you mean ",
        ),
    ],
)
def test_what_the_space_does_not_have_is_refused_by_name(name: str, value: Any, rule: str) -> None:
    with pytest.raises(StudyStateError) as caught:
        asked_setting(SPEC, {name: value})
    assert str(caught.value).startswith(f"study example: {rule}")


def test_all_errors_are_said_at_once() -> None:
    with pytest.raises(StudyStateError) as caught:
        asked_setting(SPEC, {"momentum": 0.1, "width": 3, "batch_size": 32})
    assert len(caught.value.details) == 2
    assert "The study fixes momentum" in str(caught.value)


def test_a_setting_of_nothing_is_refused() -> None:
    with pytest.raises(StudyStateError, match="a setting needs a hyperparameter, but got none"):
        asked_setting(SPEC, {})
