"""The small tables of the book's page, each made of all runs of one study.

Words of judgement follow from the runs. Trains nothing.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.book_runs import FinalFigures, Run, TrialFigures
from selection.stats.paired_tests import (
    Comparison,
    corrected_resampled_t,
    paired_differences,
    validation_ratio,
)

Rows = list[tuple[str, ...]]


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    rule = ["---" if index == 0 else "---:" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def paragraph(text: str) -> str:
    """Return a text in lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_on_hyphens=False)


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean of runs, and the lowest and the highest of them."""
    shown = [f"{value:.{digits}f}" for value in (np.mean(values), min(values), max(values))]
    return "{} ({} to {})".format(*shown)


def _small(values: Sequence[float]) -> str:
    """Return what spread does, for numbers of any size, with the median for the mean."""
    return f"{np.median(values):.2g} ({min(values):.2g} to {max(values):.2g})"


def _each(
    runs: Sequence[Run], key: Callable[[TrialFigures], object]
) -> dict[object, list[TrialFigures]]:
    """Return the trials of all runs by what their settings differ in, in a fixed order."""
    found: dict[object, list[TrialFigures]] = {}
    for run in runs:
        for trial in run.trials:
            found.setdefault(key(trial), []).append(trial)
    return dict(sorted(found.items(), key=lambda pair: str(pair[0]).rjust(20)))


def _time(runs: Sequence[Run]) -> str:
    return f"{len(runs)} seeds, {np.mean([run.seconds for run in runs]):.0f} s each."


def _is_told_apart(comparison: Comparison, level: float) -> bool:
    return comparison.p is not None and comparison.p <= 1 - level


def _is_worse(trial: TrialFigures, level: float) -> bool:
    """Say whether the folds tell a trial to be worse than the winner of its run."""
    return trial.advantage is not None and _is_told_apart(trial.advantage, level)


def activation_part(runs: Sequence[Run]) -> str:
    """Return the scores and gradients of each activation."""
    lines: Rows = [
        (
            str(name),
            spread([trial.validation_score for trial in trials], 3),
            spread([trial.gradients[0] for trial in trials], 3),
            spread([trial.gradients[1] for trial in trials], 3),
            f"{sum(trial.is_winner for trial in trials)} of {len(runs)}",
            f"{sum(_is_worse(trial, runs[0].level) for trial in trials)} of {len(runs)}",
        )
        for name, trials in _each(runs, lambda it: it.setting.kind.activation).items()
    ]
    head = ("activation", "accuracy, observed", "gradient norm, hidden layer",
            "gradient norm, output layer", "won", "told to be worse")  # fmt: skip
    note = (
        f"{_time(runs)} Accuracy is the cross-validated one after the last epoch; gradient norms "
        "are means over folds after the first epoch. An activation won where its mean is the best "
        f"of the run, and is told to be worse than that where p <= {1 - runs[0].level:.2g} over "
        "paired folds."
    )
    return f"{paragraph(note)}\n\n{table(head, lines)}"


def degree_part(runs: Sequence[Run]) -> str:
    """Return what cross-validation says of each degree."""
    lines: Rows = [
        (
            str(degree),
            spread([trial.training_score for trial in trials], 2),
            spread([trial.validation_score for trial in trials], 2),
            spread([_final(trial).loss_ratio for trial in trials], 2),
            f"{sum(trial.is_winner for trial in trials)} of {len(runs)}",
            ", ".join(
                f"{word} {count}"
                for word, count in Counter(trial.verdict for trial in trials).most_common()
            ),
        )
        for degree, trials in _each(runs, lambda it: it.setting.features).items()
    ]
    head = ("degree", "RMSE, training", "RMSE, observed", "test loss / training loss", "chosen",
            "diagnosis, runs")  # fmt: skip
    lowest = sum(
        min(run.trials, key=lambda it: it.validation_score).setting.features == 3 for run in runs
    )
    chosen = ", ".join(f"{run.winner.setting.features} at seed {run.seed}" for run in runs)
    note = (
        f"{_time(runs)} Chosen, by the rule of one standard error: degree {chosen}. Degree 3 has "
        f"the lowest mean of all in {lowest} of {len(runs)} runs. Losses are squared errors; the "
        "ratio is that of the refit on all 100 rows, as the book's. Degree 20 contains degree 3: "
        "a higher training RMSE says that its training has not ended."
    )
    return f"{paragraph(note)}\n\n{table(head, lines)}"


def decay_part(runs: Sequence[Run]) -> str:
    """Return the norm of w with each weight decay."""
    lines: Rows = [
        (
            f"{decay}",
            spread([trial.weights[0] for trial in trials], 2),
            spread([_final(trial).weight_norm for trial in trials], 2),
            spread([trial.training_score for trial in trials], 3),
            spread([trial.validation_score for trial in trials], 2),
            f"{sum(trial.is_winner for trial in trials)} of {len(runs)}",
        )
        for decay, trials in _each(runs, lambda it: it.setting.weight_decay).items()
    ]
    head = ("lambda", "norm of w, folds", "norm of w, refit", "RMSE, training", "RMSE, observed",
            "won")  # fmt: skip
    note = (
        f"{_time(runs)} The rule takes one of the two, so the norm of both is given: the mean "
        "over folds after the last epoch (the diagnostics of the trials, each on a part of the 20 "
        "rows), and that of a refit of either on all 20 rows, as the book trains."
    )
    return f"{paragraph(note)}\n\n{table(head, lines)}"


def dropout_part(mlp: Sequence[Run], dropout: Sequence[Run]) -> str:
    """Return the paired comparisons on the first seed, and the spread over seeds."""
    one, run = mlp[0], dropout[0]
    dropped = run.trials[0]
    plain = next(trial for trial in run.trials if not any(trial.setting.dropout))
    beside = _compare(dropped, one.trials[0], one.level)
    sign = -1.0 if run.winner is plain else 1.0
    competitor = next(each.advantage for each in (dropped, plain) if each.advantage is not None)
    lines = [
        _comparison_line("the MLP, 784-256-10", beside, 1.0, one.level),
        _comparison_line("its own net without dropout", competitor, sign, run.level),
    ]
    head = ("the dropout net against", "advantage in accuracy", "p", "told apart?")
    scores = {
        "the MLP": [each.trials[0].validation_score for each in mlp],
        "the dropout net": [each.trials[0].validation_score for each in dropout],
        "that net without dropout": [_plain(each).validation_score for each in dropout],
    }
    won = sum(each.winner is each.trials[0] for each in dropout)
    seeds = "; ".join(f"{name} {spread(values, 3)}" for name, values in scores.items())
    note = (
        f"Seed {run.seed}, {len(dropped.fold_scores)} paired folds, corrected resampled t, "
        f"{100 * run.level:.0f}% interval, `no` where p > {1 - run.level:.2g}."
    )
    after = (
        f"Accuracy, observed, over {len(dropout)} seeds: {seeds}. By the rule of one standard "
        f"error the net with dropout was chosen in {won} of {len(dropout)} runs; the first table "
        "has the net with dropout in all of them."
    )
    return f"{paragraph(note)}\n\n{table(head, lines)}\n\n{paragraph(after)}"


def initialisation_part(runs: Sequence[Run]) -> str:
    """Return the gradients and the scores of each beginning."""
    groups = _each(runs, lambda it: f"{it.setting.kind.init} {it.setting.kind.activation}")
    lines: Rows = [
        (
            trials[0].setting.kind.activation,
            _init_name(trials[0]),
            _small([trial.gradients[0] for trial in trials]),
            _small([trial.gradients[-1] for trial in trials]),
            _small([trial.gradients[0] / trial.gradients[-1] for trial in trials]),
            spread([trial.validation_score for trial in trials], 3),
        )
        for trials in groups.values()
    ]
    lines.sort(key=lambda line: line[0])
    head = ("activation", "init", "gradient norm, first layer", "gradient norm, last layer",
            "first / last", "accuracy, observed")  # fmt: skip
    note = (
        f"{_time(runs)} Digits, four hidden layers. Gradient norms are means over folds after the "
        "first epoch, here with their median over seeds; accuracy is the cross-validated "
        "one after the last epoch. A guess is right in a tenth."
    )
    return f"{paragraph(note)}\n\n{table(head, lines)}"


def fold_part(studies: Sequence[Sequence[Run]]) -> str:
    """Return the mean training and validation errors of both models, and whether they differ."""
    lines: Rows = []
    notes = []
    for runs in studies:
        folds = len(runs[0].trials[0].fold_scores)
        for depth, trials in _each(runs, lambda it: it.setting.kind.hidden_layers).items():
            lines.append(
                (
                    f"{folds}",
                    "MLP" if depth else "linear",
                    spread([trial.training_score for trial in trials], 1),
                    spread([trial.validation_score for trial in trials], 1),
                    f"{sum(trial.is_winner for trial in trials)} of {len(runs)}",
                )
            )
        notes.append(f"K = {folds}: {_fold_verdict(runs)} {_time(runs)}")
    head = ("K", "model", "mean of K training errors", "mean of K validation errors", "won")
    about = "Diabetes, RMSE in units of the target, means over seeds of the means over K folds."
    return "\n\n".join([about, table(head, lines), *map(paragraph, notes)])


def _fold_verdict(runs: Sequence[Run]) -> str:
    """Say in how many runs the MLP is told apart from the linear model."""
    better, worse, chances = 0, 0, []
    for run in runs:
        (advantage,) = (it.advantage for it in run.trials if it.advantage is not None)
        chances.append(advantage.p)
        if _is_told_apart(advantage, run.level):
            better += run.winner.setting.kind.hidden_layers > 0
            worse += run.winner.setting.kind.hidden_layers == 0
    known = [chance for chance in chances if chance is not None]
    between = f", p from {min(known):.2g} to {max(known):.2g}" if known else ""
    return (
        f"over paired folds the MLP is told to be better than the linear model in {better} of "
        f"{len(runs)} runs, and worse in {worse}{between}."
    )


def _comparison_line(
    name: str, found: Comparison, sign: float, level: float
) -> tuple[str, str, str, str]:
    if found.low is None or found.high is None or found.p is None:
        return name, f"{sign * found.mean:+.4f}", "none", "no test"
    low, high = sorted((sign * found.low, sign * found.high))
    word = "yes" if _is_told_apart(found, level) else "no"
    return name, f"{sign * found.mean:+.4f} [{low:+.4f}, {high:+.4f}]", f"{found.p:.2g}", word


def _compare(first: TrialFigures, second: TrialFigures, level: float) -> Comparison:
    """Compare trials of two studies whose folds are the same: same rows, same seed."""
    differences = paired_differences(first.fold_scores, second.fold_scores)
    ratio = validation_ratio(len(differences), is_time_series=False)
    return corrected_resampled_t(differences, ratio, level)


def _plain(run: Run) -> TrialFigures:
    return next(trial for trial in run.trials if not any(trial.setting.dropout))


def _init_name(trial: TrialFigures) -> str:
    setting = trial.setting
    return f"normal {setting.init_std:g}" if setting.kind.init == "normal" else setting.kind.init


def _final(trial: TrialFigures) -> FinalFigures:
    assert trial.final is not None, "every trial of this study met the held-out rows"
    return trial.final
