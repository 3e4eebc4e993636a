"""All that a record holds of the training of a study, to compare it with that of another run."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from selection.store.repository import Repository, open_repository
from selection.store.tables import fold_table, trial_table
from tests.sweep_bench import as_row

FOLD_COLUMNS = [
    "repeat",
    "fold",
    "score",
    "train_score",
    "curve",
    "outputs_rows",
    "outputs_columns",
    "outputs",
    "layers",
    "rungs",
]


def record_content(url: str, name: str) -> list[dict[str, Any]]:
    """Return every trial of a study with its members, bit for bit, without times and attempts."""
    with open_repository(url) as repository:
        return content_of(repository, name)


def content_of(repository: Repository, name: str) -> list[dict[str, Any]]:
    """Return the same of an open database."""
    study = repository.study(name)
    trials = [as_row(trial) for trial in repository.records.trials(study)]
    for trial in trials:
        trial["members"] = []
    by_number = {trial["number"]: trial for trial in trials}
    query = (
        sa.select(trial_table.c.number, *(fold_table.c[column] for column in FOLD_COLUMNS))
        .join(trial_table, trial_table.c.uuid == fold_table.c.trial_uuid)
        .where(trial_table.c.study_uuid == study.uuid)
        .order_by(trial_table.c.number, fold_table.c.repeat, fold_table.c.fold)
    )
    with repository.database.reading() as connection:
        for row in connection.execute(query):
            by_number[row.number]["members"].append(tuple(row)[1:])
    return trials
