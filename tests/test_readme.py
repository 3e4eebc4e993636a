"""README, tutorial and how-to pages tell the truth: their files, commands, code and targets."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import tomli_w
import typer.testing

import selection
from selection.cli.main import app
from selection.study.spec import parse_study
from tests.command_line import Cli

pytestmark = pytest.mark.usual_recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs/tutorial.md"
GUIDES = [README, TUTORIAL, ROOT / "docs/python-api.md", *sorted(ROOT.glob("docs/how-to/*.md"))]
MOST_WORDS = 700
# They wait for a reader.
ENDLESS = ("serve",)
CUSTOMERS = [(n // 2, 20 + n % 50, "basic" if n % 3 else "pro", n % 7, n) for n in range(80)]


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def command_lines(page: Path) -> list[list[str]]:
    """Return the words behind `$ selection` in the blocks of a page."""
    lines = re.findall(r"^\$ selection (.*)$", "\n".join(blocks(page, "")), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def shortened(text: str) -> str:
    """Return a study file with fewer trials and epochs."""
    content = tomllib.loads(text)
    content["search"]["trials"] = 4
    content.setdefault("training", {})["epochs"] = 2
    return tomli_w.dumps(content)


@pytest.fixture
def _files(cli: Cli) -> None:  # noqa: ARG001 - it makes the folder
    """The study files and tables that the pages name, in the folder of the command line."""
    from sklearn.datasets import load_digits

    Path("studies").mkdir()
    for name in ("digits.toml", "studies/digits.toml"):
        Path(name).write_text(shortened(blocks(README, "toml")[0]))
    digits = load_digits().data[:5]
    names = ",".join(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
    rows = "\n".join(",".join(str(value) for value in row) for row in digits)
    Path("new_rows.csv").write_text(f"{names}\n{rows}\n")
    lines = [
        f"{customer},{age},{plan},{calls},{calls * 2.5},{'yes' if calls > 3 else 'no'},{note}"
        for customer, age, plan, calls, note in CUSTOMERS
    ]
    head = "customer,age,plan,calls,fee,churned,note"
    Path("customers.csv").write_text("\n".join([head, *lines, ""]))


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) < MOST_WORDS


def test_the_tutorial_asks_the_question_of_the_readme() -> None:
    assert blocks(TUTORIAL, "toml") == blocks(README, "toml")


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_study_file_shown_is_valid(page: Path) -> None:
    for text in blocks(page, "toml"):
        parse_study(tomllib.loads(text), page.name)


@pytest.mark.usefixtures("_files")
def test_the_study_of_a_table_runs(cli: Cli) -> None:
    (text,) = blocks(ROOT / "docs/how-to/own-table.md", "toml")
    Path("churn.toml").write_text(shortened(text))
    ended = cli("run", "churn.toml")
    assert ended.code == 0, ended.err


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("page", [README, TUTORIAL], ids=lambda page: page.stem)
def test_the_session_shown_runs(page: Path, cli: Cli) -> None:
    for words in command_lines(page):
        if words[0] not in ENDLESS:
            ended = cli(*words)
            assert ended.code == 0, (words, ended.err)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_command_and_option_shown_exists(page: Path) -> None:
    runner = typer.testing.CliRunner()
    for words in command_lines(page):
        command = words[:2] if words[0] == "db" else words[:1]
        result = runner.invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, words
        for word in words:
            if word.startswith("-"):
                assert word in result.output, words


def needs_api(code: str) -> bool:
    return re.search(r"^import selection$", code, re.MULTILINE) is not None


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_code_shown_runs(page: Path, cli: Cli) -> None:
    code = blocks(page, "python")
    if not code:
        pytest.skip("the page shows no code")
    if any(map(needs_api, code)) and "run" not in selection.__all__:
        pytest.skip("the Python API is not there yet")
    assert cli("run", "digits.toml").code == 0
    assert cli("export", "digits", "--to", "exports").code == 0
    for text in code:
        exec(compile(text, page.name, "exec"), {"__name__": "__main__"})


def targets() -> list[str]:
    pages = [*GUIDES, *ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]
    text = "\n".join(page.read_text() for page in pages)
    return sorted(set(re.findall(r"(?:`|^ +|^\$ |\()make ([a-z-]+)", text, re.MULTILINE)))


def test_every_target_shown_is_listed() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    shown = targets()
    assert {"setup", "test", "docs"} <= set(shown)
    for target in shown:
        assert re.search(rf"^{target}\b", listed.stdout, re.MULTILINE), target
