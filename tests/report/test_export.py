"""The winner as files: whole, readable by others, and harmless."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from selection.report import earlier_export, export
from selection.report.csv_text import csv_text
from selection.study.fields import MAX_NAME_CHARACTERS
from selection.study.spec import parse_study, read_study
from tests.command_line import STUDY, Cli

FILES = {
    "MODEL_CARD.md", "best.json", "best.toml", "best.yaml", "model.json", "model.onnx",
    "model.safetensors", "trials.csv", "trials.parquet",
}  # fmt: skip


def run_study(cli: Cli, *, name: str = "small", old: str = "", new: str = "") -> int:
    """Run the small study and return its winner's number."""
    text = STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy")
    text = text.replace('name = "small"', f"name = {json.dumps(name)}").replace(old, new or old)
    Path("small.toml").write_text(text)
    done = cli("run", "small.toml", "--json")
    assert done.code == 0, done.err
    return int(done.json["best"]["number"])


def test_every_file_is_there_and_says_the_same(cli: Cli) -> None:
    number = run_study(cli)
    done = cli("export", "small", "--to", "out", "--json")
    assert done.code == 0, done.err
    assert set(done.json["files"]) == FILES == set(os.listdir("out"))
    best = json.loads(Path("out/best.json").read_text())
    assert yaml.safe_load(Path("out/best.yaml").read_text()) == best
    shown = cli("best", "small", "--json").json
    assert {name: best[name] for name in shown} == shown
    study = tomllib.loads(Path("out/best.toml").read_text())
    assert study == best["study_file"]
    trials = cli("trials", "small", "--json").json
    assert study["space"] == trials[number]["params"] == best["params"]
    provenance = study["provenance"]
    for name in ("data_fingerprint", "held_out_fingerprint", "fold_fingerprint", "versions"):
        assert provenance[name] == best[name]
    assert (provenance["study"], provenance["number"]) == ("small", number)
    assert set(best["versions"]) == {"selection", "torch", "optuna", "scikit-learn", "numpy"}
    model = json.loads(Path("out/model.json").read_text())
    assert model["class_names"] == ["setosa", "versicolor", "virginica"]
    assert (model["study"], model["trial"]) == ("small", number)


def test_the_study_file_trains_the_winner_again(cli: Cli) -> None:
    number = run_study(cli)
    before = cli("trials", "small", "--json").json[number]
    cli("export", "small", "--to", "out")
    done = cli("run", "out/best.toml")
    assert done.code == 0, done.err
    assert "warning" not in done.err
    (again,) = cli("trials", "small-best", "--json").json
    assert again["state"] == "complete"
    np.testing.assert_allclose(again["fold_scores"], before["fold_scores"], atol=1e-3)
    assert cli("export", "small-best", "--to", "out2").code == 0
    first, second = (tomllib.loads(Path(f, "best.toml").read_text()) for f in ("out", "out2"))
    assert second["name"] == "small-best-best"
    assert second["provenance"].pop("study") == "small-best"
    for study in (first, second):
        study.pop("name")
        study["provenance"].pop("number")
        study["provenance"].pop("study", None)
    assert first == second


def test_other_rows_than_the_trial_was_chosen_on_are_reported(cli: Cli) -> None:
    run_study(cli)
    cli("export", "small", "--to", "out", "--format", "toml")
    text = Path("out/best.toml").read_text()
    Path("moved.toml").write_text(text.replace("seed = 0", "seed = 1"))
    done = cli("run", "moved.toml")
    assert done.code == 0
    for what in ("development rows", "held-out rows", "folds"):
        assert f"warning: the {what} are not those of study small" in done.err


