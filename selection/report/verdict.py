"""The verdict on a study in sentences: who won, how sure that is, what the held-out rows said.

Every score says whether it is observed, corrected or held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selection.metrics import METRICS
from selection.report.cells import (
    count_of,
    show_difference,
    show_epochs,
    show_interval,
    show_number,
    show_score,
)
from selection.stats.selection_rules import RULES
from selection.study.ensemble import Ensemble, counts_of, subject, weights_of
from selection.study.trial import Trial

if TYPE_CHECKING:
    from selection.store.ledger import Evaluation
    from selection.study.held_out_result import HeldOutResult
    from selection.workflows.assess import Assessment, Baseline, Competitor
    from selection.workflows.correct import Correction

MOST_NAMED = 10


def winner_lines(assessment: Assessment, best: Trial) -> list[str]:
    """Return the sentences that say how good the winner is, and beside what."""
    lines = [f"rule {assessment.rule}: {RULES[assessment.rule]}{_overridden(assessment)}"]
    lines += member_lines(best)
    lines += _score_lines(assessment, best)
    lines += _competitor_lines(assessment, best)
    lines += _audit_lines(assessment, best)
    level = assessment.spec.sections.assessment.level
    lines += [
        f"the {name} baseline scores {show_number(baseline.mean)} (observed): "
        f"{baseline_claim(baseline, level)}"
        for name, baseline in assessment.baselines.items()
    ]
    lines += [
        f"the {name} baseline is left out: {why}"
        for name, why in assessment.baselines_left_out.items()
    ]
    if not assessment.baselines and assessment.spec.sections.assessment.baselines != ():
        lines.append("no baselines yet: selection run trains them when the study ends")
    return lines


def detail_lines(assessment: Assessment) -> list[str]:
    """Return the statistics behind the sentences, for a reader who asks for them."""
    lines = []
    if (correction := assessment.correction) is not None:
        lines += _correction_details(assessment, correction)
    for competitor in assessment.competitors:
        if competitor.number == 0:
            lines.append(f"the winner's advantage over the default: {_advantage(competitor)}")
            lines.append(f"equal means within {assessment.rope:.4g}")
    if assessment.competitors:
        limit = 1 - assessment.spec.sections.assessment.level
        lines.append(f"a tie is p > {limit:.4g} in the corrected resampled t test over folds")
    for name, baseline in assessment.baselines.items():
        lines.append(f"the winner's advantage over the {name} baseline: {_bounds(baseline)}")
    return lines


def openings(others: Sequence[Evaluation], rows: int) -> str:
    """Return how often other studies opened these held-out rows, or some; nothing if none did."""
    same = [each for each in others if each.shared_rows is None]
    lines = []
    if same:
        names = ", ".join(sorted({each.study_name for each in same}))
        times = "once" if len(same) == 1 else f"{len(same)} times"
        lines.append(f"these held-out rows were opened {times} before, by {names}")
    some: dict[str, int] = {}
    for each in others:
        if each.shared_rows is not None:
            some[each.study_name] = max(some.get(each.study_name, 0), each.shared_rows)
    for name, count in some.items():
        if count:
            lines.append(f"{count} of {rows} held-out rows were opened before by study {name}")
        else:
            lines.append(
                f"other held-out rows of the same table were opened before by study {name}"
            )
    return "; ".join(lines)


def held_out_lines(assessment: Assessment, evaluate: str) -> list[str]:
    """Return what the ledger says of the held-out rows; evaluate is the command that goes on."""
    rows = assessment.study.facts.held_out_rows
    lines = []
    evaluations = assessment.evaluations
    done = [each.result for each in evaluations if each.result is not None]
    lines += [
        f"a claim of {each.claimed_at:%Y-%m-%d %H:%M} UTC was given back, no score was seen: "
        f"{each.note}"
        for each in assessment.returned_claims
    ]
    if not evaluations:
        lines.append(
            f"held-out set: {rows} rows, never opened by this study{expected_of(assessment)}; "
            f"to open it once: {evaluate}"
        )
        return lines
    if done:
        newest = done[-1]
        interval = show_interval(newest.low, newest.high, newest.level)
        lines.append(
            f"{newest.metric}, held out: {show_number(newest.score)} {interval} "
            f"for {subject(newest.number, newest.ensemble)} on {newest.rows} rows"
        )
    if evaluations[-1].result is None:
        lines.append(
            f"held-out set claimed at {evaluations[-1].claimed_at:%Y-%m-%d %H:%M} UTC without a "
            "result: another process is at it, or one was stopped"
        )
    if len(done) > 1:
        lines.append(f"held-out set re-used (n = {len(done)})")
    return lines


def _score_lines(assessment: Assessment, best: Trial) -> list[str]:
    metric = assessment.spec.metric
    correction = assessment.correction
    if correction is None:
        corrected = f"{metric}, no correction: {assessment.why_uncorrected}"
    else:
        interval = show_interval(correction.low, correction.high, correction.level)
        corrected = (
            f"{metric}, corrected: {show_number(correction.estimate)} {interval} "
            f"(for {choice_of(correction)})"
        )
    label = (
        "the only trial"
        if len(assessment.trials) == 1
        else ("optimistic: the winner was chosen by it")
    )
    lines = [
        corrected,
        f"{metric}, observed: {show_score(best)} over {len(best.fold_scores)} folds"
        f"{_epoch_of(best)} ({label})",
    ]
    outer = [fold.score for fold in assessment.nested]
    if outer:
        folds = assessment.spec.sections.cv.folds
        mean = sum(outer) / len(outer)
        done = "" if len(outer) == folds else f", {folds - len(outer)} still to come"
        lines.append(
            f"{metric}, nested: {show_number(mean)} over {len(outer)} outer folds{done} "
            "(the whole procedure, scored on rows it never saw)"
        )
    return lines


def _epoch_of(best: Trial) -> str:
    return "" if best.best_epoch is None else f" after {show_epochs(best)} epochs"


def choice_of(correction: Correction) -> str:
    """Say among how many settings the winner was chosen, and how often a pruned one wins."""
    settings = count_of(correction.complete + correction.pruned, "setting")
    choice = f"the choice among {settings}"
    if not correction.pruned:
        return choice
    return f"{choice}; a pruned trial wins in {correction.pruned_wins:.0%} of the bootstraps"


def bound_of(assessment: Assessment, correction: Correction) -> str:
    """Say what the winner's score is worse than only rarely, whichever trial was chosen."""
    if correction.lower_bound is None:
        return "no lower bound: it would hold for trials, and not for their means"
    side = "at most" if assessment.spec.is_minimised else "at least"
    return (
        f"{assessment.spec.metric} is {side} {show_number(correction.lower_bound)} at "
        f"{100 * correction.level:g}%, one-sided, whichever trial was chosen"
    )


