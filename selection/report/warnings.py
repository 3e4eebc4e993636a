"""The warnings of a study in sentences: what was found, and what to do about it.

Every medium shows the same list. The rules stand in workflows/cautions.py; what the data and the
ledger warn of is added here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selection.metrics import METRICS, MeanOverClasses, RankArea
from selection.report.cells import show_number, show_value
from selection.report.verdict import openings
from selection.workflows.cautions import (
    AllFailed,
    Caution,
    DefaultAsGood,
    Edge,
    EdgeOfSpace,
    ExactTies,
    FewUpdates,
    ImbalancedAccuracy,
    LinearWins,
    NothingCorrected,
    all_failed,
    cautions,
)

if TYPE_CHECKING:
    from selection.store.ledger import Evaluation
    from selection.store.study_record import StudyRecord
    from selection.study.trial import Trial
    from selection.workflows.assess import Assessment

# Codes of what no rule of cautions.py finds.
DATA, HELD_OUT_OPENED = "data", "held_out_opened"
MOST_NAMED = 10


@dataclass(frozen=True)
class StudyWarning:
    """Hold what weakens an answer: a code for programs, and a text that says what to do."""

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


def study_warnings(assessment: Assessment) -> list[StudyWarning]:
    """Return all that weakens the answer of a study, what overturns it first."""
    found = [StudyWarning(each.code, sentence(each)) for each in cautions(assessment)]
    return [*found, *record_warnings(assessment.study, assessment.openings_by_others)]


def early_warnings(study: StudyRecord, trials: Sequence[Trial]) -> list[StudyWarning]:
    """Return what is known to weaken an answer before there is an assessment."""
    failed = all_failed(trials)
    found = [] if failed is None else [StudyWarning(failed.code, sentence(failed))]
    return [*found, *record_warnings(study, [])]


def record_warnings(study: StudyRecord, others: Sequence[Evaluation]) -> list[StudyWarning]:
    """Return what the data of a study and the openings by other studies warn of."""
    opened = openings(others, study.facts.held_out_rows)
    return [
        *([StudyWarning(HELD_OUT_OPENED, opened)] if opened else []),
        *(StudyWarning(DATA, text) for text in study.facts.warnings),
    ]


def sentence(found: Caution) -> str:
    """Return an objection in words: what was found, and what to do."""
    match found:
        case AllFailed():
            return _all_failed(found)
        case LinearWins():
            return _linear_wins(found)
        case ImbalancedAccuracy():
            return _imbalanced_accuracy(found)
        case FewUpdates():
            return _few_updates(found)
        case EdgeOfSpace():
            return _edge_of_space(found)
        case DefaultAsGood():
            return _default_as_good(found)
        case ExactTies():
            return _ties(found)
        case NothingCorrected():
            return _nothing_corrected(found)


def _all_failed(found: AllFailed) -> str:
    head = "The only trial failed" if found.trials == 1 else f"All {found.trials} trials failed"
    why = f" ({found.reason})" if found.reason else ""
    if found.reason == "diverged":
        return f"{head}{why}. Lower the learning rates in [space], or prepare the features."
    return f"{head}{why}. Fix what selection trials says of each of them."


def _linear_wins(found: LinearWins) -> str:
    linear, winner = show_number(found.linear), show_number(found.winner)
    if found.is_better:
        return (
            f"The linear baseline is better than the winner ({linear} against {winner}, observed). "
            "Use a linear model, or search longer training and other learning rates."
        )
    return (
        f"The winner is not shown to beat the linear baseline ({winner} against {linear}, "
        "observed). Prefer the linear model, or tell them apart with more rows or [cv] repeats."
    )


def _imbalanced_accuracy(found: ImbalancedAccuracy) -> str:
    return (
        f"The observed accuracy {show_number(found.accuracy)} is close to the "
        f"{show_number(found.share)} of always predicting class {found.name}. Choose by a metric "
        f"that counts classes alike ([search] metric): {', '.join(_class_metrics())}."
    )


def _class_metrics() -> list[str]:
    """Return the metrics for which every class weighs the same."""
    return [
        name
        for name, metric in METRICS.items()
        if isinstance(metric.computation, MeanOverClasses | RankArea)
    ]


def _few_updates(found: FewUpdates) -> str:
    return (
        f"The winner was trained for {found.updates} updates in all (epochs x minibatches: "
        f"{found.epochs} x {found.minibatches}). Raise epochs or lower batch_size: with longer "
        "training another setting may win."
    )


def _edge_of_space(found: EdgeOfSpace) -> str:
    edges = ", ".join(map(_edge, found.edges))
    return (
        f"The winner lies at the edge of the search space: {edges}. Search again with more room "
        "there, for better settings may lie beyond."
    )


def _edge(edge: Edge) -> str:
    move = "raise high" if edge.is_upper else "lower low"
    side = "above" if edge.is_upper else "below"
    what = f"{'add choices' if edge.is_choice else move} {side} {show_value(edge.bound)}"
    return f"{edge.name} = {show_value(edge.value)} ({what})"


def _default_as_good(found: DefaultAsGood) -> str:
    if found.is_winner:
        return (
            "No trial has a better mean than the default setting (trial 0), which is the winner. "
            "Keep the default, or search a wider space with more trials."
        )
    default, winner = show_number(found.default), show_number(found.winner)
    return (
        f"The default setting (trial 0) cannot be distinguished from the winner ({default} "
        f"against {winner}, observed): the search is not shown to have found anything better. "
        "More rows or [cv] repeats would tell them apart."
    )


def _ties(found: ExactTies) -> str:
    named = ", ".join(map(str, found.numbers[:MOST_NAMED]))
    more = ", ..." if found.numbers[MOST_NAMED:] else ""
    return (
        f"{len(found.numbers)} different settings share the best observed mean "
        f"{show_number(found.mean)} exactly (trials {named}{more}), and the first of them won. "
        "Choose by a finer metric, such as a loss, or add [cv] repeats."
    )


def _nothing_corrected(found: NothingCorrected) -> str:
    if not found.was_chosen:
        return (
            f"The score is not corrected: {found.why}. Search several settings to learn whether "
            "another is better."
        )
    return (
        f"The score is not corrected: {found.why}. The observed score is optimistic by an unknown "
        "amount, which only the held-out rows can tell."
    )
