"""Rewrites the terminal output that README and the tutorial show, by running their session.

Output that is shown stands in a block below `<!-- output: COMMAND -->`, behind the line
`$ COMMAND`. The session runs in an empty folder, with the study file of the page.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/tutorial.md")
# They wait for a reader, or need a file of the reader's.
LEFT_OUT = ("serve", "predict")


def rewritten(page: str, folder: Path) -> str:
    """Return a page with the output of its commands as they print it now."""
    study = re.search(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert study is not None, "the page shows a study file"
    (folder / "digits.toml").write_text(study[1])
    for command in re.findall(r"^\$ (selection [^\n#]+)", page, re.MULTILINE):
        command = command.strip()
        if command.split()[1] in LEFT_OUT:
            continue
        printed = run(command, folder)
        if f"<!-- output: {command} -->" in page:
            page = with_output(page, command, printed)
    return page


def run(command: str, folder: Path) -> str:
    """Return what a command prints as its result."""
    words = [sys.executable, "-m", *command.split()]
    print(command)
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)
    lines = [line.rstrip() for line in ended.stdout.strip("\n").splitlines()]
    return "\n".join(lines).replace("python -m selection", "selection")


def with_output(page: str, command: str, printed: str) -> str:
    """Return the page with what stands behind `$ command`, up to the next command, replaced."""
    marker = re.escape(f"<!-- output: {command} -->")
    pattern = rf"({marker}\n```\n(?:\$ [^\n]*\n)*?\$ {re.escape(command)}\n).*?(?=^\$ |^```$)"
    found, count = re.subn(
        pattern, lambda part: f"{part[1]}{printed}\n", page, flags=re.DOTALL | re.MULTILINE
    )
    assert count == 1, command
    return found


def main() -> None:
    """Rewrite both pages."""
    for page in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(rewritten(page.read_text(), Path(folder)))


if __name__ == "__main__":
    main()
