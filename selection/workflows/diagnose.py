"""Does a trial of a study, or a point of a curve, under- or overfit? The rule on the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selection.errors import ErrorDetail, StudyStateError
from selection.stats.fit_advice import Evidence, Observation, neighbours, row_trend
from selection.stats.fit_diagnosis import Diagnosis, FoldMean, diagnose, negligible_loss, over_folds
from selection.stats.paired_tests import validation_ratio
from selection.stats.scores import Floats, log_softmax
from selection.stats.selection_rules import rank
from selection.store.curve_points import ROWS, CurvePoint
from selection.store.evidence import BaselineFold, RowFacts
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.best_epoch import candidate_epochs
from selection.study.ensemble import leading
from selection.study.hyperparameters import is_number
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, LearningCurve, Trial, TrialState, fold_means
from selection.workflows.assess import choose_winner

# A trial is held against so many of the best others.
REFERENCES = 3


@dataclass(frozen=True)
class BaselineLine:
    """Hold what a baseline observed on the validation rows; the loss is in the units of trials."""

    loss: FoldMean
    score: FoldMean


@dataclass(frozen=True)
class DiagnosedTrial:
    """Hold the diagnosis of a trial, and the baselines beside it."""

    trial: Trial
    diagnosis: Diagnosis
    baselines: Mapping[str, BaselineLine]

    @property
    def verdict(self) -> str:
        return self.diagnosis.verdict.value

    @property
    def advice(self) -> str:
        return self.diagnosis.advice


def complete_trial(study: StudyRecord, repository: Repository, number: int | None) -> Trial:
    """Return a complete trial: the one asked for, or the winner by the rule of the study.

    Of an ensemble, that is the trial that counts most often.

    Raises: StudyStateError.
    """
    trials = repository.records.trials(study, with_curves=False)
    if number is None:
        spec = study.spec()
        chosen = leading(
            choose_winner(study, spec, trials, spec.sections.selection.rule, repository)
        )
    else:
        chosen = next((trial for trial in trials if trial.number == number), None)
    if chosen is not None and chosen.state is TrialState.COMPLETE:
        return chosen
    if number is None:
        got = "no complete trial"
    else:
        got = f"trial {number}, which is {chosen.state.value}" if chosen else f"no trial {number}"
    hint = "Look at selection trials."
    where = f"study {study.name}"
    raise StudyStateError(ErrorDetail(where, "this needs a complete trial", got, hint))


def _require_diagnosis(study: StudyRecord, repository: Repository, trial: Trial) -> Diagnosis:
    spec = study.spec()
    trials = repository.records.trials(study, with_curves=False)
    ranked = rank(trials, is_minimised=spec.is_minimised)
    found = diagnose_trial(study, spec, repository, trial, ranked)
    if found is None:
        rule = "a diagnosis needs the targets of the rows"
        hint = "selection run FILE adds them to a study of an earlier version."
        raise StudyStateError(ErrorDetail(f"study {study.name}", rule, "none on record", hint))
    return found


def diagnose_complete(
    study: StudyRecord, repository: Repository, number: int | None
) -> DiagnosedTrial:
    """Return the diagnosis of a complete trial, by default the winner, and its baselines.

    Raises: StudyStateError if the trial is not complete; StorageError where a row is damaged.
    """
    trial = complete_trial(study, repository, number)
    found = _require_diagnosis(study, repository, trial)
    return DiagnosedTrial(trial, found, baseline_lines(study, study.spec(), repository))


def diagnose_trial(
    study: StudyRecord,
    spec: StudySpec,
    repository: Repository,
    trial: Trial,
    ranked: Sequence[Trial],
) -> Diagnosis | None:
    """Return the diagnosis of a trial; None unless it is complete and rows were kept.

    It is held against the best others and the linear baseline. ranked are the complete trials of
    the study, best first.

    Raises: StorageError where a row is damaged.
    """
    facts = repository.evidence.rows(study)
    if facts is None or trial.state is not TrialState.COMPLETE:
        return None
    others = [other.number for other in ranked if other.number != trial.number][:REFERENCES]
    references = {
        f"trial {each}": _losses(repository.records.curves(study, each)) for each in others
    }
    linear = [fold for fold in repository.evidence.baselines(study) if fold.name == "linear"]
    if linear:
        references["the linear baseline"] = baseline_losses(spec, facts, linear)
    folds = repository.records.curves(study, trial.number)
    points = [each for each in repository.curves.points(study) if each.number == trial.number]
    evidence = _evidence_of_trial(spec, trial, folds, ranked, points)
    return _diagnose(spec, facts, [fold.scored for fold in folds], references, evidence)


def diagnose_points(
    study: StudyRecord, spec: StudySpec, repository: Repository, points: Sequence[CurvePoint]
) -> list[Diagnosis | None]:
    """Return the diagnosis of each point of one curve, held against the other points.

    None where a point did not train, or rows were not kept.
    """
    facts = repository.evidence.rows(study)
    losses = {
        f"{point.over} = {point.value}": _losses(point.folds)
        for point in points
        if point.is_complete
    }
    found: list[Diagnosis | None] = []
    for point in points:
        if facts is None or not point.is_complete:
            found.append(None)
            continue
        own = f"{point.over} = {point.value}"
        references = {name: of_name for name, of_name in losses.items() if name != own}
        curves = [fold.scored for fold in point.folds]
        evidence = _evidence_of_point(spec, point, points)
        found.append(_diagnose(spec, facts, curves, references, evidence))
    return found


def _evidence_of_trial(
    spec: StudySpec,
    trial: Trial,
    folds: Sequence[FoldResult],
    complete: Sequence[Trial],
    points: Sequence[CurvePoint],
) -> Evidence:
    """Return what the trial's own curves, and trials that differ in one number, say beside it."""
    own = _numbers(spec.setting(trial.params))
    assert trial.value is not None, "a complete trial has a score"
    observed: list[Observation] = []
    later = _later_epochs(trial, own["epochs"], folds)
    if later:
        own["epochs"] = trial.best_epoch or 0
    for name, value in own.items():
        if name == "epochs" and later:
            others = later
        else:
            others = _trials_beside(spec, trial, complete, name) + _scores_over(points, name)
        observed += neighbours(name, (value, trial.value), others, is_minimised=spec.is_minimised)
    observed += row_trend(_scores_over(points, ROWS), is_minimised=spec.is_minimised)
    return Evidence(own, observed, spec.is_minimised)


