"""The corrected estimate of a study: its record as stages of predictions, and its choice resampled.

Every setting competes once, by its first trial. A pruned trial competes with the predictions that
it had at its last rung; one without any is counted and left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selection.metrics import METRICS, MeanOverRows
from selection.search import judged_epochs, replay_pruner
from selection.seeds import seed_for
from selection.stats.bbc_cv import METHOD, Choose, Draws, Rows, Stage, draw_out_of_bag
from selection.stats.ensemble_draws import Survive, draw_ensembles
from selection.stats.intervals import length_of_runs, percentiles, prediction_interval
from selection.stats.lower_bound import mean_bound, share_bound, simultaneous_level
from selection.stats.scores import Floats, reduce_outputs, row_values
from selection.stats.selection_rules import choose, simplicity_ranks
from selection.store.evidence import BaselineFold, RowFacts
from selection.store.records import Records
from selection.store.study_record import StudyRecord
from selection.study.best_epoch import candidate_epochs
from selection.study.fields import Rule
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Trial, TrialState
from selection.workflows.ensembles import first_trials, library_of, recalled


@dataclass(frozen=True)
class Correction:
    """Hold the corrected estimate of the winner's score.

    complete and pruned count the settings it was chosen among, left_out those that ended without
    predictions; pruned_wins is the share of bootstraps in which a pruned trial wins. lower_bound
    holds at the same level for whichever trial was chosen; it is an upper bound where small is
    good, and None for the rule that chooses an ensemble: the bound holds for trials alone.
    low and high bound the score over all new rows, prediction_interval the score that the held-out
    rows will show: a sample has a spread of its own. None without held-out rows.
    """

    estimate: float
    low: float
    high: float
    level: float
    complete: int
    pruned: int
    left_out: int
    pruned_wins: float
    lower_bound: float | None
    prediction_interval: tuple[float, float] | None
    method: str = METHOD


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Hold a setting that may win: its first trial, and the predictions it had.

    rungs are by stage; ends are those of a complete trial after each epoch that may score it.
    Shape: (R, N) or (R, N, C) each, as scores.reduce_outputs leaves them.
    """

    trial: Trial
    setting: Setting
    rungs: Mapping[int, NDArray[Any]]
    ends: Sequence[NDArray[Any]]

    @property
    def epochs(self) -> int:
        """How long its training would have been, whatever pruned it.

        Out of patience, it was judged after its last epoch like a trial that trains on.
        """
        epochs = self.setting.kind.epochs
        is_stalled = self.trial.state is TrialState.COMPLETE and self.trial.epochs < epochs
        return self.trial.epochs + 1 if is_stalled else epochs

    @property
    def scored(self) -> NDArray[Any]:
        """The predictions that score a complete trial."""
        best = self.trial.best_epoch
        if best is None:
            return self.ends[0]
        return self.ends[candidate_epochs(self.setting.kind.epochs).index(best)]


def correct(
    spec: StudySpec,
    study: StudyRecord,
    trials: Sequence[Trial],
    winner: Trial,
    records: Records,
    facts: RowFacts | None,
    baselines: Sequence[BaselineFold],
    rule: Rule,
) -> tuple[Correction | None, Draws | None, str]:
    """Return the corrected estimate and its draws, or the reason why there is none."""
    if facts is None:
        return None, None, "the study began before its rows were kept: selection run FILE adds them"
    rows = rows_to_score(spec, facts)
    judged = judged_epochs(spec)
    found = [
        _candidate(trial, setting, records.curves(study, trial.number, outputs=True), rows, judged)
        for setting, trial in first_trials(spec, trials).items()
    ]
    candidates = [candidate for candidate in found if candidate.rungs or candidate.ends]
    left_out = len(found) - len(candidates)
    if len(candidates) < 2:
        return None, None, _why_not(left_out)
    section = spec.sections.assessment
    seed = seed_for(spec.seed, "bootstrap")
    stages = _stages(candidates, len(judged))
    survive = _survivors(spec, candidates, judged)
    others = {name: _reduce(rows, folds) for name, folds in by_name(baselines).items()}
    if rule == "ensemble":
        complete = [each.trial for each in candidates if each.ends]
        library = library_of(complete, rows, recalled(study, records))
        draws = draw_ensembles(rows, stages, library, survive, section.bootstraps, seed, others)
    else:
        settings = [each.setting for each in candidates]
        simplicity = simplicity_ranks(settings, study.facts.inputs, study.facts.outputs)
        choice = choice_in_bag(survive, rule, simplicity, is_minimised=spec.is_minimised)
        draws = draw_out_of_bag(rows, stages, choice, section.bootstraps, seed, others)
    if not np.isfinite(draws.scores).any():
        return None, None, "no resampling of the rows leaves a score that is defined"
    low, high = percentiles(draws.scores, section.level)
    is_pruned = np.array([each.trial.state is TrialState.PRUNED for each in candidates])
    bound = None
    if rule != "ensemble":
        index = [each.setting for each in candidates].index(spec.setting(winner.params))
        bound = lower_bound(spec, rows, draws, index, candidates[index].scored, seed)
    correction = Correction(
        estimate=float(np.nanmean(draws.scores)),
        low=low,
        high=high,
        level=section.level,
        complete=int(np.sum(~is_pruned)),
        pruned=int(np.sum(is_pruned)),
        left_out=left_out,
        pruned_wins=float(is_pruned[draws.chosen].mean()),
        lower_bound=bound,
        prediction_interval=_prediction_interval(spec, study, rows, draws),
    )
    return correction, draws, ""


