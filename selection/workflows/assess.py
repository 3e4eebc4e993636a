"""Who won, how sure that is, and how good the winner will really be.

Joins what the record has with the arithmetic of assess/. Trains nothing, needs no data files, and
never sees a held-out row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from selection.errors import ErrorDetail, StudyStateError
from selection.metrics import METRICS
from selection.stats.bbc_cv import Draws
from selection.stats.intervals import percentiles
from selection.stats.paired_tests import (
    Comparison,
    Posterior,
    corrected_resampled_t,
    correlated_bayes,
    paired_differences,
    validation_ratio,
)
from selection.stats.selection_rules import choose_trial
from selection.store.evidence import BaselineFold, OuterFold
from selection.store.ledger import Evaluation
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.baselines import wanted_baselines
from selection.study.budget import is_finished
from selection.study.ensemble import Ensemble
from selection.study.fields import Rule
from selection.study.spec import StudySpec
from selection.study.trial import Trial, TrialState
from selection.workflows.audit import AuditedTrial, audited_trials
from selection.workflows.correct import Correction, by_name, correct, rows_to_score
from selection.workflows.ensembles import choose_ensemble, first_trials, needed_rows

ROPE = 0.01


@dataclass(frozen=True)
class Baseline:
    """Hold a baseline beside the winner.

    advantage is the winner's over paired folds, positive where the winner is better; out_of_bag
    bounds it on rows that did not choose the winner, None where no choice could be resampled.
    """

    mean: float
    note: str
    advantage: Comparison
    out_of_bag: tuple[float, float] | None
    was_chosen: bool

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bounds of the winner's advantage by the one test that decides; None without one.

        It covers both intervals: over paired folds, which vary with the training, and out of bag,
        where a winner that was chosen among others gains nothing by the choice.
        """
        if self.was_chosen and self.out_of_bag is None:
            return None
        low, high = self.advantage.low, self.advantage.high
        over_folds = None if low is None or high is None else (low, high)
        known = [each for each in (over_folds, self.out_of_bag) if each is not None]
        if not known:
            return None
        return min(bounds[0] for bounds in known), max(bounds[1] for bounds in known)

    @property
    def is_untrained(self) -> bool:
        """Whether its search over learning rates ended at an edge, as those of old records may."""
        return self.note.endswith("at their edge")

    @property
    def is_beaten(self) -> bool:
        """Say whether the interval lies above 0.

        There is no claim without an interval, nor against a baseline that is untrained.
        """
        return self.interval is not None and self.interval[0] > 0 and not self.is_untrained


@dataclass(frozen=True)
class Competitor:
    """Hold a complete trial of another setting beside the winner; beside an ensemble, any one.

    advantage is the winner's over paired folds.
    """

    number: int
    mean: float
    advantage: Comparison
    chances: Posterior


@dataclass(frozen=True, eq=False)
class Assessment:
    """Hold all that can be said of a study before its held-out set is opened, and its ledger.

    baselines_left_out says of each baseline that is not on record why.
    """

    study: StudyRecord
    spec: StudySpec
    is_finished: bool
    rule: Rule
    trials: Sequence[Trial]
    winner: Trial | None
    correction: Correction | None
    why_uncorrected: str
    rope: float
    baselines: Mapping[str, Baseline]
    competitors: Sequence[Competitor]
    nested: Sequence[OuterFold]
    evaluations: Sequence[Evaluation]
    openings_by_others: Sequence[Evaluation]
    returned_claims: Sequence[Evaluation] = ()
    audited: Sequence[AuditedTrial] = ()
    baselines_left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def indistinguishable(self) -> list[int]:
        """The complete trials that the folds cannot tell from the winner."""
        limit = 1 - self.spec.sections.assessment.level
        return [
            competitor.number
            for competitor in self.competitors
            if competitor.advantage.p is None or competitor.advantage.p > limit
        ]

    @property
    def default(self) -> Trial | None:
        """Trial 0, the default setting, if it is complete."""
        complete = (trial for trial in self.trials if trial.state is TrialState.COMPLETE)
        return next((trial for trial in complete if trial.number == 0), None)


def require_winner(assessment: Assessment) -> Trial:
    """Return the winner.

    Raises: StudyStateError without one.
    """
    if assessment.winner is None:
        where, hint = f"study {assessment.study.name}", "Look at selection trials."
        raise StudyStateError(
            ErrorDetail(where, "a winner must be complete", "no complete trial", hint)
        )
    return assessment.winner


def rule_to_export(evaluations: Sequence[Evaluation]) -> Rule | None:
    """Return the rule whose choice met the held-out set last; None for the study's own."""
    done = [evaluation for evaluation in evaluations if evaluation.result is not None]
    return done[-1].rule if done else None


def trial_to_export(assessment: Assessment) -> Trial:
    """Return the trial that met the held-out set, else the rule's winner.

    Raises: StudyStateError without one.
    """
    winner = require_winner(assessment)
    done = [evaluation for evaluation in assessment.evaluations if evaluation.result is not None]
    if isinstance(winner, Ensemble):
        return winner
    number = done[-1].number if done else winner.number
    return next(trial for trial in assessment.trials if trial.number == number)