@pytest.mark.parametrize(
    "space",
    [
        {"optimizer": {"choices": ["adam", "sgd"]}, "l2": 0.001, "weight_decay": 0.01},
        {"hidden_layers": {"choices": [0, 2]}, "width": {"low": 4, "high": 8}},
        {"width": {"choices": [[4, 5], [6, 7]]}, "dropout": {"choices": [0.0, 0.5]}},
        {"momentum": {"choices": [0.0, 0.9]}, "nesterov": {"choices": [True, False]}},
        {"activation": {"choices": ["tanh", "sigmoid"]}, "init": "normal", "std": 0.1},
        {"batch_size": {"choices": [16, 32]}, "epochs": {"choices": [1, 2]}},
        {"features": {"low": 1, "high": 4}},
        {"optimizer": {"choices": ["adamw", "sgd"]}, "beta2": {"low": 0.9, "high": 0.99}},
        {"schedule": {"choices": ["coslog4", "step"]}, "warmup": {"low": 0.0, "high": 0.5}},
        {"features": 2, "width": {"low": 2, "high": 8}},
    ],
)
def test_any_trial_is_a_study_file_of_the_same_setting(cli: Cli, space: dict[str, Any]) -> None:
    content = {
        "name": "any",
        "data": {"dataset": "iris"},
        "cv": {"folds": 2},
        "training": {"epochs": 1, "nesterov": "nesterov" in space, "momentum": 0.5},
        "space": space,
        "search": {"trials": 6, "sampler": "random", "pruner": "none"},
    }
    spec = parse_study(content, "any")
    import tomli_w

    Path("any.toml").write_text(tomli_w.dumps(content))
    assert cli("run", "any.toml").code == 0
    from selection.store.repository import open_repository
    from selection.workflows.assess import assess_study

    with open_repository("sqlite:///selection.db") as repository:
        assessment = assess_study(repository.study("any"), repository)
        for trial in assessment.trials:
            made = export.study_content(export.Winner(assessment, trial, None))
            again = parse_study(made, "again")
            assert again.setting(again.default) == spec.setting(trial.params)
            assert again.budget == 1


def test_formats_are_chosen_by_name(cli: Cli) -> None:
    run_study(cli)
    done = cli("export", "small", "--to", "out", "--format", "toml, csv")
    assert done.code == 0
    assert set(os.listdir("out")) == {"best.toml", "trials.csv"}
    wrong = cli("export", "small", "--to", "other", "--format", "tomml")
    assert (wrong.code, len(wrong.err.splitlines())) == (1, 1)
    assert "Did you mean toml?" in wrong.err
    assert not Path("other").exists()


def test_only_models_need_training(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from selection.workflows import final_models as final

    run_study(cli)
    monkeypatch.setattr(final, "fit_members", None)
    assert cli("export", "small", "--to", "out", "--format", "toml,json,csv,model-card").code == 0


def test_a_folder_that_holds_files_is_left_alone(cli: Cli) -> None:
    run_study(cli)
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    refused = cli("export", "small", "--to", "out")
    assert refused.code == 1
    assert "an export does not overwrite" in refused.err
    assert os.listdir("out") == ["notes.txt"]
    assert cli("export", "small", "--to", "out", "--force", "--format", "toml,json").code == 0
    assert set(os.listdir("out")) == {"notes.txt", "best.toml", "best.json"}
    Path("out/trials.csv").write_text("my own")
    assert cli("export", "small", "--to", "out", "--force", "--format", "toml").code == 0
    assert set(os.listdir("out")) == {"notes.txt", "best.toml", "best.json", "trials.csv"}
    assert Path("out/trials.csv").read_text() == "my own"
    assert Path("out/notes.txt").read_text() == "mine"
    Path("file").write_text("mine")
    assert "an export is a folder" in cli("export", "small", "--to", "file", "--force").err
    Path("empty").mkdir()
    Path("link").symlink_to("empty")
    assert cli("export", "small", "--to", "link", "--format", "toml").code == 0
    assert os.listdir("empty") == ["best.toml"]
    long = cli("export", "small", "--to", "x" * 300)
    assert (long.code, len(long.err.splitlines())) == (1, 1)
    for form in (",", "toml,,nonsense"):
        assert cli("export", "small", "--to", "x", "--format", form).code == 1


def test_force_leaves_nothing_of_another_study(cli: Cli) -> None:
    run_study(cli)
    run_study(cli, name="other", old="epochs = 3", new="epochs = 2")
    assert cli("export", "small", "--to", "out").code == 0
    Path("out/notes.txt").write_text("mine")
    form = "toml,json,csv,model-card"
    done = cli("export", "other", "--to", "out", "--format", form, "--force")
    assert done.code == 0
    kept = {"best.toml", "best.json", "trials.csv", "MODEL_CARD.md", "notes.txt"}
    assert set(os.listdir("out")) == kept
    for name in ("model.json", "model.onnx", "model.safetensors", "best.yaml", "trials.parquet"):
        assert name in done.err
    assert tomllib.loads(Path("out/best.toml").read_text())["provenance"]["study"] == "other"
    assert cli("predict", "out", "--input", "t.csv").code == 1


@pytest.mark.parametrize("form", list(export.FORMATS))
def test_each_file_of_an_export_is_known_again(cli: Cli, form: str) -> None:
    run_study(cli, name="a_[b]")
    run_study(cli, name="other")
    cli("export", "a_[b]", "--to", "out", "--format", form)
    other = "csv" if form == "toml" else "toml"
    same = cli("export", "a_[b]", "--to", "out", "--format", other, "--force")
    says_whose = form in ("toml", "json", "safetensors", "model-card")
    kept = {*export.FORMATS[form], *export.FORMATS[other]}
    assert set(os.listdir("out")) == (kept if says_whose else set(export.FORMATS[other]))
    assert ("removed" in same.err) is not says_whose
    cli("export", "other", "--to", "out", "--format", "model-card", "--force")
    assert os.listdir("out") == ["MODEL_CARD.md"]


def test_a_large_model_of_another_study_goes_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_export, "MARGIN_BYTES", 200)
    run_study(cli)
    run_study(cli, name="other")
    cli("export", "small", "--to", "out", "--format", "safetensors,onnx")
    cli("export", "other", "--to", "out", "--format", "toml", "--force")
    assert os.listdir("out") == ["best.toml"]


