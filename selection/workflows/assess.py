"""Who won, how sure that is, and how good the winner will really be.

Joins what the record has with the arithmetic of assess/. Trains nothing, needs no data files, and
never sees a held-out row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selection.errors import ErrorDetail, StudyStateError
from selection.metrics import METRICS
from selection.seeds import seed_for
from selection.stats.bbc_cv import METHOD, Draws, Rows, draw_out_of_bag
from selection.stats.intervals import percentiles
from selection.stats.paired_tests import (
    Comparison,
    Posterior,
    corrected_resampled_t,
    correlated_bayes,
    paired_differences,
    validation_ratio,
)
from selection.stats.scores import Floats, reduce_outputs
from selection.stats.selection_rules import choose, choose_trial, simplicity_ranks
from selection.store.evidence import BaselineFold, OuterFold, RowFacts
from selection.store.ledger import Evaluation
from selection.store.records import Records
from selection.store.repository import Repository
from selection.store.study_record import StudyRecord
from selection.study.baselines import wanted_baselines
from selection.study.budget import is_finished
from selection.study.fields import Rule
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Trial, TrialState

ROPE = 0.01
BaselineTest = Literal["out_of_bag", "paired_folds"]


@dataclass(frozen=True)
class Correction:
    """Hold the corrected estimate; trials_used are those it chose among."""

    estimate: float
    low: float
    high: float
    level: float
    trials_used: int
    trials_left_out: int
    method: str = METHOD


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
    def test(self) -> BaselineTest:
        """The one test that decides: a winner chosen among others is tested out of bag."""
        return "out_of_bag" if self.was_chosen else "paired_folds"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bounds of the winner's advantage by that test; None where it has none."""
        if self.was_chosen:
            return self.out_of_bag
        low, high = self.advantage.low, self.advantage.high
        return None if low is None or high is None else (low, high)

    @property
    def is_untrained(self) -> bool:
        """Whether its search over learning rates ended at an edge, as those of old records may."""
        return self.note.endswith("at their edge")

    @property
    def is_beaten(self) -> bool:
        """Say whether the interval of the deciding test lies above 0.

        There is no claim without an interval, nor against a baseline that is untrained.
        """
        return self.interval is not None and self.interval[0] > 0 and not self.is_untrained


@dataclass(frozen=True)
class Competitor:
    """Hold a complete trial beside the winner; advantage is the winner's over paired folds."""

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
    winner = choose_winner(study, spec, trials, chosen_rule)
    evaluations = repository.ledger.evaluations(study)
    folds = repository.evidence.baselines(study)
    facts = repository.evidence.rows(study)
    correction, draws, why = None, None, "no trial is complete"
    if winner is not None:
        correction, draws, why = _correct(
            spec, study, trials, repository.records, facts, folds, chosen_rule
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
        baselines_left_out=_left_out(spec, study, {fold.name for fold in folds}),
    )


def choose_winner(
    study: StudyRecord, spec: StudySpec, trials: Sequence[Trial], rule: Rule
) -> Trial | None:
    """Return the trial that a rule chooses among all of a study; None without a complete one."""
    settings = [spec.setting(trial.params) for trial in trials]
    inputs, outputs = mlp_ends(study)
    return choose_trial(trials, rule, settings, inputs, outputs, is_minimised=spec.is_minimised)


def mlp_ends(study: StudyRecord) -> tuple[int, int]:
    """Return the number of inputs and outputs that every MLP of the study has."""
    return study.facts.inputs, study.facts.outputs


def _correct(
    spec: StudySpec,
    study: StudyRecord,
    trials: Sequence[Trial],
    records: Records,
    facts: RowFacts | None,
    baselines: Sequence[BaselineFold],
    rule: Rule,
) -> tuple[Correction | None, Draws | None, str]:
    """Return the corrected estimate and its draws, or the reason why there is none."""
    if facts is None:
        return None, None, "the study began before its rows were kept: selection run FILE adds them"
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    others = sum(trial.state.is_finished for trial in trials) - len(complete)
    if len(complete) < 2 and others:
        return None, None, f"one trial is complete and {others} are not: no choice to resample"
    if len(complete) < 2:
        return None, None, "one trial is complete, so none was chosen among several"
    rows = Rows(spec.metric, facts.targets, facts.folds, facts.groups)
    predictions = _predictions(study, complete, records, rows)
    settings = [spec.setting(trial.params) for trial in complete]
    simplicity = simplicity_ranks(settings, *mlp_ends(study))

    def choose_in_bag(scores: Floats) -> NDArray[np.int64]:
        return choose(scores, rule, simplicity, is_minimised=spec.is_minimised)

    section = spec.sections.assessment
    draws = draw_out_of_bag(
        rows,
        predictions,
        choose_in_bag,
        section.bootstraps,
        seed_for(spec.seed, "bootstrap"),
        {name: _reduce(rows, folds) for name, folds in _by_name(baselines).items()},
    )
    if not np.isfinite(draws.scores).any():
        return None, None, "no resampling of the rows leaves a score that is defined"
    low, high = percentiles(draws.scores, section.level)
    finished = sum(trial.state.is_finished for trial in trials)
    correction = Correction(
        estimate=float(np.nanmean(draws.scores)),
        low=low,
        high=high,
        level=section.level,
        trials_used=len(complete),
        trials_left_out=finished - len(complete),
    )
    return correction, draws, ""


def _predictions(
    study: StudyRecord,
    complete: Sequence[Trial],
    records: Records,
    rows: Rows,
) -> NDArray[Any]:
    """Return what the metric needs of every out-of-fold prediction. Shape: (R, T, N[, C])."""
    table: NDArray[Any] | None = None
    for index, trial in enumerate(complete):
        reduced = _reduce(rows, records.curves(study, trial.number, outputs=True))
        if table is None:
            shape = (len(reduced), len(complete), *reduced.shape[1:])
            table = np.empty(shape, dtype=reduced.dtype)
        table[:, index] = reduced
    assert table is not None, "there are complete trials"
    return table


def _reduce(rows: Rows, folds: Sequence[FoldResult] | Sequence[BaselineFold]) -> NDArray[Any]:
    """Return what the metric needs of one model's predictions. Shape: (R, N[, C])."""
    table: NDArray[Any] | None = None
    for fold in folds:
        assert fold.outputs is not None, "a complete trial has predictions"
        numbers = np.flatnonzero(rows.folds[fold.repeat] == fold.fold)
        part = reduce_outputs(rows.metric, fold.outputs, rows.targets[numbers])
        if table is None:
            table = np.zeros((*rows.folds.shape, *part.shape[1:]), dtype=part.dtype)
        table[fold.repeat, numbers] = part
    assert table is not None, "there are folds"
    return table


def _by_name(folds: Sequence[BaselineFold]) -> dict[str, list[BaselineFold]]:
    names: dict[str, list[BaselineFold]] = {}
    for fold in folds:
        names.setdefault(fold.name, []).append(fold)
    return names


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
    for name, of_name in _by_name(folds).items():
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
    for trial in trials:
        if trial.state is not TrialState.COMPLETE or trial.number == winner.number:
            continue
        assert trial.value is not None
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
