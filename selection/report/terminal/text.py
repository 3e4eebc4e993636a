"""What came out of a study as text: tables on a terminal, aligned plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selection.report.cells import mean, show_score, show_state, show_value
from selection.report.values import FINISHED
from selection.stats.selection_rules import rank
from selection.study.trial import CURVE_COLUMNS, FoldResult, Trial, TrialState

if TYPE_CHECKING:
    from selection.data.sources import DataSetInfo
    from selection.store.study_record import StudyRecord, StudySummary

PLAIN_WIDTH = 240
LEADERS = 12


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that never wraps or colours what a pipe or a file will read."""
    console = Console(stderr=stderr, highlight=False)
    return (
        console
        if console.is_terminal
        else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH, color_system=None)
    )


def leaderboard(
    console: Console,
    study: StudyRecord,
    trials: Sequence[Trial],
    *,
    more: str = "",
) -> None:
    """Print COMPLETE trials by rank, then the others by how far they came.

    more is the command that prints all of them; with it, the leaders alone are printed.
    """
    spec = study.spec()
    ranked = rank(trials, is_minimised=spec.is_minimised)
    others = [trial for trial in trials if trial.state is not TrialState.COMPLETE]
    ranked += sorted(others, key=lambda trial: (-trial.epochs, trial.number))
    score = f"{spec.metric}_observed"
    table = make_table(console, "trial", *spec.space, score, "train", "epochs")
    table.add_column("state")
    for trial in ranked[: LEADERS if more else None]:
        table.add_row(
            str(trial.number),
            *(show_value(trial.params[name]) for name in spec.space),
            show_score(trial),
            f"{mean(trial.train_scores):.4f}" if trial.train_scores else "",
            str(trial.epochs),
            escape(show_state(trial)),
        )
    print_table(console, table)
    if more and len(ranked) > LEADERS:
        console.print(f"... and {len(ranked) - LEADERS} more: {escape(more)}", soft_wrap=True)


def curves(console: Console, folds: Sequence[FoldResult]) -> None:
    """Print one line per fold and epoch."""
    table = make_table(console, "repeat", "fold", "epoch", *CURVE_COLUMNS)
    for fold in folds:
        for epoch, point in enumerate(fold.curve.points.tolist(), start=1):
            numbers = [f"{number:.5f}" for number in point]
            table.add_row(str(fold.repeat), str(fold.fold), str(epoch), *numbers)
    print_table(console, table)


def studies(console: Console, summaries: Sequence[StudySummary]) -> None:
    """Print one line per study."""
    table = make_table(console)
    table.add_column("study")
    for name in ("trials", "complete", "pruned", "failed", "best (observed)"):
        table.add_column(name, justify="right")
    table.add_column("begun (UTC)")
    for summary in summaries:
        finished = sum(summary.counts.get(state, 0) for state in FINISHED)
        table.add_row(
            escape(summary.name),
            f"{finished}/{summary.budget}",
            *(str(summary.counts.get(state, 0)) for state in FINISHED),
            "" if summary.best_value is None else f"{summary.best_value:.4f}",
            f"{summary.created_at:%Y-%m-%d %H:%M}",
        )
    print_table(console, table)


def status(console: Console, value: Mapping[str, Any]) -> None:
    """Print how far a study is, from the object behind `status --json`."""
    counts = value["trials"]
    finished = sum(counts[state.value] for state in FINISHED)
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    end = "finished" if value["is_finished"] else "not finished"
    console.print(f"study {escape(value['study'])}: {finished}/{value['budget']} trials, {end}")
    console.print(f"trials: {states or 'none yet'}; {value['seconds']:.0f} s of training")
    for cohort in value["running"]:
        console.print(f"training: {_how_far(cohort)}")
    console.print(f"rows: {value['rows']} development, {value['held_out_rows']} held out")
    held_out = value["held_out"]
    if held_out is None:
        console.print("held-out set: never opened by this study")
    else:
        evaluations = held_out["evaluations"]
        again = f", re-used (n = {evaluations})" if evaluations > 1 else ""
        console.print(f"held-out set: {held_out['state']}{again}")
    if value["best"] is not None:
        score = f"{value['best']['cv_mean']:.4f}"
        console.print(
            f"best {value['metric']}: {score} (observed), trial {value['best']['number']}"
        )
    for warning in value["warnings"]:
        console.print(f"warning: {escape(warning)}")


def data_sets(console: Console, infos: Sequence[DataSetInfo]) -> None:
    """Print one line per data set that a study file can name."""
    table = make_table(console)
    table.add_column("dataset")
    table.add_column("task")
    for name in ("rows", "held out", "features", "classes"):
        table.add_column(name, justify="right")
    table.add_column("source")
    for info in infos:
        table.add_row(
            info.name,
            info.task,
            str(info.rows),
            str(info.held_out_rows or ""),
            str(info.features),
            str(info.classes or ""),
            info.source,
        )
    print_table(console, table)


def next_steps(console: Console, commands: Sequence[str]) -> None:
    """Print the commands that lead on from here."""
    console.print("what next:")
    for command in commands:
        console.print(f"  {escape(command)}", soft_wrap=True)


def make_table(console: Console, *names: str) -> Table:
    """Return a table of right-aligned columns; a terminal breaks their names to save width."""
    table = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        pad_edge=False,
        show_edge=False,
        padding=(0, 0 if console.is_terminal else 2, 0, 0),
    )
    for name in names:
        shown = name.replace("_", "\n") if console.is_terminal else name
        table.add_column(shown, justify="right", no_wrap=True)
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table at its natural width: a narrow terminal breaks lines, and loses nothing."""
    width = console.width
    unlimited = console.options.update(max_width=PLAIN_WIDTH)
    console.width = max(width, console.measure(table, options=unlimited).maximum)
    console.print(table, soft_wrap=True, crop=False)
    console.width = width


def _how_far(cohort: Mapping[str, Any]) -> str:
    worker = escape(cohort["worker"])
    if not cohort["trials"]:
        return f"cohort {cohort['cohort']} is finished; the next one is asked for on {worker}"
    epoch = f"epoch {cohort['epoch']}/{cohort['epochs'] or '?'}"
    return f"cohort {cohort['cohort']} of {cohort['trials']} trials on {worker}, {epoch}"
