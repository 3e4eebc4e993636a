"""Copies a study into another database.

The copy is the same study: it keeps its uuids and its ledger, and so permits no second evaluation
of the held-out set. Only Optuna's integer ids are new. The source is read in one snapshot; the copy
is written in one transaction, and read back before it is committed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError

from selection.errors import ErrorDetail, StudyStateError
from selection.store.address import Address, errors_at
from selection.store.codec import FoldRow
from selection.store.database import Database
from selection.store.digest import row_hash
from selection.store.hashed_rows import damage_error
from selection.store.ledger import CLAIMED, EVALUATED, RETURNED
from selection.store.ledger_chain import evaluation_hash, extend_chain, seal_evaluation
from selection.store.optuna_rows import (
    studies,
    trials,
)
from selection.store.optuna_storage import KNOWN_REVISION
from selection.store.quarantine import set_aside
from selection.store.study_record import StudyRecord
from selection.store.study_tables import (
    COPIED,
    HASHED,
    OURS,
    STUDY_PARTS,
    TRIAL_PARTS,
    belongs_to,
    count_rows,
    refuse_deleted,
    size_of,
)
from selection.store.study_transaction import find_study
from selection.store.tables import (
    fold_table,
    ledger_table,
    study_table,
    trial_table,
)

# A row with bytes may be as large as a file.
CHUNK_ROWS, CHUNK_ROWS_WITH_BYTES = 200, 10

CLAIM = ("study_name", "number", "rule", "reason", "claimed_at")
OUTCOME = ("state", "evaluated_at", "result_json", "outputs_columns", "outputs", "note")

Row = dict[str, Any]


@dataclass(frozen=True)
class StudyCopy:
    """Count what was copied; waiting is the number of trials that were running in the source."""

    trials: int
    fold_rows: int
    final_models: int
    ledger_rows: int
    waiting: int


def copy_study(source: Database, study: StudyRecord, target: Database) -> StudyCopy:
    """Copy a study from one database into another, completely or not at all.

    Leases are not copied: trials that are running in the source are waiting in the copy.

    Raises: StudyStateError if the study is gone from the source, or the target has a study of its
    name or other evaluations of it; StorageError if a row is damaged or cannot be stored.
    """
    _refuse_same(source, study, target)
    for database in (source, target):
        _refuse_other_tables(database)
    with target.writing() as writer:
        copy = _take_name(writer, study, target)
        with source.reading() as reader:
            refuse_deleted(reader, study)
            counts = count_rows(reader, study)
            # An error while writing is reported for the target, not for the source.
            chunks = _chunks(reader, source.address, study, (*COPIED, ledger_table))
            with _errors_of_values(target.address), closing(chunks):
                _write(writer, copy, chunks)
        waiting = _put_back_running(writer, copy)
        _verify(target.address, writer, copy, counts)
    return StudyCopy(**vars(size_of(counts)), waiting=waiting)


def _refuse_same(source: Database, study: StudyRecord, target: Database) -> None:
    """Refuse to copy a database into itself, where SQLite would wait for its own lock.

    The same server behind two different addresses is noticed later, by the study's name.
    """
    here, there = source.address.path, target.address.path
    is_same_file = here is not None and there is not None and here.samefile(there)
    if is_same_file or source.address.url == target.address.url:
        rule = "a study must be copied into another database"
        raise StudyStateError(ErrorDetail(study.name, rule, f"{target.url} twice", "Name another."))


def _refuse_other_tables(database: Database) -> None:
    if not database.storage.is_batched:
        rule = f"only Optuna's tables of revision {KNOWN_REVISION} can be copied"
        raise database.address.error(rule, "another revision", "Update selection.")


def _take_name(writer: Connection, study: StudyRecord, target: Database) -> StudyRecord:
    """Reserve the study's name in the target; return the study as it will be there."""
    is_same = study_table.c.uuid == study.uuid
    if find_study(writer, is_same) is not None:
        raise _taken(study, target, "the same study")
    # One statement: of two concurrent copies the second waits for the first, and then finds it.
    insert = _insert_new(writer, studies, "study_name").returning(studies.c.study_id)
    study_id = writer.execute(insert, {"study_name": study.name}).scalar()
    if study_id is None:
        is_ours = find_study(writer, studies.c.study_name == study.name) is not None
        got = (
            "a study of that name"
            if is_ours
            else "a study of that name that selection did not create"
        )
        raise _taken(study, target, got)
    # Optuna's own tools delete on SQLite without foreign keys: our row stays behind, and the id is
    # used again.
    left_behind = is_same | (study_table.c.optuna_study_id == study_id)
    set_aside(writer, study_table, left_behind)
    return replace(study, optuna_study_id=study_id)