def test_what_only_has_the_name_of_a_file_of_ours_is_kept(cli: Cli) -> None:
    run_study(cli)
    Path("out").mkdir()
    for name in FILES - {"best.toml"}:
        Path("out", name).write_text("my own")
    Path("out/model.onnx").unlink()
    Path("out/model.onnx").mkdir()
    done = cli("export", "small", "--to", "out", "--format", "toml", "--force")
    assert (done.code, done.err) == (0, "")
    assert set(os.listdir("out")) == FILES


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_failed_export_leaves_nothing_half_written(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, is_forced: bool
) -> None:
    run_study(cli)
    before = {"old.txt"} if is_forced else set()
    if is_forced:
        Path("out").mkdir()
        Path("out/old.txt").write_text("old")
    honest = export._write

    def full(path: Path, content: bytes) -> None:
        if path.name == "trials.csv":
            raise OSError(28, "No space left on device")
        honest(path, content)

    monkeypatch.setattr(export, "_write", full)
    words = ["--force"] if is_forced else []
    done = cli("export", "small", "--to", "out", *words)
    assert done.code == 1
    assert "No space left" in done.err
    assert set(os.listdir("out") if Path("out").exists() else []) == before
    assert [name for name in os.listdir() if name.startswith(".")] == []


def test_names_never_become_paths(cli: Cli) -> None:
    name = "../../../evil/%2e $(touch x) <b>|*"
    run_study(cli, name=name)
    assert cli("export", name, "--to", "out").code == 0
    assert set(os.listdir("out")) == FILES
    card = Path("out/MODEL_CARD.md").read_text()
    assert "<b>" not in card
    assert card.startswith("# ../../../evil/%2e $(touch x) &lt;b&gt;\\|\\*: trial ")
    assert read_study(Path("out/best.toml")).name == f"{name}-best"


def test_the_longest_name_still_makes_a_study_file(cli: Cli) -> None:
    run_study(cli, name="n" * MAX_NAME_CHARACTERS)
    assert cli("export", "n" * MAX_NAME_CHARACTERS, "--to", "out", "--format", "toml").code == 0
    assert len(read_study(Path("out/best.toml")).name) == MAX_NAME_CHARACTERS


