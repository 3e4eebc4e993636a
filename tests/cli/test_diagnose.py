"""selection diagnose and selection validation-curve: what they print, keep and refuse."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.command_line import STUDY, Cli


def run_small(cli: Cli, training: str = "") -> int:
    """Run a small study of iris and return its winner."""
    study = STUDY.format(data='dataset = "iris"', folds=3, metric="accuracy")
    Path("small.toml").write_text(study.replace("epochs = 3", f"epochs = 3\n{training}"))
    done = cli("run", "small.toml", "--json")
    assert done.code == 0, done.err
    return int(done.json["best"]["number"])


def test_diagnose_tells_the_winner_by_its_own_curves(cli: Cli) -> None:
    winner = run_small(cli)
    found = cli("diagnose", "small", "--json").json
    assert found["trial"] == winner
    assert found == cli("diagnose", "small", "--trial", winner, "--json").json
    assert found["verdict"] in ("underfit", "balanced", "overfit", "inconclusive")
    last = [
        line
        for line in cli("learning-curves", "small", "--trial", winner, "-f", "json").json
        if line["epoch"] == 3
    ]
    for name in ("training_loss", "validation_loss", "training_score", "validation_score"):
        assert found[name]["mean"] == pytest.approx(sum(line[name] for line in last) / 3)
    gap = found["validation_loss"]["mean"] - found["training_loss"]["mean"]
    assert found["gap"]["mean"] == pytest.approx(gap)
    assert set(found["baselines"]) == {"linear", "majority", "gradient_boosting"}
    assert found["layers"] == []
    text = cli("diagnose", "small").out
    for line in (f"small, trial {winner}: {found['verdict']}", found["rule"], found["advice"]):
        assert line in text
    assert "gradient_norm" not in text


def test_layers_are_shown_where_the_study_asked_for_them(cli: Cli) -> None:
    run_small(cli, "diagnostics = true")
    layers = cli("diagnose", "small", "--json").json["layers"]
    assert [(line["epoch"], line["layer"]) for line in layers] == [
        (epoch, layer) for epoch in (1, 2, 3) for layer in (0, 1)
    ]
    assert all(line["gradient_norm"] > 0 and line["weight_norm"] > 0 for line in layers)
    assert [line["dead_share"] is None for line in layers] == [False, True] * 3
    assert "gradient_norm" in cli("diagnose", "small").out


def test_a_curve_is_kept_and_printed_in_three_ways(cli: Cli) -> None:
    winner = run_small(cli)
    words = ("validation-curve", "small", "--over", "width", "--values", "32,1,4")
    first = cli(*words, "--json")
    assert first.code == 0, first.err
    assert [line["value"] for line in first.json] == [1, 4, 32]
    assert {(line["over"], line["trial"], line["folds"]) for line in first.json} == {
        ("width", winner, 3)
    }
    assert cli(*words, "--json").json == first.json
    rows = list(csv.DictReader(io.StringIO(cli(*words, "-f", "csv").out)))
    assert [row["verdict"] for row in rows] == [line["verdict"] for line in first.json]
    text = cli(*words).out
    assert f"validation curve over width, all else as in trial {winner} (3 folds)" in text
    sizes = cli(
        "validation-curve", "small", "--over", "rows", "--values", "10,40", "--trial", winner
    )
    assert f"sample-size curve, setting of trial {winner}" in sizes.out
    assert len(cli("trials", "small", "--json").json) == 5, "points are no trials"


@pytest.mark.parametrize(
    ("words", "finished"),
    [
        (("validation-curve", "small", "--over", "widht", "--values", "1,2"), "width"),
        (("validation-curve", "small", "--over", "width", "--values", "1"), "two values"),
        (("validation-curve", "small", "--over", "rows", "--values", "1,1000"), "training rows"),
        (
            ("validation-curve", "small", "--over", "width", "--values", "1,2", "--trial", "99"),
            "no trial 99",
        ),
        (("diagnose", "small", "--trial", "99"), "no trial 99"),
        (("diagnose", "smal"), "small"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, words: tuple[str, ...], finished: str) -> None:
    run_small(cli)
    done = cli(*words)
    assert done.code == 1
    assert finished in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_the_table_beside_three_baselines_fits_100_columns(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    winner = run_small(cli)
    done = cli("diagnose", "small")
    heading = "after 3 epochs, observed, beside the baselines:\n"
    table = done.out.partition(heading)[2].splitlines()
    names = f"trial {winner} gradient boosting linear majority"
    assert table[0].split() == names.split()
    assert max(map(len, table)) <= 100