def _prediction_interval(
    spec: StudySpec, study: StudyRecord, rows: Rows, draws: Draws
) -> tuple[float, float] | None:
    """Return it for the held-out rows; the first rows of a time series are never validated."""
    held_out = study.facts.held_out_rows
    if not held_out:
        return None
    validated = int((rows.folds >= 0).any(axis=0).sum())
    level, bounds = spec.sections.assessment.level, METRICS[spec.metric].bounds
    return prediction_interval(draws.scores, level, validated, held_out, bounds)


def by_name(folds: Sequence[BaselineFold]) -> dict[str, list[BaselineFold]]:
    """Return the folds of each baseline."""
    names: dict[str, list[BaselineFold]] = {}
    for fold in folds:
        names.setdefault(fold.name, []).append(fold)
    return names


def rows_to_score(spec: StudySpec, facts: RowFacts) -> Rows:
    """Return the development rows as the statistics take them."""
    is_time = spec.sections.cv.kind == "time_series"
    run = length_of_runs(len(facts.targets)) if is_time and facts.groups is None else 1
    return Rows(spec.metric, facts.targets, facts.folds, facts.groups, run)


def _why_not(left_out: int) -> str:
    if left_out:
        return (
            f"no predictions were kept of the other {left_out} settings, so no choice is resampled"
        )
    return "one setting is complete, so none was chosen among several"


def _candidate(
    trial: Trial,
    setting: Setting,
    folds: Sequence[FoldResult],
    rows: Rows,
    judged: Sequence[int],
) -> _Candidate:
    def at(epoch: int) -> NDArray[Any]:
        return _place(rows, [(fold.repeat, fold.fold, fold.rungs[epoch]) for fold in folds])

    rungs = {
        stage: at(epoch)
        for stage, epoch in enumerate(judged)
        if folds and all(epoch in fold.rungs for fold in folds)
    }
    ends: list[NDArray[Any]] = []
    if trial.state is TrialState.COMPLETE and trial.best_epoch is None:
        ends = [_reduce(rows, folds)]
    elif trial.state is TrialState.COMPLETE:
        competing = candidate_epochs(setting.kind.epochs)
        ends = [at(epoch) for epoch in competing if epoch <= trial.epochs]
    return _Candidate(trial, setting, rungs, ends)


def _stages(candidates: Sequence[_Candidate], rungs: int) -> list[Stage]:
    stages = []
    for stage in range(rungs):
        reached = [index for index, each in enumerate(candidates) if stage in each.rungs]
        if reached:
            stages.append(_stage(reached, [candidates[index].rungs[stage] for index in reached]))
    ends = [(index, table) for index, each in enumerate(candidates) for table in each.ends]
    return [*stages, _stage([index for index, _ in ends], [table for _, table in ends])]


def _stage(trials: Sequence[int], tables: Sequence[NDArray[Any]]) -> Stage:
    return Stage(np.array(trials, dtype=np.int64), np.stack(tables, axis=1))