def _later_epochs(
    trial: Trial, epochs: float, folds: Sequence[FoldResult]
) -> list[tuple[float, float]]:
    """Return the epochs that lost to a best one before them, each with its mean over folds."""
    means = fold_means([fold.curve for fold in folds])
    if trial.best_epoch is None:
        return []
    return [
        (float(epoch), means[epoch - 1])
        for epoch in candidate_epochs(int(epochs))
        if trial.best_epoch < epoch <= len(means)
    ]


def _evidence_of_point(
    spec: StudySpec, point: CurvePoint, points: Sequence[CurvePoint]
) -> Evidence:
    """Return what the other points of a curve say beside one of them."""
    sizes = _scores_over(points, point.over)
    own = _scores_over([point], point.over)
    if not own:
        return Evidence(is_minimised=spec.is_minimised)
    observed = neighbours(point.over, own[0], sizes, is_minimised=spec.is_minimised)
    return Evidence({point.over: own[0][0]}, observed, spec.is_minimised)


def _scores_over(points: Sequence[CurvePoint], name: str) -> list[tuple[float, float]]:
    """Return value and mean score of the points of one curve that are numbers and did train."""
    return [
        (float(point.value), float(np.mean([fold.score for fold in point.folds])))
        for point in points
        if point.over == name and point.is_complete and is_number(point.value)
    ]