def test_text_that_a_spreadsheet_would_run_is_quoted() -> None:
    rows = [{"=name": start + "cmd|' /C calc'!A0", "n": -1.5} for start in "=+-@\t"]
    rows.append({"=name": "two\rlines", "n": -1.5})
    read = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert read[0] == ["'=name", "n"]
    assert [line[0][:2] for line in read[1:-1]] == ["'=", "'+", "'-", "'@", "'\t"]
    assert read[-1][0] == "two lines"
    assert {line[1] for line in read[1:]} == {"-1.5"}, "a negative number stays one"
    assert csv_text([]) == ""
    assert csv_text([{"class": "-1"}]) == "class\n-1\n", "the name of a class is kept"


@pytest.mark.parametrize("start", list("=+-@\uff1d\uff0b\uff0d\uff20\ufe66\u207c"))
@pytest.mark.parametrize(
    "before", ["", "\n", "\r", "\r\n", " ", "\t", "\xa0", "\ufeff", "\x00", "\u3000"]
)
def test_no_formula_hides_behind_what_is_not_seen(before: str, start: str) -> None:
    text = csv_text([{"class": f"{before}{start}cmd|' /C calc'!A0"}])
    (_, line) = csv.reader(io.StringIO(text, newline=""))
    assert line[0].startswith("'")


@pytest.mark.parametrize(
    "text", ["a=b", "1+1", "x@y", "a\n=b", "-1", " -1e5", "größer", "<=5", "'=5"]
)
def test_other_text_is_kept(text: str) -> None:
    (_, line) = csv.reader(io.StringIO(csv_text([{"class": text}]), newline=""))
    assert line == [text]


def test_trials_are_the_same_as_csv_and_parquet(cli: Cli) -> None:
    run_study(cli)
    cli("export", "small", "--to", "out")
    assert Path("out/trials.csv").read_text() == cli("trials", "small", "-f", "csv").out
    table = pd.read_csv("out/trials.csv")
    parquet = pd.read_parquet("out/trials.parquet")
    assert list(table.columns) == list(parquet.columns)
    assert list(table.columns)[-7:] == [
        "fold_0", "fold_1", "fold_2", "train_0", "train_1", "train_2",
        "origin",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["fold_0"], parquet["fold_0"])
    complete = table[table["state"] == "complete"]
    means = complete[["fold_0", "fold_1", "fold_2"]].mean(axis=1)
    np.testing.assert_allclose(means, complete["value"])


@pytest.mark.parametrize(
    ("package", "file"), [("onnx", "model.onnx"), ("pyarrow", "trials.parquet")]
)
def test_what_an_absent_package_makes_is_left_out_with_a_word(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, package: str, file: str
) -> None:
    import importlib.util

    run_study(cli)
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else honest(name)
    )
    if package == "onnx":
        monkeypatch.setitem(sys.modules, "onnx", None)
    else:

        def absent(*_: Any, **__: Any) -> None:
            raise ImportError(package)

        monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    done = cli("export", "small", "--to", "out")
    assert done.code == 0
    assert f"{file} left out: pip install 'selection-sweep[" in done.err
    assert set(os.listdir("out")) == FILES - {file}
    form = "onnx" if package == "onnx" else "parquet"
    asked = cli("export", "small", "--to", "asked", "--format", form)
    assert (asked.code, "pip install" in asked.err) == (1, True)
    assert not Path("asked").exists()


def test_a_column_of_mixed_values_is_text_in_parquet(cli: Cli) -> None:
    run_study(cli, old="width = { low = 2, high = 16 }", new="width = { choices = [8, [4, 4]] }")
    done = cli("export", "small", "--to", "out", "--format", "parquet")
    assert done.code == 0, done.err
    assert set(pd.read_parquet("out/trials.parquet")["param_width"]) == {"8", "4 4"}


