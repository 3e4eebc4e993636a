"""What came out of a study as plain JSON values: the objects behind every --json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from selection.report.course import extended_at
from selection.report.curve_values import number_value
from selection.report.warnings import StudyWarning, early_warnings, study_warnings
from selection.stats.selection_rules import rank
from selection.study.budget import is_finished
from selection.study.ensemble import Ensemble, weights_of
from selection.study.space import value_to_json
from selection.study.trial import (
    Params,
    Trial,
    TrialState,
)

if TYPE_CHECKING:
    # Only named here: every command would import it, with SciPy and SQLAlchemy behind it.
    from selection.store.leases import RunningCohort
    from selection.store.ledger import Evaluation
    from selection.store.other_trials import OtherTrial
    from selection.store.study_record import StudyRecord, StudySummary
    from selection.workflows.assess import Assessment, Baseline

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def run_value(assessment: Assessment, storage: str, seconds: float) -> dict[str, Any]:
    """Return what `run --json` prints."""
    counts = count_states(assessment.trials)
    return {
        "study": assessment.study.name,
        "storage": storage,
        "trials": {state.value: counts[state] for state in FINISHED},
        "best": assessment.winner and _best_value(assessment.winner),
        "seconds": round(seconds, 3),
        "warnings": _warning_values(study_warnings(assessment)),
    }


def _warning_values(found: Sequence[StudyWarning]) -> list[dict[str, str]]:
    return [{"code": each.code, "text": each.text} for each in found]


def _best_value(best: Trial) -> dict[str, Any]:
    return {
        "number": best.number,
        "params": params_value(best.params),
        **ensemble_value(best),
        "cv_mean": best.value,
        "cv_standard_error": best.standard_error,
    }


def ensemble_value(winner: Trial | None) -> dict[str, Any]:
    """Return the trials of an ensemble and their weights, the greatest first; nothing of a trial.

    number and params beside it are those of its leading trial.
    """
    if not isinstance(winner, Ensemble):
        return {}
    weights = weights_of(winner.counts)
    trials = [
        {
            "number": each.trial.number,
            "count": each.count,
            "weight": weights[each.trial.number],
            "params": params_value(each.trial.params),
        }
        for each in winner.counted
    ]
    return {"ensemble": trials}


def winner_value(assessment: Assessment) -> dict[str, Any]:
    """Return what `best --json` prints: who won by which rule, and how sure that is."""
    best, default = assessment.winner, assessment.default
    observed = best and {
        "mean": best.value,
        "standard_error": best.standard_error,
        "folds": list(best.fold_scores),
    }
    correction = assessment.correction
    corrected = correction and {
        "method": correction.method,
        "estimate": correction.estimate,
        "low": correction.low,
        "high": correction.high,
        "level": correction.level,
        "prediction_interval": correction.prediction_interval
        and list(correction.prediction_interval),
        "rivals": {"complete": correction.complete, "pruned": correction.pruned},
        "left_out": correction.left_out,
        "pruned_wins": correction.pruned_wins,
    }
    return {
        "study": assessment.study.name,
        "warnings": _warning_values(study_warnings(assessment)),
        "rule": assessment.rule,
        "number": best and best.number,
        "params": best and params_value(best.params),
        **ensemble_value(best),
        "best_epoch": best and best.best_epoch,
        "metric": assessment.spec.metric,
        "observed": observed,
        "corrected": corrected,
        "lower_bound": correction and correction.lower_bound,
        "default": default and {"number": 0, "mean": default.value},
        "baselines": {
            name: _baseline_value(baseline) for name, baseline in assessment.baselines.items()
        },
        "baselines_left_out": dict(assessment.baselines_left_out),
        "indistinguishable": assessment.indistinguishable,
        "rope": assessment.rope,
        "competitors": [
            {
                "number": competitor.number,
                "mean": competitor.mean,
                "advantage": asdict(competitor.advantage),
                "chances": asdict(competitor.chances),
            }
            for competitor in assessment.competitors
        ],
        "audit": [asdict(audited) for audited in assessment.audited],
        "nested": _nested_value(assessment),
        "held_out": held_out_value(assessment.evaluations),
        "held_out_openings_by_others": len(assessment.openings_by_others),
        "returned_claims": [
            {"claimed_at": each.claimed_at.isoformat(), "note": each.note}
            for each in assessment.returned_claims
        ],
        "changes": [change.to_json() for change in assessment.study.changes],
        "extended_at": extended_at(assessment.study, assessment.trials),
    }


def _baseline_value(baseline: Baseline) -> dict[str, Any]:
    """Return a baseline; is_beaten rests on interval, which covers the two others."""
    return {
        "mean": baseline.mean,
        "is_beaten": baseline.is_beaten,
        "interval": baseline.interval and list(baseline.interval),
        "advantage": asdict(baseline.advantage),
        "out_of_bag": baseline.out_of_bag and list(baseline.out_of_bag),
        "note": baseline.note,
    }


def _nested_value(assessment: Assessment) -> dict[str, Any] | None:
    """Return the score of the whole procedure; null until every outer fold is done."""
    folds = assessment.spec.sections.cv.folds
    if len(assessment.nested) < folds:
        return None
    scores = [outer.score for outer in assessment.nested]
    return {
        "mean": float(np.mean(scores)),
        "standard_error": float(np.std(scores, ddof=1) / math.sqrt(folds)),
        "folds": scores,
        "winners": [params_value(outer.params) for outer in assessment.nested],
    }


def held_out_value(evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """Return the state of the ledger and the newest result; null if nothing was opened."""
    if not evaluations:
        return None
    done = [each.result for each in evaluations if each.result is not None]
    newest = done[-1] if done else None
    return {
        "state": evaluations[-1].state,
        "score": newest and newest.score,
        "low": newest and newest.low,
        "high": newest and newest.high,
        "evaluations": len(done),
        "number": newest and newest.number,
        "ledger": [
            {
                "evaluation": each.evaluation,
                "number": each.number,
                "rule": each.rule,
                "state": each.state,
                "reason": each.reason,
                "claimed_at": each.claimed_at.isoformat(),
            }
            for each in evaluations
        ],
    }


def status_value(
    study: StudyRecord,
    trials: Sequence[Trial],
    seconds: float,
    evaluations: Sequence[Evaluation],
    running: Sequence[RunningCohort],
    others: Sequence[OtherTrial],
) -> dict[str, Any]:
    """Return what `status --json` prints; others are the trials that no cohort has."""
    counts = count_states(trials)
    spec = study.spec()
    ranked = rank(trials, is_minimised=spec.is_minimised)
    return {
        "study": study.name,
        "metric": spec.metric,
        "is_finished": bool(evaluations) or is_finished(spec, trials, seconds),
        "budget": spec.budget,
        "trials": {state.value: counts[state] for state in TrialState},
        "queued": sum(each.is_queued for each in others),
        "foreign": sum(not each.is_queued for each in others),
        "best": _best_value(ranked[0]) if ranked else None,
        "seconds": round(seconds, 3),
        "running": [
            {
                "cohort": cohort.cohort,
                "worker": cohort.host,
                "trials": cohort.trials,
                **asdict(cohort.progress),
            }
            for cohort in running
        ],
        "rows": study.facts.rows,
        "held_out_rows": study.facts.held_out_rows,
        "held_out": held_out_value(evaluations),
        "warnings": _warning_values(early_warnings(study, trials)),
    }


def trial_rows(study: StudyRecord, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the trials as rows of a table: one column per param, fold and training score."""
    return [_trial_row(trial, study.members_per_trial) for trial in trials]


