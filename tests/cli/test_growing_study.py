"""A study that grows from the command line: more trials, more time, other values, another rule."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command_line import Cli

STUDY = """
name = "more"
recipe = "book"
seed = 1
[data]
path = "t.csv"
target = "y"
[cv]
folds = 3
[training]
epochs = 5
batch_size = 16
[space]
width = 8
learning_rate = {{ low = 0.05, high = 0.3, log = true }}
[search]
metric = "accuracy"
sampler = "random"
pruner = "none"
trials = {trials}
cohort = 2
{extra}
[assessment]
bootstraps = 100
"""
NUMBERS = ("number", "state", "params", "value", "fold_scores", "train_scores", "epochs")


def write_study(trials: int = 4, extra: str = "") -> str:
    draws = np.random.default_rng(0)
    points = draws.normal(size=(60, 2)).round(3).tolist()
    rows = [f"{a},{b},{int(a + 0.5 * b > 0)}" for a, b in points]
    Path("t.csv").write_text("\n".join(["a,b,y", *rows]))
    Path("study.toml").write_text(STUDY.format(trials=trials, extra=extra))
    return "study.toml"


def table(cli: Cli, name: str = "more") -> list[dict[str, Any]]:
    trials = cli("trials", name, "--json").json
    return [{key: trial[key] for key in NUMBERS} for trial in trials]


@pytest.fixture
def whole(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The trials of a study of 8 from the start, in a database of its own."""
    with monkeypatch.context() as patch:
        patch.setenv("SELECTION_STORAGE", "sqlite:///whole.db")
        done = cli("run", write_study(8), "--json")
        assert done.code == 0, done.err
        return table(cli)