def assess_study(
    study: StudyRecord,
    repository: Repository,
    rule: Rule | None = None,
) -> Assessment:
    """Choose the winner by the study's rule, or another, and say how sure it is."""
    spec = study.spec()
    trials = repository.records.trials(study, with_curves=False)
    chosen_rule = rule or spec.sections.selection.rule
    winner = choose_winner(study, spec, trials, chosen_rule, repository)
    evaluations = repository.ledger.evaluations(study)
    folds = repository.evidence.baselines(study)
    facts = repository.evidence.rows(study)
    correction, draws, why = None, None, "no trial is complete"
    if winner is not None:
        correction, draws, why = correct(
            spec, study, trials, winner, repository.records, facts, folds, chosen_rule
        )
    return Assessment(
        study=study,
        spec=spec,
        is_finished=bool(evaluations)
        or is_finished(spec, trials, repository.records.elapsed_seconds(study)),
        rule=chosen_rule,
        trials=trials,
        winner=winner,
        correction=correction,
        why_uncorrected=why,
        rope=_rope(spec, winner),
        baselines={}
        if winner is None
        else _baselines(spec, winner, folds, draws, was_chosen=len(trials) > 1),
        competitors=[] if winner is None else _competitors(spec, winner, trials),
        nested=repository.evidence.outer_folds(study),
        evaluations=evaluations,
        openings_by_others=repository.ledger.openings_by_others(study),
        returned_claims=repository.ledger.returned_claims(study),
        audited=audited_trials(spec, study, trials, repository),
        baselines_left_out=_left_out(spec, study, {fold.name for fold in folds}),
    )


def choose_winner(
    study: StudyRecord,
    spec: StudySpec,
    trials: Sequence[Trial],
    rule: Rule,
    repository: Repository,
) -> Trial | None:
    """Return the trial or the ensemble that a rule chooses; None without a complete trial.

    Raises: StudyStateError where the record has no rows to choose an ensemble by.
    """
    if rule == "ensemble":
        rows = rows_to_score(spec, needed_rows(study, repository.evidence.rows(study)))
        return choose_ensemble(spec, study, trials, repository.records, rows)
    settings = [spec.setting(trial.params) for trial in trials]
    inputs, outputs = mlp_ends(study)
    return choose_trial(trials, rule, settings, inputs, outputs, is_minimised=spec.is_minimised)


def mlp_ends(study: StudyRecord) -> tuple[int, int]:
    """Return the number of inputs and outputs that every MLP of the study has."""
    return study.facts.inputs, study.facts.outputs


def _baselines(
    spec: StudySpec,
    winner: Trial,
    folds: Sequence[BaselineFold],
    draws: Draws | None,
    *,
    was_chosen: bool,
) -> dict[str, Baseline]:
    sign = -1.0 if spec.is_minimised else 1.0
    found = {}
    for name, of_name in by_name(folds).items():
        scores = [fold.score for fold in of_name]
        out_of_bag = None
        if draws is not None:
            advantage = sign * (draws.scores - draws.competitors[name])
            out_of_bag = percentiles(advantage, spec.sections.assessment.level)
        found[name] = Baseline(
            mean=float(np.mean(scores)),
            note=of_name[0].note,
            advantage=_compare(spec, winner.fold_scores, scores),
            out_of_bag=out_of_bag,
            was_chosen=was_chosen,
        )
    return found


def _left_out(spec: StudySpec, study: StudyRecord, kept: Collection[str]) -> dict[str, str]:
    """Return why baselines are not on record, by name; nothing before any is."""
    if not kept:
        return {}
    asked = spec.sections.assessment.baselines
    wanted, too_large = wanted_baselines(asked, spec.task, study.facts)
    missing = dict.fromkeys(wanted, "selection run FILE trains it") | too_large
    return {name: why for name, why in missing.items() if name not in kept}


def _competitors(spec: StudySpec, winner: Trial, trials: Sequence[Trial]) -> list[Competitor]:
    rope = _rope(spec, winner)
    competitors = []
    # All trials stand beside an ensemble, those that it is made of among them.
    won = None if isinstance(winner, Ensemble) else spec.setting(winner.params)
    for setting, trial in first_trials(spec, trials).items():
        if trial.state is not TrialState.COMPLETE or setting == won:
            continue
        assert trial.value is not None, "a COMPLETE trial has a value"
        differences = _advantages(spec, winner.fold_scores, trial.fold_scores)
        competitors.append(
            Competitor(
                trial.number,
                trial.value,
                _compare(spec, winner.fold_scores, trial.fold_scores),
                correlated_bayes(differences, _ratio(spec), rope),
            )
        )
    return competitors


def _compare(spec: StudySpec, first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Return the advantage of the first over the second, positive where it is better."""
    differences = _advantages(spec, first, second)
    return corrected_resampled_t(differences, _ratio(spec), spec.sections.assessment.level)


def _advantages(spec: StudySpec, first: Sequence[float], second: Sequence[float]) -> list[float]:
    better, worse = (second, first) if spec.is_minimised else (first, second)
    return paired_differences(better, worse)


def _ratio(spec: StudySpec) -> float:
    cv = spec.sections.cv
    return validation_ratio(cv.folds, is_time_series=cv.kind == "time_series")


def _rope(spec: StudySpec, winner: Trial | None) -> float:
    """Return half the width of what counts as equal: 0.01 of a share, 1% of any other score."""
    stated = spec.sections.assessment.rope
    if stated is not None:
        return stated
    if METRICS[spec.metric].has_absolute_rope or winner is None or winner.value is None:
        return ROPE
    return ROPE * abs(winner.value)
