"""Classes and columns whose names a terminal would obey are shown, and obeyed by nobody."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import Cli

NAMES = ("\x1b[2Jred", "\x1b]0;title\x07green")
STUDY = """
name = "hostile"
recipe = "book"
[data]
path = "t.csv"
target = "y"
held_out = 0.3
[cv]
folds = 2
[training]
epochs = 2
[space]
width = { choices = [4, 8] }
[search]
trials = 2
pruner = "none"
[assessment]
bootstraps = 100
"""


def test_no_command_sends_what_a_class_is_called_to_the_terminal(cli: Cli) -> None:
    rows = [f"{i % 7},{i % 5},{NAMES[i % 2]}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["a,b\x1b[31m,y", *rows]) + "\n")
    Path("s.toml").write_text(STUDY)
    said = [
        cli("run", "s.toml"),
        cli("best"),
        cli("status"),
        cli("diagnose"),
        cli("evaluate"),
        cli("export", "--to", "out"),
    ]
    for each in said:
        assert each.code == 0, each.err
        assert "\x1b" not in each.out + each.err
    assert "\\x1b[2Jred" in said[4].out
    assert "\x1b" not in Path("out/MODEL_CARD.md").read_text()
    Path("t.csv").write_text("\n".join(["a,\x1b[31m,y", "1,x,\x1b[2J", "2,y,n"]) + "\n")
    wrong = cli("run", "s.toml", "--name", "other")
    assert wrong.code == 1
    assert "\x1b" not in wrong.err
