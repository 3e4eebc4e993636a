"""The verdict on a study as text: who won, how sure that is, and what the held-out rows said.

Every score says whether it is observed, corrected or held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from selection.report.cells import show_interval, show_share, show_value
from selection.report.terminal.text import make_table, print_table
from selection.report.values import FINISHED, count_states
from selection.report.verdict import (
    against_line,
    held_out_lines,
    training_line,
    winner_lines,
)

if TYPE_CHECKING:
    from selection.store.ledger import Evaluation
    from selection.study.held_out_result import HeldOutResult
    from selection.workflows.assess import Assessment


def winner(console: Console, assessment: Assessment, evaluate: str) -> None:
    """Print who won, by which rule, and how sure it is; evaluate is the command that goes on."""
    counts = count_states(assessment.trials)
    states = ", ".join(f"{counts[state]} {state.value}" for state in FINISHED)
    total = sum(counts[state] for state in FINISHED)
    _say(console, f"study {assessment.study.name}: {total} trials ({states})")
    best = assessment.winner
    if best is None:
        _say(console, "no trial is complete, so none has won")
        return
    if not assessment.is_finished:
        budget = assessment.spec.budget
        _say(console, f"the study goes on: {total} of {budget} trials are finished so far")
    params = ", ".join(f"{name} = {show_value(value)}" for name, value in best.params.items())
    named = f"winner: trial {best.number}: {params}" if params else f"winner: trial {best.number}"
    _say(console, named)
    for line in winner_lines(assessment, best):
        _say(console, f"  {line}")
    for line in held_out_lines(assessment, evaluate):
        _say(console, line)


def evaluation(console: Console, result: HeldOutResult, evaluations: Sequence[Evaluation]) -> None:
    """Print a held-out result, and how often the rows were looked at; looks are this study's."""
    metric, number = result.metric, result.number
    _say(console, f"study {result.study}: trial {number} on its held-out set")
    interval = show_interval(result.low, result.high, result.level)
    _say(console, f"{metric}, held out: {result.score:.4f} {interval} on {result.rows} rows")
    if len(result.seeds) > 1:
        scores = " ".join(f"{score:.4f}" for score in result.seeds)
        _say(console, f"the same setting from {len(result.seeds)} seeds: {scores}")
    if result.corrected_estimate is None or result.corrected_interval is None:
        _say(console, "no corrected estimate to compare with")
    else:
        low, high = result.corrected_interval
        interval = show_interval(low, high, result.level)
        corrected = f"{result.corrected_estimate:.4f} {interval}"
        _say(
            console,
            f"{metric}, corrected: {corrected}; gap held out - corrected: {result.gap:+.4f}",
        )
    _say(console, training_line(result))
    _print_details(console, result)
    if result.against is not None:
        _say(console, against_line(result.against))
    if len(evaluations) > 1:
        reasons = "; ".join(evaluation.reason for evaluation in evaluations if evaluation.reason)
        _say(console, f"held-out set re-used (n = {len(evaluations)}): {reasons}")


def _print_details(console: Console, result: HeldOutResult) -> None:
    if result.scores is not None:
        shown = ", ".join(f"{name} {score:.4g}" for name, score in result.scores.items())
        _say(console, f"on the same rows: {shown}")
        return
    classes = result.classes
    assert classes is not None, "a result has scores or classes"
    names = [line.name for line in classes.per_class]
    table = make_table(console)
    table.add_column("class")
    for name in ("rows", "precision", "recall", "f1"):
        table.add_column(name, justify="right")
    for line in classes.per_class:
        shares = map(show_share, (line.precision, line.recall, line.f1))
        table.add_row(escape(line.name), str(line.rows), *shares)
    console.print()
    print_table(console, table)
    console.print()
    table = make_table(console)
    table.add_column("true \\ predicted")
    for name in names:
        table.add_column(escape(name), justify="right")
    for name, counts in zip(names, classes.confusion, strict=True):
        table.add_row(escape(name), *map(str, counts))
    print_table(console, table)
    console.print()
    chances = classes.calibration
    _say(
        console,
        f"calibration: NLL {chances.nll:.4f}, Brier {chances.brier:.4f} (0 to 2), "
        f"ECE {chances.ece:.4f}",
    )


def _say(console: Console, line: str) -> None:
    console.print(escape(line), soft_wrap=True)
