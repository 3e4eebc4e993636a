"""Finds studies without a link to Optuna's tables, and rows of ours without a study or trial.

Optuna's own tools cause both: on SQLite they delete without foreign keys and use ids again, and
Optuna Dashboard renames a study by copying it.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from selection.errors import show
from selection.store.doctor.findings import Finding, finding, orphan
from selection.store.links import RULE, BrokenLinks, link_again
from selection.store.optuna_rows import studies, study_user_attrs
from selection.store.optuna_storage import BatchedStorage
from selection.store.quarantine import OF_A_STUDY, count_of, set_aside
from selection.store.study_transaction import UUID_ATTR, uuid_mark
from selection.store.tables import fold_table, study_table, trial_table


def _is_orphan(broken: BrokenLinks) -> dict[sa.Table, sa.ColumnElement[bool]]:
    """Return, by table, the condition that the study or trial of a row does not exist."""
    there = sa.select(study_table.c.uuid)
    return {
        study_table: study_table.c.uuid.in_(broken.lost),
        **{table: table.c.study_uuid.not_in(there) for table in OF_A_STUDY},
        fold_table: fold_table.c.trial_uuid.not_in(sa.select(trial_table.c.uuid)),
    }


def orphans(connection: Connection, broken: BrokenLinks) -> Iterator[Finding]:
    for table, condition in _is_orphan(broken).items():
        count = connection.scalar(sa.select(sa.func.count()).select_from(table).where(condition))
        if count:
            yield orphan("database", table, count, count_of(connection, table, condition))


def fix_orphans(connection: Connection, broken: BrokenLinks) -> list[Finding]:
    """Move rows that belong to nothing into the quarantine."""
    found = list(orphans(connection, broken))
    if found:
        for table, condition in _is_orphan(broken).items():
            set_aside(connection, table, condition)
    return found


def unlinked(broken: BrokenLinks) -> Iterator[Finding]:
    """Find studies of ours that can be linked again, and those with more than one copy."""
    for link in broken.links:
        hint = f"selection doctor --fix links its {len(link.trial_ids)} trials again."
        yield finding(link.name, "link", RULE, link.got, hint, is_fixable=True)
    for names in broken.doubtful.values():
        hint = "Delete all but one with optuna, then run selection doctor --fix."
        yield finding("database", "link", RULE, f"the copies {show(list(names))}", hint)


def fix_links(
    connection: Connection, storage: BatchedStorage, broken: BrokenLinks
) -> list[Finding]:
    for link in broken.links:
        link_again(connection, storage, link)
    return [each for each in unlinked(broken) if each.is_fixable]


def unmarked(broken: BrokenLinks) -> Iterator[Finding]:
    """Find Optuna's studies that a row of ours points to and that are not marked as ours.

    The id may have been used again for another study: only a person can tell.
    """
    for uuid, name in broken.unmarked:
        rule = f"a study of selection must have the user attribute {UUID_ATTR}"
        hint = (
            f"If selection created it: optuna study set-user-attr --study-name {name} "
            f"--key {UUID_ATTR} --value {uuid}. If not, delete it with optuna."
        )
        yield finding(name, "unmarked", rule, "no such attribute", hint)


def unknown_copies(connection: Connection, broken: BrokenLinks) -> Iterator[Finding]:
    is_its_row = (study_table.c.optuna_study_id == studies.c.study_id) & (
        study_user_attrs.c.value_json == uuid_mark()
    )
    query = (
        sa.select(studies.c.study_name)
        .join(study_user_attrs, _marks(studies.c.study_id))
        .outerjoin(study_table, is_its_row)
        .where(study_table.c.uuid.is_(None))
        .order_by(studies.c.study_name)
    )
    # Another finding speaks of these.
    known = {link.name for link in broken.links}.union(*broken.doubtful.values())
    for name in connection.scalars(query):
        if name in known:
            continue
        rule = f"a study with the user attribute {UUID_ATTR} must have a row in {study_table.name}"
        hint = (
            "Only Optuna's tools can read it: delete it with optuna, or run the study file again "
            "under another name."
        )
        yield finding(name, "copy", rule, "a copy, as renaming in Optuna Dashboard makes one", hint)


def _marks(study_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the condition for the user attribute that marks Optuna's study as ours."""
    return (study_user_attrs.c.study_id == study_id) & (study_user_attrs.c.key == UUID_ATTR)
