"""Diagnoses and curves as text: a verdict, the rule that gave it, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from selection.report.cells import show_fold_mean, show_gap, show_value
from selection.report.terminal.layout import make_table, print_table, say
from selection.report.values import layer_rows
from selection.stats.fit_diagnosis import Diagnosis
from selection.store.curve_points import CurvePoint
from selection.study.trial import LAYER_COLUMNS, FoldResult, Trial
from selection.workflows.diagnose import BaselineLine


def diagnosis(
    console: Console,
    study: str,
    trial: Trial,
    found: Diagnosis,
    baselines: Mapping[str, BaselineLine],
    metric: str,
) -> None:
    """Print whether a trial under- or overfits, by which rule, and what to do about it."""
    say(console, f"study {study}, trial {trial.number}: {found.verdict.value}")
    params = ", ".join(f"{name} = {show_value(value)}" for name, value in trial.params.items())
    for name, words in (("rule", found.rule), ("advice", found.advice), ("setting", params)):
        say(console, f"  {name}: {words}")
    table = make_table(console)
    table.add_column(f"after {trial.epochs} epochs, observed")
    losses = ("training_loss", "validation_loss", "gap")
    for name in (*losses, f"training_{metric}", f"validation_{metric}"):
        table.add_column(name, justify="right")
    table.add_row(
        f"trial {trial.number}",
        show_fold_mean(found.training_loss),
        show_fold_mean(found.validation_loss),
        show_gap(found),
        show_fold_mean(found.training_score),
        show_fold_mean(found.validation_score),
    )
    for name, line in baselines.items():
        scores = ("", show_fold_mean(line.loss), "", "", show_fold_mean(line.score))
        table.add_row(f"baseline {escape(name)}", *scores)
    print_table(console, table)


def layers(console: Console, folds: Sequence[FoldResult]) -> None:
    """Print what the layers of a trial did in its first and last epoch, if it was asked for."""
    rows = layer_rows(folds)
    if not rows:
        return
    table = make_table(console, "epoch", "layer", *LAYER_COLUMNS)
    ends = (rows[0]["epoch"], rows[-1]["epoch"])
    for row in rows:
        if row["epoch"] in ends:
            table.add_row(*("" if number is None else f"{number:.4g}" for number in row.values()))
    print_table(console, table)


def curve(
    console: Console,
    points: Sequence[CurvePoint],
    found: Sequence[Diagnosis | None],
    metric: str,
) -> None:
    """Print a line for each point of one curve."""
    heads = (f"{metric}_observed", "train", "loss", "train_loss", "gap")
    table = make_table(console, points[0].over, *heads)
    table.add_column("verdict")
    for point, own in zip(points, found, strict=True):
        if own is None:
            table.add_row(show_value(point.value), *[""] * len(heads), escape(point.reason))
            continue
        table.add_row(
            show_value(point.value),
            show_fold_mean(own.validation_score),
            f"{own.training_score.mean:.4f}",
            f"{own.validation_loss.mean:.4g}",
            f"{own.training_loss.mean:.4g}",
            show_fold_mean(own.gap),
            own.verdict.value,
        )
    print_table(console, table)