def _trials_beside(
    spec: StudySpec, trial: Trial, complete: Sequence[Trial], name: str
) -> list[tuple[float, float]]:
    """Return value and score of the trials whose setting differs in one searched number alone."""
    if name not in spec.space:
        return []
    own, found = spec.setting(trial.params), []
    for other in complete:
        value = other.params[name]
        moved = {**other.params, name: trial.params[name]}
        is_beside = value != trial.params[name] and spec.setting(moved) == own
        if is_beside and is_number(value) and other.value is not None:
            found.append((float(value), other.value))
    return found


def _numbers(setting: Setting) -> dict[str, float]:
    """Return the numbers of a setting by the names that a study file has for them."""
    kind = setting.kind
    numbers: dict[str, float] = {
        "hidden_layers": kind.hidden_layers,
        "epochs": kind.epochs,
        "batch_size": kind.batch_size,
        "learning_rate": setting.learning_rate,
        "l2" if kind.optimizer == "adam" else "weight_decay": (
            setting.l2 if kind.optimizer == "adam" else setting.weight_decay
        ),
    }
    layers = {"width": setting.widths, "dropout": setting.dropout}
    same = {name: values[0] for name, values in layers.items() if len(set(values)) == 1}
    return numbers | same


def baseline_lines(
    study: StudyRecord, spec: StudySpec, repository: Repository
) -> dict[str, BaselineLine]:
    """Return what each baseline of a study observed, by name; none where rows were not kept.

    Raises: StorageError where a row is damaged.
    """
    facts = repository.evidence.rows(study)
    by_name: dict[str, list[BaselineFold]] = {}
    for fold in repository.evidence.baselines(study) if facts is not None else ():
        by_name.setdefault(fold.name, []).append(fold)
    return {
        name: BaselineLine(
            over_folds(np.array(baseline_losses(spec, facts, folds))),
            over_folds(np.array([fold.score for fold in folds])),
        )
        for name, folds in by_name.items()
        if facts is not None
    }


def baseline_losses(spec: StudySpec, facts: RowFacts, folds: Sequence[BaselineFold]) -> list[float]:
    """Return the validation loss of a baseline, fold by fold, in the units of learning curves."""
    return [_loss(spec, facts, fold) for fold in folds]


def _diagnose(
    spec: StudySpec,
    facts: RowFacts,
    curves: Sequence[LearningCurve],
    references: Mapping[str, Sequence[float]],
    evidence: Evidence,
) -> Diagnosis:
    cv = spec.sections.cv
    return diagnose(
        curves,
        references,
        negligible=negligible_loss(
            spec.task,
            facts.targets,
            is_standardized=spec.sections.data.is_target_standardized,
        ),
        ratio=validation_ratio(cv.folds, is_time_series=cv.kind == "time_series"),
        level=spec.sections.assessment.level,
        evidence=evidence,
    )


def _losses(folds: Sequence[FoldResult]) -> list[float]:
    """Return the validation loss of each fold after the epoch that scores it."""
    return [float(fold.scored.column("validation_loss")[-1]) for fold in folds]


def _loss(spec: StudySpec, facts: RowFacts, fold: BaselineFold) -> float:
    of_row = facts.folds[fold.repeat]
    is_validated = of_row == fold.fold
    targets = facts.targets[is_validated]
    if spec.task == "classification":
        chosen = log_softmax(fold.outputs)[np.arange(len(targets)), targets.astype(np.int64)]
        return -float(chosen.mean())
    unit = 1.0
    if spec.sections.data.is_target_standardized:
        training = facts.targets[_is_trained(spec, of_row, is_validated)]
        # As prepared: the std of a constant target is a rounding error, not always 0.
        unit = 1.0 if training.min() == training.max() else float(np.std(training))
    errors: Floats = (fold.outputs[:, 0].astype(np.float64) - targets) / unit
    return float(np.square(errors).mean())


def _is_trained(
    spec: StudySpec, of_row: NDArray[np.int64], is_validated: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Say which rows a fold was trained on: all others, or in a time series those before."""
    if spec.sections.cv.kind == "time_series":
        return np.arange(len(of_row)) < int(np.argmax(is_validated))
    return ~is_validated