def _correction_details(assessment: Assessment, correction: Correction) -> list[str]:
    left_out = f"; {correction.left_out} without predictions" if correction.left_out else ""
    return [
        f"corrected by BBC-CV, {_pooled(assessment.spec.metric)}, over "
        f"{correction.complete} complete and {correction.pruned} pruned settings{left_out}",
        bound_of(assessment, correction),
    ]


def _competitor_lines(assessment: Assessment, best: Trial) -> list[str]:
    ties = assessment.indistinguishable
    lines = []
    is_ensemble = isinstance(best, Ensemble)
    if best.number == 0 and not is_ensemble:
        lines.append("the winner is the default setting")
    for competitor in assessment.competitors:
        if competitor.number == 0:
            scores = _beside(competitor.mean, best)
            weight = _weight(competitor, is_tie=0 in ties)
            lines.append(f"the default (trial 0) scores {scores}: {weight}")
    if not assessment.competitors:
        return lines
    named = f"trial{'s' if ties[1:] else ''} {', '.join(map(str, ties[:MOST_NAMED]))}"
    if ties[MOST_NAMED:]:
        named += ", ..."
    other = "" if is_ensemble else "other "
    if not ties:
        lines.append(f"no {other}trial ties with the winner")
    elif len(ties) == 1:
        lines.append(f"1 {other}trial ties with the winner ({named})")
    else:
        lines.append(f"{len(ties)} {other}trials tie with the winner ({named})")
    return lines


