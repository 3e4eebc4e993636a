"""Advice follows the record: what it favours first, what it refutes never."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selection.stats.fit_advice import (
    ANOTHER_RATE,
    LARGER,
    LESS_DECAY,
    LESS_DROPOUT,
    MORE_DECAY,
    MORE_DROPOUT,
    MORE_ROWS,
    SMALLER,
    Evidence,
    Observation,
    advise,
    better_neighbour,
    neighbours,
    row_trend,
)
from selection.stats.fit_diagnosis import Verdict, diagnose
from tests.stats.test_fit_diagnosis import FASHION, GOOD, WOBBLE, curves_of, rising

OVERFIT_MOVES = [MORE_DECAY, MORE_DROPOUT, SMALLER, MORE_ROWS]
WIDTHS = [(8.0, 0.70), (32.0, 0.85), (512.0, 0.89)]


def evidence(observed: list[Observation], **own: float) -> Evidence:
    return Evidence(own, observed)


def test_without_a_record_every_move_is_open() -> None:
    assert advise(OVERFIT_MOVES, Evidence()) == (
        "Try more weight decay, more dropout, a smaller network or more rows."
    )


def test_the_best_on_either_side_counts() -> None:
    below, above = neighbours("width", (128.0, 0.88), WIDTHS, is_minimised=False)
    assert below == Observation("width", False, 32.0, 0.85, 128.0, 0.88, is_better=False)
    assert above == Observation("width", True, 512.0, 0.89, 128.0, 0.88, is_better=True)
    below, above = neighbours("width", (128.0, 0.88), WIDTHS, is_minimised=True)
    assert (below.value, below.is_better) == (8.0, True)
    assert (above.value, above.is_better) == (512.0, False)
    nan = float("nan")
    assert neighbours("width", (128.0, 0.88), [(8.0, nan), (128.0, 0.9)], is_minimised=False) == []


def test_a_move_that_the_record_refutes_is_not_advised() -> None:
    found = neighbours("width", (128.0, 0.88), WIDTHS[:2], is_minimised=False)
    assert advise(OVERFIT_MOVES, evidence(found)) == (
        "Try more weight decay, more dropout or more rows. Not a smaller network: width below 128 "
        "has at best 0.85 there against 0.88 here (observed)."
    )


def test_a_move_that_the_record_favours_comes_first() -> None:
    found = neighbours("weight_decay", (0.0, 0.88), [(1e-4, 0.91), (1e-2, 0.5)], is_minimised=False)
    assert advise(OVERFIT_MOVES, evidence(found)).startswith(
        "Set weight_decay to 0.0001: the record has 0.91 there against 0.88 here (observed). "
        "Or try more dropout, a smaller network or more rows."
    )


def test_what_is_better_on_record_comes_first_whichever_way_it_lies() -> None:
    found = neighbours("width", (128.0, 0.88), WIDTHS, is_minimised=False)
    assert advise([MORE_DECAY, SMALLER], evidence(found)) == (
        "Set width to 512: the record has 0.89 there against 0.88 here (observed). Or try more "
        "weight decay. Not a smaller network: width below 128 has at best 0.85 there against 0.88 "
        "here (observed)."
    )


def test_where_less_is_better_less_is_favoured() -> None:
    found = neighbours("width", (128.0, 0.5), [(8.0, 0.4), (512.0, 0.6)], is_minimised=True)
    text = advise([SMALLER, LARGER], Evidence({}, found, is_minimised=True))
    assert text == (
        "Set width to 8: the record has 0.4 there against 0.5 here (observed). Not a larger "
        "network: width above 128 has at best 0.6 there against 0.5 here (observed)."
    )


def test_another_value_may_lie_on_either_side() -> None:
    rates = [(0.01, 0.7), (1.0, 0.9)]
    found = neighbours("learning_rate", (0.1, 0.8), rates, is_minimised=False)
    assert advise([ANOTHER_RATE], evidence(found)).startswith("Set learning_rate to 1:")
    found = neighbours("learning_rate", (0.1, 0.8), rates[:1], is_minimised=False)
    assert advise([ANOTHER_RATE], evidence(found)).startswith("Not another learning rate:")


def test_a_penalty_that_is_0_cannot_be_lowered() -> None:
    own = evidence([], weight_decay=0.0, dropout=0.0)
    assert advise([LARGER, LESS_DECAY, LESS_DROPOUT], own) == "Try a larger network."
    own = evidence([], weight_decay=0.1, dropout=0.0)
    assert advise([LARGER, LESS_DECAY, LESS_DROPOUT], own) == (
        "Try a larger network or less weight decay."
    )


def test_more_rows_follow_the_sample_size_curve() -> None:
    rising = row_trend([(400.0, 0.8), (100.0, 0.7)], is_minimised=False)
    assert advise([MORE_ROWS], evidence(rising)) == (
        "Add rows: the score still rises with them, 0.7 at 100 rows and 0.8 at 400 (observed)."
    )
    level = row_trend([(100.0, 0.7), (400.0, 0.8), (800.0, 0.8)], is_minimised=False)
    assert advise([MORE_ROWS], evidence(level)) == (
        "Not more rows: the score no longer rises with them, 0.8 at 400 rows and 0.8 at 800 "
        "(observed)."
    )
    assert row_trend([(400.0, 0.8)], is_minimised=False) == []


def test_a_better_neighbour_is_named_whatever_the_verdict() -> None:
    found = neighbours("width", (128.0, 0.88), WIDTHS, is_minimised=False)
    assert better_neighbour(evidence(found)) == (
        " Set width to 512: the record has 0.89 there against 0.88 here (observed)."
    )
    assert better_neighbour(evidence(found[:1])) == ""


def judge(training: Any, validation: Any, record: Evidence, references: Any = GOOD) -> Any:
    return diagnose(
        curves_of(training, validation),
        references,
        negligible=FASHION,
        ratio=0.25,
        level=0.95,
        evidence=record,
    )


NARROWER_IS_WORSE = evidence(
    neighbours("width", (128.0, 0.88), [(8.0, 0.7), (32.0, 0.85)], is_minimised=False)
)
WIDER_IS_WORSE = evidence(
    neighbours("width", (128.0, 0.88), [(256.0, 0.86), (512.0, 0.8)], is_minimised=False)
)


@pytest.mark.parametrize(
    ("training", "validation", "verdict", "record", "words"),
    [
        (
            0.05 * WOBBLE[::-1],
            0.8 * WOBBLE,
            Verdict.OVERFIT,
            NARROWER_IS_WORSE,
            "a smaller network",
        ),
        (0.9 * WOBBLE[::-1], 0.92 * WOBBLE, Verdict.UNDERFIT, WIDER_IS_WORSE, "a larger network"),
    ],
)
def test_a_diagnosis_never_advises_against_its_own_record(
    training: Any, validation: Any, verdict: Verdict, record: Evidence, words: str
) -> None:
    free = judge(training, validation, Evidence())
    assert free.verdict is verdict
    assert words in free.advice.partition("Not ")[0]
    found = judge(training, validation, record)
    assert (found.verdict, found.rule) == (free.verdict, free.rule), "advice changes no verdict"
    assert words not in found.advice.partition("Not ")[0]
    assert f"Not {words}: width" in found.advice


def test_an_unclear_fit_follows_the_record_too() -> None:
    reference = {"trial 7": 0.3 * np.array([0.5, 1.3, 0.8, 1.4, 1.0])}
    training = 0.31 * WOBBLE
    free = judge(training, training * 1.05, Evidence(), reference)
    assert free.verdict is Verdict.INCONCLUSIVE
    assert free.advice == ("It may be able to fit better. Try a larger network or more epochs.")
    found = judge(training, training * 1.05, WIDER_IS_WORSE, reference)
    assert "Try more epochs. Not a larger network" in found.advice


def test_a_score_that_is_still_better_at_the_end_is_not_stopped() -> None:
    training, validation = rising(0.5)
    curves = curves_of(training, validation)
    for curve in curves:
        curve.points[:, 5] = np.linspace(0.6, 0.9, len(curve.points))
    options: Any = {"negligible": FASHION, "ratio": 0.25, "level": 0.95}
    found = diagnose(curves, {"trial 7": np.full(5, 0.4).tolist()}, **options)
    assert found.verdict is Verdict.OVERFIT
    assert found.advice == (
        "Do not stop near epoch 3: the score was 0.72 there and is 0.9 at the end (observed). Try "
        "more weight decay or more dropout."
    )
    losses = Evidence(is_minimised=True)
    found = diagnose(curves, {"trial 7": np.full(5, 0.4).tolist()}, **options, evidence=losses)
    assert found.advice.startswith("Stop near epoch 3. Try")
