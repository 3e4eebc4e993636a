"""Finds tables and indexes that are missing, and makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import show
from selection.store.doctor.findings import Finding, finding
from selection.store.schema_parts import MissingPart, add_missing

RULE = "the database must have every table and every index"


def schema_findings(missing: Iterable[MissingPart]) -> Iterator[Finding]:
    for each in missing:
        check = "table" if isinstance(each.part, sa.Table) else "index"
        hint, got = "selection doctor --fix makes it.", f"no {each}"
        if each.twice:
            got += f", and {show(list(each.twice))} more than once"
            hint = "Delete all but one of each with optuna, then run selection doctor --fix."
        yield finding("database", check, RULE, got, hint, is_fixable=not each.twice)


def fix_schema(connection: Connection) -> list[Finding]:
    """Make what is missing."""
    return list(schema_findings(add_missing(connection)))
