"""Chains the rows of the ledger by hashes, so that a changed or missing evaluation is noticed.

Each claim is hashed with the hash of the claim before it, whatever study made it, and the end of
the chain is stored apart. Rows of earlier versions have no hash until `selection db upgrade`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from selection.store.digest import known, row_hash
from selection.store.tables import ledger_end_table, ledger_table

KEY = tuple(column.name for column in ledger_table.primary_key)
# What a claim says, which never changes.
CLAIM = (*KEY, "study_name", "number", "rule", "reason", "claimed_at")
# A row with outputs may be as large as a file.
CHUNK = 64


@dataclass(frozen=True)
class ChainProblem:
    """Hold what is wrong with the ledger: of a study, or of the whole where where is empty."""

    where: str
    check: str
    rule: str
    got: str


def evaluation_hash(row: Mapping[str, Any]) -> str:
    """Return the hash of a row of the ledger, as far as it is filled."""
    return row_hash(known(row))


def extend_chain(connection: Connection, *conditions: sa.ColumnElement[bool]) -> None:
    """Append a claim that was just inserted to the chain, and seal it."""
    # Two claims of two studies wait for each other here.
    position, before = _locked_end(connection)
    query = sa.select(*(ledger_table.c[name] for name in CLAIM)).where(*conditions)
    claim = dict(connection.execute(query).one()._mapping)
    end = {"position": position + 1, "chain_hash": _chain_hash(before, claim)}
    connection.execute(sa.update(ledger_table).where(*conditions).values(end))
    connection.execute(sa.update(ledger_end_table).values(end))
    seal_evaluation(connection, *conditions)


def seal_evaluation(connection: Connection, *conditions: sa.ColumnElement[bool]) -> None:
    """Write the hash of one row of the ledger after a change of it."""
    row = connection.execute(sa.select(ledger_table).where(*conditions)).one()
    sealed = evaluation_hash(dict(row._mapping))
    connection.execute(sa.update(ledger_table).where(*conditions).values(row_hash=sealed))


def _locked_end(connection: Connection) -> tuple[int, str]:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    first = {"id": 1, "position": 0, "chain_hash": ""}
    connection.execute(insert(ledger_end_table).on_conflict_do_nothing(), first)
    end = connection.execute(sa.select(ledger_end_table).with_for_update()).one()
    return end.position, end.chain_hash


def _chain_hash(before: str, claim: Mapping[str, Any]) -> str:
    return row_hash({**{name: claim[name] for name in CLAIM}, "before": before})


def seal_earlier(connection: Connection) -> None:
    """Chain and seal the evaluations of earlier versions, oldest first.

    One whose score is outside its interval stays without a hash: it is no witness of anything.
    """
    columns = ledger_table.c
    order = (columns.claimed_at, columns.study_uuid, columns.evaluation)
    keys = sa.select(*(columns[name] for name in KEY), columns.result_json)
    for row in connection.execute(keys.where(columns.row_hash.is_(None)).order_by(*order)).all():
        if _is_inside(row.result_json):
            is_it = [columns[name] == row._mapping[name] for name in KEY]
            extend_chain(connection, *is_it)


def chain_problems(connection: Connection) -> Iterator[ChainProblem]:
    """Find evaluations that are missing, changed, or without a place in the chain."""
    changed = list(_changed(connection))
    yield from changed
    columns = ledger_table.c
    names = (*CLAIM, "position", "chain_hash", "row_hash", "result_json")
    found = connection.execute(
        sa.select(*(columns[name] for name in names)).order_by(columns.position)
    ).all()
    yield from _outside(row for row in found if row.row_hash is None)
    chained = [row for row in found if row.position is not None]
    end = connection.execute(sa.select(ledger_end_table)).first()
    last, last_hash = (end.position, end.chain_hash) if end is not None else (0, "")
    missing = last - len({row.position for row in chained if row.position <= last})
    rule = "the ledger must have every evaluation that was ever claimed"
    if missing:
        yield ChainProblem("", "ledger", rule, f"{missing} of {last} missing")
    # A claim that was changed has been found by the hash of its row.
    elif not changed and _is_broken(chained, last, last_hash):
        yield ChainProblem("", "ledger", rule, "another order or other claims than at the time")


def _is_broken(chained: list[Any], last: int, last_hash: str) -> bool:
    before = ""
    for row in chained:
        if row.chain_hash != _chain_hash(before, row._mapping):
            return True
        before = row.chain_hash
    return (len(chained), before) != (last, last_hash)


def _changed(connection: Connection) -> Iterator[ChainProblem]:
    query = sa.select(ledger_table).where(ledger_table.c.row_hash.is_not(None))
    changed: dict[str, int] = {}
    for row in connection.execute(query.execution_options(yield_per=CHUNK)):
        if evaluation_hash(dict(row._mapping)) != row.row_hash:
            changed[row.study_name] = changed.get(row.study_name, 0) + 1
    for name, count in sorted(changed.items()):
        got = f"changed bytes in rows of {ledger_table.name}, {count} in all"
        yield ChainProblem(name, "damage", "", got)


def _outside(rows: Iterator[Any]) -> Iterator[ChainProblem]:
    for row in rows:
        if not _is_inside(row.result_json):
            rule = "the score of an evaluation must be inside its interval"
            got = f"another in evaluation {row.evaluation}"
            yield ChainProblem(row.study_name, "score", rule, got)


def _is_inside(result_json: str | None) -> bool:
    if result_json is None:
        return True
    try:
        result = json.loads(result_json)
        low, score, high = result.get("low"), result["score"], result.get("high")
    except (ValueError, KeyError, AttributeError):
        return False
    return low is None or high is None or bool(low <= score <= high)