def test_more_trials_in_the_file_end_as_the_study_that_had_them_from_the_start(
    cli: Cli, whole: list[dict[str, Any]], storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTION_STORAGE", storage_url)
    assert cli("run", write_study(4), "--json").json["trials"]["complete"] == 4
    done = cli("run", write_study(8), "--json")
    assert (done.code, done.json["trials"]["complete"]) == (0, 8), done.err
    assert table(cli) == whole
    assert cli("doctor").code == 0


def test_more_trials_on_the_command_line_are_a_number_or_an_addition(
    cli: Cli, whole: list[dict[str, Any]]
) -> None:
    cli("run", write_study(4))
    assert cli("run", "study.toml", "--trials", "6").code == 0
    assert cli("run", "study.toml", "--trials", "+2").code == 0
    assert table(cli) == whole
    assert cli("status", "more", "--json").json["budget"] == 8
    assert cli("run", "study.toml", "--trials", "8", "--json").json["trials"]["complete"] == 8
    fewer = cli("run", "study.toml", "--trials", "4")
    assert fewer.code == 1
    assert fewer.err == (
        "study more: search.trials must be at least the 8 trials that have begun, but got 4. "
        "Write trials = 8 or more, or say --trials 8.\n"
    )


def test_the_file_alone_continues_what_the_command_line_has_extended(
    cli: Cli, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", write_study(4))
    with monkeypatch.context() as patch:
        patch.setattr("selection.workflows.sweep._Sweep.run_cohort", stop)
        with pytest.raises(Stopped):
            cli("run", "study.toml", "--trials", "+4")
    assert len(table(cli)) == 4
    for _ in range(2):
        done = cli("run", "study.toml", "--json")
        assert done.json["trials"]["complete"] == 8, "it goes on, and then it is finished"
        assert "study more: 8 trials, as on record; its file says 4" in done.err
    assert table(cli) == whole
    changes = cli("best", "more", "--json").json["changes"]
    assert [(each["from"], each["to"]) for each in changes] == [(4, 8)]


class Stopped(BaseException):
    """Stand for a kill."""


def stop(_sweep: object) -> bool:
    raise Stopped


def test_an_addition_needs_a_study_that_has_begun(cli: Cli) -> None:
    done = cli("run", write_study(), "--trials", "+4")
    assert (done.code, done.err) == (
        1,
        "study more: more trials are added to a study that has begun, but got none of this name. "
        "Say how many in all: 4.\n",
    )
    assert not Path("selection.db").exists()
    for wrong in ("x", "+", "+x", "0", "+0", "1.5", ""):
        done = cli("run", "study.toml", "--trials", wrong)
        assert done.code == 1
        assert "must be a whole number from 1, or +N" in done.err
        assert done.err.count("\n") == 1


def test_more_time_goes_on_with_a_study_that_ran_out_of_it(
    cli: Cli, whole: list[dict[str, Any]]
) -> None:
    done = cli("run", write_study(8, "timeout_seconds = 0.000001"))
    assert "ended by its time limit after 2 of 8 trials: timeout_seconds = 1e-06" in done.out
    assert cli("status", "more", "--json").json["is_finished"]
    added = cli("run", "study.toml", "--trials", "+4")
    assert "ended by its time limit after 2 of 12 trials" in added.out, "time is what it lacks"
    assert cli("run", "study.toml", "--set", "search.timeout_seconds=0").code == 0
    assert table(cli)[:8] == whole
    assert len(table(cli)) == 12


def test_a_study_whose_held_out_set_was_opened_takes_no_more(cli: Cli) -> None:
    cli("run", write_study(4))
    assert cli("evaluate", "more").code == 0
    for words in (
        ["--trials", "8"],
        ["--trials=+1"],
        ["--set", "selection.rule=one_standard_error"],
    ):
        done = cli("run", "study.toml", *words)
        assert done.code == 3
        assert "keeps its budget, rule and level after its held-out set was opened" in done.err
        assert done.err.count("\n") == 1
    assert cli("run", "study.toml").code == 0
    assert len(table(cli)) == 4


def test_overrides_make_the_study_that_is_on_record(cli: Cli) -> None:
    write_study(4)
    done = cli(
        "run", "study.toml", "--seed", 7, "--name", "x", "--trials", 2, "--json",
        "--set", "training.epochs=2", "--set", "search.sampler=grid",
        "--set", "space.learning_rate={choices=[0.1, 0.2]}",
    )  # fmt: skip
    assert (done.code, done.json["study"]) == (0, "x"), done.err
    found = table(cli, "x")
    assert [trial["params"] for trial in found] == [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    assert {trial["epochs"] for trial in found} == {2}
    assert cli("export", "x", "--to", "out").code == 0
    exported = tomllib.loads(Path("out/best.toml").read_text())
    assert (exported["seed"], exported["training"]["epochs"]) == (7, 2)
    assert [line["study"] for line in cli("studies", "--json").json] == ["x"]


def test_an_unknown_key_is_refused_with_the_nearest_name(cli: Cli) -> None:
    write_study(4)
    done = cli("run", "study.toml", "--set", "training.epchs=2", "--set", "search.n_trials=3",
               "--set", "epochs=3", "--set", "cv.folds=x")  # fmt: skip
    assert done.code == 1
    lines = done.err.splitlines()
    assert all(line.startswith("study.toml (with overrides): ") for line in lines)
    assert any("[training] epchs: the key must be known" in line and "Did you mean epochs?" in line
               for line in lines)  # fmt: skip
    assert any("got n_trials. Did you mean trials?" in line for line in lines)
    assert any("Write epochs in [training]." in line for line in lines)
    assert any("[cv] folds: must be a valid integer" in line for line in lines)


def test_a_key_that_trials_depend_on_is_refused_with_a_way_out(cli: Cli) -> None:
    cli("run", write_study(4))
    done = cli("run", "study.toml", "--set", "training.epochs=2", "--trials", "8")
    assert done.err == (
        "study more: a study that has begun keeps its file, but got training.epochs: 5 -> 2. "
        "Give the changed study another name (--name), or put the file back.\n"
    )
    assert cli("run", "study.toml", "--set", "training.epochs=2", "--name", "other").code == 0


def test_what_was_changed_is_in_every_report(cli: Cli) -> None:
    cli("run", write_study(3))
    assert cli("best", "more", "--json").json["changes"] == []
    assert "## Changes" not in exported_card(cli, "before")
    cli("run", "study.toml", "--trials", "+3", "--set", "assessment.level=0.9")
    rule = ["--set", "selection.rule=one_standard_error", "--set", "assessment.level=0.9"]
    done = cli("run", "study.toml", "--trials", "6", *rule)
    assert done.code == 0, done.err
    found = cli("best", "more", "--json").json
    assert found["rule"] == "one_standard_error"
    assert found["extended_at"] == [3]
    assert [
        (each["key"], each["from"], each["to"], each["trials"]) for each in found["changes"]
    ] == [
        ("assessment.level", 0.95, 0.9, 3),
        ("search.trials", 3, 6, 3),
        ("selection.rule", "best", "one_standard_error", 6),
    ]
    changed = 'selection.rule was changed from "best" to "one_standard_error" after 6 trials, at 20'
    extended = "extended at trial 3, inside a cohort of 2: from there on its trials are not those"
    for told in (done.out, cli("best", "more").out):
        text = " ".join(told.split())
        assert changed in text
        assert "assessment.level was changed from 0.95 to 0.9 after 3 trials" in text
        assert extended in text
        assert "search.trials was changed" not in text
    card = exported_card(cli, "after")
    assert "## Changes after the study began" in card
    assert "search.trials was changed from 3 to 6 after 3 trials, at 20" in card
    assert extended in card
    assert cli("report", "more", "--to", "r.html").code == 0
    page = Path("r.html").read_text()
    assert "Changes after it began" in page
    assert "from 3 to 6 after 3 trials, at 20" in page
    assert extended in page


def exported_card(cli: Cli, folder: str) -> str:
    assert cli("export", "more", "--to", folder).code == 0
    return (Path(folder) / "MODEL_CARD.md").read_text().replace("\\", "")


@pytest.mark.usual_recipe
def test_other_rows_are_named_where_they_would_have_other_epochs(cli: Cli) -> None:
    rows = [f"{number},{number % 7},{number % 2}\n" for number in range(1_000)]
    Path("t.csv").write_text("".join(["a,b,y\n", *rows[:400]]))
    Path("s.toml").write_text(
        'name = "s"\n[data]\npath = "t.csv"\ntarget = "y"\n[model]\nhidden_layers = 0\n'
        "[search]\ntrials = 1\n[cv]\nfolds = 2\n[assessment]\nbaselines = []\n"
    )
    assert cli("run", "s.toml").code == 0
    Path("t.csv").write_text("".join(["a,b,y\n", *rows]))
    done = cli("run", "s.toml")
    assert "a study that has begun keeps its rows and folds" in done.err
    # With the rows of then, it is the file that has changed.
    Path("t.csv").write_text("".join(["a,b,y\n", *rows[:400]]))
    assert "got training.epochs: " in cli("run", "s.toml", "--set", "training.epochs=2").err


@pytest.mark.usual_recipe
def test_a_study_from_before_there_were_recipes_is_told_its_recipe(cli: Cli) -> None:
    assert cli("run", write_study(2), "--set", "recipe=book").code == 0
    done = cli("run", "study.toml", "--set", "recipe=tabular")
    assert done.err == (
        'study more: a study that has begun keeps its file, but got recipe: "book" -> "tabular". '
        'Write recipe = "book" to go on, or use another name (--name).\n'
    )
