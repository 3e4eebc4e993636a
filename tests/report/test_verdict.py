"""The verdict in sentences: in words, with the kind of every score, and without a p-value."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from selection.report.cells import show_interval, show_number, show_value
from selection.report.verdict import (
    detail_lines,
    expected_of,
    gap_line,
    held_out_lines,
    winner_lines,
)
from selection.stats.paired_tests import Comparison, Posterior
from selection.study.trial import Trial, TrialState
from selection.workflows.assess import Assessment, Baseline, Competitor
from selection.workflows.audit import AuditedTrial
from selection.workflows.correct import Correction
from tests.store.store_examples import RESULT
from tests.sweep_bench import make_spec


def trial(number: int, mean: float) -> Trial:
    scores = (mean - 0.002, mean + 0.002)
    return Trial(
        number=number, state=TrialState.COMPLETE, params={}, cohort=0, value=mean,
        fold_scores=scores, train_scores=scores, epochs=4,
    )  # fmt: skip


def competitor(
    number: int, mean: float, chances: tuple[float, float, float], p: float = 0.5
) -> Competitor:
    """Return a competitor with its chances that the winner is worse, equal, better."""
    return Competitor(number, mean, Comparison(0.003, -0.01, 0.01, p, ""), Posterior(*chances))


def assessment(*competitors: Competitor, metric: str = "accuracy", **changes: Any) -> Assessment:
    nothing = cast(Any, None)
    made = Assessment(
        study=nothing,
        spec=make_spec(metric=metric),
        is_finished=True,
        rule="best",
        trials=[trial(5, 0.8847), trial(0, 0.8817)],
        winner=trial(5, 0.8847),
        correction=Correction(0.8841, 0.8819, 0.8888, 0.95, 2, 22, 0, 0.125, 0.8802, None),
        why_uncorrected="",
        rope=0.01,
        baselines={
            "linear": Baseline(
                0.8501, "", Comparison(0.0346, 0.02, 0.04, 0.01, ""), (0.03, 0.04), True
            )
        },
        competitors=competitors,
        nested=[],
        evaluations=[],
        openings_by_others=[],
    )
    return replace(made, **changes)


def words(made: Assessment) -> list[str]:
    assert made.winner is not None
    return winner_lines(made, made.winner)


def test_the_sentences_of_a_study() -> None:
    assert words(assessment(competitor(0, 0.8817, (0.01, 0.89, 0.1)))) == [
        "rule best: the best mean over folds",
        "accuracy, corrected: 0.8841 [0.8819, 0.8888] at 95% "
        "(for the choice among 24 settings; a pruned trial wins in 12% of the bootstraps)",
        "accuracy, observed: 0.8847 +- 0.0020 over 2 folds "
        "(optimistic: the winner was chosen by it)",
        "the default (trial 0) scores 0.8817 (observed), 0.003 less: too small to matter",
        "1 other trial ties with the winner (trial 0)",
        "the linear baseline scores 0.8501 (observed): "
        "the winner beats it by [0.0200, 0.0400] at 95%",
    ]


@pytest.mark.parametrize(
    ("chances", "p", "verdict"),
    [
        ((0.0, 0.9, 0.1), 0.5, "too small to matter"),
        ((0.01, 0.02, 0.97), 0.01, "clearly worse"),
        ((0.01, 0.29, 0.7), 0.2, "probably worse"),
        ((0.97, 0.02, 0.01), 0.01, "clearly better"),
        ((0.7, 0.29, 0.01), 0.2, "probably better"),
    ],
)
def test_a_difference_is_weighed_in_words(
    chances: tuple[float, float, float], p: float, verdict: str
) -> None:
    assert f": {verdict}" in words(assessment(competitor(0, 0.8817, chances, p)))[3]


def test_more_is_worse_where_less_is_better() -> None:
    made = assessment(competitor(0, 2.5, (0.0, 0.1, 0.9), 0.01), metric="cross_entropy")
    assert "scores 2.5000 (observed), 1.6 more: clearly worse" in words(made)[3]


def test_ties_are_counted_and_named() -> None:
    alike, apart = (0.1, 0.8, 0.1), (0.0, 0.0, 1.0)
    none = assessment(competitor(1, 0.7, apart, 0.01))
    assert "no other trial ties with the winner" in words(none)
    three = assessment(*(competitor(number, 0.88, alike) for number in (4, 7, 9)))
    assert "3 other trials tie with the winner (trials 4, 7, 9)" in words(three)
    many = assessment(*(competitor(number, 0.88, alike) for number in range(1, 13)))
    said = next(line for line in words(many) if "tie with" in line)
    assert said == (
        "12 other trials tie with the winner (trials 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...)"
    )


PAIRED = Comparison(0.34, 0.29, 0.38, 0.001, "")
NOT_BEATEN = "the winner does not clearly beat it: "


@pytest.mark.parametrize(
    ("baseline", "claim"),
    [
        (
            Baseline(0.55, "", PAIRED, (-0.01, 0.3), True),
            f"{NOT_BEATEN}[-0.0100, 0.3800] at 95%",
        ),
        (Baseline(0.55, "", PAIRED, None, True), f"{NOT_BEATEN}no choice to resample"),
        (
            Baseline(0.55, "", PAIRED, None, False),
            "the winner beats it by [0.2900, 0.3800] at 95%",
        ),
        (
            Baseline(0.55, "", Comparison(0.34, None, None, None, "constant"), None, False),
            f"{NOT_BEATEN}the same on every fold",
        ),
        (
            Baseline(
                0.42, "learning rate 3e-12, the best of 15, at their edge", PAIRED, (0.3, 0.4), True
            ),
            "no claim, as its search over learning rates ended at an edge",
        ),
    ],
    ids=["out of bag", "no resampling", "one trial", "no variance", "edge"],
)
def test_claim_and_interval_come_from_one_test(baseline: Baseline, claim: str) -> None:
    made = assessment(baselines={"linear": baseline})
    (line,) = [line for line in words(made) if "baseline" in line]
    assert line == f"the linear baseline scores {baseline.mean:.4f} (observed): {claim}"
    assert baseline.is_beaten == ("beats it by" in claim)
    if baseline.interval is not None and not baseline.is_untrained:
        assert baseline.is_beaten == (baseline.interval[0] > 0)


def test_a_baseline_that_is_left_out_is_named() -> None:
    made = assessment(baselines_left_out={"gradient_boosting": "60,000 rows would take too long"})
    assert words(made)[-1] == (
        "the gradient_boosting baseline is left out: 60,000 rows would take too long"
    )


def test_a_study_that_wants_no_baseline_does_not_announce_any() -> None:
    none = make_spec({"assessment": {"baselines": []}})
    assert not any("baseline" in line for line in words(assessment(baselines={}, spec=none)))
    assert words(assessment(baselines={}))[-1] == (
        "no baselines yet: selection run trains them when the study ends"
    )


def test_the_statistics_stand_apart() -> None:
    made = assessment(competitor(0, 0.8817, (0.01, 0.89, 0.1), 0.378))
    assert not any("p =" in line or "chance" in line for line in words(made))
    details = "\n".join(detail_lines(made))
    assert "p = 0.378; chances 0.10 better, 0.89 equal, 0.01 worse" in details
    assert "BBC-CV" in details
    assert "[0.0200, 0.0400] over paired folds, [0.0300, 0.0400] out of bag" in details


def test_large_scores_lose_the_places_that_nobody_can_use() -> None:
    assert show_interval(16.3516, 21.0451, 0.95) == "[16.35, 21.05] at 95%"
    assert show_interval(9.8765, 10.1234, 0.9) == "[9.88, 10.12] at 90%"
    assert show_number(0.88171) == "0.8817"
    assert show_number(123456.789) == "123457"
    made = assessment(winner=trial(5, 18.488), metric="rmse", competitors=[])
    assert "rmse, observed: 18.49 +- 0.00 over 2 folds" in words(made)[2]


def test_short_values_are_shown_as_written_and_long_ones_to_three_digits() -> None:
    assert [show_value(each) for each in (0.3125, 0.861099, 2.60812e-5, 1e-6, 256, "relu")] == [
        "0.3125", "0.861", "2.61e-05", "1e-06", "256", "relu",
    ]  # fmt: skip


AUDITED = "2 pruned trials, chosen at random, were trained to their end: the better one scores "


@pytest.mark.parametrize(
    ("metric", "means", "expected"),
    [
        ("accuracy", [0.8712, 0.8610], AUDITED + "0.8712 (observed), 0.014 less"),
        (
            "accuracy",
            [0.8610, 0.8901],
            AUDITED + "0.8901 (observed), 0.0054 more: pruning has cost that much",
        ),
        (
            "rmse",
            [0.8712, 0.9],
            AUDITED + "0.8712 (observed), 0.014 less: pruning has cost that much",
        ),
        ("rmse", [0.8912, 0.9], AUDITED + "0.8912 (observed), 0.0065 more"),
        (
            "accuracy",
            [0.8712, None],
            AUDITED.replace("the better one", "it") + "0.8712 (observed), 0.014 less",
        ),
        (
            "accuracy",
            [None],
            "1 pruned trial, chosen at random, was trained to its end: training failed",
        ),
        (
            "accuracy",
            [0.85, 0.86, 0.87],
            "3 pruned trials, chosen at random, were trained to their end: "
            "the best of them scores 0.8700 (observed), 0.015 less",
        ),
    ],
)
def test_what_pruning_has_cost_is_said(
    metric: str, means: list[float | None], expected: str
) -> None:
    audited = [AuditedTrial(7 + index, mean) for index, mean in enumerate(means)]
    assert expected in words(assessment(metric=metric, audited=audited))


def test_nothing_is_said_of_pruning_without_an_audit() -> None:
    assert not any("trained to" in line for line in words(assessment()))


def test_the_score_that_held_out_rows_will_show_is_said_before_they_are_opened() -> None:
    made = assessment()
    assert made.correction is not None
    correction = replace(made.correction, prediction_interval=(0.8712, 0.8969))
    facts = SimpleNamespace(held_out_rows=400)
    study = cast(Any, SimpleNamespace(facts=facts))
    made = replace(made, study=study, correction=correction)
    assert held_out_lines(made, "selection evaluate s") == [
        "held-out set: 400 rows, never opened by this study, expected to score [0.8712, 0.8969] "
        "at 95%; to open it once: selection evaluate s"
    ]
    assert expected_of(replace(made, correction=None)) == ""


@pytest.mark.parametrize(("score", "side"), [(0.9, "inside"), (0.95, "outside")])
def test_a_held_out_score_stands_beside_what_was_expected(score: float, side: str) -> None:
    found = replace(
        RESULT,
        score=score,
        corrected_estimate=0.912,
        corrected_interval=(0.90, 0.92),
        prediction_interval=(0.87, 0.94),
    )
    assert gap_line(found).endswith(f", {side} the expected [0.8700, 0.9400] at 95%")
    early = replace(found, score=0.9, prediction_interval=None)
    assert gap_line(early).endswith("the held-out score is 0.0120 lower")