def _audit_lines(assessment: Assessment, best: Trial) -> list[str]:
    """Return what the pruned trials that were trained to their end say; nothing without them."""
    audited = assessment.audited
    if not audited:
        return []
    means = [each.mean for each in audited if each.mean is not None]
    were = "were trained to their" if audited[1:] else "was trained to its"
    what = f"{count_of(len(audited), 'pruned trial')}, chosen at random, {were} end"
    if not means:
        return [f"{what}: training failed"]
    is_minimised = assessment.spec.is_minimised
    top = min(means) if is_minimised else max(means)
    which = {1: "it", 2: "the better one"}.get(len(means), "the best of them")
    assert best.value is not None, "a winner is COMPLETE"
    is_better = top < best.value if is_minimised else top > best.value
    cost = ": pruning has cost that much" if is_better else ""
    return [f"{what}: {which} scores {_beside(top, best)}{cost}"]


def _beside(mean: float, best: Trial) -> str:
    """Return an observed mean and how far it is from the winner's."""
    assert best.value is not None, "a winner is COMPLETE"
    difference = mean - best.value
    if show_number(abs(difference), like=mean) == show_number(0.0, like=mean):
        return f"{show_number(mean)} (observed), the same"
    word = "less" if difference < 0 else "more"
    return f"{show_number(mean)} (observed), {show_difference(difference)} {word}"


def _weight(competitor: Competitor, *, is_tie: bool) -> str:
    """Say in words what the difference to the winner amounts to: the likeliest of three."""
    if competitor.advantage.word == "identical":
        return "identical on every fold"
    chances = competitor.chances
    if chances.equal >= max(chances.better, chances.worse):
        return "too small to matter"
    sure = "probably" if is_tie else "clearly"
    return f"{sure} {'worse' if chances.better > chances.worse else 'better'}"


def baseline_claim(baseline: Baseline, level: float) -> str:
    """Say whether the winner beats a baseline, with the interval of the test that decides."""
    if baseline.is_untrained:
        return "no claim, as its search over learning rates ended at an edge"
    interval = baseline_interval(baseline, level)
    if baseline.is_beaten:
        return f"the winner beats it by {interval}"
    return f"the winner does not clearly beat it: {interval}"


def baseline_interval(baseline: Baseline, level: float) -> str:
    """Return the bounds of the winner's advantage, or why there are none."""
    if baseline.interval is None:
        return "no choice to resample" if baseline.was_chosen else "the same on every fold"
    return show_interval(*baseline.interval, level)


def _advantage(competitor: Competitor) -> str:
    advantage, chances = competitor.advantage, competitor.chances
    if advantage.p is None:
        return f"{advantage.mean:+.4f}, {advantage.word} on every fold"
    return (
        f"{advantage.mean:+.4f}, p = {advantage.p:.3f}; chances {chances.better:.2f} better, "
        f"{chances.equal:.2f} equal, {chances.worse:.2f} worse"
    )


def _bounds(baseline: Baseline) -> str:
    """Return the two intervals that the one which decides covers."""
    advantage = baseline.advantage
    bounds = f"{advantage.mean:+.4f}"
    if advantage.low is None or advantage.high is None:
        bounds += ", the same on every fold"
    else:
        bounds += f" [{advantage.low:.4f}, {advantage.high:.4f}] over paired folds"
    if baseline.out_of_bag is not None:
        low, high = baseline.out_of_bag
        bounds += f", [{low:.4f}, {high:.4f}] out of bag"
    return f"{bounds}; {baseline.note}" if baseline.note else bounds


