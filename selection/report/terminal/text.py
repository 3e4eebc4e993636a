"""What came out of a study as text: tables on a terminal, aligned plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from selection.report.cells import count_of, mean, show_number, show_score, show_state, show_value
from selection.report.terminal.layout import (
    PLAIN_WIDTH,
    ShownColumn,
    print_columns,
    say,
)
from selection.report.values import FINISHED, count_states
from selection.stats.selection_rules import rank
from selection.study.trial import CURVE_COLUMNS, FoldResult, Trial, TrialState

if TYPE_CHECKING:
    from selection.data.sources import DataSetInfo
    from selection.store.study_record import StudyRecord, StudySummary
    from selection.study.spec import StudySpec

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
    weights: Mapping[int, float] | None = None,
) -> None:
    """Print COMPLETE trials by rank and, apart, the others by how far they came.

    weights are those of the trials that an ensemble is made of.

    more is the command that prints all of them; with it, the leaders alone are printed.
    """
    spec = study.spec()
    ranked = rank(trials, is_minimised=spec.is_minimised)
    others = [trial for trial in trials if trial.state is not TrialState.COMPLETE]
    others.sort(key=lambda trial: (-trial.epochs, trial.number))
    shown = [*ranked, *others]
    if more:
        shown = (ranked or others)[:LEADERS]
    hidden = print_columns(
        console, _trial_columns(spec, shown, len(ranked), weights), sections=[len(ranked)]
    )
    if hidden:
        say(console, f"columns that do not fit: {', '.join(hidden)}")
    if len(shown) < len(trials):
        counts = count_states([trial for trial in trials if trial not in shown])
        left = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
        say(console, f"not shown: {left}; all trials: {more}", whole=more)


def _trial_columns(
    spec: StudySpec, shown: Sequence[Trial], ranked: int, weights: Mapping[int, float] | None
) -> list[ShownColumn]:
    """Return the columns of a leaderboard whose first trials are ranked.

    Where they do not fit, params that are the same in all trials go first, then the training score,
    then the last params.
    """
    places = [str(place) if place <= ranked else "" for place in range(1, len(shown) + 1)]
    columns = [
        ShownColumn("rank", places),
        ShownColumn("trial", [str(trial.number) for trial in shown]),
    ]
    if weights:
        cells = [f"{weights[each.number]:.2f}" if each.number in weights else "" for each in shown]
        columns.append(ShownColumn("weight", cells))
    params = len(spec.space)
    for index, name in enumerate(spec.space, start=1):
        cells = [show_value(trial.params[name]) for trial in shown]
        is_constant = len(shown) > 1 and len(set(cells)) == 1
        columns.append(ShownColumn(name, cells, rank=index + (params + 1 if is_constant else 0)))
    training = [
        show_number(mean(trial.train_scores)) if trial.train_scores else "" for trial in shown
    ]
    columns += [
        ShownColumn(f"{spec.metric}_observed", [show_score(trial) for trial in shown]),
        ShownColumn("train", training, rank=params + 1),
        ShownColumn("epochs", [str(trial.epochs) for trial in shown]),
    ]
    if any(trial.best_epoch is not None for trial in shown):
        best = ["" if trial.best_epoch is None else str(trial.best_epoch) for trial in shown]
        columns.append(ShownColumn("best_epoch", best))
    if any(trial.asked_for for trial in shown):
        origins = [trial.asked_for for trial in shown]
        columns.append(ShownColumn("origin", origins, rank=params + 2, is_text=True))
    if len(shown) > ranked:
        columns.append(ShownColumn("state", [show_state(trial) for trial in shown], is_text=True))
    return columns


def curves(console: Console, folds: Sequence[FoldResult]) -> None:
    """Print one line per fold and epoch."""
    lines = [
        (str(fold.repeat), str(fold.fold), str(epoch), *(f"{number:.4f}" for number in point))
        for fold in folds
        for epoch, point in enumerate(fold.curve.points.tolist(), start=1)
    ]
    names = ("repeat", "fold", "epoch", *CURVE_COLUMNS)
    cells = list(zip(*lines, strict=True)) or [()] * len(names)
    columns = [ShownColumn(name, column) for name, column in zip(names, cells, strict=True)]
    print_columns(console, columns)


def studies(console: Console, summaries: Sequence[StudySummary]) -> None:
    """Print one line per study."""
    best = [each.best_value for each in summaries]
    begun = [f"{each.created_at:%Y-%m-%d %H:%M}" for each in summaries]
    columns = [
        ShownColumn("study", [each.name for each in summaries], is_text=True),
        ShownColumn("trials", [f"{_finished(each)}/{each.budget}" for each in summaries]),
        *(
            ShownColumn(state.value, [str(each.counts.get(state, 0)) for each in summaries])
            for state in FINISHED
        ),
        ShownColumn(
            "best (observed)", ["" if value is None else show_number(value) for value in best]
        ),
        ShownColumn("begun (UTC)", begun, rank=1),
    ]
    print_columns(console, columns)


def _finished(summary: StudySummary) -> int:
    return sum(summary.counts.get(state, 0) for state in FINISHED)


def status(console: Console, value: Mapping[str, Any]) -> None:
    """Print how far a study is, from the object behind `status --json`."""
    counts = value["trials"]
    finished = sum(counts[state.value] for state in FINISHED)
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    end = "finished" if value["is_finished"] else "not finished"
    say(console, f"study {value['study']}: {finished}/{value['budget']} trials, {end}")
    say(console, f"trials: {states or 'none yet'}; {value['seconds']:.0f} s of training")
    for cohort in value["running"]:
        say(console, f"training: {_how_far(cohort)}")
    if value["queued"]:
        say(console, f"asked for and not yet trained: {count_of(value['queued'], 'setting')}")
    if value["foreign"]:
        foreign = count_of(value["foreign"], "trial")
        say(console, f"put in by other programs, and never ranked: {foreign}")
    say(console, f"rows: {value['rows']} development, {value['held_out_rows']} held out")
    held_out = value["held_out"]
    if held_out is None:
        say(console, "held-out set: never opened by this study")
    else:
        evaluations = held_out["evaluations"]
        again = f", re-used (n = {evaluations})" if evaluations > 1 else ""
        say(console, f"held-out set: {held_out['state']}{again}")
    if value["best"] is not None:
        score = show_number(value["best"]["cv_mean"])
        say(console, f"best {value['metric']}: {score} (observed), trial {value['best']['number']}")
    for warning in value["warnings"]:
        say(console, f"warning: {warning['text']}")


def data_sets(console: Console, infos: Sequence[DataSetInfo]) -> None:
    """Print one line per data set that a study file can name."""
    columns = [
        ShownColumn("dataset", [info.name for info in infos], is_text=True),
        ShownColumn("task", [info.task for info in infos], rank=1, is_text=True),
        ShownColumn("rows", [str(info.rows) for info in infos]),
        ShownColumn("held_out", [str(info.held_out_rows or "") for info in infos]),
        ShownColumn("features", [str(info.features) for info in infos]),
        ShownColumn("classes", [str(info.classes or "") for info in infos]),
        ShownColumn("source", [info.source for info in infos], is_text=True),
    ]
    print_columns(console, columns)


def next_steps(console: Console, commands: Sequence[str]) -> None:
    """Print the commands that lead on from here."""
    console.print("what next:")
    for command in commands:
        say(console, f"  {command}", whole=command)


def _how_far(cohort: Mapping[str, Any]) -> str:
    worker = cohort["worker"]
    if not cohort["trials"]:
        return f"cohort {cohort['cohort']} is finished; the next one is asked for on {worker}"
    epoch = f"epoch {cohort['epoch']}/{cohort['epochs'] or '?'}"
    return f"cohort {cohort['cohort']} of {cohort['trials']} trials on {worker}, {epoch}"