def test_the_card_says_what_each_number_is(cli: Cli) -> None:
    number = run_study(cli)
    cli("export", "small", "--to", "out", "--format", "model-card")
    card = Path("out/MODEL_CARD.md").read_text()
    best = cli("best", "small", "--json").json
    assert f"# small: trial {number}" in card
    assert f"| corrected | {best['corrected']['estimate']:.4f} |" in card
    assert f"| observed | {best['observed']['mean']:.4f} |" in card
    assert "Never opened by this study." in card
    assert "| held out |" not in card
    value = cli("evaluate", "small", "--json").json
    cli("export", "small", "--to", "out", "--force", "--format", "model-card,safetensors")
    card = Path("out/MODEL_CARD.md").read_text()
    assert f"| held out | {value['score']:.4f} |" in card
    assert "| 1 | 20" in card
    assert f"ECE {value['calibration']['ece']:.4f}" in card
    sha = json.loads(Path("out/model.json").read_text())["weights"]["sha256"]
    assert sha in card


def test_what_met_the_held_out_set_is_what_is_exported(cli: Cli) -> None:
    best = run_study(cli)
    simple = cli("best", "small", "--rule", "one_standard_error", "--json").json["number"]
    cli("evaluate", "small", "--rule", "one_standard_error")
    done = cli("export", "small", "--to", "out", "--json")
    assert done.json["number"] == simple
    card = Path("out/MODEL_CARD.md").read_text()
    assert "`one_standard_error`" in card
    assert json.loads(Path("out/best.json").read_text())["number"] == simple
    assert isinstance(best, int)


PREDICT_ROWS = pd.DataFrame(
    {
        "extra": ["x", "y"],
        "petal width (cm)": [0.2, 2.1],
        "petal length (cm)": [1.4, 5.6],
        "sepal width (cm)": [3.5, 3.0],
        "sepal length (cm)": [5.1, 6.5],
    }
)


def test_predict_reads_columns_by_name(cli: Cli) -> None:
    run_study(cli, old="epochs = 3", new="epochs = 30")
    cli("export", "small", "--to", "out", "--format", "safetensors")
    PREDICT_ROWS.to_csv("new.csv", index=False)
    PREDICT_ROWS.to_parquet("new.parquet")
    done = cli("predict", "out", "--input", "new.csv")
    assert done.code == 0, done.err
    lines = list(csv.DictReader(io.StringIO(done.out)))
    assert [line["prediction"] for line in lines] == ["setosa", "virginica"]
    names = ["prediction", "probability_setosa", "probability_versicolor", "probability_virginica"]
    assert list(lines[0]) == names
    for line in lines:
        assert sum(float(line[name]) for name in names[1:]) == pytest.approx(1)
    assert cli("predict", "out", "--input", "new.parquet", "--json").json == [
        {name: value if name == "prediction" else float(value) for name, value in line.items()}
        for line in lines
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sepal width (cm)": None}, "none named sepal width (cm)"),
        ({"petal width (cm)": ["a", "b"]}, 'free of text, but got "a" in row 1'),
        ({"petal width (cm)": [np.nan, 1.0]}, "must not be missing"),
        ({"petal width (cm)": [np.inf, 1.0]}, "must be finite"),
    ],
)
def test_rows_that_do_not_fit_are_one_line(cli: Cli, change: dict[str, Any], said: str) -> None:
    run_study(cli)
    cli("export", "small", "--to", "out", "--format", "safetensors")
    rows = PREDICT_ROWS.assign(**{name: value for name, value in change.items() if value})
    rows = rows.drop(columns=[name for name, value in change.items() if not value])
    rows.to_csv("new.csv", index=False)
    done = cli("predict", "out", "--input", "new.csv")
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1), done.err
    assert said in done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["predict", "none", "--input", "new.csv"], 1, "the folder must hold model.json"),
        (["predict", "out", "--input", "none.csv"], 1, "the table must be readable"),
        (["predict", "out"], 2, "Missing option"),
        (["export", "smal", "--to", "x"], 1, "Did you mean small?"),
        (["evaluate", "smal"], 1, "Did you mean small?"),
    ],
)
def test_wrong_words_end_with_their_exit_code(
    cli: Cli, words: list[str], code: int, said: str
) -> None:
    run_study(cli)
    cli("export", "small", "--to", "out", "--format", "safetensors")
    done = cli(*words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err
