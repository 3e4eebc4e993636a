"""The examples of every --help, run one after another on the study of the first of them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from sklearn.datasets import load_digits, load_iris

from selection.cli.main import app
from tests.command_line import Cli

STUDIES = Path(__file__).parents[2] / "studies"
# It serves until it is stopped.
ENDLESS = "serve"
LAST = "delete"


def examples() -> Iterator[list[str]]:
    """Return the words of every example, without what the shell does."""
    root = typer.main.get_command(app)
    groups = [root, root.commands["db"]]  # type: ignore[attr-defined]
    for group in groups:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                continue
            text = command.epilog or ""
            start, _, line = text.partition("Example: selection ")
            assert start == "", f"{name} has no example"
            yield shlex.split(line.partition(" > ")[0])


@pytest.mark.slow
def test_every_example_works(cli: Cli) -> None:
    Path("studies").mkdir()
    shutil.copy(STUDIES / "digits.toml", "studies")
    iris = load_iris(as_frame=True)
    iris.data.assign(species=iris.target).to_csv("table.csv", index=False)
    load_digits(as_frame=True).data.head(3).to_csv("new_rows.csv", index=False)
    other = (STUDIES / "digits.toml").read_text().replace('"digits"', '"digits-wide"', 1)
    Path("studies/digits-wide.toml").write_text(other)
    assert cli("run", "studies/digits-wide.toml").code == 0
    lines = [words for words in examples() if words[0] != ENDLESS]
    lines.sort(key=lambda words: words[0] == LAST)
    for words in lines:
        done = cli(*words)
        assert done.code == 0, (words, done.err)
