"""Finds studies of ours whose link to Optuna's tables is broken, and links them again.

A study of ours knows the id of Optuna's study, which has its uuid as a user attribute. Optuna
Dashboard renames a study by copying it to other ids and deleting the first, and any tool may write
another value into the attribute. Nothing of ours is lost by either.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import Connection

from selection.errors import ErrorDetail, StudyStateError, show
from selection.store.codec import score_from_row
from selection.store.digest import json_hash
from selection.store.optuna_rows import studies, study_user_attrs, trial_values, trials
from selection.store.optuna_storage import BatchedStorage
from selection.store.quarantine import set_aside
from selection.store.seals import seal_study, study_hash
from selection.store.study_transaction import UUID_ATTR, our_studies
from selection.store.tables import fold_table, study_table, trial_table
from selection.study.trial import mean_over_folds

RULE = "a study of selection must be linked to its study in Optuna's tables"


@dataclass(frozen=True)
class Link:
    """Hold a link that can be made again: which study of ours belongs to which of Optuna's.

    name is what Optuna calls it, first_name what its study file calls it. trial_ids are the ids of
    Optuna's trials by the uuid of ours. got says what broke the link.
    """

    uuid: str
    study_id: int
    name: str
    first_name: str
    trial_ids: Mapping[str, int]
    got: str


@dataclass(frozen=True)
class BrokenLinks:
    """Hold the studies of ours without a link, each in one of four ways.

    links can be made again. lost are the uuids of studies that Optuna no longer has. unmarked are
    uuids and names where Optuna's study has no attribute of ours and other trials. doubtful are
    the names of several copies, one tuple for each study.
    """

    links: Sequence[Link]
    lost: Sequence[str]
    unmarked: Sequence[tuple[str, str]]
    doubtful: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Broken:
    """Hold one study of ours without a link, and its trials with their means over all folds."""

    uuid: str
    study_id: int
    first_name: str
    trials: Sequence[Any]
    means: Mapping[str, float]


def broken_links(connection: Connection) -> BrokenLinks:
    """Return the studies of ours without a link, and what can be done for each."""
    found = [_read(connection, row) for row in _unlinked(connection)]
    if not found:
        return BrokenLinks((), (), (), {})
    names = {row.study_id: row.study_name for row in connection.execute(sa.select(studies))}
    marks = _marks(connection)
    links, others = [], []
    for each in found:
        name = names.get(each.study_id)
        if name is not None and _is_unchanged(connection, each, name):
            links.append(_in_place(each, name, is_marked=each.study_id in marks))
        else:
            others.append(each)
    is_taken = {link.study_id for link in links} | set(_linked_ids(connection))
    lost, unmarked = [], []
    doubtful: dict[str, tuple[str, ...]] = {}
    for each in others:
        copies = [i for i, mark in marks.items() if mark == each.uuid and i not in is_taken]
        likely = [i for i in copies if not _contradicts(each, _by_number(connection, i))]
        chosen = likely if len(copies) > 1 else copies
        if len(chosen) == 1:
            links.append(_to_copy(connection, each, chosen[0], names[chosen[0]]))
        elif copies:
            doubtful[each.uuid] = tuple(sorted(names[i] for i in copies))
        elif each.study_id in names and each.study_id not in {*marks, *is_taken}:
            unmarked.append((each.uuid, names[each.study_id]))
        else:
            lost.append(each.uuid)
    return BrokenLinks(links, lost, unmarked, doubtful)


def _unlinked(connection: Connection) -> Sequence[Any]:
    linked = our_studies().subquery()
    query = sa.select(study_table).where(study_table.c.uuid.not_in(sa.select(linked.c.uuid)))
    return connection.execute(query.order_by(study_table.c.created_at, study_table.c.uuid)).all()


def _linked_ids(connection: Connection) -> Sequence[int]:
    return connection.scalars(sa.select(our_studies().subquery().c.optuna_study_id)).all()


def _marks(connection: Connection) -> dict[int, Any]:
    """Return what the attribute of ours says of each of Optuna's studies that has it, by id."""
    columns = study_user_attrs.c
    query = sa.select(columns.study_id, columns.value_json).where(columns.key == UUID_ATTR)
    return {row.study_id: json.loads(row.value_json) for row in connection.execute(query)}


def _read(connection: Connection, row: Any) -> _Broken:
    try:
        first_name = str(json.loads(row.spec_json)["name"])
    except (ValueError, KeyError, TypeError):
        first_name = ""
    own = sa.select(trial_table).where(trial_table.c.study_uuid == row.uuid)
    members = connection.execute(
        sa.select(fold_table.c.trial_uuid, fold_table.c.score)
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == row.uuid)
        .order_by(fold_table.c.trial_uuid, fold_table.c.repeat, fold_table.c.fold)
    )
    means = {
        uuid: mean_over_folds(np.array([score_from_row(member.score) for member in group]))
        for uuid, group in groupby(members, attrgetter("trial_uuid"))
    }
    own_rows = connection.execute(own.order_by(trial_table.c.number)).all()
    return _Broken(row.uuid, row.optuna_study_id, first_name, own_rows, means)