def _taken(study: StudyRecord, target: Database, got: str) -> StudyStateError:
    rule = f"the name of a copy must be free in {target.url}"
    hint = "Nothing was copied; delete the study there, or name another database."
    return StudyStateError(ErrorDetail(study.name, rule, got, hint))


def _insert_new(writer: Connection, table: sa.Table, *key: str) -> Any:
    """Return an INSERT that leaves a row with the same key alone."""
    insert = sqlite.insert if writer.dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing(index_elements=key)


@contextmanager
def _errors_of_values(address: Address) -> Iterator[None]:
    """Turn a value that SQLite can store and a server cannot into an error of one line.

    A server limits the length of keys, the size of integers and the characters of a text.
    """
    try:
        with errors_at(address):
            yield
    except DataError as error:
        rule = "every value of the study must fit into the database"
        got = str(error.orig).strip().partition("\n")[0]
        raise address.error(
            rule, got, "Nothing was copied; copy it into an SQLite file instead."
        ) from None


def _chunks(
    connection: Connection, address: Address, study: StudyRecord, tables: Sequence[sa.Table]
) -> Generator[tuple[sa.Table, list[Row]]]:
    """Yield the study's rows of each table in chunks; trials come by number.

    Raises: StorageError if a row is damaged.
    """
    for table in tables:
        query = sa.select(table).where(belongs_to(table, study))
        if table is trials:
            query = query.order_by(trials.c.number, trials.c.trial_id)
        elif table in (*STUDY_PARTS, *TRIAL_PARTS):
            query = query.order_by(*table.primary_key)
        has_bytes = any(isinstance(column.type, sa.LargeBinary) for column in table.c)
        size = CHUNK_ROWS_WITH_BYTES if has_bytes else CHUNK_ROWS
        query = query.execution_options(yield_per=size)
        with errors_at(address), connection.execute(query) as result:
            for part in result.partitions():
                rows = [dict(row._mapping) for row in part]
                if table in HASHED or table is ledger_table:
                    _refuse_damaged(address, table, rows)
                yield table, rows


def _refuse_damaged(address: Address, table: sa.Table, rows: list[Row]) -> None:
    for row in rows:
        content = {name: value for name, value in row.items() if name != "row_hash"}
        if table is fold_table:
            found = FoldRow(**content).row_hash
        elif table is ledger_table:
            found = evaluation_hash(row)
        else:
            found = row_hash(content)
        # An evaluation of an earlier version has no hash.
        if row["row_hash"] not in (found, *((None,) if table is ledger_table else ())):
            key = ", ".join(f"{column.name} {row[column.name]}" for column in table.primary_key)
            raise damage_error(address, f"{table.name}, {key}")


def _write(
    writer: Connection, study: StudyRecord, chunks: Iterable[tuple[sa.Table, list[Row]]]
) -> None:
    """Write the rows of all tables under the ids of the copy.

    Raises: StudyStateError if the two ledgers contradict each other.
    """
    ids: dict[int, int] = {}
    for table, rows in chunks:
        moved = [_moved(table, row, study, ids) for row in rows]
        if table is trials:
            ids.update(_write_trials(writer, rows, moved))
        elif table is ledger_table:
            for row in moved:
                _write_evaluation(writer, study, row)
        else:
            writer.execute(sa.insert(table), moved)


