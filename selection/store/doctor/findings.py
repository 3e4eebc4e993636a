"""One problem of a database, as a value and as one line."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from selection.errors import ErrorDetail

BELONGS = "every row must belong to a study or trial that exists"


@dataclass(frozen=True)
class Finding(ErrorDetail):
    """Describe a problem, the check that found it, and whether fix() can solve it.

    where is the name of a study, or "database".
    """

    check: str
    is_fixable: bool


def finding(
    where: str, check: str, rule: str, got: str, hint: str, *, is_fixable: bool = False
) -> Finding:
    return Finding(where, rule, got, hint, check, is_fixable)


def orphan(where: str, table: sa.Table, count: int, moved: int) -> Finding:
    """Describe rows that belong to nothing; moved counts what belongs to them too."""
    got = f"rows of {table.name} without one, {count} in all"
    hint = (
        f"selection doctor --fix moves {moved} rows into the quarantine; selection doctor "
        "--restore brings them back."
    )
    return finding(where, "orphan", BELONGS, got, hint, is_fixable=True)