def training_line(result: HeldOutResult) -> str:
    """Say what the final model is and how long it was trained."""
    training = result.training
    count = len(training.updates)
    what = {
        "refit": "refit on all development rows",
        "refit_ensemble": f"mean of {count} refits on all development rows",
    }.get(result.model, f"{count} fold models")
    updates = sum(training.updates) / count
    if result.ensemble is not None:
        what = f"mean of {len(result.ensemble)} trials, {count} MLPs in all ({what})"
    most = "" if training.most_epochs is None else f" of {_several(training.most_epochs)}"
    return f"model: {what}, {_several(training.epochs)}{most} epochs, {updates:.0f} updates"


def _several(numbers: int | tuple[int, ...]) -> str:
    """Return one number, or the least and the greatest."""
    if isinstance(numbers, int):
        return str(numbers)
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def winner_name(winner: Trial) -> str:
    """Return what a sentence calls the winner."""
    return subject(winner.number, counts_of(winner))


def member_lines(winner: Trial) -> list[str]:
    """Return which trials an ensemble is made of, and with which weights; nothing of a trial."""
    if not isinstance(winner, Ensemble):
        return []
    weights = weights_of(winner.counts)
    named = [f"trial {number} {weight:.2f}" for number, weight in weights.items()]
    return [f"weights: {', '.join(named)}"]


def seeds_text(result: HeldOutResult) -> str:
    """Say what the scores by seed are of."""
    if result.model == "refit_ensemble":
        return f"each of its {len(result.seeds)} seeds alone"
    return f"the same setting from {len(result.seeds)} seeds"


def expected_of(assessment: Assessment) -> str:
    """Say what score the held-out rows will show, if anything is known of it."""
    correction = assessment.correction
    if correction is None or correction.prediction_interval is None:
        return ""
    return f", expected to score {show_interval(*correction.prediction_interval, correction.level)}"


def gap_line(result: HeldOutResult) -> str:
    """Say how the held-out score compares with the corrected estimate."""
    if result.corrected_estimate is None or result.corrected_interval is None:
        return "no corrected estimate to compare with"
    low, high = result.corrected_interval
    interval = show_interval(low, high, result.level)
    gap = result.score - result.corrected_estimate
    score = result.score
    if show_number(abs(gap), like=score) == show_number(0.0, like=score):
        words = "the held-out score is the same"
    else:
        size = show_number(abs(gap), like=score)
        words = f"the held-out score is {size} {'lower' if gap < 0 else 'higher'}"
    corrected = show_number(result.corrected_estimate)
    return f"{result.metric}, corrected: {corrected} {interval}; {words}{as_expected(result)}"


def as_expected(result: HeldOutResult) -> str:
    """Say whether the held-out score is one that so many new rows may well show."""
    if result.prediction_interval is None:
        return ""
    low, high = result.prediction_interval
    side = "inside" if low <= result.score <= high else "outside"
    return f", {side} the expected {show_interval(low, high, result.level)}"


def against_line(result: HeldOutResult) -> str:
    """Say how the model compares with the one of an earlier evaluation, row by row."""
    against = result.against
    assert against is not None, "there is an earlier evaluation"
    is_clear = against.p <= 1 - result.level
    verdict = "a clear difference" if is_clear else "no clear difference"
    return (
        f"against {subject(against.number, against.ensemble)} of evaluation {against.evaluation}: "
        f"{against.gained} rows gained, {against.lost} lost: {verdict}"
    )


def _overridden(assessment: Assessment) -> str:
    stated = assessment.spec.sections.selection.rule
    return "" if assessment.rule == stated else f" (the study file says {stated})"


def _pooled(metric: str) -> str:
    """Say what is averaged: ranks of different models cannot be pooled."""
    return "folds pooled" if METRICS[metric].pooling == "rows" else "mean over folds"
