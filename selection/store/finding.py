"""What is wrong in a database, in one line each."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from selection.errors import Fault

BELONGS = "each of our rows must belong to something"
RESTORE = "Restore a copy of the database."
MEND = "Run selection doctor --fix."


@dataclass(frozen=True)
class Finding(Fault):
    """Say what is wrong in a database, which check says so, and whether mend() puts it right.

    where is the name of a study, or "database".
    """

    check: str
    is_mendable: bool


def finding(
    where: str, check: str, rule: str, got: str, mend: str, *, is_mendable: bool = False
) -> Finding:
    return Finding(where, rule, got, mend, check, is_mendable)


def orphan(where: str, table: sa.Table, count: int) -> Finding:
    got = f"rows of {table.name} that point at nothing, {count} in all"
    return finding(where, "orphan", BELONGS, got, MEND, is_mendable=True)
