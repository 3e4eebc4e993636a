"""The answer of a study in numbers, each with its kind: observed, corrected or held out."""

from __future__ import annotations

from dataclasses import dataclass

from selection.report.cells import mean, show_interval, show_number
from selection.report.study_view import StudyView
from selection.report.verdict import baseline_interval, bound_of, choice_of, expected_of
from selection.study.ensemble import Ensemble, subject
from selection.study.trial import Trial
from selection.workflows.assess import Assessment, Baseline


@dataclass(frozen=True)
class Quantity:
    """Hold one number of the answer as it is shown."""

    label: str
    kind: str
    value: str
    detail: str


def answer(view: StudyView, assessment: Assessment | None, waiting: str) -> list[Quantity]:
    """Return the numbers that answer the study's question, the most trustworthy first.

    waiting says why there is no assessment yet.
    """
    if assessment is None:
        best = view.ranked[0] if view.ranked else None
        later = Quantity(view.spec.metric, "corrected", "-", waiting)
        return [later, *([] if best is None else [_observed(view, best, "best so far")])]
    winner = assessment.winner
    if winner is None:
        return []
    quantities = [
        _corrected(view, assessment),
        _observed(view, winner, "optimistic, because it chose the winner"),
    ]
    is_evaluated = any(evaluation.result is not None for evaluation in view.evaluations)
    quantities.insert(0 if is_evaluated else 2, _held_out(view, assessment))
    if assessment.nested:
        quantities.append(_nested(view, assessment))
    if assessment.default is not None and assessment.default.value is not None:
        is_winner = winner.number == 0 and not isinstance(winner, Ensemble)
        detail = "the winner is the default" if is_winner else "trial 0, which is never pruned"
        default = show_number(assessment.default.value)
        quantities.append(Quantity("default setting", "observed", default, detail))
    level = assessment.spec.sections.assessment.level
    quantities += [
        Quantity(
            f"baseline {name}", "observed", show_number(baseline.mean), _verdict(baseline, level)
        )
        for name, baseline in assessment.baselines.items()
    ]
    quantities += [
        Quantity(f"baseline {name}", "observed", "-", f"left out: {why}")
        for name, why in assessment.baselines_left_out.items()
    ]
    return quantities


def _verdict(baseline: Baseline, level: float) -> str:
    verdict = "better" if baseline.is_beaten else "not shown to be better"
    note = f"; {baseline.note}" if baseline.note else ""
    return f"the winner is {verdict}: {baseline_interval(baseline, level)}{note}"


def _observed(view: StudyView, trial: Trial, why: str) -> Quantity:
    error = trial.standard_error
    folds = len(trial.fold_scores)
    spread = "" if error is None else f"standard error {show_number(error)} over {folds} folds; "
    assert trial.value is not None, "a COMPLETE trial has a value"
    return Quantity(view.spec.metric, "observed", show_number(trial.value), spread + why)


def _corrected(view: StudyView, assessment: Assessment) -> Quantity:
    correction = assessment.correction
    if correction is None:
        return Quantity(view.spec.metric, "not corrected", "-", assessment.why_uncorrected)
    detail = (
        f"{show_interval(correction.low, correction.high, correction.level)}; "
        f"BBC-CV for {choice_of(correction)}; {bound_of(assessment, correction)}"
    )
    return Quantity(view.spec.metric, "corrected", show_number(correction.estimate), detail)


def _held_out(view: StudyView, assessment: Assessment) -> Quantity:
    results = [
        evaluation.result for evaluation in view.evaluations if evaluation.result is not None
    ]
    rows = view.study.facts.held_out_rows
    evaluations = len(view.evaluations)
    again = f"; evaluated {evaluations} times" if evaluations > 1 else ""
    if not evaluations:
        detail = "no rows were held out"
        if rows:
            detail = f"{rows} rows, never opened by this study{expected_of(assessment)}"
        return Quantity(view.spec.metric, "held out", "-", detail)
    if not results:
        return Quantity(view.spec.metric, "held out", "-", f"opened, but without a result{again}")
    newest = results[-1]
    interval = show_interval(newest.low, newest.high, newest.level)
    what = subject(newest.number, newest.ensemble)
    detail = f"{interval}; {what} on {newest.rows} rows{again}"
    return Quantity(view.spec.metric, "held out", show_number(newest.score), detail)


def _nested(view: StudyView, assessment: Assessment) -> Quantity:
    scores = [outer.score for outer in assessment.nested]
    folds = assessment.spec.sections.cv.folds
    detail = f"the whole procedure over {len(scores)} of {folds} outer folds, which it never saw"
    return Quantity(view.spec.metric, "nested", show_number(mean(scores)), detail)
