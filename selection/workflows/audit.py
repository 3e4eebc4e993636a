"""What pruning has cost: a few pruned trials, chosen at random, are trained to their end.

They are evidence and never rank, so that nothing of the choice depends on them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selection.seeds import seed_for
from selection.store.curve_points import AUDIT, CurvePoint
from selection.store.repository import Repository
from selection.store.retry import retry
from selection.store.study_record import StudyRecord
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialResult, TrialState, fold_means


@dataclass(frozen=True)
class AuditedTrial:
    """Hold a pruned trial that was trained to its end.

    mean is its cross-validated score, None if its training failed; reason then says why.
    """

    number: int
    mean: float | None
    reason: str = ""


def audit_pruned(
    spec: StudySpec,
    study: StudyRecord,
    repository: Repository,
    train: Callable[[Sequence[Setting]], Sequence[TrialResult]],
    say: Callable[[str], None],
) -> None:
    """Train the pruned trials that are to be audited and are not on record, on the same folds."""
    missing = missing_audits(spec, study, repository)
    if not missing:
        return
    say(f"audit: training {len(missing)} of the pruned trials to their end")
    settings = [spec.setting(trial.params) for trial in missing]
    points = [
        CurvePoint(trial.number, AUDIT, setting.kind.epochs, result.folds, result.reason)
        for trial, setting, result in zip(missing, settings, train(settings), strict=True)
    ]
    # Of a training that ran out of memory there are no folds.
    kept = [point for point in points if point.folds]
    retry(lambda: repository.curves.keep(study, kept), say)


def missing_audits(spec: StudySpec, study: StudyRecord, repository: Repository) -> list[Trial]:
    """Return the pruned trials that are to be audited and are not on record, by number."""
    trials = repository.records.trials(study, with_curves=False)
    known = {point.number for point in repository.curves.audited(study)}
    return [trial for trial in trials_to_audit(spec, trials) if trial.number not in known]


def trials_to_audit(spec: StudySpec, trials: Sequence[Trial]) -> list[Trial]:
    """Return as many pruned trials as the study audits, by number; each setting counts once.

    The choice depends on the seed and on which trials were pruned.
    """
    first: dict[Setting, Trial] = {}
    for trial in trials:
        if trial.state is TrialState.PRUNED:
            first.setdefault(spec.setting(trial.params), trial)
    pruned = list(first.values())
    chosen = random.Random(seed_for(spec.seed, "audit"))
    count = min(spec.sections.search.audit, len(pruned))
    return sorted(chosen.sample(pruned, count), key=lambda trial: trial.number)


def audited_trials(
    spec: StudySpec, study: StudyRecord, trials: Sequence[Trial], repository: Repository
) -> list[AuditedTrial]:
    """Return the audited trials that are on record, by number."""
    chosen = {trial.number for trial in trials_to_audit(spec, trials)}
    points = repository.curves.audited(study)
    return [_audited(point) for point in points if point.number in chosen]


def _audited(point: CurvePoint) -> AuditedTrial:
    if not point.is_complete:
        return AuditedTrial(point.number, None, point.reason)
    return AuditedTrial(point.number, fold_means([fold.scored for fold in point.folds])[-1])
