"""Copies a study into another database, and deletes one but for its evaluations.

A copy is the same study: its uuids and its ledger stay, so that it gives no second evaluation of
the held-out set. Only Optuna's integer ids are new. A copy is read at one moment, and written in
one transaction that ends only after everything was read back.
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
from selection.store.hashed_rows import row_hash
from selection.store.ledger import CLAIMED, EVALUATED
from selection.store.optuna_rows import (
    studies,
    trials,
)
from selection.store.optuna_storage import KNOWN_REVISION
from selection.store.study_record import StudyRecord
from selection.store.study_tables import (
    COPIED,
    HASHED,
    OURS,
    STUDY_PARTS,
    TRIAL_PARTS,
    belongs_to,
    count,
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

# A row that holds bytes may be as big as a file.
CHUNK_ROWS, CHUNK_ROWS_WITH_BYTES = 200, 10

CLAIM = ("study_name", "number", "rule", "reason", "claimed_at")
OUTCOME = ("state", "evaluated_at", "result_json", "outputs_columns", "outputs")

Row = dict[str, Any]


@dataclass(frozen=True)
class StudyCopy:
    """Count what was copied; waiting are the trials that were running where they came from."""

    trials: int
    fold_rows: int
    final_models: int
    ledger_rows: int
    waiting: int


def copy_study(source: Database, study: StudyRecord, target: Database) -> StudyCopy:
    """Copy a study from one database into another, whole or not at all.

    Nobody holds a trial in the copy: those that run in the source wait there.

    Raises: StudyStateError where the study is gone from the source, or the target has one of its
    name or other evaluations; StorageError where a row is damaged or cannot be kept.
    """
    _refuse_same(source, study, target)
    for database in (source, target):
        _refuse_other_tables(database)
    with target.writing() as writer:
        copy = _take_name(writer, study, target)
        with source.reading() as reader:
            refuse_deleted(reader, study)
            counts = count_rows(reader, study)
            running = trials.c.state == OptunaState.RUNNING
            waiting = count(reader, trials, belongs_to(trials, study) & running)
            # What goes wrong while writing is said of the target, not of the source.
            chunks = _chunks(reader, source.address, study, (*COPIED, ledger_table))
            with _errors_of_values(target.address), closing(chunks):
                _write(writer, copy, chunks)
        _verify(target.address, writer, copy, counts)
    return StudyCopy(**vars(size_of(counts)), waiting=waiting)


def _refuse_same(source: Database, study: StudyRecord, target: Database) -> None:
    """Refuse to copy a database into itself, where SQLite would wait for itself.

    A server that two addresses spell in two ways is found out by the study's name.
    """
    here, there = source.address.path, target.address.path
    is_same_file = here is not None and there is not None and here.samefile(there)
    if is_same_file or source.address.url == target.address.url:
        rule = "a study is copied into another database"
        raise StudyStateError(ErrorDetail(study.name, rule, f"{target.url} twice", "Name another."))


def _refuse_other_tables(database: Database) -> None:
    if not database.storage.is_batched:
        rule = f"only Optuna's tables of revision {KNOWN_REVISION} can be copied"
        raise database.address.error(rule, "those of another", "Update selection.")


def _take_name(writer: Connection, study: StudyRecord, target: Database) -> StudyRecord:
    """Take the study's name in the target; return the study as it will be there."""
    is_it = study_table.c.uuid == study.uuid
    if find_study(writer, is_it) is not None:
        raise _taken(study, target, "this very study")
    # One statement: of two copies at once the second waits for the first, and finds it.
    insert = _insert_new(writer, studies, "study_name").returning(studies.c.study_id)
    study_id = writer.execute(insert, {"study_name": study.name}).scalar()
    if study_id is None:
        is_ours = find_study(writer, studies.c.study_name == study.name) is not None
        got = "a study of that name" if is_ours else "a study of that name that only Optuna knows"
        raise _taken(study, target, got)
    # Optuna's own tools delete on SQLite without foreign keys: our row stays behind, and the id is
    # given again.
    left_behind = is_it | (study_table.c.optuna_study_id == study_id)
    writer.execute(sa.delete(study_table).where(left_behind))
    return replace(study, optuna_study_id=study_id)


def _taken(study: StudyRecord, target: Database, got: str) -> StudyStateError:
    rule = f"a copy needs a name that is free in {target.url}"
    hint = "Nothing was copied; delete the one that is there, or name another database."
    return StudyStateError(ErrorDetail(study.name, rule, got, hint))


def _insert_new(writer: Connection, table: sa.Table, *key: str) -> Any:
    """Return an INSERT that leaves a row with the same key alone."""
    insert = sqlite.insert if writer.dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing(index_elements=key)