def _trial_row(trial: Trial, members: int) -> dict[str, Any]:
    row = trial_value(trial)
    origin = row.pop("origin")
    for name, value in row.pop("params").items():
        row[f"param_{name}"] = " ".join(map(str, value)) if isinstance(value, list) else value
    for kind in ("fold", "train"):
        scores = row.pop(f"{kind}_scores")
        padded = [*scores, *[None] * (members - len(scores))]
        row |= {f"{kind}_{index}": score for index, score in enumerate(padded)}
    return {**row, "origin": origin}


def trial_value(trial: Trial) -> dict[str, Any]:
    """Return one trial as `trials -f json` prints it."""
    return {
        "number": trial.number,
        "state": trial.state.value,
        "reason": trial.reason,
        "params": params_value(trial.params),
        "value": trial.value,
        "fold_scores": [number_value(score) for score in trial.fold_scores],
        "train_scores": [number_value(score) for score in trial.train_scores],
        "epochs": trial.epochs,
        "best_epoch": trial.best_epoch,
        "seconds": trial.seconds,
        "origin": trial.asked_for or ("default" if trial.number == 0 else "sampler"),
    }


def summary_value(summary: StudySummary) -> dict[str, Any]:
    """Return one line of `studies --json`."""
    return {
        "study": summary.name,
        "created_at": summary.created_at.isoformat(),
        "budget": summary.budget,
        "trials": {state.value: summary.counts.get(state, 0) for state in TrialState},
        "best_observed": summary.best_value,
    }


def params_value(params: Params) -> dict[str, Any]:
    """Return params as JSON knows them."""
    return {name: value_to_json(value) for name, value in params.items()}


def count_states(trials: Sequence[Trial]) -> Mapping[TrialState, int]:
    """Return how many trials are in each state."""
    return {state: sum(trial.state is state for trial in trials) for state in TrialState}
