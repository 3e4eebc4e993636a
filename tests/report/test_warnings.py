"""Warnings in words: each says what was found and what to do, and all media show the same list."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selection
from selection.report.model_card import model_card
from selection.report.warnings import DATA, StudyWarning, sentence, study_warnings
from selection.study.trial import TrialState
from selection.workflows.cautions import (
    AllFailed,
    Caution,
    DefaultAsGood,
    Edge,
    EdgeOfSpace,
    ExactTies,
    FewUpdates,
    ImbalancedAccuracy,
    LinearWins,
    NothingCorrected,
)
from tests.command_line import STUDY, Cli
from tests.serve.serve_bench import open_server
from tests.sweep_bench import Bench, make_spec

LINES: list[tuple[Caution, str, str]] = [
    (
        AllFailed(5, "diverged"),
        "all_failed",
        "All 5 trials failed (diverged). Lower the learning rates in [space], or prepare the "
        "features.",
    ),
    (
        AllFailed(1, "out of memory"),
        "all_failed",
        "The only trial failed (out of memory). Fix what selection trials says of each of them.",
    ),
    (
        LinearWins(0.9583, 0.875, is_better=True),
        "linear_wins",
        "The linear baseline is better than the winner (0.9583 against 0.8750, observed). Use a "
        "linear model, or search longer training and other learning rates.",
    ),
    (
        LinearWins(0.87, 0.875, is_better=False),
        "linear_wins",
        "The winner is not shown to beat the linear baseline (0.8750 against 0.8700, observed). "
        "Prefer the linear model, or tell them apart with more rows or [cv] repeats.",
    ),
    (
        ImbalancedAccuracy("no", 0.9, 0.91),
        "imbalanced_accuracy",
        "The observed accuracy 0.9100 is close to the 0.9000 of always predicting class no. Choose "
        "by a metric that counts classes alike ([search] metric): balanced_accuracy, macro_f1, "
        "roc_auc.",
    ),
    (
        FewUpdates(10, 3),
        "few_updates",
        "The winner was trained for 30 updates in all (epochs x minibatches: 10 x 3). Raise epochs "
        "or lower batch_size: with longer training another setting may win.",
    ),
    (
        EdgeOfSpace(
            (
                Edge("learning_rate", 0.98123, 1.0, is_upper=True, is_choice=False),
                Edge("epochs", 5, 5, is_upper=False, is_choice=False),
                Edge("width", 256, 256, is_upper=True, is_choice=True),
                Edge("batch_size", 8, 8, is_upper=False, is_choice=True),
            )
        ),
        "edge_of_space",
        "The winner lies at the edge of the search space: learning_rate = 0.981 (raise high above "
        "1), epochs = 5 (lower low below 5), width = 256 (add choices above 256), batch_size = 8 "
        "(add choices below 8). Search again with more room there, for better settings may lie "
        "beyond.",
    ),
    (
        DefaultAsGood(0.7, 0.8, is_winner=False),
        "default_as_good",
        "The default setting (trial 0) cannot be distinguished from the winner (0.7000 against "
        "0.8000, observed): the search is not shown to have found anything better. More rows or "
        "[cv] repeats would tell them apart.",
    ),
    (
        DefaultAsGood(0.8, 0.8, is_winner=True),
        "default_as_good",
        "No trial has a better mean than the default setting (trial 0), which is the winner. Keep "
        "the default, or search a wider space with more trials.",
    ),
    (
        ExactTies((1, 4, 7), 0.95),
        "ties",
        "3 different settings share the best observed mean 0.9500 exactly (trials 1, 4, 7), and "
        "the first of them won. Choose by a finer metric, such as a loss, or add [cv] "
        "repeats.",
    ),
    (
        NothingCorrected("one trial is complete and 2 are not: no choice to resample", True),
        "nothing_corrected",
        "The score is not corrected: one trial is complete and 2 are not: no choice to resample. "
        "The observed score is optimistic by an unknown amount, which only the held-out rows can "
        "tell.",
    ),
    (
        NothingCorrected("all trials had the same setting", was_chosen=False),
        "nothing_corrected",
        "The score is not corrected: all trials had the same setting. Search several settings to "
        "learn whether another is better.",
    ),
]


@pytest.mark.parametrize(("found", "code", "text"), LINES)
def test_a_warning_says_what_was_found_and_what_to_do(found: Caution, code: str, text: str) -> None:
    assert found.code == code
    assert sentence(found) == text


def test_many_ties_are_counted_and_some_named() -> None:
    text = sentence(ExactTies(tuple(range(12)), 1.0))
    assert text.startswith("12 different settings share")
    assert "(trials 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)" in text


def plain(text: str) -> str:
    """Return a text as a reader has it, whatever marks it up and wherever it is broken."""
    return " ".join(html.unescape(text).replace("\\", "").split())


@pytest.fixture
def ran(cli: Cli) -> Cli:
    """A study that deserves several warnings, with copies of rows in several folds."""
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(60, 2)).round(3)
    lines = [f"{a},{b},{'p' if a + b + 0.5 > 0 else '<n>'}" for a, b in rows]
    Path("t.csv").write_text("\n".join(["a,b,y", *lines, *lines[:5]]))
    data = 'path = "t.csv"\ntarget = "y"'
    Path("s.toml").write_text(STUDY.format(data=data, folds=3, metric="accuracy"))
    assert cli("run", "s.toml").code == 0
    return cli


def test_every_medium_shows_the_same_warnings(ran: Cli) -> None:
    found = ran("best", "small", "--json").json["warnings"]
    codes = [each["code"] for each in found]
    assert codes[0] == "few_updates" or codes[0] == "linear_wins"
    assert {"few_updates", DATA} <= set(codes)
    texts = [plain(each["text"]) for each in found]
    assert all(set(each) == {"code", "text"} for each in found)

    study = selection.open_study("small")
    assert [(each.code, each.text) for each in study.warnings] == [
        (each["code"], each["text"]) for each in found
    ]
    assert [str(each) for each in study.warnings] == [each["text"] for each in found]
    assert ran("run", "s.toml", "--json").json["warnings"] == found

    printed = ran("best", "small").out
    assert [
        line.removeprefix("warning: ") for line in printed.splitlines()[1 : 1 + len(found)]
    ] == [each["text"] for each in found]
    assert printed.index(found[-1]["text"]) < printed.index("winner: ")

    ran("report", "small", "--to", "report.html")
    ran("export", "small", "--to", "files", "--format", "json,model-card")
    with open_server(study.secret_url) as client:
        client.get("/selection/api/studies/small/best")
        page = client.get("/selection/studies/small/").text
        assert client.get("/selection/api/studies/small/best").json()["warnings"] == found
    for text in (page, Path("report.html").read_text()):
        answer = text[text.index('id="answer-title"') :]
        shown = re.findall(r'<li class="notice" data-code="(\w+)">(.*?)</li>', answer)
        assert [(code, plain(own)) for code, own in shown] == list(zip(codes, texts, strict=True))
        assert answer.index(shown[-1][1]) < answer.index("Winner:")
    card = Path("files/MODEL_CARD.md").read_text()
    lines = [line for line in card.splitlines() if line.startswith("- **Warning:** ")]
    assert [plain(line.removeprefix("- **Warning:** ")) for line in lines] == texts
    assert card.index(lines[-1]) < card.index("## Setting")
    notebook = plain(study._repr_html_())
    assert all(f"warning: {text}" in notebook for text in texts)


def test_a_study_whose_trials_all_failed_says_so_everywhere(cli: Cli) -> None:
    rate = 'learning_rate = { choices = [1e30, 2e30] }\noptimizer = "sgd"'
    text = STUDY.format(data='dataset = "diabetes"', folds=3, metric="rmse")
    Path("s.toml").write_text(re.sub(r"learning_rate = .*", rate, text))
    cli("run", "s.toml")
    expected = (
        "All 5 trials failed (diverged). Lower the learning rates in [space], or prepare the "
        "features."
    )
    first = {"code": "all_failed", "text": expected}
    assert cli("best", "small", "--json").json["warnings"][0] == first
    assert cli("status", "small", "--json").json["warnings"][0] == first
    assert f"warning: {expected}" in cli("status", "small").out
    assert f"warning: {expected}" in cli("best", "small").out
    study = selection.open_study("small")
    assert study.warnings[0] == StudyWarning("all_failed", expected)
    assert expected in study._repr_html_()
    study.report("r.html")
    with open_server(study.secret_url) as client:
        page = client.get("/selection/studies/small/").text
    for shown in (page, Path("r.html").read_text()):
        assert f'data-code="all_failed">{expected}' in shown


def test_an_answer_without_a_warning_has_no_list_of_them(bench: Bench) -> None:
    """Noise chooses among few trials: this one is trained long, inside its space, and corrected."""
    spec: Any = make_spec(
        {"training": {"epochs": 40, "batch_size": 16}},
        pruner="none",
        pruner_options={},
    )
    study, _ = bench.procedure(spec)
    assessment = bench.assess(study)
    codes = {each.code for each in study_warnings(assessment)}
    assert codes.isdisjoint({"few_updates", "nothing_corrected", "all_failed", DATA})
    winner = assessment.winner
    assert winner is not None
    assert winner.state is TrialState.COMPLETE
    assert "trained for" not in model_card(assessment, winner, None)