@contextmanager
def _errors_of_values(address: Address) -> Iterator[None]:
    """Turn a value that SQLite keeps and a server does not into an error of one line.

    A server limits how long a key may be, how great an integer, and which characters a text has.
    """
    try:
        with errors_at(address):
            yield
    except DataError as error:
        rule = "every value of the study must fit into the database"
        got = str(error.orig).strip().partition("\n")[0]
        raise address.error(rule, got, "Nothing was copied; copy it to SQLite.") from None


def _chunks(
    connection: Connection, address: Address, study: StudyRecord, tables: Sequence[sa.Table]
) -> Generator[tuple[sa.Table, list[Row]]]:
    """Yield the study's rows of each table, a few at a time; those of trials by number.

    Raises: StorageError where a row is damaged.
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
                if table in HASHED:
                    _refuse_damaged(address, table, rows)
                yield table, rows


def _refuse_damaged(address: Address, table: sa.Table, rows: list[Row]) -> None:
    for row in rows:
        said = {name: value for name, value in row.items() if name != "row_hash"}
        found = FoldRow(**said).row_hash if table is fold_table else row_hash(said)
        if found != row["row_hash"]:
            key = ", ".join(f"{column.name} {row[column.name]}" for column in table.primary_key)
            rule = "what was stored must be read back unchanged"
            got = f"other bytes in {table.name}, {key}"
            raise address.error(rule, got, "Restore a copy of the database.")


def _write(
    writer: Connection, study: StudyRecord, chunks: Iterable[tuple[sa.Table, list[Row]]]
) -> None:
    """Write rows of all tables under the ids of the copy.

    Raises: StudyStateError where the two ledgers contradict each other.
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
    """Return a row as the copy has it: Optuna's keys are given anew, ours stay."""
    own = () if table in (*OURS, ledger_table) else table.primary_key
    moved = {name: value for name, value in row.items() if name not in own}
    for name in moved.keys() & {"study_id", "optuna_study_id"}:
        moved[name] = study.optuna_study_id
    for name in moved.keys() & {"trial_id", "optuna_trial_id"}:
        moved[name] = ids[row[name]]
    if table is trials and row["state"] is OptunaState.RUNNING:
        moved["state"] = OptunaState.WAITING
    return moved


def _write_trials(writer: Connection, rows: list[Row], moved: list[Row]) -> dict[int, int]:
    """Write trials of Optuna's; return the new id of each old one. Ids grow with numbers."""
    insert = sa.insert(trials).returning(trials.c.trial_id, sort_by_parameter_order=True)
    ids = writer.execute(insert, moved).scalars().all()
    # As in _take_name: what Optuna's own tools left behind under these ids.
    writer.execute(sa.delete(trial_table).where(trial_table.c.optuna_trial_id.in_(ids)))
    return dict(zip((row["trial_id"] for row in rows), ids, strict=True))


def _write_evaluation(writer: Connection, study: StudyRecord, row: Row) -> None:
    """Write an evaluation of the held-out set; what the target has of it stays."""
    key = tuple(column.name for column in ledger_table.primary_key)
    writer.execute(_insert_new(writer, ledger_table, *key), row)
    is_same = sa.and_(*(ledger_table.c[name] == row[name] for name in key))
    there = writer.execute(sa.select(ledger_table).where(is_same)).one()
    _refuse_contradiction(study, row, dict(there._mapping))
    if (row["state"], there.state) == (EVALUATED, CLAIMED):
        outcome = {name: row[name] for name in OUTCOME}
        writer.execute(sa.update(ledger_table).where(is_same).values(outcome))


def _refuse_contradiction(study: StudyRecord, here: Row, there: Row) -> None:
    is_done = here["state"] == there["state"] == EVALUATED
    names = (*CLAIM, *OUTCOME) if is_done else CLAIM
    if any(here[name] != there[name] for name in names):
        rule = "both ledgers must tell the same of an evaluation of the held-out set"
        got = f"for evaluation {here['evaluation']} trial {here['number']} at {_at(here)} and "
        got += f"trial {there['number']} at {_at(there)}"
        hint = "Nothing was copied; keep the study where it is, or name another database."
        raise StudyStateError(ErrorDetail(study.name, rule, got, hint))


def _at(evaluation: Row) -> str:
    return f"{evaluation['claimed_at']:%Y-%m-%d %H:%M:%S} UTC"


def _verify(
    address: Address, writer: Connection, copy: StudyRecord, counts: Mapping[str, int]
) -> None:
    """Read the copy back before it is kept.

    Raises: StorageError where a row is missing or damaged.
    """
    found = count_rows(writer, copy)
    for table in COPIED:
        if found[table.name] != counts[table.name]:
            rule = f"a copy must hold {counts[table.name]} rows of {table.name}"
            got = f"{found[table.name]} read back"
            raise address.error(rule, got, "Nothing was copied; run selection db check.")
    for _ in _chunks(writer, address, copy, HASHED):
        pass
