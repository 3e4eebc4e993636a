"""The README tells the truth: its study file, its commands, its code, its targets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import typer.testing

from selection.cli.main import app
from selection.study.fields import StudySections
from selection.study.section import Section
from tests.command_line import STUDY, Cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_the_study_file_shown_is_the_one_that_runs() -> None:
    assert blocks("toml") == [(ROOT / "studies/fashion_mnist.toml").read_text()]


def test_the_code_shown_reads_a_real_study_and_its_model(cli: Cli) -> None:
    data = 'dataset = "iris"'
    text = STUDY.format(data=data, folds=3, metric="accuracy").replace("small", "fashion-mnist")
    Path("s.toml").write_text(text)
    assert cli("run", "s.toml").code == 0
    assert cli("export", "fashion-mnist", "--to", "exports").code == 0
    shown: list[list[object]] = []
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {"print": lambda *words: shown.append([*words])})
    model, params = shown
    assert [*model[0], model[1]] == ["setosa", "versicolor", "virginica", 4]  # type: ignore[misc]
    assert list(params[0]) == ["width", "learning_rate"]  # type: ignore[call-overload]


def test_every_section_and_key_of_a_study_file_is_in_the_readme() -> None:
    for name, field in StudySections.model_fields.items():
        section = next(
            (kind for kind in (field.annotation, *get_args(field.annotation)) if is_section(kind)),
            None,
        )
        if section is None or name == "provenance":
            continue
        assert f"`[{name}]`" in README, name
        for key in section.model_fields:
            assert f"`{key}" in README or f"{key} =" in README, f"[{name}] {key}"


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def test_every_command_and_option_shown_exists() -> None:
    lines = re.findall(r"selection ((?:db )?[a-z-]+)([^\n,]*)", "\n".join(blocks("")))
    commands = {command for command, _ in lines}
    assert {
        "run",
        "status",
        "trials",
        "learning-curves",
        "best",
        "evaluate",
        "export",
        "db check",
    } <= commands
    runner = typer.testing.CliRunner()
    for command, rest in lines:
        result = runner.invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, command
        for option in re.findall(r"(?<!\S)--?[a-z]+\b", rest):
            assert option in result.output, f"{command} {option}"


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)))
)
def test_every_target_shown_is_listed(target: str) -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^{target}\b", listed.stdout, re.MULTILINE)


def test_every_command_is_in_the_readme() -> None:
    result = typer.testing.CliRunner().invoke(app, ["--help"])
    commands = re.findall(r"^  ([a-z-]+)  ", result.output.split("Commands:")[1], re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        assert f"selection {command}" in README, command
