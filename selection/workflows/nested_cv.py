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

from selection.data.dataset import Dataset
from selection.data.folds import Split, make_splits
from selection.data.prepare import fit_preparation, prepare_folds
from selection.errors import ErrorDetail, StudyStateError
from selection.search import Proposer
from selection.stats.selection_rules import choose_trial
from selection.store.evidence import Evidence, OuterFold
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.lag import Lag
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialResult, TrialState
from selection.train.device import Device
from selection.train.fit import Trainer
from selection.workflows.cohort import Memory, plan_cohort, trial_of
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
    trials = _sweep(outer, _trainer(outer, inner, make_splits(inner, spec).splits))
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
    setting = spec.setting(winner.params)
    trainer = _trainer(outer, outer.dataset, [outer.split])
    # The rows that score it choose no epoch.
    (result,) = trainer.train([setting], stop_after=winner.best_epoch or setting.kind.epochs)
    if result.value is None:
        raise _no_score(outer, f"a winner that {result.reason} outside")
    outer.say(f"nested {outer.label}: {spec.metric} {result.value:.4f}, trial {winner.number}")
    return OuterFold(outer.split.fold, winner.number, winner.params, winner.value, result.value)


def _sweep(outer: _Outer, trainer: Trainer) -> list[Trial]:
    """Run the study's sweep on the inner folds, in memory."""
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
    return finished


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
