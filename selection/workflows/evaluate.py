"""The end of a study: its winner is made into a model, and the held-out set is opened once.

The model is trained first; the ledger is written right before the door opens, so that whatever
happens then, the evaluation is on record.
Nothing else in selection may import the door (data/held_out.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.data.held_out import open_held_out
from selection.data.rows import Rows
from selection.errors import DataError, ErrorDetail, SelectionError, StorageError, StudyStateError
from selection.metrics import METRICS, metrics_of
from selection.model.estimator import AnyModel
from selection.seeds import seed_for
from selection.stats.classes import calibration, class_scores, confusion
from selection.stats.intervals import (
    bootstrap_counts,
    length_of_runs,
    percentiles,
    wilson,
)
from selection.stats.paired_tests import exact_mcnemar
from selection.stats.scores import log_softmax, reduce_outputs, weighted_scores
from selection.store.evidence import Evidence
from selection.store.ledger import Evaluation, Ledger, refusal
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.ensemble import counts_of, subject
from selection.study.held_out_result import (
    ClassReport,
    HeldOutResult,
    RowComparison,
    TrainingSummary,
)
from selection.study.spec import StudySpec
from selection.study.trial import Outputs, Trial
from selection.train.device import Device
from selection.workflows.assess import Assessment, require_winner
from selection.workflows.final_models import final_models, seed_models
from selection.workflows.kept_models import kept_models
from selection.workflows.study_data import StudyData


def check_evaluation(assessment: Assessment, *, again: bool, unfinished: bool) -> None:
    """Refuse what may not open the held-out set; nothing is read or written.

    Raises: RefusedError where it was opened before; StudyStateError where there is no winner, the
    study goes on, or there is no earlier evaluation.
    """
    name = assessment.study.name
    if assessment.evaluations and not again:
        raise refusal(assessment.evaluations)
    if again and not assessment.evaluations:
        hint = "Leave --again and --reason out."
        raise StudyStateError(
            ErrorDetail(f"study {name}", "a second evaluation needs a first one", "none", hint)
        )
    require_winner(assessment)
    if not (assessment.is_finished or unfinished):
        rule = "the held-out set is opened after the last trial"
        got = f"{len(assessment.trials)} of {assessment.spec.budget} trials begun"
        hint = "Finish it: selection run FILE. Or end it here for good: --unfinished."
        raise StudyStateError(ErrorDetail(f"study {name}", rule, got, hint))


def evaluate(
    assessment: Assessment,
    data: StudyData,
    evidence: Evidence,
    ledger: Ledger,
    device: Device,
    folder: Path,
    reason: str,
    say: Callable[[str], None],
) -> HeldOutResult:
    """Make the final model, claim the held-out rows, score it on them and write the result.

    The claim comes last, and is given back where nothing was scored. check_evaluation must have
    passed, and the rows must be those of the study; say is told what happens meanwhile.

    Raises: RefusedError where another process was sooner; StudyStateError where a trial has
    finished since; DataError where the held-out rows cannot be scored; StorageError where the
    result could not be written: say was told the score.
    """
    study, spec, winner = assessment.study, assessment.spec, assessment.winner
    assert winner is not None, "check_evaluation has passed"
    if not kept_models(study, winner, evidence):
        say("training the final model")
    models = final_models(study, spec, data, winner, evidence, device)
    evaluation = len(assessment.evaluations) + len(assessment.returned_claims) + 1
    if not ledger.claim(
        study,
        winner.number,
        assessment.rule,
        evaluation=evaluation,
        reason=reason,
        finished=sum(trial.state.is_finished for trial in assessment.trials),
        rows=data.dataset.held_out_identities,
    ):
        raise _sooner(study, ledger)
    try:
        rows = open_held_out(spec, data.dataset, folder, data.frame)
        outputs = _outputs(study, models, rows)
        by_seed = _outputs(study, seed_models(models[0]), rows) or outputs
        result = _result(assessment, winner, models[0], rows, outputs[0], by_seed)
    except BaseException as error:  # such as Ctrl-C: nobody has seen a score
        _give_back(ledger, study, evaluation, error, say)
        raise
    try:
        retry(partial(ledger.finish, study, evaluation, result, outputs[0]), say)
    except StorageError:
        what = subject(result.number, result.ensemble)
        score = f"held-out {result.metric} {result.score:.4g} of {what}"
        say(f"{score} is not on record; the claim stays on record without a result.")
        raise
    return result


def _give_back(
    ledger: Ledger,
    study: StudyRecord,
    evaluation: int,
    error: BaseException,
    say: Callable[[str], None],
) -> None:
    """Return a claim; where the database does not take it, the first error is the one to see."""
    note = str(error) or type(error).__name__
    try:
        retry(partial(ledger.give_back, study, evaluation, note), say)
    except StorageError as lost:
        say(f"{lost} The claim stays on record without a result.")
    else:
        say("the claim was given back: nothing was scored")


def _sooner(study: StudyRecord, ledger: Ledger) -> SelectionError:
    """Return the error where another process has claimed the held-out rows since the assessment."""
    if evaluations := ledger.evaluations(study):
        return refusal(evaluations)
    rule = "the ledger must be as it was when the trial was chosen"
    got = "a claim that was given back meanwhile"
    return StudyStateError(ErrorDetail(f"study {study.name}", rule, got, "Evaluate it again."))


def _outputs(study: StudyRecord, models: Sequence[AnyModel], rows: Rows) -> list[Outputs]:
    """Return what each model says of the held-out rows."""
    try:
        return [model.outputs(rows.features, rows.categories) for model in models]
    except ValueError as error:
        rule = "held-out rows must fit the model"
        hint = "Correct that held-out row, in a study of another name."
        raise DataError(ErrorDetail(f"study {study.name}", rule, str(error), hint)) from None


def _result(
    assessment: Assessment,
    winner: Trial,
    model: AnyModel,
    rows: Rows,
    outputs: Outputs,
    by_seed: Sequence[Outputs],
) -> HeldOutResult:
    """Return what `evaluate` prints and the ledger keeps; by_seed is what single seeds say."""
    spec, corrected = assessment.spec, assessment.correction
    score = _score(spec.metric, outputs, rows.target)
    seeds = tuple(_score(spec.metric, each, rows.target) for each in by_seed)
    if not np.isfinite([score, *seeds]).all():
        rule = f"{spec.metric} must be defined on the held-out rows"
        hint = "Hold out rows of every class, in a study of another name."
        raise DataError(ErrorDetail(f"study {spec.name}", rule, "no number", hint))
    low, high = _interval(spec, outputs, rows)
    is_regression = spec.task == "regression"
    return HeldOutResult(
        study=assessment.study.name,
        number=winner.number,
        metric=spec.metric,
        score=score,
        low=low,
        high=high,
        level=spec.sections.assessment.level,
        rows=len(rows),
        seeds=seeds,
        evaluations=sum(each.result is not None for each in assessment.evaluations) + 1,
        corrected_estimate=None if corrected is None else corrected.estimate,
        gap=None if corrected is None else score - corrected.estimate,
        corrected_interval=None if corrected is None else (corrected.low, corrected.high),
        prediction_interval=None if corrected is None else corrected.prediction_interval,
        rule=assessment.rule,
        model=model.document["model"],
        training=TrainingSummary.from_json(model.document["training"]),
        classes=None if is_regression else _class_report(outputs, rows),
        scores=_regression_scores(outputs, rows) if is_regression else None,
        against=_against_earlier(spec, assessment.evaluations, winner, outputs, rows),
        ensemble=counts_of(winner),
    )


def _score(metric: str, outputs: Outputs, target: NDArray[Any]) -> float:
    reduced = reduce_outputs(metric, outputs, target)[None]
    return float(weighted_scores(metric, reduced, target, np.ones((1, len(target))))[0, 0])


def _interval(
    spec: StudySpec, outputs: Outputs, rows: Rows
) -> tuple[float, float] | tuple[None, None]:
    """Return Wilson's interval of a share of rows, else that of resampled rows, groups or runs.

    Rows of a time series depend on their neighbours: runs of them are resampled. One group alone
    says nothing of others: it has no interval.
    """
    section = spec.sections.assessment
    if rows.groups is not None and len(np.unique(rows.groups)) < 2:
        return None, None
    reduced = reduce_outputs(spec.metric, outputs, rows.target)
    is_time = spec.sections.cv.kind == "time_series" and rows.groups is None
    if METRICS[spec.metric].counts_hits and rows.groups is None and not is_time:
        return wilson(int(reduced.sum()), len(rows), section.level)
    seed = seed_for(spec.seed, "bootstrap", 1)
    run = length_of_runs(len(rows)) if is_time else 1
    draws = [
        weighted_scores(spec.metric, reduced[None], rows.target, counts)[:, 0]
        for counts in bootstrap_counts(len(rows), rows.groups, section.bootstraps, seed, run)
    ]
    return percentiles(np.concatenate(draws), section.level)


def _regression_scores(outputs: Outputs, rows: Rows) -> dict[str, float]:
    return {name: _score(name, outputs, rows.target) for name in metrics_of("regression")}


def _class_report(outputs: Outputs, rows: Rows) -> ClassReport:
    """Return what the one score hides."""
    counts = confusion(rows.target, outputs.argmax(axis=1), len(rows.class_names))
    return ClassReport(
        per_class=tuple(class_scores(counts, rows.class_names)),
        confusion=tuple(tuple(line) for line in counts.tolist()),
        calibration=calibration(np.exp(log_softmax(outputs)), rows.target),
    )


def _against_earlier(
    spec: StudySpec,
    evaluations: Sequence[Evaluation],
    winner: Trial,
    outputs: Outputs,
    rows: Rows,
) -> RowComparison | None:
    """Compare with the last earlier model of another winner, row by row, by McNemar's test."""
    own = (winner.number, counts_of(winner))
    earlier = [
        each
        for each in evaluations
        if each.outputs is not None and (each.number, _ensemble(each)) != own
    ]
    if spec.task == "regression" or not earlier:
        return None
    before = earlier[-1]
    assert before.outputs is not None
    was_right = before.outputs.argmax(axis=1) == rows.target
    is_right = outputs.argmax(axis=1) == rows.target
    gained, lost = int((is_right & ~was_right).sum()), int((was_right & ~is_right).sum())
    p = exact_mcnemar(gained, lost)
    return RowComparison(before.evaluation, before.number, gained, lost, p, _ensemble(before))


def _ensemble(evaluation: Evaluation) -> Mapping[int, int] | None:
    """Return how often each trial of an evaluated ensemble counts; None for a trial."""
    return None if evaluation.result is None else evaluation.result.ensemble
