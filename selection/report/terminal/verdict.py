"""The verdict on a study as text: who won, how sure that is, and what the held-out rows said.

Every score says whether it is observed, corrected or held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from selection.report.cells import count_of, show_value
from selection.report.terminal.layout import make_table, print_table, say
from selection.report.values import FINISHED, count_states
from selection.report.verdict import (
    against_line,
    gap_line,
    held_out_lines,
    show_interval,
    training_line,
    winner_lines,
)

if TYPE_CHECKING:
    from selection.store.ledger import Evaluation
    from selection.workflows.assess import Assessment


def winner(console: Console, assessment: Assessment, evaluate: str) -> None:
    """Print who won, by which rule, and how sure it is; evaluate is the command that goes on."""
    counts = count_states(assessment.trials)
    states = ", ".join(f"{counts[state]} {state.value}" for state in FINISHED if counts[state])
    total = sum(counts[state] for state in FINISHED)
    say(
        console,
        f"study {assessment.study.name}: {count_of(total, 'trial')} ({states or 'none yet'})",
    )
    best = assessment.winner
    if best is None:
        say(console, "no trial is complete, so none has won")
        return
    if not assessment.is_finished:
        budget = assessment.spec.budget
        say(console, f"the study goes on: {total} of {budget} trials are finished so far")
    params = ", ".join(f"{name} = {show_value(value)}" for name, value in best.params.items())
    named = f"winner: trial {best.number}: {params}" if params else f"winner: trial {best.number}"
    say(console, named)
    for line in winner_lines(assessment, best):
        say(console, f"  {line}")
    for line in held_out_lines(assessment, evaluate):
        say(console, line, whole=evaluate)


def evaluation(
    console: Console, result: Mapping[str, Any], evaluations: Sequence[Evaluation]
) -> None:
    """Print a held-out result, and how often the rows were looked at; looks are this study's."""
    metric, number = result["metric"], result["number"]
    say(console, f"study {result['study']}: trial {number} on its held-out set")
    interval = show_interval(result["low"], result["high"], result["level"])
    say(console, f"{metric}, held out: {result['score']:.4f} {interval} on {result['rows']} rows")
    if len(result["seeds"]) > 1:
        scores = " ".join(f"{score:.4f}" for score in result["seeds"])
        say(console, f"the same setting from {len(result['seeds'])} seeds: {scores}")
    say(console, gap_line(result))
    say(console, training_line(result))
    _print_details(console, result)
    if result["against"] is not None:
        say(console, against_line(result))
    if len(evaluations) > 1:
        reasons = "; ".join(evaluation.reason for evaluation in evaluations if evaluation.reason)
        say(console, f"held-out set re-used (n = {len(evaluations)}): {reasons}")


def _print_details(console: Console, result: Mapping[str, Any]) -> None:
    if "scores" in result:
        shown = ", ".join(f"{name} {score:.4g}" for name, score in result["scores"].items())
        say(console, f"on the same rows: {shown}")
        return
    names = [line["name"] for line in result["per_class"]]
    table = make_table(console)
    table.add_column("class")
    for name in ("rows", "precision", "recall", "f1"):
        table.add_column(name, justify="right")
    for line in result["per_class"]:
        shares = (_share(line[name]) for name in ("precision", "recall", "f1"))
        table.add_row(escape(line["name"]), str(line["rows"]), *shares)
    console.print()
    print_table(console, table)
    console.print()
    table = make_table(console)
    table.add_column("true \\ predicted")
    for name in names:
        table.add_column(escape(name), justify="right")
    for name, counts in zip(names, result["confusion"], strict=True):
        table.add_row(escape(name), *map(str, counts))
    print_table(console, table)
    console.print()
    chances = result["calibration"]
    say(
        console,
        f"calibration: NLL {chances['nll']:.4f}, Brier {chances['brier']:.4f} (0 to 2), "
        f"ECE {chances['ece']:.4f}",
    )


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
