"""selection init: the study file it drafts says what it guessed, and runs as it stands."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selection.study.spec import read_study
from tests.command_line import Cli

ROWS = 90
# The draft as it stands, but for its length.
SHORT = ("--trials", "3", "--set", "training.epochs=4", "--set", "final.seeds=1")


def table(**columns: Any) -> pd.DataFrame:
    """Return columns of every kind, and those given."""
    generator = np.random.default_rng(0)
    age = generator.normal(40, 10, ROWS).round(1)
    age[[3, 50]] = np.nan
    return pd.DataFrame(
        {
            "patient_id": generator.permutation(ROWS) + 1000,
            "age": age,
            "is_new": generator.random(ROWS) > 0.5,
            "city": generator.choice(["Bern", "Genf", 'a "b"'], ROWS),
            "site": "north",
            "remark": [f"remark {row}" for row in range(ROWS)],
            "color": [None if row == 7 else "red" for row in range(ROWS)],
            "shape": "round",
            **columns,
        }
    )


CLASSES = np.array(["yes", "no", "maybe"])[np.arange(ROWS) % 3]
QUANTITY = np.random.default_rng(1).normal(100, 20, ROWS).round(2)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("target", "task", "metric"),
    [(CLASSES, "classification", "accuracy"), (QUANTITY, "regression", "rmse")],
)
def test_the_draft_runs_as_it_stands(
    cli: Cli, suffix: str, target: Any, task: str, metric: str
) -> None:
    frame = table(outcome=target)
    name = Path(f"visits{suffix}")
    frame.to_csv(name, index=False) if suffix == ".csv" else frame.to_parquet(name)
    done = cli("init", name, "--target", "outcome")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    features = "2 numeric and 2 categorical features"
    assert lines[0] == f"study visits in visits.toml: {task} by {features}, metric {metric}"
    assert lines[-1].endswith("run visits.toml")
    data = tomllib.loads(Path("visits.toml").read_text())["data"]
    assert data["categorical"] == ["city", "color"]
    assert data["drop"] == ["patient_id", "site", "remark", "shape"]
    spec = read_study(Path("visits.toml"))
    assert spec.sections.recipe == "tabular"
    assert spec.sections.data.impute == "median"
    assert (spec.name, spec.task, spec.metric) == ("visits", task, metric)
    ran = cli("run", "visits.toml", "--json", *SHORT)
    assert ran.code == 0, ran.err
    assert ran.json["best"] is not None


def test_each_guess_has_its_reason(cli: Cli) -> None:
    table(outcome=CLASSES).to_csv("visits.csv", index=False)
    cli("init", "visits.csv", "--target", "outcome")
    text = Path("visits.toml").read_text()
    for reason in (
        "patient_id: a different number in every row",
        "site: the same value in every row",
        "remark: 90 different values in 90 rows",
        "shape: the same value in every row",
        "Missing values, which are filled with the median: age (2), color (1)",
        "3 classes of 30 to 30 rows",
        '# groups = "COLUMN"',
    ):
        assert reason in text, reason


@pytest.mark.parametrize(
    ("target", "task", "metric"),
    [
        (np.arange(ROWS) % 4, "classification", "accuracy"),
        (np.arange(ROWS) % 2 == 0, "classification", "accuracy"),
        (np.arange(ROWS) % 10 == 0, "classification", "balanced_accuracy"),
        (np.arange(ROWS) * 7, "regression", "rmse"),
        (np.arange(ROWS) % 4 + 0.5, "regression", "rmse"),
    ],
)
def test_the_task_follows_the_values_of_the_target(
    cli: Cli, target: Any, task: str, metric: str
) -> None:
    table(outcome=target).to_csv("t.csv", index=False)
    value = cli("init", "t.csv", "--target", "outcome", "--json").json
    assert value == {"study": "t", "file": "t.toml", "task": task, "metric": metric}


def test_a_small_class_lowers_the_number_of_folds(cli: Cli) -> None:
    target = np.where(np.arange(ROWS) < 4, "rare", "common")
    table(outcome=target).to_csv("t.csv", index=False)
    cli("init", "t.csv", "--target", "outcome")
    assert read_study(Path("t.toml")).sections.cv.folds == 3
    assert cli("run", "t.toml", *SHORT).code == 0


def test_a_file_that_exists_is_replaced_by_force_alone(cli: Cli) -> None:
    table(outcome=CLASSES).to_csv("t.csv", index=False)
    Path("mine.toml").write_text("mine")
    words = ("init", "t.csv", "--target", "outcome", "--name", "a study", "--to", "mine.toml")
    refused = cli(*words)
    assert refused.code == 1
    assert refused.err.startswith("mine.toml: init writes a new file, but got one that exists.")
    assert Path("mine.toml").read_text() == "mine"
    assert cli(*words, "--force").code == 0
    assert read_study(Path("mine.toml")).name == "a study"


@pytest.mark.parametrize(
    ("content", "target", "said"),
    [
        ("a,y\n1,2\n", "z", "target must name a column"),
        ("a,y\n1,\n2,3\n", "y", "the target must have no missing values, but got y (1)"),
        ("y\n1\n2\n", "y", "the table needs a column to learn from"),
        ("a,y\n1,x\n2,x\n3,x\n", "y", "at least two classes"),
        ("a,y\n1,x\n2,x\n3,x\n4,z\n", "y", "every class needs at least 3 rows, but got 1 of 2"),
    ],
)
def test_a_table_without_a_study_in_it_is_one_line(
    cli: Cli, content: str, target: str, said: str
) -> None:
    Path("t.csv").write_text(content)
    done = cli("init", "t.csv", "--target", target)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert said in done.err
    assert not Path("t.toml").exists()


@pytest.mark.parametrize(
    ("name", "delimiter", "decimal", "keys"),
    [
        ("t.csv", ";", ",", {"delimiter": ";", "decimal": ","}),
        ("t.csv", "\t", ".", {"delimiter": "\t"}),
        ("t.CSV", "|", ".", {"delimiter": "|"}),
        ("t.tsv", "\t", ".", {}),
        ("t.csv.gz", ",", ".", {}),
        ("t.feather", "", "", {}),
    ],
)
def test_how_a_file_is_written_is_drafted_and_read(
    cli: Cli, name: str, delimiter: str, decimal: str, keys: dict[str, str]
) -> None:
    frame = table(outcome=CLASSES).drop(columns=["remark", "color"])
    if delimiter:
        frame.to_csv(name, sep=delimiter, decimal=decimal, index=False)
    else:
        frame.to_feather(name)
    assert cli("init", name, "--target", "outcome").code == 0
    (draft,) = Path().glob("*.toml")
    data = tomllib.loads(draft.read_text())["data"]
    assert {key: data.get(key) for key in ("delimiter", "decimal")} == {
        "delimiter": keys.get("delimiter"),
        "decimal": keys.get("decimal"),
    }
    done = cli("run", draft, *SHORT, "--set", "assessment.baselines=[]")
    assert done.code == 0, done.err
