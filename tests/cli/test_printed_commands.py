"""Every command that is printed for a study works as it is printed, whatever its name is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from selection.report.html.render import static_file
from tests.command_line import Cli

STUDY = """
name = {name}
recipe = "book"
[data]
dataset = "iris"
held_out = 0.2
[training]
epochs = 2
[space]
width = {{ choices = [4, 8] }}
[search]
trials = 2
pruner = "none"
[assessment]
bootstraps = 100
"""


def printed_commands(text: str) -> list[list[str]]:
    """Return the words of each command in a text, without what a shell does with its output."""
    lines = re.findall(r"(?:^\s*|: )(selection .*?)(?: > \S+)?$", text, re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("name", ["-x", "--help", "it's 2"])
def test_what_next_works_as_it_is_printed(cli: Cli, name: str) -> None:
    Path("study.toml").write_text(STUDY.format(name=f'"{name}"'))
    ran = cli("run", "study.toml")
    assert ran.code == 0, ran.err
    steps = printed_commands(ran.out)
    assert [words[0] for words in steps] == ["evaluate", "evaluate", "export", "trials"]
    assert printed_commands(cli("best", "--", name).out) == [steps[0]]
    erased = printed_commands(cli("delete", "--", name).out)
    for words in [*steps[1:], *erased]:
        done = cli(*words)
        assert done.code == 0, (words, done.err)
        for further in printed_commands(done.out):
            assert further[0] in ("export", "predict")


def test_reports_and_cards_print_it_likewise(cli: Cli) -> None:
    Path("study.toml").write_text(STUDY.format(name='"-x"'))
    cli("run", "study.toml")
    cli("report", "--to", "report.html", "--", "-x")
    page = Path("report.html").read_text().replace(static_file("plotly.min.js"), "")
    assert "selection evaluate -- -x" in page
    assert "selection evaluate -x" not in page
    cli("export", "--to", "out", "--", "-x")
    assert "evaluate -x" not in Path("out/MODEL_CARD.md").read_text()
