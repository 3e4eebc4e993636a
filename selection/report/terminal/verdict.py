"""The verdict on a study as text: who won, how sure that is, and what the held-out rows said.

Every score says whether it is observed, corrected or held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from selection.report.cells import count_of, show_interval, show_number, show_share
from selection.report.course import course_lines
from selection.report.terminal.layout import ShownColumn, fits, params_text, print_columns, say
from selection.report.values import FINISHED, count_states
from selection.report.verdict import (
    against_line,
    gap_line,
    held_out_lines,
    seeds_text,
    training_line,
    winner_lines,
    winner_name,
)
from selection.report.warnings import study_warnings
from selection.study.ensemble import Ensemble, subject

if TYPE_CHECKING:
    from selection.store.ledger import Evaluation
    from selection.study.held_out_result import HeldOutResult
    from selection.study.trial import Trial
    from selection.workflows.assess import Assessment

MOST_CONFUSIONS = 10


def winner(console: Console, assessment: Assessment, evaluate: str) -> None:
    """Print who won, by which rule, and how sure it is; evaluate is the command that goes on."""
    counts = count_states(assessment.trials)
    states = ", ".join(f"{counts[state]} {state.value}" for state in FINISHED if counts[state])
    total = sum(counts[state] for state in FINISHED)
    say(
        console,
        f"study {assessment.study.name}: {count_of(total, 'trial')} ({states or 'none yet'})",
    )
    for warning in study_warnings(assessment):
        say(console, f"warning: {warning}")
    best = assessment.winner
    if best is None:
        say(console, "no trial is complete, so none has won")
        return
    if not assessment.is_finished:
        budget = assessment.spec.budget
        say(console, f"the study goes on: {total} of {budget} trials are finished so far")
    say(console, f"winner: {winner_name(best)}{_params(best)}")
    for line in [*winner_lines(assessment, best), *course_lines(assessment)]:
        say(console, f"  {line}")
    for line in held_out_lines(assessment, evaluate):
        say(console, line, whole=evaluate)


def _params(best: Trial) -> str:
    params = "" if isinstance(best, Ensemble) else params_text(best.params)
    return f": {params}" if params else ""


def evaluation(console: Console, result: HeldOutResult, evaluations: Sequence[Evaluation]) -> None:
    """Print a held-out result, and how often this study has opened the rows."""
    metric = result.metric
    what = subject(result.number, result.ensemble)
    say(console, f"study {result.study}: {what} on its held-out set")
    interval = show_interval(result.low, result.high, result.level)
    say(
        console,
        f"{metric}, held out: {show_number(result.score)} {interval} on {result.rows} rows",
    )
    if len(result.seeds) > 1:
        scores = " ".join(show_number(score) for score in result.seeds)
        say(console, f"{seeds_text(result)}: {scores}")
    say(console, gap_line(result))
    say(console, training_line(result))
    _print_details(console, result)
    if result.against is not None:
        say(console, against_line(result))
    if result.evaluations > 1:
        reasons = "; ".join(evaluation.reason for evaluation in evaluations if evaluation.reason)
        say(console, f"held-out set re-used (n = {result.evaluations}): {reasons}")


def _print_details(console: Console, result: HeldOutResult) -> None:
    if result.scores is not None:
        shown = ", ".join(f"{name} {score:.4g}" for name, score in result.scores.items())
        say(console, f"on the same rows: {shown}")
        return
    assert result.classes is not None, "a result has scores or classes"
    classes = result.classes.per_class
    names = [line.name for line in classes]
    columns = [ShownColumn("class", names, is_text=True)]
    columns.append(ShownColumn("rows", [str(line.rows) for line in classes]))
    columns.append(ShownColumn("precision", [show_share(line.precision) for line in classes]))
    columns.append(ShownColumn("recall", [show_share(line.recall) for line in classes]))
    columns.append(ShownColumn("f1", [show_share(line.f1) for line in classes]))
    console.print()
    print_columns(console, columns)
    console.print()
    _print_confusion(console, names, result.classes.confusion)
    console.print()
    chances = result.classes.calibration
    say(
        console,
        f"calibration: NLL {chances.nll:.4f}, Brier {chances.brier:.4f} (0 to 2), "
        f"ECE {chances.ece:.4f}",
    )


def _print_confusion(
    console: Console, names: Sequence[str], counts: Sequence[Sequence[int]]
) -> None:
    """Print the confusion matrix, or where it does not fit its largest confusions."""
    true = ShownColumn("true \\ predicted", names, is_text=True)
    predicted = [
        ShownColumn(name, [str(line[index]) for line in counts]) for index, name in enumerate(names)
    ]
    if fits(console, [true, *predicted]):
        print_columns(console, [true, *predicted])
        return
    pairs = sorted(
        (-count, row, column)
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if row != column and count
    )
    shown = pairs[:MOST_CONFUSIONS]
    table = [
        ShownColumn("true", [names[row] for _, row, _ in shown], is_text=True),
        ShownColumn("predicted", [names[column] for _, _, column in shown], is_text=True),
        ShownColumn("rows", [str(-count) for count, _, _ in shown]),
    ]
    say(console, f"confusions, {len(shown)} of {len(pairs)} kinds, the most frequent first:")
    print_columns(console, table)
