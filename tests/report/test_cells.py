"""One value as people read it."""

from __future__ import annotations

import math

import pytest

from selection.report.cells import finite_mean, show_interval, show_share
from selection.report.html.render import duration


def test_an_interval_says_its_level_and_one_group_has_none() -> None:
    assert show_interval(0.91049, 0.9445, 0.95) == "[0.9105, 0.9445] at 95%"
    assert show_interval(0.9, 1.0, 0.999) == "[0.9000, 1.0000] at 99.9%"
    assert show_interval(None, None, 0.95) == "without an interval: one group"


def test_a_share_that_is_not_defined_is_no_number() -> None:
    assert (show_share(0.25), show_share(None)) == ("0.2500", "n/a")


def test_a_mean_of_scores_that_are_not_defined_is_none() -> None:
    assert finite_mean([0.25, 0.75]) == 0.5
    assert finite_mean([]) is None
    assert finite_mean([0.5, math.nan]) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (0.42, "0.4 s"), (10, "10 s"), (119, "119 s"), (125, "2 min 5 s")],
)
def test_a_short_time_has_a_digit_more(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
