"""The README tells the truth: its study file, its commands, its code, its targets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer.testing
from command_line import STUDY, Cli

from selection.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_the_study_file_shown_is_the_one_that_runs() -> None:
    assert blocks("toml") == [(ROOT / "studies/fashion_mnist.toml").read_text()]


def test_the_code_shown_reads_a_real_study(cli: Cli) -> None:
    data = 'dataset = "iris"'
    text = STUDY.format(data=data, folds=3, metric="accuracy").replace("small", "fashion-mnist")
    Path("s.toml").write_text(text)
    assert cli("run", "s.toml").code == 0
    (code,) = blocks("python")
    shown: list[object] = []
    exec(compile(code, "README.md", "exec"), {"print": shown.append})
    assert list(shown[0]) == ["width", "learning_rate"]  # type: ignore[call-overload]


def test_every_command_and_option_shown_exists() -> None:
    lines = re.findall(r"selection ((?:db )?[a-z]+)([^\n,]*)", "\n".join(blocks("")))
    verbs = {verb for verb, _ in lines}
    assert {"run", "status", "trials", "curves", "best", "db check"} <= verbs
    runner = typer.testing.CliRunner()
    for verb, rest in lines:
        result = runner.invoke(app, [*verb.split(), "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, verb
        for option in re.findall(r"--?[a-z]+\b", rest):
            assert option in result.output, f"{verb} {option}"


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)))
)
def test_every_target_shown_is_listed(target: str) -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^{target}\b", listed.stdout, re.MULTILINE)


def test_every_verb_is_in_the_readme() -> None:
    result = typer.testing.CliRunner().invoke(app, ["--help"])
    verbs = re.findall(r"^  ([a-z]+)  ", result.output.split("Commands:")[1], re.MULTILINE)
    assert len(verbs) >= 8
    for verb in verbs:
        assert f"selection {verb}" in README, verb
