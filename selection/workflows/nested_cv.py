"""Nested cross-validation: the whole procedure, sweep and choice, scored on rows it never saw.

Each outer fold is one event of the record: a killed study goes on with the outer fold it was in.
The sweep inside is not recorded; it is a function of the study and of the outer training rows.
Source: Varma and Simon (2006), "Bias in error estimation when using cross-validation for model
selection".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from selection.data.dataset import Dataset
from selection.data.folds import Split, make_splits
from selection.data.prepare import fit_preparation, prepare_folds
from selection.errors import ErrorDetail, StudyStateError
from selection.search import Proposer
from selection.stats.bbc_cv import Rows
from selection.stats.selection_rules import choose_trial
from selection.store.evidence import Evidence, OuterFold
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.ensemble import Ensemble, counts_of, subject, trials_of
from selection.study.lag import Lag
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialResult, TrialState
from selection.train.device import Device
from selection.train.fit import Trainer
from selection.workflows.cohort import Memory, plan_cohort, trial_of
from selection.workflows.ensembles import ensemble_of, library_of, trials_to_choose
from selection.workflows.study_data import StudyData

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Outer:
    spec: StudySpec
    dataset: Dataset
    split: Split
    device: Device
    say: Say

    @property
    def label(self) -> str:
        return f"outer fold {self.split.fold}"


def score_procedure(
    spec: StudySpec,
    data: StudyData,
    study: StudyRecord,
    evidence: Evidence,
    device: Device,
    say: Say,
) -> None:
    """Run the procedure inside each outer fold that the record does not have yet.

    The outer folds are those of the study's first repeat. Time limits do not count here.

    Raises: StudyStateError where the procedure finds no winner, or the winner no score.
    """
    done = {outer.fold for outer in evidence.outer_folds(study)}
    for split in data.plan.splits:
        if split.repeat == 0 and split.fold not in done:
            outer = _Outer(spec, data.dataset, split, device, say)
            scored = _score_outer(outer)
            retry(partial(evidence.keep_outer_fold, study, scored), say)


def check_nested(spec: StudySpec, data: StudyData) -> None:
    """Refuse at the start of a study what would stop its nested cross-validation, if it has one.

    Raises: DataError if an outer training set cannot be split into the study's folds, or imputed.
    """
    for split in data.plan.splits if spec.sections.assessment.nested else ():
        if split.repeat == 0:
            inner = data.dataset.take(split.training)
            splits = make_splits(inner, spec).splits
            for inside in splits if spec.sections.data.impute else ():
                fit_preparation(inner, inside.training, spec)


def _score_outer(outer: _Outer) -> OuterFold:
    spec = outer.spec
    inner = outer.dataset.take(outer.split.training)
    splits = make_splits(inner, spec).splits
    trials, results = _sweep(outer, _trainer(outer, inner, splits))
    if spec.sections.selection.rule == "ensemble":
        rows = _rows(spec, inner, splits)
        winner = ensemble_of(
            trials_to_choose(spec, trials), rows, lambda trial: results[trial.number].folds
        )
    else:
        winner = choose_trial(
            trials,
            spec.sections.selection.rule,
            [spec.setting(trial.params) for trial in trials],
            outer.dataset.inputs,
            len(outer.dataset.class_names) or 1,
            is_minimised=spec.is_minimised,
        )
    if winner is None or winner.value is None:
        raise _no_score(outer, "no complete trial inside")
    score = _score_winner(outer, winner)
    what = subject(winner.number, counts_of(winner))
    outer.say(f"nested {outer.label}: {spec.metric} {score:.4f}, {what}")
    return OuterFold(outer.split.fold, winner.number, winner.params, winner.value, score)


def _score_winner(outer: _Outer, winner: Trial) -> float:
    """Train the winner on the outer training rows, and score it on the rest."""
    spec, trainer = outer.spec, _trainer(outer, outer.dataset, [outer.split])
    results = {}
    for trial in trials_of(winner):
        setting = spec.setting(trial.params)
        # The rows that score it choose no epoch.
        stop_after = trial.best_epoch or setting.kind.epochs
        (results[trial.number],) = trainer.train([setting], stop_after=stop_after)
    for result in results.values():
        if result.value is None:
            raise _no_score(outer, f"a winner that {result.reason} outside")
    if not isinstance(winner, Ensemble):
        score = results[winner.number].value
        assert score is not None, "it is complete"
        return score
    rows = _rows(spec, outer.dataset, [outer.split])
    trials = [each.trial for each in winner.counted]
    library = library_of(trials, rows, lambda trial: results[trial.number].folds)
    counts = np.array([each.count for each in winner.counted])
    return float(library.fold_scores(counts)[outer.split.fold])


def _rows(spec: StudySpec, dataset: Dataset, splits: Sequence[Split]) -> Rows:
    """Return the rows of a data set with the folds that validate them."""
    repeats = 1 + max(split.repeat for split in splits)
    folds = np.full((repeats, len(dataset)), -1, dtype=np.int64)
    for split in splits:
        folds[split.repeat, split.validation] = split.fold
    return Rows(spec.metric, dataset.target, folds, None)


def _sweep(outer: _Outer, trainer: Trainer) -> tuple[list[Trial], dict[int, TrialResult]]:
    """Run the study's sweep on the inner folds, in memory; the results are by trial."""
    spec = outer.spec
    memory = Memory(spec)
    proposer = Proposer(spec, Lag(is_ahead=trainer.asks_ahead))
    finished: list[Trial] = []
    results: dict[int, TrialResult] = {}

    def recall(trial: Trial) -> TrialResult:
        return results[trial.number]

    cohorts = 0
    while len(finished) < spec.budget:
        outer.say(f"nested {outer.label}: trials {len(finished)}/{spec.budget}")
        count = min(spec.sections.search.cohort, spec.budget - len(finished))
        proposed = proposer.propose(finished, count, cohorts, ())
        cohort = {len(finished) + index: params for index, params in enumerate(proposed)}
        plan = plan_cohort(spec, cohorts, cohort, finished, memory)
        ended = plan.complete(plan.task.train(trainer, lambda _: None), recall)
        results.update(ended)
        for number, result in ended.items():
            begun = Trial(number, TrialState.RUNNING, cohort[number], cohorts)
            finished.append(trial_of(begun, result))
        cohorts += 1
    return finished, results


def _trainer(outer: _Outer, dataset: Dataset, splits: Sequence[Split]) -> Trainer:
    spec = outer.spec
    training = spec.sections.training
    folds = prepare_folds(dataset, splits, spec)
    return Trainer(
        folds,
        spec.task,
        spec.metric,
        spec.seed,
        outer.device,
        precision=training.precision,
        epoch=training.epoch,
        patience=training.patience,
    )


def _no_score(outer: _Outer, got: str) -> StudyStateError:
    rule = "nested cross-validation needs a score in every outer fold"
    hint = "The study itself is finished; look at selection trials."
    return StudyStateError(ErrorDetail(f"{outer.spec.name}: {outer.label}", rule, got, hint))
