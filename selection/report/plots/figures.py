"""The figures of a study as plotly's JSON, as pure functions; charts.py says where each is shown.

Trials may be in any state and are ordered by number. Scores of the folds are observed, and the
axes say so. All marks are SVG: WebGL would need a page that allows eval. The figures of the search
space come from space_figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from selection.report.plots.against_figures import numeric_names, scores_against
from selection.report.plots.parts import (
    BLUE,
    GREEN,
    HEAT_SCALE,
    MOST_POINTS,
    NEUTRAL,
    ORANGE,
    PALETTE,
    PURPLE,
    SKY,
    STATES,
    VERMILLION,
    Figure,
    Trace,
    axis,
    colour_bar,
    count_axis,
    difference,
    error_bars,
    even_indices,
    faded,
    figure,
    finished,
    finite,
    last_score,
    legend,
    line,
    loss_title,
    named_axis,
    points,
    rule_at,
    safe,
    score_axis,
    score_title,
)
from selection.report.plots.space_figures import (
    contour,
    importance,
    parallel_coordinates,
    slices,
)
from selection.study.spec import StudySpec
from selection.study.trial import FoldResult, Trial, TrialState

if TYPE_CHECKING:
    from selection.workflows.assess import Assessment

__all__ = [
    "Figure",
    "competitors",
    "confusion",
    "contour",
    "epochs_spent",
    "importance",
    "leader_folds",
    "learning_band",
    "learning_curves",
    "numeric_names",
    "optimisation_history",
    "parallel_coordinates",
    "scores_against",
    "slices",
]

MOST_BARS = 400
MOST_CURVES = 6
MOST_EPOCHS = 200
MOST_EPOCHS_OF_BAND = 60
MOST_COMPETITORS = 20
MOST_CELLS_WITH_TEXT = 400
TICK_CHARACTERS = 14
BAR_WIDTH = 1
DIGITS = 5


def optimisation_history(
    spec: StudySpec, trials: Sequence[Trial], winner: int | None, called: str = "winner"
) -> Figure:
    """Return the observed score of every finished trial, and the best so far.

    winner is the trial that is marked, under what it is called.
    Of many trials those that were the best so far, the winner, and others evenly are shown.
    """
    scores = {
        trial.number: score
        for trial in finished(trials)
        if (score := last_score(trial)) is not None
    }
    ended = [trial for trial in trials if trial.number in scores]
    best = _running_best(spec, ended)
    kept = {number for number, _ in best} | {winner}
    others = [number for number in scores if number not in kept]
    shown = kept | {others[index] for index in even_indices(len(others), MOST_POINTS)}
    data = []
    # Pruned and failed trials are drawn first, so that they do not cover complete ones.
    for state, style in reversed(STATES.items()):
        of_state = [trial for trial in ended if trial.number in shown and trial.state is state]
        data.append(
            points(
                [trial.number for trial in of_state],
                [scores[trial.number] for trial in of_state],
                state.value,
                style.colour,
                style.symbol,
                hovertemplate="trial %{x}: %{y:.4f}<extra>" + state.value + "</extra>",
            )
        )
        if state is TrialState.COMPLETE and len(ended) <= MOST_POINTS:
            data[-1]["error_y"] = error_bars([trial.standard_error for trial in of_state])
    if best:
        last = max(scores)
        steps = [*best, (last, best[-1][1])]
        x, y = zip(*steps, strict=True)
        data.append(line(x, y, "best so far", GREEN, line={"shape": "hv"}, hoverinfo="skip"))
    if winner in scores:
        data.append(
            points(
                [winner],
                [scores[winner]],
                f"{called}, trial {winner}",
                PURPLE,
                "star",
                marker={"size": 14, "line": {"color": NEUTRAL, "width": 1}},
                hovertemplate=f"trial %{{x}}: %{{y:.4f}}<extra>{called}</extra>",
            )
        )
    numbers = count_axis("trial", list(scores))
    return figure(data, numbers, score_axis(spec, list(scores.values())))


def learning_curves(
    spec: StudySpec,
    curves: Mapping[int, Sequence[FoldResult]],
    kind: Literal["loss", "score"],
) -> Figure:
    """Return the curves of at most six trials, fold by fold: training dashed, validation solid.

    The epoch that scores a trial is marked where it was chosen by its mean.
    """
    data: list[Trace] = []
    for colour, (number, folds) in zip(PALETTE, list(curves.items())[:MOST_CURVES], strict=False):
        for part, dash in (("training", "dash"), ("validation", "solid")):
            for index, fold in enumerate(folds):
                column = fold.curve.column(f"{part}_{kind}")
                indices = even_indices(len(column), MOST_EPOCHS)
                data.append(
                    line(
                        [at + 1 for at in indices],
                        finite(column[indices].tolist(), DIGITS),
                        f"trial {number}, {part}",
                        colour,
                        line={"dash": dash, "width": 1.5},
                        # One epoch alone makes no line.
                        mode="lines" if len(indices) > 1 else "markers",
                        legendgroup=f"{number} {part}",
                        showlegend=index == 0,
                        hovertemplate=f"trial {number}, {part}, {_fold_name(spec, fold)}<br>"
                        "epoch %{x}: %{y:.4f}<extra></extra>",
                    )
                )
        data += _best_epoch(number, folds, f"validation_{kind}", colour)
    title = loss_title(spec) if kind == "loss" else score_title(spec)
    return figure(data, _epoch_axis(data), axis(title))


def _best_epoch(number: int, folds: Sequence[FoldResult], name: str, colour: str) -> list[Trace]:
    """Return the marks of the epoch that scores a trial; none where it is the last."""
    marked = [fold for fold in folds if fold.best_epoch is not None]
    if not marked:
        return []
    heights = finite([float(fold.scored.column(name)[-1]) for fold in marked], DIGITS)
    epochs = [fold.best_epoch for fold in marked]
    hover = {"hovertemplate": "best epoch %{x}: %{y:.4f}<extra></extra>", "legendgroup": "best"}
    return [points(epochs, heights, f"trial {number}, best epoch", colour, "x", **hover)]


def learning_band(spec: StudySpec, curves: Mapping[int, Sequence[FoldResult]]) -> Figure:
    """Return the mean validation score of each trial, in a band from the worst fold to the best."""
    data = []
    for index, (number, folds) in enumerate(curves.items()):
        colour = PALETTE[index % len(PALETTE)]
        if not folds:
            continue
        scores = np.stack([fold.curve.column("validation_score") for fold in folds])  # (K, T)
        shown = [
            at
            for at in even_indices(scores.shape[1], MOST_EPOCHS_OF_BAND)
            if np.isfinite(scores[:, at]).all()
        ]
        epochs, scores = [at + 1 for at in shown], scores[:, shown]
        ends = [*scores.max(axis=0).tolist(), *scores.min(axis=0).tolist()[::-1]]
        data.append(
            line(
                [*epochs, *epochs[::-1]],
                finite(ends, DIGITS),
                f"trial {number}, folds",
                colour,
                line={"width": 0},
                fill="toself",
                fillcolor=faded(colour, 0.15),
                legendgroup=str(number),
                showlegend=False,
                hoverinfo="skip",
            )
        )
        data.append(
            line(
                epochs,
                finite(scores.mean(axis=0).tolist(), DIGITS),
                f"trial {number}",
                colour,
                legendgroup=str(number),
                hovertemplate="epoch %{x}: %{y:.4f}",
            )
        )
        if (best := folds[0].best_epoch) is not None:
            mean = float(np.mean([fold.score for fold in folds]))
            hover = {"hovertemplate": "best epoch %{x}: %{y:.4f}", "legendgroup": str(number)}
            mark = points([best], [mean], f"trial {number}, best epoch", colour, "x", **hover)
            data.append({**mark, "showlegend": False})
    return figure(data, _epoch_axis(data), axis(f"{score_title(spec)}: mean, folds"))


def leader_folds(spec: StudySpec, leaders: Sequence[Trial]) -> Figure:
    """Return the observed score of every fold of each leader, and their mean."""
    pairs = [
        (index, score)
        for index, trial in enumerate(leaders)
        for score in finite(trial.fold_scores, DIGITS)
    ]
    means = [(index, last_score(trial)) for index, trial in enumerate(leaders)]
    data = [
        points(
            [index for index, _ in pairs],
            [score for _, score in pairs],
            "fold",
            SKY,
            "circle-open",
            hovertemplate="%{y:.4f}<extra>fold</extra>",
        ),
        points(
            [index for index, _ in means],
            [mean for _, mean in means],
            "mean",
            VERMILLION,
            "diamond",
            marker={"size": 10},
            hovertemplate="%{y:.4f}<extra>mean</extra>",
        ),
    ]
    names = [str(trial.number) for trial in leaders]
    return figure(data, named_axis("trial, best first", names), axis(score_title(spec)))


def epochs_spent(spec: StudySpec, trials: Sequence[Trial]) -> Figure:
    """Return the epochs of every finished trial by state; of many trials, means of neighbours."""
    ended = finished(trials)
    most = max((spec.setting(trial.params).kind.epochs for trial in ended), default=0)
    if len(ended) > MOST_BARS:
        return _epochs_of_many(ended, most)
    data = []
    for state, style in STATES.items():
        of_state = [trial for trial in ended if trial.state is state]
        data.append(
            {
                "type": "bar",
                "name": state.value,
                "x": [trial.number for trial in of_state],
                "y": [trial.epochs for trial in of_state],
                # By itself plotly widens the bars of a state whose trials lie far apart.
                "width": BAR_WIDTH,
                "marker": {
                    "color": style.colour,
                    "pattern": {"shape": style.pattern},
                    "line": {"color": faded(NEUTRAL, 0.6), "width": 0.5},
                },
                "hovertemplate": "trial %{x}: %{y} epochs<extra>" + state.value + "</extra>",
            }
        )
    x = count_axis("trial", [trial.number for trial in ended])
    y = {**count_axis(f"epochs, of at most {most}", [0, most]), "range": [0, 1.05 * most]}
    return figure(data, x, y, barmode="overlay")


def _epochs_of_many(ended: Sequence[Trial], most: int) -> Figure:
    groups = np.array_split(np.arange(len(ended)), MOST_BARS // 4)
    starts = [ended[indices[0]].number for indices in groups]
    data = []
    for state, style in STATES.items():
        means = [
            sum(ended[at].epochs for at in indices if ended[at].state is state) / len(indices)
            for indices in groups
        ]
        data.append(
            line(
                starts,
                finite(means, DIGITS),
                state.value,
                style.colour,
                line={"width": 0, "shape": "hv"},
                stackgroup="states",
                fillcolor=faded(style.colour, 0.4 if style.pattern else 1.0),
                fillpattern={"shape": style.pattern, "fgcolor": style.colour},
                hovertemplate="from trial %{x}: %{y:.1f}<extra>" + state.value + "</extra>",
            )
        )
    title = f"epochs, of at most {most}<br>(means of {len(groups[0])} trials)"
    return figure(data, axis("trial"), axis(title))


def competitors(assessment: Assessment) -> Figure:
    """Return the winner's advantage over its best competitors, with intervals over folds."""
    spec = assessment.spec
    sign = 1.0 if spec.is_minimised else -1.0
    best = sorted(
        assessment.competitors, key=lambda competitor: (sign * competitor.mean, competitor.number)
    )
    best = best[:MOST_COMPETITORS]
    alike = set(assessment.indistinguishable)
    data = []
    for is_alike, name, colour, symbol in (
        (True, "ties with the winner", ORANGE, "circle-open"),
        (False, "differs from the winner", BLUE, "square"),
    ):
        shown = [
            (index, competitor.advantage)
            for index, competitor in enumerate(best)
            if (competitor.number in alike) == is_alike
        ]
        trace = points(
            [advantage.mean for _, advantage in shown],
            [index for index, _ in shown],
            name,
            colour,
            symbol,
            marker={"size": 9},
            hovertemplate="%{x:.4f}<extra></extra>",
        )
        trace["error_x"] = {
            **error_bars([difference(advantage.high, advantage.mean) for _, advantage in shown]),
            "symmetric": False,
            "arrayminus": [difference(advantage.mean, advantage.low) for _, advantage in shown],
        }
        data.append(trace)
    level = spec.sections.assessment.level
    title = f"winner's advantage, {100 * level:g}% interval<br>{score_title(spec)}"
    y = named_axis("trial", [str(competitor.number) for competitor in best])
    y["range"] = [len(best) - 0.5, -0.5]
    return figure(data, axis(title), y, shapes=[rule_at(0)], legend=legend(-0.3))


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Return out-of-fold counts as a heatmap: true classes are lines, predicted ones columns.

    The colour is the share of the line.
    """
    has_text = len(names) ** 2 <= MOST_CELLS_WITH_TEXT
    heat = {
        "type": "heatmap",
        "z": [[count / max(1, sum(row)) for count in row] for row in counts],
        "customdata": [
            [[count, safe(true), safe(other)] for count, other in zip(row, names, strict=True)]
            for row, true in zip(counts, names, strict=True)
        ],
        "zmin": 0,
        "zmax": 1,
        "colorscale": HEAT_SCALE,
        "colorbar": {**colour_bar("share of true class"), "tickformat": ".0%"},
        "showscale": not has_text,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "true %{customdata[1]}, predicted %{customdata[2]}<br>"
        "%{customdata[0]} rows, %{z:.1%} of the true class<extra></extra>",
    }
    if has_text:
        heat["text"] = [[str(count) for count in row] for row in counts]
        heat["texttemplate"] = "%{text}"
    ticks = [safe(name, TICK_CHARACTERS) for name in names]
    x = named_axis("predicted class, out of fold<br>(colour: share of the true class)", ticks)
    y = named_axis("true class", ticks) | {"range": [len(names) - 0.5, -0.5]}
    return figure([heat], x, y)


def _running_best(spec: StudySpec, trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """Return number and score of each COMPLETE trial that was the best when it came."""
    found: list[tuple[int, float]] = []
    for trial in trials:
        score = last_score(trial)
        if trial.state is not TrialState.COMPLETE or score is None:
            continue
        if not found or (score < found[-1][1] if spec.is_minimised else score > found[-1][1]):
            found.append((trial.number, score))
    return found


def _epoch_axis(data: Sequence[Trace]) -> Trace:
    """Return the axis of epochs that some lines span."""
    ends = [epoch for trace in data for epoch in trace["x"][:: max(1, len(trace["x"]) - 1)]]
    return count_axis("epoch", ends)


def _fold_name(spec: StudySpec, fold: FoldResult) -> str:
    repeat = f"repeat {fold.repeat}, " if spec.sections.cv.repeats > 1 else ""
    return f"{repeat}fold {fold.fold}"
