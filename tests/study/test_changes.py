"""What changed between two versions of a study's file, and whether more trials continue it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from selection.study.changes import (
    RECORDED,
    Difference,
    RecordedChange,
    departures,
    differences,
)
from selection.study.trial import Trial, TrialState
from tests.sweep_bench import make_spec

NOON = datetime(2026, 1, 2, 12, 30, 15, 123456, tzinfo=UTC)


def trials_of(*cohorts: int) -> list[Trial]:
    """Return trials in cohorts of these sizes."""
    of = [cohort for cohort, size in enumerate(cohorts) for _ in range(size)]
    return [Trial(number, TrialState.COMPLETE, {}, cohort) for number, cohort in enumerate(of)]


def more_trials(before: int, after: int) -> RecordedChange:
    return RecordedChange(Difference("search.trials", before, after), NOON, before)


def test_a_difference_names_its_section_its_key_and_both_values() -> None:
    old = make_spec().to_json()
    new = make_spec({"assessment": {"rope": 0.1}}, trials=12).to_json()
    found = differences(old, new)
    assert found == [
        Difference("assessment.rope", None, 0.1),
        Difference("search.trials", 9, 12),
    ]
    assert str(found[1]) == "search.trials: 9 -> 12"
    assert differences(old, old) == []


def test_every_recorded_key_is_one_of_a_study_file() -> None:
    content = make_spec().to_json()
    for key in RECORDED:
        section, name = key.split(".")
        assert name in content[section]


def test_a_recorded_change_reads_back() -> None:
    for difference in (Difference("a.b", None, 0.1), Difference("a.c", "best", [1, True])):
        change = RecordedChange(difference, NOON, 7)
        assert RecordedChange.from_json(change.to_json()) == change
    assert change.to_json() == {
        "key": "a.c", "from": "best", "to": [1, True],
        "at": "2026-01-02T12:30:15.123456+00:00", "trials": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "cohorts", "expected"),
    [
        ([], (4, 4, 2), []),
        ([more_trials(8, 12)], (4, 4, 4), []),
        ([more_trials(6, 12)], (4, 2, 4, 2), [6]),
        ([more_trials(6, 12)], (4, 2), []),  # nothing was added yet
        ([more_trials(6, 12)], (4, 4, 4), []),  # extended before its short cohort
        ([more_trials(3, 6), more_trials(6, 9)], (3, 3, 3), [3, 6]),
        ([more_trials(2, 8)], (2, 4, 2), [2]),
    ],
)
def test_a_study_departs_where_a_budget_ended_inside_a_cohort(
    changes: list[RecordedChange], cohorts: tuple[int, ...], expected: list[int]
) -> None:
    assert departures(changes, trials_of(*cohorts), 4) == expected


def test_a_departure_counts_trials_whatever_their_numbers() -> None:
    apart = [replace(trial, number=2 * trial.number) for trial in trials_of(4, 2, 4)]
    assert departures([more_trials(6, 12)], apart, 4) == [12]