def _survivors(spec: StudySpec, candidates: Sequence[_Candidate], judged: Sequence[int]) -> Survive:
    reached = [
        epoch
        for stage, epoch in enumerate(judged)
        if any(stage in each.rungs for each in candidates)
    ]
    return survivors_in_bag(
        spec,
        [each.trial.number for each in candidates],
        [each.trial.cohort for each in candidates],
        [each.epochs for each in candidates],
        reached,
        [each.trial.known_cohorts for each in candidates],
    )


def survivors_in_bag(
    spec: StudySpec,
    numbers: Sequence[int],
    cohorts: Sequence[int],
    epochs: Sequence[int],
    judged: Sequence[int],
    known: Sequence[int | None] | None = None,
) -> Survive:
    """Return the trials that a study's pruner leaves, as a function of in-bag scores at its rungs.

    known is Trial.known_cohorts of each trial; without it, the pruner knew all earlier cohorts.

    Shape: numbers, cohorts, epochs and known (T,); judged, the epochs of the rungs (S - 1,).
    """

    def survive(rungs: Floats) -> NDArray[np.bool_]:
        left = replay_pruner(spec, numbers, cohorts, epochs, judged, rungs, known)  # (b, T)
        left |= ~left.any(axis=1, keepdims=True)
        return left

    return survive


def choice_in_bag(
    survive: Survive, rule: Rule, simplicity: NDArray[np.int64], *, is_minimised: bool
) -> Choose:
    """Return the choice of a study, its pruner and then its rule, as a function of in-bag scores.

    The rule is one that chooses a trial. Shape: simplicity (T,).
    """

    def choose_in_bag(rungs: Floats, end: Floats) -> NDArray[np.int64]:
        scores = np.where(survive(rungs)[:, :, None], end, np.nan)
        return choose(scores, rule, simplicity, is_minimised=is_minimised)

    return choose_in_bag


def lower_bound(
    spec: StudySpec, rows: Rows, draws: Draws, winner: int, predictions: NDArray[Any], seed: int
) -> float:
    """Return the bound of the winner's score, at the level that holds for all trials and epochs.

    winner is its index among the trials of the draws. Shape: predictions (R, N) or (R, N, C).
    """
    metric, section = METRICS[rows.metric], spec.sections.assessment
    sign = -1.0 if metric.is_minimised else 1.0
    level = simultaneous_level(sign * draws.in_bag, sign * draws.whole, section.level)
    if not isinstance(metric.computation, MeanOverRows):
        column = draws.best_column(winner, is_minimised=metric.is_minimised)
        deviation = float(np.nanstd(draws.in_bag[:, column]))
        return float(draws.whole[column]) - sign * float(special.ndtri(level)) * deviation
    is_scored = (rows.folds >= 0).all(axis=0)
    values = row_values(metric.computation.value, predictions, rows.targets).mean(axis=0)[is_scored]
    groups = None if rows.groups is None else rows.groups[is_scored]
    if rows.run > 1:
        groups = np.arange(len(values)) // rows.run
    if metric.counts_hits and groups is None and len(rows.folds) == 1:
        return share_bound(int(values.sum()), len(values), level)
    bound = sign * mean_bound(sign * values, groups, level, section.bootstraps, seed)
    return math.sqrt(bound) if metric.computation.is_rooted else bound


def _reduce(rows: Rows, folds: Sequence[FoldResult] | Sequence[BaselineFold]) -> NDArray[Any]:
    """Return what the metric needs of one model's predictions. Shape: (R, N[, C])."""
    parts = []
    for fold in folds:
        assert fold.outputs is not None, "a complete trial has predictions"
        targets = rows.targets[rows.folds[fold.repeat] == fold.fold]
        parts.append((fold.repeat, fold.fold, reduce_outputs(rows.metric, fold.outputs, targets)))
    return _place(rows, parts)


def _place(rows: Rows, parts: Sequence[tuple[int, int, NDArray[Any]]]) -> NDArray[Any]:
    """Return the predictions of (repeat, fold, rows of the fold) in the order of all rows."""
    kind = np.result_type(*(values.dtype for _, _, values in parts))
    table = np.zeros((*rows.folds.shape, *parts[0][2].shape[1:]), dtype=kind)
    for repeat, fold, values in parts:
        table[repeat, rows.folds[repeat] == fold] = values
    return table
