"""Text of data, names and other programs as a terminal may show it.

A terminal obeys control characters: a class name could clear the screen, or set its title.
"""

from __future__ import annotations

import re

# Control characters, halves of pairs, line ends that no file has, and what reverses text.
OTHERS = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
HIDDEN = re.compile(rf"[\x00-\x1f{OTHERS}]")
HIDDEN_IN_LINES = re.compile(rf"[\x00-\x09\x0b-\x1f{OTHERS}]")


def readable(text: str) -> str:
    """Return text on one line, with what a terminal would obey as escapes such as \\x1b."""
    return HIDDEN.sub(_escape, text)


def readable_lines(text: str) -> str:
    """Return text with its line breaks, otherwise as readable does."""
    return HIDDEN_IN_LINES.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
