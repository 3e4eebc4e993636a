"""The command line in this process: JSON contracts, exit codes, bad input as one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from tests.command_line import STUDY, Cli


def write_study(
    data: str = 'dataset = "iris"', folds: int = 3, metric: str = "accuracy", extra: str = ""
) -> Path:
    path = Path("small.toml")
    path.write_text(STUDY.format(data=data, folds=folds, metric=metric) + extra)
    return path


def write_table(text: str) -> str:
    Path("t.csv").write_text(text)
    return 'path = "t.csv"\ntarget = "y"'


ROWS = "\n".join(f"{i},{i % 5},{i % 2}" for i in range(30))
GOOD_TABLE = f"a,b,y\n{ROWS}\n"


def test_run_prints_the_json_of_its_contract(cli: Cli) -> None:
    done = cli("run", write_study(), "--json")
    assert done.code == 0, done.err
    value = done.json
    assert list(value) == ["study", "storage", "trials", "best", "seconds", "warnings"]
    assert value["study"] == "small"
    assert value["storage"] == "sqlite:///selection.db"
    assert list(value["trials"]) == ["complete", "pruned", "failed"]
    assert sum(value["trials"].values()) == 5
    assert list(value["best"]) == ["number", "params", "cv_mean", "cv_standard_error"]
    assert value["seconds"] > 0


def test_trials_curves_best_status_and_studies_agree(cli: Cli) -> None:
    best = cli("run", write_study(), "--json").json["best"]
    trials = cli("trials", "small", "-f", "json").json
    assert cli("trials", "small", "--json").json == trials
    assert list(trials[0]) == [
        "number", "state", "reason", "params", "value", "fold_scores", "train_scores", "epochs",
        "best_epoch", "seconds", "origin",
    ]  # fmt: skip
    winner = trials[best["number"]]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    assert winner["value"] == best["cv_mean"] == max(trial["value"] for trial in complete)
    assert winner["params"] == best["params"]
    curves = cli("learning-curves", "small", "--trial", best["number"], "-f", "json").json
    assert [(line["fold"], line["epoch"]) for line in curves] == [
        (fold, epoch) for fold in range(3) for epoch in range(1, 4)
    ]
    last = [line["validation_score"] for line in curves if line["epoch"] == 3]
    assert last == winner["fold_scores"]
    found = cli("best", "small", "--json").json
    assert (found["number"], found["observed"]["mean"]) == (best["number"], best["cv_mean"])
    assert found["observed"]["folds"] == winner["fold_scores"]
    assert found["default"] == {"number": 0, "mean": trials[0]["value"]}
    assert found["rule"] == "best"
    assert cli("status", "small", "--json").json["is_finished"] is True
    assert cli("status", "--json").json["study"] == "small"
    assert [line["study"] for line in cli("studies", "--json").json] == ["small"]


def test_text_and_csv_hold_the_same_trials(cli: Cli) -> None:
    cli("run", write_study())
    lines = cli("trials", "small", "-f", "csv").out.splitlines()
    assert lines[0].startswith("number,state,reason,value,epochs,best_epoch,seconds,param_width,")
    assert len(lines) == 6
    assert len(cli("trials", "small").out.splitlines()) == 6
    assert len(cli("learning-curves", "small", "--trial", 0, "-f", "csv").out.splitlines()) == 10
    assert "optimistic: the winner was chosen by it" in cli("best", "small").out
    assert "fashion_mnist" in cli("datasets").out
    assert "fashion_mnist" in [info["name"] for info in cli("datasets", "--json").json]


def test_the_leaderboard_ranks_complete_trials_and_shows_the_others_below(cli: Cli) -> None:
    cli("run", write_study())
    values = {trial["number"]: trial for trial in cli("trials", "small", "--json").json}
    lines = cli("trials", "small").out.splitlines()[1:]
    ranked = [values[int(line.split()[1])] for line in lines if "complete" in line]
    assert [line.split()[0] for line in lines[: len(ranked)]] == [
        str(place) for place in range(1, len(ranked) + 1)
    ]
    assert all(trial["state"] == "complete" for trial in ranked)
    scores = [trial["value"] for trial in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all("pruned" in line for line in lines[len(ranked) :])
    assert 0 < len(ranked) < len(lines), "the study must prune some trials"
    shown = cli("run", "small.toml").out
    assert f"not shown: {len(lines) - len(ranked)} pruned; all trials: " in shown


def test_progress_goes_to_stderr_and_results_to_stdout(cli: Cli) -> None:
    done = cli("run", write_study())
    assert "epoch 3/3" in done.err
    assert "trials 0/5: 2 trials x 3 folds, epoch 1/3" in done.err
    assert "trials 5/5: " in done.err
    assert "epoch 3/3" not in done.out
    assert "winner: trial" in done.out


def test_a_second_run_prints_the_result_and_trains_nothing(cli: Cli) -> None:
    study = write_study()
    first = cli("run", study)
    again = cli("run", study)
    assert again.out == first.out
    assert again.err == ""
    assert again.code == 0


def test_optuna_reads_the_same_database(cli: Cli) -> None:
    best = cli("run", write_study(), "--json").json["best"]
    study = optuna.load_study(study_name="small", storage="sqlite:///selection.db")
    assert study.best_trial.number == best["number"]
    assert study.best_value == best["cv_mean"]
    assert study.best_trial.params == best["params"]
    assert len(study.best_trial.intermediate_values) == 3


def test_db_check_and_upgrade_say_where_the_tables_stand(cli: Cli) -> None:
    assert cli("db", "check").code == 1
    cli("run", write_study())
    checked = cli("db", "check", "--json")
    assert checked.json["is_ok"] is True
    assert checked.code == 0
    assert cli("db", "upgrade").code == 0


def test_an_older_study_is_distinguished_from_a_changed_one(cli: Cli) -> None:
    cli("run", write_study())
    before = cli("trials", "small", "--json").json
    refused = cli("run", write_study(folds=4))
    assert refused.code == 1
    assert "cv.folds: 3 -> 4" in refused.err
    assert cli("trials", "small", "--json").json == before


BAD_DATA = {
    "target missing": (GOOD_TABLE.replace("y", "z"), "accuracy", ["target", "y"]),
    "NaN in a feature": (GOOD_TABLE.replace("0,0,0\n", "0,,0\n", 1), "accuracy", ["b", "1"]),
    "NaN in the target": (GOOD_TABLE.replace("0,0,0\n", "0,0,\n", 1), "accuracy", ["y", "1"]),
    "text in a number": (GOOD_TABLE.replace("0,0,0\n", "0,red,0\n", 1), "accuracy", ['"red"']),
    "empty": ("", "accuracy", ["empty"]),
    "header only": ("a,b,y\n", "accuracy", ["row"]),
    "one class": ("a,b,y\n" + "\n".join(f"{i},{i},1" for i in range(30)), "accuracy", ["class"]),
    "words and rmse": (
        "a,b,y\n" + "\n".join(f"{i},{i},{'xy'[i % 2]}" for i in range(30)),
        "rmse",
        ["column y", "classification metric"],
    ),
    "a class of one": (GOOD_TABLE + "3,3,7\n", "accuracy", ["7"]),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_line_and_leaves_no_database(cli: Cli, case: str) -> None:
    text, metric, words = BAD_DATA[case]
    done = cli("run", write_study(write_table(text), metric=metric))
    assert done.code == 1
    assert done.out == ""
    assert len(done.err.splitlines()) == 1, done.err
    for word in words:
        assert word in done.err
    assert not list(Path().glob("*.db*"))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("folds = 3", "fold = 3", "Did you mean folds?"),
        ("low = 2, high = 16", "low = 16, high = 2", "low must be below high"),
        ("low = 0.05", "low = 0", "greater than 0"),
        ("folds = 3", "folds = 1", "[cv] folds"),
        ('name = "small"', f'name = "{"x" * 513}"', "at most 512"),
        ('name = "small"', 'name = "a\\u001bb"', "control characters"),
        ('dataset = "iris"', 'dataset = "irsi"', "Did you mean iris?"),
        ('"accuracy"', '"rmse"', "rmse"),
    ],
)
def test_a_bad_study_file_is_one_line_and_leaves_the_database_as_it_was(
    cli: Cli, old: str, new: str, word: str
) -> None:
    study = write_study()
    cli("run", study)
    before = Path("selection.db").read_bytes()
    assert study.read_text().count(old) == 1
    study.write_text(study.read_text().replace(old, new))
    done = cli("run", study)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1, done.err
    assert word in done.err
    assert Path("selection.db").read_bytes() == before


def test_more_folds_than_rows_is_one_line(cli: Cli) -> None:
    done = cli("run", write_study(write_table(GOOD_TABLE), folds=31))
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "fold" in done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "none.toml"], 1, "none.toml: the study file must be readable"),
        (["run"], 2, "Missing argument"),
        (["status"], 1, "selection.db"),
        (["best", "nobody"], 1, "selection.db"),
        (["nonsense"], 2, "No such command"),
        (["run", "small.toml", "--storage", "mysql://h/d"], 1, "SQLite"),
        (["run", "small.toml", "--storage", "nonsense"], 1, "nonsense"),
        (["run", "small.toml", "--storage", "sqlite:///no/such/folder/s.db"], 1, "folder"),
        (["run", "small.toml", "--storage", "sqlite:///small.toml"], 1, "small.toml"),
    ],
)
def test_wrong_words_end_with_their_exit_code(
    cli: Cli, words: list[str], code: int, said: str
) -> None:
    write_study()
    before = sorted(path.name for path in Path().iterdir())
    done = cli(*words)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err
    left = [path.name for path in Path().iterdir() if not path.name.endswith(".lock")]
    assert sorted(left) == before


def test_cuda_asked_for_and_absent_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = cli("run", write_study(), "--device", "cuda")
    assert done.code == 1
    assert done.err.startswith("--device: cuda needs")
    assert not list(Path().glob("*.db"))


def test_unknown_studies_and_trials_are_one_line_with_the_nearest_name(cli: Cli) -> None:
    cli("run", write_study())
    assert cli("best", "smal").err == (
        'study: the database must contain the study, but got "smal". Did you mean small?\n'
    )
    done = cli("learning-curves", "small", "--trial", 99)
    assert (done.code, len(done.err.splitlines())) == (1, 1)


def test_debug_shows_the_stack(cli: Cli) -> None:
    from selection.errors import SelectionError

    with pytest.raises(SelectionError):
        cli("--debug", "run", "none.toml")


def test_h_asks_for_help_everywhere_and_the_shell_can_complete(cli: Cli) -> None:
    for words in ([], ["run"], ["db"], ["db", "check"]):
        assert cli(*words, "-h").out == cli(*words, "--help").out, words
    assert "--install-completion" in cli("-h").out


def test_every_command_has_help_with_an_example(cli: Cli) -> None:
    commands = ["run", "status", "trials", "learning-curves", "best", "datasets", "studies"]
    for words in ([command] for command in commands):
        help_text = cli(*words, "--help").out
        assert f"Example: selection {words[0]}" in help_text
    for command in ("check", "upgrade"):
        assert f"Example: selection db {command}" in cli("db", command, "--help").out


def test_looking_at_a_study_imports_nothing_that_trains_or_draws(cli: Cli) -> None:
    Path("s.toml").write_text(STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy"))
    assert cli("run", "s.toml").code == 0
    code = """
