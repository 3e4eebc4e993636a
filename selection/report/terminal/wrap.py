"""Wraps prose at words for a terminal; a word that is wider than the terminal stays whole."""

from __future__ import annotations

from rich.cells import cell_len

HANG = 2
KEPT = "\N{NO-BREAK SPACE}"


def keep(text: str) -> str:
    """Return text whose words wrap never parts."""
    return text.replace(" ", KEPT)


def plain(line: str) -> str:
    """Return a line with ordinary spaces."""
    return line.replace(KEPT, " ")


def wrap(line: str, width: int, *, whole: str = "") -> str:
    """Return a line broken at words; what follows hangs under its text.

    whole is a part that is never broken, such as a command to copy.

    Units: width is in cells of the terminal.
    """
    if whole:
        line = line.replace(whole, keep(whole))
    text = line.lstrip(" ")
    indent = " " * (len(line) - len(text))
    lines = [indent]
    for index, word in enumerate(text.split(" ")):
        joined = f"{lines[-1]}{' ' if index else ''}{word}"
        if index and cell_len(joined) > width:
            lines.append(f"{indent}{' ' * HANG}{word}")
        else:
            lines[-1] = joined
    return plain("\n".join(lines))
