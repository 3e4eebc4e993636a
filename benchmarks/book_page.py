"""The page of the book's figures, as Markdown made of runs.

Published figures are the constants at the top; every other number and every word of judgement is
computed from the runs. Trains nothing.
Source of the published figures: Zhang, Lipton, Li, Smola, "Dive into Deep Learning", chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.book_runs import FinalFigures, Run, TrialFigures
from benchmarks.book_tables import (
    activation_part,
    decay_part,
    degree_part,
    dropout_part,
    fold_part,
    initialisation_part,
    paragraph,
    spread,
    table,
)
from benchmarks.machine import where_it_ran
from selection.errors import DISTRIBUTION

LEVEL = 0.95
Figure = Callable[[Run], float]


@dataclass(frozen=True)
class Published:
    """Hold a published figure: a spread between runs, or one number and what rounds to it.

    figure finds ours in a run; digits are those that ours is shown to.
    """

    study: str
    what: str
    text: str
    low: float
    high: float
    is_spread: bool
    figure: Figure
    digits: int


def _default(run: Run) -> FinalFigures:
    """Return the final figures of trial 0, whose setting is the book's."""
    final = run.trials[0].final
    assert final is not None, "trial 0 met the held-out rows"
    return final


def _final(run: Run, is_it: Callable[[TrialFigures], bool]) -> FinalFigures:
    final = next(trial.final for trial in run.trials if is_it(trial))
    assert final is not None, "every trial of this study met the held-out rows"
    return final


def _norm(decay: float) -> Figure:
    return lambda run: _final(run, lambda it: it.setting.weight_decay == decay).weight_norm


def _ratio(run: Run) -> float:
    return _final(run, lambda it: it.setting.features == 20).loss_ratio


PUBLISHED = (
    Published("mlp", "MLP, training loss", "0.382", 0.3815, 0.3825, False,
              lambda run: _default(run).running_loss, 3),
    Published("mlp", "MLP, training accuracy", "0.865", 0.8645, 0.8655, False,
              lambda run: _default(run).running_score, 3),
    Published("mlp", "MLP, test accuracy", "0.838 (0.828 to 0.853)", 0.828, 0.853, True,
              lambda run: _default(run).scores["accuracy"], 3),
    Published("dropout", "dropout, training loss", "0.34", 0.335, 0.345, False,
              lambda run: _default(run).running_loss, 3),
    Published("dropout", "dropout, training accuracy", "0.875", 0.8745, 0.8755, False,
              lambda run: _default(run).running_score, 3),
    Published("dropout", "dropout, test accuracy", "0.844 to 0.867", 0.844, 0.867, True,
              lambda run: _default(run).scores["accuracy"], 3),
    Published("weight_decay", "norm of w, lambda = 0", "13", 12.5, 13.5, False, _norm(0.0), 2),
    Published("weight_decay", "norm of w, lambda = 3", "0.4", 0.35, 0.45, False, _norm(3.0), 3),
    Published("model_selection", "polynomial, degree chosen", "3", 3, 3, True,
              lambda run: run.winner.setting.features, 0),
    Published("model_selection", "polynomial of degree 20, test / training loss", "0.88 to 9.5",
              0.88, 9.5, True, _ratio, 2),
)  # fmt: skip


def page(runs: Sequence[Run], seconds: float) -> str:
    """Return the whole page; seconds are what all of it took."""
    parts = {
        "The activations": activation_part(_of(runs, "activations")),
        "The degree of a polynomial": degree_part(_of(runs, "model_selection")),
        "Weight decay": decay_part(_of(runs, "weight_decay")),
        "The MLP and dropout, on one seed": dropout_part(_of(runs, "mlp"), _of(runs, "dropout")),
        "Initialisation of a deep net": initialisation_part(_of(runs, "initialisation")),
        "K folds": fold_part([_of(runs, "kfold"), _of(runs, "kfold_10")]),
    }
    return "\n\n".join(
        [
            "# The book's figures and ours",
            _introduction(runs, seconds),
            *_figures(runs),
            *(f"## {title}\n\n{text}" for title, text in parts.items()),
        ]
    )


def _introduction(runs: Sequence[Run], seconds: float) -> str:
    names = list(dict.fromkeys(run.study for run in runs))
    text = (
        '`make book`: the studies of `studies/book`, after "Dive into Deep Learning" (Zhang, '
        "Lipton, Li, Smola), chapter 4, each run in full (folds, baselines, database) once per "
        "seed. The seed decides synthetic rows, folds, initial weights and the order of rows. "
        f"{len(names)} studies, {len(runs)} runs, {seconds / 60:.1f} minutes."
    )
    return f"{paragraph(text)}\n{where_it_ran('torch', DISTRIBUTION)}"


def _figures(runs: Sequence[Run]) -> list[str]:
    lines = [figure_line(each, _of(runs, each.study)) for each in PUBLISHED]
    head = (
        "setting",
        "published",
        "ours: mean (lowest to highest)",
        "seeds",
        "within the published spread?",
        "time per seed",
    )
    note = (
        "Training loss and accuracy are running means over the last epoch of the refit on all "
        "development rows; test figures are of the held-out rows. Where the book's own runs have "
        "a spread, `yes` says that all of our runs, as rounded here, lie in it. Where it has one "
        "figure and no spread, `inside` says that a number which rounds to it lies where "
        f"{100 * LEVEL:.0f}% of further runs of ours would (mean +- t s sqrt(1 + 1/N)): wide for "
        f"few seeds, and {100 - 100 * LEVEL:.0f} in 100 such figures lie outside by chance."
    )
    missed = [line[0] for line in lines if not line[4].startswith(("yes", "one figure, inside"))]
    outside = f"Not entirely inside: {'; '.join(missed)}." if missed else "Nothing lies outside."
    return [table(head, lines), paragraph(note), paragraph(outside)]


def figure_line(published: Published, runs: Sequence[Run]) -> tuple[str, ...]:
    """Return one line of the table, from all runs of its study."""
    values = [published.figure(run) for run in runs]
    return (
        published.what,
        published.text,
        spread(values, published.digits),
        str(len(values)),
        judgement(published, values),
        f"{np.mean([run.seconds for run in runs]):.0f} s",
    )


def judgement(published: Published, values: Sequence[float]) -> str:
    """Say whether our runs agree with what was published."""
    if published.is_spread:
        # As shown, for the published ends are rounded too.
        shown = [round(value, published.digits) for value in values]
        inside = sum(published.low <= value <= published.high for value in shown)
        if inside == len(values):
            return "yes"
        return f"in part: {inside} of {len(values)} runs" if inside else "no"
    low, high = next_run(values)
    agrees = low <= published.high and published.low <= high
    digits = published.digits
    side = "inside" if agrees else "outside"
    return f"one figure, {side} {low:.{digits}f} to {high:.{digits}f}"


def next_run(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval that holds one more run with the chance LEVEL, if runs are normal."""
    count, mean = len(values), float(np.mean(values))
    error = float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / count)
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
    return mean - half, mean + half


def _of(runs: Iterable[Run], study: str) -> list[Run]:
    return [run for run in runs if run.study == study]
