"""What came out of a study as plain JSON values: the objects behind every --json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selection.assess.rules import rank
from selection.store.study_record import StudyRecord, StudySummary
from selection.study.space import value_to_json
from selection.study.trial import CURVE_COLUMNS, FoldResult, Params, Trial, TrialState

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def run_value(
    study: StudyRecord, storage: str, trials: Sequence[Trial], seconds: float
) -> dict[str, Any]:
    """Return what `run --json` prints."""
    counts = count_states(trials)
    return {
        "study": study.name,
        "storage": storage,
        "trials": {state.value: counts[state] for state in FINISHED},
        "best": best_value(study, trials),
        "seconds": round(seconds, 3),
    }


def best_value(study: StudyRecord, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """Return the winner with its observed score; None without a COMPLETE trial."""
    ranked = rank(trials, is_minimised=study.spec().is_minimised)
    if not ranked:
        return None
    best = ranked[0]
    return {
        "number": best.number,
        "params": params_value(best.params),
        "cv_mean": best.value,
        "cv_standard_error": best.standard_error,
    }


def winner_value(study: StudyRecord, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return what `best --json` prints: who won by which rule, beside the default setting."""
    spec = study.spec()
    complete = rank(trials, is_minimised=spec.is_minimised)
    default = next((trial for trial in complete if trial.number == 0), None)
    best = complete[0] if complete else None
    observed = best and {
        "mean": best.value,
        "standard_error": best.standard_error,
        "folds": list(best.fold_scores),
    }
    return {
        "study": study.name,
        "rule": "best",
        "number": best and best.number,
        "params": best and params_value(best.params),
        "metric": spec.metric,
        "observed": observed,
        "default": default and {"number": 0, "mean": default.value},
    }


def status_value(study: StudyRecord, trials: Sequence[Trial], seconds: float) -> dict[str, Any]:
    """Return what `status --json` prints."""
    counts = count_states(trials)
    spec = study.spec()
    finished = sum(counts[state] for state in FINISHED)
    limit = spec.sections.search.timeout_seconds
    is_late = finished > 0 and 0 < limit <= seconds and finished == len(trials)
    return {
        "study": study.name,
        "metric": spec.metric,
        "is_finished": finished >= spec.budget or is_late,
        "budget": spec.budget,
        "trials": {state.value: counts[state] for state in TrialState},
        "best": best_value(study, trials),
        "seconds": round(seconds, 3),
        "rows": study.facts["rows"],
        "held_out_rows": study.facts["held_out_rows"],
        "warnings": list(study.facts["warnings"]),
    }


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return one trial as a row of `trials -f csv`: one column per param."""
    row = trial_value(trial)
    for name, value in row.pop("params").items():
        row[f"param_{name}"] = " ".join(map(str, value)) if isinstance(value, list) else value
    fold_scores, train_scores = row.pop("fold_scores"), row.pop("train_scores")
    row["fold_scores"] = " ".join(map(str, fold_scores))
    row["train_scores"] = " ".join(map(str, train_scores))
    return row


def trial_value(trial: Trial) -> dict[str, Any]:
    """Return one trial as `trials -f json` prints it."""
    return {
        "number": trial.number,
        "state": trial.state.value,
        "reason": trial.reason,
        "params": params_value(trial.params),
        "value": trial.value,
        "fold_scores": [_number(score) for score in trial.fold_scores],
        "train_scores": [_number(score) for score in trial.train_scores],
        "epochs": trial.epochs,
        "seconds": trial.seconds,
    }


def curve_values(folds: Sequence[FoldResult]) -> list[dict[str, Any]]:
    """Return one object per fold and epoch, as `curves -f json` prints them."""
    return [
        {
            "repeat": fold.repeat,
            "fold": fold.fold,
            "epoch": epoch,
            **{name: _number(v) for name, v in zip(CURVE_COLUMNS, point, strict=True)},
        }
        for fold in folds
        for epoch, point in enumerate(fold.curve.points.tolist(), start=1)
    ]


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


def _number(value: float) -> float | None:
    """Return null for what JSON cannot say: a score that is not defined, a loss that diverged."""
    return value if math.isfinite(value) else None