def _moved(table: sa.Table, row: Row, study: StudyRecord, ids: Mapping[int, int]) -> Row:
    """Return a row as the copy has it: Optuna's keys are new, ours stay."""
    own = () if table in (*OURS, ledger_table) else table.primary_key
    moved = {name: value for name, value in row.items() if name not in own}
    for name in moved.keys() & {"study_id", "optuna_study_id"}:
        moved[name] = study.optuna_study_id
    for name in moved.keys() & {"trial_id", "optuna_trial_id"}:
        moved[name] = ids[row[name]]
    return moved


def _put_back_running(writer: Connection, copy: StudyRecord) -> int:
    """Let running trials of the copy wait, but not those of other programs; return how many."""
    own = sa.select(trial_table.c.optuna_trial_id).where(trial_table.c.study_uuid == copy.uuid)
    running = (trials.c.state == OptunaState.RUNNING) & trials.c.trial_id.in_(own)
    return writer.execute(
        sa.update(trials).where(running).values(state=OptunaState.WAITING)
    ).rowcount


def _write_trials(writer: Connection, rows: list[Row], moved: list[Row]) -> dict[int, int]:
    """Write Optuna's rows of trials; return the new id of each old one. Ids grow with numbers."""
    insert = sa.insert(trials).returning(trials.c.trial_id, sort_by_parameter_order=True)
    ids = writer.execute(insert, moved).scalars().all()
    # As in _take_name: rows that Optuna's own tools left behind under these ids.
    set_aside(writer, trial_table, trial_table.c.optuna_trial_id.in_(ids))
    return dict(zip((row["trial_id"] for row in rows), ids, strict=True))


def _write_evaluation(writer: Connection, study: StudyRecord, row: Row) -> None:
    """Write an evaluation of the held-out set, unless the target has it already."""
    key = tuple(column.name for column in ledger_table.primary_key)
    unchained = {**row, "position": None, "chain_hash": None, "row_hash": None}
    is_new = writer.execute(_insert_new(writer, ledger_table, *key), unchained).rowcount > 0
    is_same = sa.and_(*(ledger_table.c[name] == row[name] for name in key))
    if is_new:
        # The copy has a chain of its own, with the evaluations that were there before.
        extend_chain(writer, is_same)
    there = writer.execute(sa.select(ledger_table).where(is_same)).one()
    _refuse_contradiction(study, row, dict(there._mapping))
    if there.state == CLAIMED and row["state"] in (EVALUATED, RETURNED):
        outcome = {name: row[name] for name in OUTCOME}
        writer.execute(sa.update(ledger_table).where(is_same).values(outcome))
        seal_evaluation(writer, is_same)


def _refuse_contradiction(study: StudyRecord, here: Row, there: Row) -> None:
    is_done = here["state"] == there["state"] == EVALUATED
    names = (*CLAIM, *OUTCOME) if is_done else CLAIM
    if any(here[name] != there[name] for name in names):
        rule = "both ledgers must agree on an evaluation of the held-out set"
        got = f"evaluation {here['evaluation']} of trial {here['number']} at {_at(here)} and of "
        got += f"trial {there['number']} at {_at(there)}"
        hint = "Nothing was copied; keep the study where it is, or name another database."
        raise StudyStateError(ErrorDetail(study.name, rule, got, hint))


def _at(evaluation: Row) -> str:
    return f"{evaluation['claimed_at']:%Y-%m-%d %H:%M:%S} UTC"


def _verify(
    address: Address, writer: Connection, copy: StudyRecord, counts: Mapping[str, int]
) -> None:
    """Read the copy back before it is committed.

    Raises: StorageError if a row is missing or damaged.
    """
    found = count_rows(writer, copy)
    for table in COPIED:
        if found[table.name] != counts[table.name]:
            rule = f"a copy must have {counts[table.name]} rows of {table.name}"
            got = f"{found[table.name]} read back"
            raise address.error(rule, got, "Nothing was copied; run selection db check.")
    for _ in _chunks(writer, address, copy, HASHED):
        pass
