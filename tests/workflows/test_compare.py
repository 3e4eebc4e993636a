"""Two studies beside each other, on both databases: paired where they can be, else said so."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import selection
from selection.report.comparison import comparison_lines, comparison_rows, comparison_value
from selection.study.trial import Trial, TrialState
from selection.workflows.compare import StudyComparison, epochs_trained
from tests.command_line import Cli

STUDY: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "iris", "held_out": 0.2},
    "cv": {"folds": 4},
    "training": {"epochs": 4, "batch_size": 16},
    "space": {"width": {"low": 2, "high": 16}, "learning_rate": {"low": 0.01, "high": 1.0}},
    "search": {"metric": "accuracy", "trials": 3, "cohort": 3, "pruner": "none"},
    "assessment": {"bootstraps": 100},
}


def run(url: str, name: str, changes: Mapping[str, Mapping[str, Any]]) -> selection.Study:
    content = copy.deepcopy(STUDY) | {"name": name}
    for section, keys in changes.items():
        content[section] = {**content[section], **keys}
    return selection.run(content, storage=url, progress=False)


@pytest.fixture(scope="module")
def studies(new_sqlite: Callable[[], str]) -> dict[str, selection.Study]:
    """The study, and others that differ in one thing; all on one database."""
    url = new_sqlite()
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "small": {},
        "epochs": {"training": {"epochs": 1}},
        "folds": {"cv": {"folds": 3}},
        "repeats": {"cv": {"repeats": 2}},
        "metric": {"search": {"metric": "cross_entropy"}},
        "loss": {"search": {"metric": "cross_entropy"}, "training": {"epochs": 1}},
        "rows": {"data": {"held_out": 0.3}},
    }
    return {name: run(url, name, changes[name]) for name in changes}


def test_winners_on_the_same_folds_are_tested(storage_url: str) -> None:
    first = run(storage_url, "small", {})
    second = run(storage_url, "epochs", {"training": {"epochs": 1}})
    found = first.compare(second)
    assert found.is_paired
    assert found.why_unpaired == ""
    value = comparison_value(found)
    ours, theirs = (np.array(study.best.observed.folds) for study in (first, second))
    gaps = ours - theirs
    error = np.std(gaps, ddof=1) * np.sqrt(1 / 4 + 1 / 3)
    assert value["paired"] is True
    assert value["difference"] == pytest.approx(np.mean(gaps))
    assert value["p"] == pytest.approx(2 * stats.t.sf(abs(np.mean(gaps)) / error, 3))
    half = stats.t.ppf(0.975, 3) * error
    assert [value["low"], value["high"]] == pytest.approx([gaps.mean() - half, gaps.mean() + half])
    assert [each["study"] for each in value["studies"]] == ["small", "epochs"]
    assert [each["number"] for each in value["studies"]] == [first.best.number, second.best.number]
    assert [each["observed"]["mean"] for each in value["studies"]] == [
        pytest.approx(ours.mean()),
        pytest.approx(theirs.mean()),
    ]
    assert [each["epochs"] for each in value["studies"]] == [12, 3]
    assert all(each["seconds"] > 0 for each in value["studies"])
    assert all(each["corrected"]["low"] <= each["corrected"]["high"] for each in value["studies"])
    assert value["studies"][0]["space"] == STUDY["space"]


def test_the_other_way_round_everything_has_the_other_sign(
    studies: dict[str, selection.Study],
) -> None:
    one = comparison_value(studies["small"].compare(studies["epochs"]))
    other = comparison_value(studies["epochs"].compare(studies["small"]))
    assert one["difference"] == -other["difference"] != 0
    assert (one["low"], one["high"]) == (-other["high"], -other["low"])
    assert one["p"] == other["p"]
    assert one["better"] == other["better"] == "small"


def test_the_better_loss_is_the_smaller_one(studies: dict[str, selection.Study]) -> None:
    found = studies["metric"].compare(studies["loss"])
    value = comparison_value(found)
    means = [each["observed"]["mean"] for each in value["studies"]]
    assert means[0] < means[1]
    assert value["difference"] == pytest.approx(means[0] - means[1])
    assert value["better"] == "metric"
    assert "the winner of metric is" in comparison_lines(found)[0]
    assert "better than that of loss: cross_entropy" in comparison_lines(found)[0]
    assert "less (observed)" in comparison_lines(found)[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folds", "their folds differ"),
        ("repeats", "their folds differ"),
        ("metric", "one is scored by accuracy, the other by cross_entropy"),
        ("rows", "their development rows differ"),
    ],
)
def test_what_is_not_paired_stands_side_by_side(
    studies: dict[str, selection.Study], name: str, reason: str
) -> None:
    found = studies["small"].compare(studies[name])
    value = comparison_value(found)
    assert (value["paired"], value["reason"]) == (False, reason)
    assert [value[key] for key in ("difference", "low", "high", "p", "better")] == [None] * 5
    assert [each["study"] for each in value["studies"]] == ["small", name]
    assert comparison_lines(found)[0] == f"unpaired: {reason}"


def test_a_study_is_identical_to_itself(studies: dict[str, selection.Study]) -> None:
    found = studies["small"].compare(studies["small"])
    value = comparison_value(found)
    assert (value["difference"], value["low"], value["high"], value["p"]) == (0.0, 0.0, 0.0, 1.0)
    assert (value["word"], value["better"], value["is_clear"]) == ("identical", None, False)
    assert (
        comparison_lines(found)[0] == "on 4 paired folds, the scores of both winners are the same"
    )


def test_a_constant_difference_has_no_test(studies: dict[str, selection.Study]) -> None:
    found = studies["small"].compare(studies["small"])
    assert found.difference is not None
    gap = replace(found.difference, mean=0.1, low=None, high=None, p=None, word="constant")
    changed: StudyComparison = replace(found, difference=gap)
    assert not changed.is_clear
    assert "no variance to test by" in comparison_lines(changed)[1]


def test_spaces_stand_beside_each_other(storage_url: str) -> None:
    first = run(storage_url, "small", {})
    content = copy.deepcopy(STUDY) | {"name": "other", "space": {"width": 4}}
    content["space"] |= {"dropout": {"choices": [0.0, 0.5]}, "hidden_layers": {"low": 1, "high": 2}}
    second = selection.run(content, storage=storage_url, progress=False)
    rows = {row.label: (row.first, row.second) for row in comparison_rows(first.compare(second))}
    assert rows["space of width"] == ("2 to 16 integer", "fixed")
    assert rows["space of dropout"] == ("fixed", "0, 0.5")
    assert rows["width"][1] == "4"
    assert (rows["hidden_layers"][0], rows["space of hidden_layers"][0]) == ("1", "fixed")
    assert rows["dropout"][0] == "0"
    assert rows["trials"] == ("3 (3 complete)", "3 (3 complete)")


def test_a_repeated_setting_was_not_trained_again() -> None:
    trials = [
        Trial(0, TrialState.COMPLETE, {}, 0, epochs=5, seconds=1.0),
        Trial(1, TrialState.COMPLETE, {}, 0, "same setting as trial 0", epochs=5, seconds=0.0),
        Trial(2, TrialState.PRUNED, {}, 0, epochs=2, seconds=0.5),
    ]
    assert epochs_trained(trials) == 7


def test_the_command_prints_both_and_a_missing_study_is_named(
    cli: Cli, studies: dict[str, selection.Study]
) -> None:
    url = studies["small"].storage
    done = cli("compare", "small", "epochs", "--storage", url)
    assert done.code == 0, done.err
    assert "on 4 paired folds, the winner of small is" in done.out
    assert "epochs trained" in done.out
    value = cli("compare", "small", "rows", "--json", "--storage", url).json
    assert value["paired"] is False
    missing = cli("compare", "small", "epoch", "--storage", url)
    assert missing.code == 1
    assert missing.err.strip() == (
        'study: the database must contain the study, but got "epoch". Did you mean epochs?'
    )
