"""The verdict on a study in sentences: who won, how sure that is, what the held-out rows said.

Every score says whether it is observed, corrected or held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selection.metrics import METRICS
from selection.report.cells import show_interval, show_score
from selection.stats.selection_rules import RULES
from selection.study.trial import Trial

if TYPE_CHECKING:
    from selection.store.ledger import Evaluation
    from selection.study.held_out_result import HeldOutResult, RowComparison
    from selection.workflows.assess import Assessment, Baseline, Competitor


def winner_lines(assessment: Assessment, best: Trial) -> list[str]:
    """Return the sentences that say how good the winner is, and beside what."""
    lines = [f"rule {assessment.rule}: {RULES[assessment.rule]}{_overridden(assessment)}"]
    lines += _score_lines(assessment, best)
    lines += _competitor_lines(assessment, best)
    lines += [_baseline_line(name, baseline) for name, baseline in assessment.baselines.items()]
    if not assessment.baselines:
        lines.append("no baselines yet: they are trained when selection run ends the study")
    return lines


def openings(others: Sequence[Evaluation]) -> str:
    """Return how often other studies opened the same held-out rows; nothing if none did."""
    if not others:
        return ""
    names = ", ".join(sorted({each.study_name for each in others}))
    times = "once" if len(others) == 1 else f"{len(others)} times"
    return f"these held-out rows were opened {times} before, by {names}"


def held_out_lines(assessment: Assessment, evaluate: str) -> list[str]:
    """Return what the ledger says of the held-out rows; evaluate is the command that goes on."""
    rows = assessment.study.facts.held_out_rows
    lines = []
    if others := openings(assessment.openings_by_others):
        lines.append(others)
    evaluations = assessment.evaluations
    done = [each.result for each in evaluations if each.result is not None]
    if not evaluations:
        lines.append(f"held-out set: {rows} rows, never opened by this study; once: {evaluate}")
        return lines
    if done:
        newest = done[-1]
        interval = show_interval(newest.low, newest.high, newest.level)
        lines.append(
            f"{newest.metric}, held out: {newest.score:.4f} {interval} "
            f"for trial {newest.number} on {newest.rows} rows"
        )
    if evaluations[-1].result is None:
        lines.append(
            f"held-out set claimed at {evaluations[-1].claimed_at:%Y-%m-%d %H:%M} UTC without a "
            "result: another process is at it, or one was stopped"
        )
    if len(evaluations) > 1:
        lines.append(f"held-out set re-used (n = {len(evaluations)})")
    return lines


def _score_lines(assessment: Assessment, best: Trial) -> list[str]:
    metric = assessment.spec.metric
    correction = assessment.correction
    if correction is None:
        corrected = f"{metric}, corrected: none ({assessment.why_uncorrected})"
    else:
        interval = show_interval(correction.low, correction.high, correction.level)
        left_out = f", {correction.trials_left_out} left out" if correction.trials_left_out else ""
        corrected = (
            f"{metric}, corrected: {correction.estimate:.4f} {interval} "
            f"(BBC-CV, {_pooled(metric)}, over {correction.trials_used} complete trials{left_out})"
        )
    label = (
        "the only trial"
        if len(assessment.trials) == 1
        else ("optimistic: the winner was chosen by it")
    )
    lines = [
        corrected,
        f"{metric}, observed:  {show_score(best)} over {len(best.fold_scores)} folds ({label})",
    ]
    outer = [fold.score for fold in assessment.nested]
    if outer:
        folds = assessment.spec.sections.cv.folds
        mean = sum(outer) / len(outer)
        done = "" if len(outer) == folds else f", {folds - len(outer)} still to come"
        lines.append(
            f"{metric}, nested:    {mean:.4f} over {len(outer)} outer folds{done} "
            "(the whole procedure, scored on rows it never saw)"
        )
    return lines


def _competitor_lines(assessment: Assessment, best: Trial) -> list[str]:
    lines = []
    default = next(
        (competitor for competitor in assessment.competitors if competitor.number == 0), None
    )
    if default is not None:
        advantage = _advantage(default, assessment.rope)
        lines.append(f"the default, trial 0: {default.mean:.4f} observed; {advantage}")
    elif best.number == 0:
        lines.append("the winner is the default setting")
    if assessment.competitors:
        level = assessment.spec.sections.assessment.level
        numbers = assessment.indistinguishable
        named = f" (trials {', '.join(map(str, numbers[:10]))}{', ...' if numbers[10:] else ''})"
        lines.append(
            f"{len(numbers)} of {len(assessment.competitors)} other complete trials cannot be told "
            f"from the winner{named if numbers else ''}: corrected resampled t, p > {1 - level:.4g}"
        )
    return lines


def _advantage(competitor: Competitor, rope: float) -> str:
    match competitor.advantage.word:
        case "identical":
            return "identical on every fold"
        case "constant":
            return f"the same difference on every fold, {competitor.advantage.mean:.4f}"
    chances = competitor.chances
    return (
        f"the winner's advantage is {competitor.advantage.mean:+.4f} "
        f"(p = {competitor.advantage.p:.3f}), with chances {chances.better:.2f} better, "
        f"{chances.equal:.2f} equal within {rope:.4g}, {chances.worse:.2f} worse"
    )


def _baseline_line(name: str, baseline: Baseline) -> str:
    note = f" ({baseline.note})" if baseline.note else ""
    advantage = baseline.advantage
    bounds = "the same on every fold"
    if advantage.low is not None and advantage.high is not None:
        bounds = f"[{advantage.low:.4f}, {advantage.high:.4f}] over paired folds"
    if baseline.out_of_bag is not None:
        low, high = baseline.out_of_bag
        bounds += f", [{low:.4f}, {high:.4f}] out of bag"
    verdict = "better than it" if baseline.is_beaten else "not shown to be better than it"
    return (
        f"baseline {name}: {baseline.mean:.4f} observed{note}; the winner is {verdict}: "
        f"by {advantage.mean:.4f} {bounds}"
    )


def training_line(result: HeldOutResult) -> str:
    training = result.training
    count = len(training.updates)
    what = "refit on all development rows" if result.model == "refit" else f"{count} fold models"
    updates = sum(training.updates) / count
    line = (
        f"model: {what}, {training.epochs} epochs of batches of {training.batch_size}, "
        f"{updates:.0f} updates ({training.updates_in_cross_validation:.0f} in a fold)"
    )
    losses = [value for value in training.running_loss or () if value is not None]
    scores = [value for value in training.running_score or () if value is not None]
    if len(losses) < count or len(scores) < count:
        return line
    means = f"loss {sum(losses) / count:.4f}, {result.metric} {sum(scores) / count:.4f}"
    return f"{line}; training in its last epoch: {means}"


def against_line(against: RowComparison) -> str:
    return (
        f"against trial {against.number} of evaluation {against.evaluation}: "
        f"{against.gained} rows gained, {against.lost} lost, "
        f"exact McNemar p = {against.p:.4f}"
    )


def _overridden(assessment: Assessment) -> str:
    stated = assessment.spec.sections.selection.rule
    return "" if assessment.rule == stated else f" (the study file says {stated})"


def _pooled(metric: str) -> str:
    """Say what is averaged: ranks of different models cannot be pooled."""
    return "folds pooled" if METRICS[metric].pooling == "rows" else "mean over folds"
