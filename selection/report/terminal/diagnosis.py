"""Diagnoses and curves as text: a verdict, the rule that gave it, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from selection.report.cells import show_epochs, show_fold_mean, show_number, show_value
from selection.report.curve_values import layer_rows
from selection.report.diagnosis_view import curve_title
from selection.report.terminal.layout import ShownColumn, params_text, print_columns, say
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
    for name, words in (("rule", found.rule), ("advice", found.advice)):
        say(console, f"  {name}: {words}")
    say(console, f"  setting: {params_text(trial.params)}")
    beside = ", beside the baselines" if baselines else ""
    say(console, f"after {show_epochs(trial)} epochs, observed{beside}:")
    quantities = ("training_loss", "validation_loss", "gap", "gap_interval")
    scores = (f"training_{metric}", f"validation_{metric}")
    no_interval = found.gap_low is None
    own = [
        show_fold_mean(found.training_loss),
        show_fold_mean(found.validation_loss),
        show_fold_mean(found.gap),
        "" if no_interval else f"[{found.gap_low:.4f}, {found.gap_high:.4f}]",
        show_fold_mean(found.training_score),
        show_fold_mean(found.validation_score),
    ]
    columns = [
        ShownColumn("", [name.replace("_", " ") for name in (*quantities, *scores)], is_text=True),
        ShownColumn(f"trial {trial.number}", own),
    ]
    for name, line in baselines.items():
        loss, score = show_number(line.loss.mean), show_number(line.score.mean)
        cells = ["", loss, "", "", "", score]
        columns.append(ShownColumn(name.replace("_", " "), cells))
    print_columns(console, columns)


def layers(console: Console, folds: Sequence[FoldResult]) -> None:
    """Print what the layers of a trial did in its first and last epoch, if it was asked for."""
    rows = layer_rows(folds)
    if not rows:
        return
    ends = (rows[0]["epoch"], rows[-1]["epoch"])
    shown = [row for row in rows if row["epoch"] in ends]
    print_columns(
        console,
        [
            ShownColumn(name, ["" if row[name] is None else f"{row[name]:.4g}" for row in shown])
            for name in ("epoch", "layer", *LAYER_COLUMNS)
        ],
    )


def curve(
    console: Console,
    study: str,
    points: Sequence[CurvePoint],
    found: Sequence[Diagnosis | None],
    metric: str,
) -> None:
    """Print a line for each point of one curve."""
    title = curve_title(points[0].number, points[0].over)
    say(console, f"study {study}: {title} ({len(points[0].folds)} folds)")
    values = [show_value(point.value) for point in points]
    verdicts = [
        point.reason if own is None else own.verdict.value
        for point, own in zip(points, found, strict=True)
    ]
    columns = [
        ShownColumn(points[0].over, values),
        ShownColumn(
            f"{metric}_observed", _cells(found, lambda own: show_fold_mean(own.validation_score))
        ),
        ShownColumn("train", _cells(found, lambda own: show_number(own.training_score.mean))),
        ShownColumn("loss", _cells(found, lambda own: f"{own.validation_loss.mean:.4g}")),
        ShownColumn("train_loss", _cells(found, lambda own: f"{own.training_loss.mean:.4g}")),
        ShownColumn("gap", _cells(found, lambda own: show_fold_mean(own.gap))),
        ShownColumn("verdict", verdicts, is_text=True),
    ]
    print_columns(console, columns)


def _cells(found: Sequence[Diagnosis | None], show: Callable[[Diagnosis], str]) -> list[str]:
    return ["" if own is None else show(own) for own in found]
