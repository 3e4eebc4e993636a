"""What a comparison of two studies says: sentences, rows of a table, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selection.report.cells import (
    count_of,
    show_difference,
    show_dimension,
    show_interval,
    show_number,
    show_score,
    show_value,
)
from selection.report.values import FINISHED, count_states, ensemble_value, params_value
from selection.report.verdict import winner_name
from selection.study.spec import value_of

if TYPE_CHECKING:
    from selection.workflows.compare import ComparedStudy, StudyComparison


@dataclass(frozen=True)
class ComparedRow:
    """Hold one line of the table that shows two studies beside each other."""

    label: str
    first: str
    second: str


def comparison_lines(found: StudyComparison) -> list[str]:
    """Return the sentences that say which winner is better, and how sure that is."""
    first, second = found.first, found.second
    if found.difference is None:
        return [
            f"unpaired: {found.why_unpaired}",
            "the two stand side by side; no test can be made of them",
        ]
    folds = count_of(len(first.winner.fold_scores), "paired fold")
    return [
        f"on {folds}, {_who_is_better(found)}",
        f"{first.name} minus {second.name}: {_test(found)}",
        "both observed scores are optimistic: each of them chose its own winner",
    ]


def _who_is_better(found: StudyComparison) -> str:
    assert found.difference is not None, "the folds are paired"
    better = found.better
    if better is None:
        same = "the same" if found.difference.word == "identical" else "equal in the mean"
        return f"the scores of both winners are {same}"
    worse = found.second if better is found.first else found.first
    metric = better.assessment.spec.metric
    size = show_difference(found.difference.mean)
    more = "less" if better.assessment.spec.is_minimised else "more"
    sure = "clearly" if found.is_clear else "not clearly"
    return (
        f"the winner of {better.name} is {sure} better than that of {worse.name}: "
        f"{metric} {size} {more} (observed)"
    )


def _test(found: StudyComparison) -> str:
    difference = found.difference
    assert difference is not None, "the folds are paired"
    mean = f"{difference.mean:+.4f}"
    if difference.word == "identical":
        return f"{mean}, identical on every fold"
    if difference.p is None:
        return f"{mean} on every fold, which leaves no variance to test by"
    interval = show_interval(difference.low, difference.high, found.level)
    return f"{mean} {interval}, p = {difference.p:.3f} (corrected resampled t)"


def comparison_rows(found: StudyComparison) -> list[ComparedRow]:
    """Return the winners, the search spaces and the costs of both studies, line by line.

    The values are those of the winner, or of the leading trial of an ensemble.
    """
    pair = (found.first, found.second)
    rows = [
        _row("rule", [each.assessment.rule for each in pair]),
        _row("winner", [winner_name(each.winner) for each in pair]),
        _row("metric", [each.assessment.spec.metric for each in pair]),
        _row("observed", [show_score(each.winner) for each in pair]),
        _row("corrected", [_corrected(each) for each in pair]),
    ]
    rows += [_row(name, [_own_value(each, name) for each in pair]) for name in _names(found)]
    rows += [
        _row(f"space of {name}", [_own_space(each, name) for each in pair])
        for name in _names(found)
    ]
    rows += [
        _row("trials", [_trials(each) for each in pair]),
        _row("epochs trained", [str(each.epochs) for each in pair]),
        _row("seconds of training", [f"{each.seconds:.1f}" for each in pair]),
    ]
    return rows


def _row(label: str, cells: Sequence[str]) -> ComparedRow:
    return ComparedRow(label, *cells)


def _names(found: StudyComparison) -> Iterator[str]:
    """Yield every hyperparameter that one of the studies searches."""
    first, second = found.first.assessment.spec.space, found.second.assessment.spec.space
    yield from first
    yield from (name for name in second if name not in first)


def _own_value(each: ComparedStudy, name: str) -> str:
    value = value_of(each.assessment.spec, each.winner.params, name)
    return "all" if value is None else show_value(value)


def _own_space(each: ComparedStudy, name: str) -> str:
    space = each.assessment.spec.space
    return show_dimension(space[name]) if name in space else "fixed"


def _corrected(each: ComparedStudy) -> str:
    correction = each.assessment.correction
    if correction is None:
        return f"none: {each.assessment.why_uncorrected}"
    interval = show_interval(correction.low, correction.high, correction.level)
    return f"{show_number(correction.estimate)} {interval}"


def _trials(each: ComparedStudy) -> str:
    counts = count_states(each.assessment.trials)
    states = ", ".join(f"{counts[state]} {state.value}" for state in FINISHED if counts[state])
    return f"{len(each.assessment.trials)} ({states})"


def comparison_value(found: StudyComparison) -> dict[str, Any]:
    """Return what `compare --json` prints; difference is the first score minus the second."""
    difference, better = found.difference, found.better
    return {
        "paired": found.is_paired,
        "reason": found.why_unpaired,
        "difference": difference and difference.mean,
        "low": difference and difference.low,
        "high": difference and difference.high,
        "p": difference and difference.p,
        "word": difference.word if difference else "",
        "level": found.level,
        "better": better and better.name,
        "is_clear": found.is_clear,
        "studies": [_study_value(each) for each in (found.first, found.second)],
    }


def _study_value(each: ComparedStudy) -> dict[str, Any]:
    assessment, winner = each.assessment, each.winner
    counts, correction = count_states(assessment.trials), assessment.correction
    return {
        "study": each.name,
        "metric": assessment.spec.metric,
        "rule": assessment.rule,
        "number": winner.number,
        **ensemble_value(winner),
        "params": params_value(winner.params),
        "observed": {"mean": winner.value, "standard_error": winner.standard_error},
        "corrected": correction
        and {
            "estimate": correction.estimate,
            "low": correction.low,
            "high": correction.high,
            "level": correction.level,
        },
        "space": dict(assessment.study.spec_json["space"]),
        "trials": {state.value: counts[state] for state in FINISHED},
        "epochs": each.epochs,
        "seconds": round(each.seconds, 3),
    }
