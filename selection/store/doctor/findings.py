"""What is wrong in a database, in one line each."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from selection.errors import ErrorDetail

BELONGS = "each of our rows must belong to something"
RESTORE = "Restore a copy of the database."
FIX = "Run selection doctor --fix."


@dataclass(frozen=True)
class Finding(ErrorDetail):
    """Say what is wrong in a database, which check says so, and whether fix() puts it right.

    where is the name of a study, or "database".
    """

    check: str
    is_fixable: bool


def finding(
    where: str, check: str, rule: str, got: str, hint: str, *, is_fixable: bool = False
) -> Finding:
    return Finding(where, rule, got, hint, check, is_fixable)


def orphan(where: str, table: sa.Table, count: int) -> Finding:
    got = f"rows of {table.name} that point at nothing, {count} in all"
    return finding(where, "orphan", BELONGS, got, FIX, is_fixable=True)