def _by_number(connection: Connection, study_id: int) -> dict[int, Any]:
    on_value = (trial_values.c.trial_id == trials.c.trial_id) & (trial_values.c.objective == 0)
    query = (
        sa.select(trials.c.trial_id, trials.c.number, trials.c.state, trial_values.c.value)
        .select_from(trials.outerjoin(trial_values, on_value))
        .where(trials.c.study_id == study_id, trials.c.number.is_not(None))
    )
    return {row.number: row for row in connection.execute(query)}


def _agreements(broken: _Broken, theirs: Mapping[int, Any]) -> Counter[bool]:
    """Count complete trials whose value is, and is not, the mean over our folds."""
    pairs = [(broken.means.get(own.uuid), theirs.get(own.number)) for own in broken.trials]
    return Counter(
        mean == other.value
        for mean, other in pairs
        if mean is not None and other is not None and other.state is OptunaState.COMPLETE
    )


def _contradicts(broken: _Broken, theirs: Mapping[int, Any]) -> bool:
    is_missing = any(own.number not in theirs for own in broken.trials)
    return is_missing or _agreements(broken, theirs)[False] > 0


def _is_unchanged(connection: Connection, broken: _Broken, name: str) -> bool:
    """Say whether the study of Optuna's that has our id is still the one that we created.

    The ids of a deleted study are given again: the same numbers and ids are no proof.
    """
    theirs = _by_number(connection, broken.study_id)
    found = {number: row.trial_id for number, row in theirs.items()}
    if any(found.get(own.number) != own.optuna_trial_id for own in broken.trials):
        return False
    agreements = _agreements(broken, theirs)
    return not agreements[False] and (agreements[True] > 0 or name == broken.first_name)


def _in_place(broken: _Broken, name: str, *, is_marked: bool) -> Link:
    got = f"{'another' if is_marked else 'no'} user attribute {UUID_ATTR} in study {show(name)}"
    ids = {own.uuid: own.optuna_trial_id for own in broken.trials}
    return Link(broken.uuid, broken.study_id, name, broken.first_name, ids, got)


def _to_copy(connection: Connection, broken: _Broken, study_id: int, name: str) -> Link:
    theirs = _by_number(connection, study_id)
    ids = {own.uuid: theirs[own.number].trial_id for own in broken.trials if own.number in theirs}
    got = f"the copy {show(name)}, as renaming in Optuna Dashboard makes one"
    return Link(broken.uuid, study_id, name, broken.first_name, ids, got)


def link_again(connection: Connection, storage: BatchedStorage, link: Link) -> None:
    """Let a study of ours point to Optuna's, and its file have the name that Optuna has."""
    is_study, columns = study_table.c.uuid == link.uuid, trial_table.c
    before = connection.execute(sa.select(study_table).where(is_study)).one()
    update = sa.update(study_table).where(is_study)
    connection.execute(update.values(optuna_study_id=link.study_id))
    storage.joined(connection).set_study_user_attr(link.study_id, UUID_ATTR, link.uuid)
    is_sound = before.row_hash == study_hash(connection, link.uuid)
    if named := _named(before.spec_json, link.name):
        connection.execute(update.values(named))
        # A change by another tool must stay seen.
        if is_sound:
            seal_study(connection, link.uuid)
    old = sa.select(columns.uuid, columns.optuna_trial_id).where(columns.study_uuid == link.uuid)
    moved = [
        {"key": row.uuid, "new": link.trial_ids[row.uuid], "between": -link.trial_ids[row.uuid]}
        for row in connection.execute(old)
        if link.trial_ids.get(row.uuid, row.optuna_trial_id) != row.optuna_trial_id
    ]
    if moved:
        _move_trials(connection, link, moved)


def _move_trials(connection: Connection, link: Link, moved: list[dict[str, Any]]) -> None:
    columns = trial_table.c
    # Rows of a study that is gone, whose ids were given again.
    theirs = sa.select(trials.c.trial_id).where(trials.c.study_id == link.study_id)
    in_the_way = columns.optuna_trial_id.in_(theirs) & (columns.study_uuid != link.uuid)
    set_aside(connection, trial_table, in_the_way)
    update = sa.update(trial_table).where(columns.uuid == sa.bindparam("key"))
    steps: tuple[str, ...] = ("new",)
    if connection.dialect.name == "sqlite":
        # SQLite gives ids again: one may be the old id of one trial and the new one of another.
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        steps = ("between", "new")
    for name in steps:
        connection.execute(update.values(optuna_trial_id=sa.bindparam(name)), moved)


def _named(spec_json: str, name: str) -> dict[str, str]:
    """Return the study file under another name, with its fingerprint; nothing if it has it."""
    spec = json.loads(spec_json)
    if spec.get("name") == name:
        return {}
    spec["name"] = name
    return {"spec_json": json.dumps(spec), "spec_fingerprint": json_hash(spec)}


def refuse_unlinked(connection: Connection, name: str = "") -> None:
    """Refuse to go on where a study of this name, or any, has lost its link and can have it back.

    Raises: StudyStateError.
    """
    for link in _named_links(broken_links(connection).links, name):
        hint = "Run selection doctor --fix: it links it again, and nothing is lost."
        where = f"study {link.first_name or link.name}"
        raise StudyStateError(ErrorDetail(where, RULE, link.got, hint))


def _named_links(links: Iterable[Link], name: str) -> list[Link]:
    return [link for link in links if not name or name in (link.name, link.first_name)]
