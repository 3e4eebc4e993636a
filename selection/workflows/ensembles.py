"""The rule "ensemble" on the record: which trials it may take, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.errors import ErrorDetail, StudyStateError
from selection.stats.bbc_cv import Rows
from selection.stats.ensemble_selection import Library, averaged_parts, select
from selection.store.evidence import RowFacts
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.study.ensemble import make_ensemble
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Trial, TrialState

Recall = Callable[[Trial], Sequence[FoldResult]]


def choose_ensemble(
    spec: StudySpec, study: StudyRecord, trials: Sequence[Trial], records: Records, rows: Rows
) -> Trial | None:
    """Return the ensemble that greedy selection makes of the complete trials of a study.

    None without a complete trial.
    """
    return ensemble_of(trials_to_choose(spec, trials), rows, recalled(study, records))


def recalled(study: StudyRecord, records: Records) -> Recall:
    """Return what reads the fold results of a trial, with predictions, from the record."""
    return lambda trial: records.curves(study, trial.number, outputs=True)


def ensemble_of(trials: Sequence[Trial], rows: Rows, recall: Recall) -> Trial | None:
    """Return the ensemble of complete trials whose fold results recall knows."""
    if not trials:
        return None
    library = library_of(trials, rows, recall)
    once = np.ones((1, len(rows.targets)), dtype=np.int16)
    (counts,), _ = select(library, once)
    return make_ensemble(trials, counts.tolist(), library.fold_scores(counts).tolist())


def trials_to_choose(spec: StudySpec, trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials that an ensemble may take: of each setting its first trial."""
    return [
        trial for trial in first_trials(spec, trials).values() if trial.state is TrialState.COMPLETE
    ]


def first_trials(spec: StudySpec, trials: Sequence[Trial]) -> dict[Setting, Trial]:
    """Return the first complete or pruned trial of each setting, by number.

    A setting that was asked again repeats its scores: it is one candidate, not two.
    """
    first: dict[Setting, Trial] = {}
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            first.setdefault(spec.setting(trial.params), trial)
    return first


def library_of(trials: Sequence[Trial], rows: Rows, recall: Recall) -> Library:
    """Return what ensembles average of these trials."""
    return Library(rows, np.stack([_parts(rows, recall(trial)) for trial in trials], axis=2))


def needed_rows(study: StudyRecord, facts: RowFacts | None) -> RowFacts:
    """Return the development rows of a study.

    Raises: StudyStateError where an early version did not keep them.
    """
    if facts is None:
        rule = "an ensemble needs the targets of the rows"
        hint = "selection run FILE adds them to a study of an earlier version."
        raise StudyStateError(ErrorDetail(f"study {study.name}", rule, "none on record", hint))
    return facts


def _parts(rows: Rows, folds: Sequence[FoldResult]) -> NDArray[Any]:
    """Return what is averaged of one trial, 0 where no fold validates a row. Shape: (A, R, N)."""
    table: NDArray[Any] | None = None
    for fold in folds:
        assert fold.outputs is not None, "a complete trial has predictions"
        numbers = np.flatnonzero(rows.folds[fold.repeat] == fold.fold)
        parts = averaged_parts(rows.metric, fold.outputs, rows.targets[numbers])
        if table is None:
            table = np.zeros((len(parts), *rows.folds.shape), dtype=parts.dtype)
        table[:, fold.repeat, numbers] = parts
    assert table is not None, "a complete trial has folds"
    return table
