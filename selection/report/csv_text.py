"""Rows as CSV that a spreadsheet can open without running any of it.

Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from typing import Any

# A spreadsheet takes text that begins so for a formula, also in the full-width form of a character.
FORMULA_STARTS = frozenset("=+-@")
# What a spreadsheet may leave out before it decides, beside white space.
IGNORED = frozenset(map(chr, range(32))) | frozenset("\x7f\u200b\ufeff")


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows of equal keys as CSV with a header; text that looks like a formula is quoted."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_safe(name) for name in rows[0]])
    writer.writerows([_safe(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _safe(value: Any) -> Any:
    """Return numbers as they are: a negative one is no formula."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")  # which csv would leave unquoted, and readers take for a line
    return f"'{text}" if _is_formula(text) and not _is_number(text) else text


def _is_formula(text: str) -> bool:
    start = next((each for each in text if not (each in IGNORED or each.isspace())), "")
    is_split = text.startswith(("\t", "\n"))
    return is_split or unicodedata.normalize("NFKC", start)[:1] in FORMULA_STARTS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