import sys
from selection.cli.main import app
for words in (["status"], ["trials"], ["studies"]):
    app(words, standalone_mode=False)
print(sorted({"torch", "scipy", "sklearn", "plotly", "pandas", "starlette"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_metric_that_a_fold_leaves_undefined_is_refused_before_training(cli: Cli) -> None:
    rows = "\n".join(f"{i},{i % 7},{int(i % 15 == 0)}" for i in range(60))
    study = write_study(write_table(f"a,b,y\n{rows}\n"), folds=5, metric="roc_auc")
    for _ in range(2):
        done = cli("run", study, "--json")
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1, done.err
        assert (
            "roc_auc needs both classes among the validation rows of every fold, but got only 0 "
            "in fold " in done.err
        )
        assert done.err.endswith(". Lower folds.\n")
    assert cli("trials", "small").code == 1, "nothing was begun"


def test_a_study_whose_every_trial_fails_says_so_and_ends_with_1(cli: Cli) -> None:
    study = write_study('dataset = "diabetes"', metric="rmse")
    study.write_text(study.read_text().replace("low = 0.05, high = 1.0", "low = 1e25, high = 1e30"))
    for _ in range(2):
        done = cli("run", study)
        assert done.code == 1
        assert "5 trials (5 failed)\nwarning: All 5 trials failed" in done.out
        assert "\nno trial is complete, so none has won\n" in done.out
        assert "selection trials small" in done.out.replace("python -m ", "")
        assert "evaluate" not in done.out
        assert "export" not in done.out
        assert done.err.splitlines()[-1] == (
            "study small: a winner must be complete, but got no complete trial. "
            "Look at selection trials."
        )
    done = cli("run", study, "--json")
    assert done.code == 1
    assert done.json["trials"] == {"complete": 0, "pruned": 0, "failed": 5}
    assert done.json["best"] is None
