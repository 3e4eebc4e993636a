"""Every chart in one table: what it is called, what it shows, when it applies, how it is drawn.

The pages, the report file, the JSON of the server and Optuna Dashboard all draw what CHARTS names;
a new chart is one more entry. The traces are made in the modules of figures beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from selection.report.diagnosis_view import stored_curves
from selection.report.plots import diagnosis_figures, figures
from selection.report.plots.chart_source import (
    Chart,
    ChartSource,
    Query,
    Subject,
    contour_params,
    curve_trials,
)
from selection.report.plots.empty import (
    FEWEST_TRIALS,
    NONE_COMPLETE,
    NONE_SCORED,
    empty_figure,
    scored,
    too_few,
)
from selection.report.plots.figures import Figure
from selection.report.study_view import StudyView
from selection.study.ensemble import Ensemble
from selection.study.trial import Trial
from selection.workflows.out_of_fold import out_of_fold

if TYPE_CHECKING:
    import plotly.graph_objects as go

DASHBOARD_LEADERS = 5
# Where a chart stands; "winner" is what a report shows of the winner, which has the study's curves.
Page = Literal["study", "trial", "winner", "stored-curve", "dashboard"]


def _once(_: Subject) -> list[Query]:
    return [{}]


@dataclass(frozen=True)
class ChartEntry:
    """Define one chart.

    title and caption may name {metric}, {folds}, {level} and the chart's choices; when returns the
    choices of each such chart that a page shows, none where the chart does not apply; build
    returns an empty figure that says why where the study has too little to show in it, and None
    where there is no such chart.
    """

    title: str
    caption: str
    build: Callable[[ChartSource, Query], Figure | None]
    when: Callable[[Subject], Sequence[Query]] = _once
    pages: tuple[Page, ...] = ("study",)


def charts_of(page: Page, subject: Subject) -> list[Chart]:
    """Return the charts of a page, in the order of CHARTS."""
    return [
        make_chart(name, subject.view, query)
        for name, entry in CHARTS.items()
        if page in entry.pages
        for query in entry.when(subject)
    ]


def make_chart(name: str, view: StudyView, query: Query, **words: str) -> Chart:
    """Return a chart with these choices; words fill what else its texts name."""
    entry = CHARTS[name]
    known = {
        "metric": view.spec.metric,
        "folds": view.study.members_per_trial,
        "level": f"{100 * view.spec.sections.assessment.level:g}%",
        **query,
        **words,
    }
    return Chart(name, entry.title.format(**known), entry.caption.format(**known), query)


def draw(name: str, source: ChartSource, query: Query) -> Figure | None:
    """Return a chart of CHARTS as plotly's JSON; None where there is no such chart.

    A chart that has too little to show is an empty figure that says why.

    Raises: StorageError where a row is damaged.
    """
    return CHARTS[name].build(source, query)


def plotly_figure(
    name: str, source: ChartSource, **choices: str | int | Sequence[int]
) -> go.Figure | None:
    """Return a chart of CHARTS for a notebook; choices are those of CHOICES.

    Raises: StorageError where a row is damaged.
    """
    # Only a notebook needs it, and it takes a second to load.
    import plotly.graph_objects as go

    query = {
        key: str(value) if isinstance(value, str | int) else ",".join(map(str, value))
        for key, value in choices.items()
    }
    figure = draw(name, source, query)
    return None if figure is None else go.Figure(figure)


def _learning_curves_of(subject: Subject) -> list[Query]:
    if subject.trial is None:
        return [{"trials": ",".join(map(str, curve_trials(subject.view, subject.query)))}]
    return [{"trials": str(subject.trial.number)}] if subject.trial.epochs else []


def _each_numeric_param(subject: Subject) -> list[Query]:
    return [{"param": name} for name in figures.numeric_names(subject.view.spec)]


def _each_param(subject: Subject) -> list[Query]:
    return [{"param": name} for name in subject.view.spec.space]


def _many_params(subject: Subject) -> list[Query]:
    return [{}] if len(subject.view.spec.space) > 1 else []


def _chosen_params(subject: Subject) -> list[Query]:
    chosen = contour_params(subject.view, subject.query)
    return [] if chosen is None else [{"first": chosen[0], "second": chosen[1]}]


def _with_predicted_classes(subject: Subject) -> list[Query]:
    assert subject.trial is not None, "a chart of a trial"
    return [{"trial": str(subject.trial.number)}] if subject.has_predicted_classes else []


def _history(source: ChartSource, _: Query) -> Figure:
    if not scored(source.finished):
        return empty_figure(NONE_SCORED)
    assessment = source.assessment
    is_ensemble = assessment is not None and isinstance(assessment.winner, Ensemble)
    called = "leads the ensemble" if is_ensemble else "winner"
    return figures.optimisation_history(source.view.spec, source.finished, source.winner, called)


def _competitors(source: ChartSource, _: Query) -> Figure:
    assessment = source.assessment
    if assessment is None or assessment.winner is None:
        return empty_figure(f"{NONE_COMPLETE} What ties with a winner is known when training ends.")
    if not assessment.competitors:
        return empty_figure("One trial alone is complete: the winner has no competitor.")
    return figures.competitors(assessment)


def _learning_curves(
    kind: Literal["loss", "score"], source: ChartSource, query: Query
) -> Figure | None:
    numbers = curve_trials(source.view, query)
    if not numbers:
        return empty_figure(f"{NONE_COMPLETE} The curves of others are drawn when they are named.")
    return figures.learning_curves(source.view.spec, source.folds(numbers), kind)


def _scores_against(source: ChartSource, query: Query) -> Figure | None:
    spec, param = source.view.spec, query.get("param", "")
    if param not in figures.numeric_names(spec):
        return None
    if not scored(source.finished):
        return empty_figure(NONE_SCORED)
    if len({repr(trial.params[param]) for trial in scored(source.finished)}) < 2:
        return empty_figure(f"{param} has one value in all trials with a score.")
    return figures.scores_against(spec, source.finished, param)


def _slice(source: ChartSource, query: Query) -> Figure | None:
    param = query.get("param", "")
    if param not in source.view.spec.space:
        return None
    if (count := len(scored(source.finished))) < FEWEST_TRIALS:
        return empty_figure(too_few(count, "trial", "with a score"))
    return figures.slices(source.view.spec, source.finished).get(param) or empty_figure(
        NONE_COMPLETE
    )


def _parallel(source: ChartSource, _: Query) -> Figure | None:
    spec = source.view.spec
    if len(spec.space) < 2:
        return None
    if len(source.view.ranked) < 2:
        return empty_figure("Fewer than two trials are complete: there is nothing to compare.")
    return figures.parallel_coordinates(spec, source.finished)


def _contour(source: ChartSource, query: Query) -> Figure | None:
    chosen = contour_params(source.view, query)
    if chosen is None:
        return None
    if (count := len(source.view.ranked)) < FEWEST_TRIALS:
        return empty_figure(too_few(count, "complete trial"))
    found = figures.contour(source.view.spec, source.finished, *chosen)
    why = f"{chosen[0]} or {chosen[1]} has one value in all complete trials."
    return found if found["data"] else empty_figure(why)


def _importance(source: ChartSource, _: Query) -> Figure | None:
    spec = source.view.spec
    if len(spec.space) < 2:
        return None
    if (count := len(source.view.ranked)) < FEWEST_TRIALS:
        return empty_figure(too_few(count, "complete trial"))
    why = "The complete trials do not differ in what PED-ANOVA compares: settings or scores."
    return figures.importance(spec, source.finished) or empty_figure(why)


def _epochs(source: ChartSource, _: Query) -> Figure:
    if not source.finished:
        return empty_figure("No trial has ended.")
    return figures.epochs_spent(source.view.spec, source.finished)


def _confusion(source: ChartSource, query: Query) -> Figure | None:
    number = _trial_number(query, source, source.view.ranked)
    found = None
    if number is not None:
        found = out_of_fold(source.view.study, source.repository, number)
    if found is None or found.counts is None:
        return None
    return figures.confusion(list(source.view.study.facts.class_counts), found.counts.tolist())


def _point_curve(source: ChartSource, query: Query) -> Figure | None:
    wanted = (query.get("over", ""), query.get("trial", ""))
    for curve in stored_curves(source.view, source.repository):
        if (curve.over, str(curve.number)) == wanted:
            drawn = diagnosis_figures.point_curve(source.view.spec, curve.points)
            return drawn or empty_figure("No point of this curve could be trained.")
    return None


def _layers(column: str, source: ChartSource, query: Query) -> Figure | None:
    trained = [trial for trial in source.view.trials if trial.epochs]
    number = _trial_number(query, source, trained)
    if number is None:
        return None
    return diagnosis_figures.layer_curves(source.folds([number])[number], column)


def _trial_number(query: Query, source: ChartSource, among: Sequence[Trial]) -> int | None:
    """Return the trial asked for, without a choice the winner; None if it is not among these."""
    asked = query.get("trial", str(source.winner))
    return next((trial.number for trial in among if str(trial.number) == asked), None)


def _learning_band(source: ChartSource, _: Query) -> Figure:
    leaders = [trial.number for trial in source.view.ranked[:DASHBOARD_LEADERS]]
    if not leaders:
        return empty_figure(NONE_COMPLETE)
    return figures.learning_band(source.view.spec, source.folds(leaders))


def _fold_scores(source: ChartSource, _: Query) -> Figure:
    if not source.view.ranked:
        return empty_figure(NONE_COMPLETE)
    return figures.leader_folds(source.view.spec, source.view.ranked[: 2 * DASHBOARD_LEADERS])


def _learning_curves_entry(kind: Literal["loss", "score"]) -> ChartEntry:
    return ChartEntry(
        title=f"Learning curves: {kind}",
        caption=f"The observed {kind} of each fold against epochs, in eval mode: training dashed, "
        "validation solid.",
        build=partial(_learning_curves, kind),
        when=_learning_curves_of,
        pages=("study", "trial"),
    )


def _layer_entry(column: str, title: str, what: str) -> ChartEntry:
    def when(subject: Subject) -> list[Query]:
        assert subject.trial is not None, "a chart of a trial"
        is_known = diagnosis_figures.layer_means(subject.folds, column) is not None
        return [{"trial": str(subject.trial.number)}] if is_known else []

    caption = f"{what}; the mean over folds. Layers are counted from the inputs."
    return ChartEntry(title, caption, partial(_layers, column), when, ("trial", "winner"))


CHARTS: Mapping[str, ChartEntry] = {
    "history": ChartEntry(
        title="Optimisation history",
        caption="Observed {metric} of every trial: the mean over {folds} folds, with bars of one "
        "standard error. An open mark is a pruned trial, with its score where it was pruned.",
        build=_history,
    ),
    "competitors": ChartEntry(
        title="Which trials tie with the winner",
        caption="The winner's observed advantage over its closest competitors on the same folds, "
        "with {level} intervals by the corrected resampled t test. A trial whose interval "
        "contains 0 ties with the winner.",
        build=_competitors,
    ),
    "curves-score": _learning_curves_entry("score"),
    "curves-loss": _learning_curves_entry("loss"),
    "scores-against": ChartEntry(
        title="All trials against {param}",
        caption="Observed validation {metric} and training {metric} of the complete trials "
        "against {param}, and as open marks of pruned ones where they were pruned; the other "
        "hyperparameters differ from point to point. Lines join medians of complete trials. To "
        "vary {param} alone, trace a validation curve.",
        build=_scores_against,
        when=_each_numeric_param,
    ),
    "slice": ChartEntry(
        title="Slice: {param}",
        caption="Observed {metric} of the complete trials against {param}, and as open marks of "
        "pruned ones where they were pruned; the colour is the trial number.",
        build=_slice,
        when=_each_param,
    ),
    "parallel": ChartEntry(
        title="Parallel coordinates",
        caption="One line per complete trial through its hyperparameters; the trials with the "
        "best observed {metric} are drawn on top.",
        build=_parallel,
        when=_many_params,
    ),
    "contour": ChartEntry(
        title="Contour: {first} and {second}",
        caption="Observed {metric}, interpolated between the complete trials; open marks are "
        "pruned ones as far as it reaches.",
        build=_contour,
        when=_chosen_params,
    ),
    "importance": ChartEntry(
        title="Importance of hyperparameters",
        caption="How much each hyperparameter contributes to setting the trials with the best "
        "observed {metric} apart from the others, within this search space.",
        build=_importance,
        when=_many_params,
    ),
    "epochs": ChartEntry(
        title="Epochs spent",
        caption="How many epochs each trial was trained before it was complete, pruned or failed.",
        build=_epochs,
    ),
    "gradient-norm": _layer_entry(
        "gradient_norm",
        "Gradient norm by layer",
        "The norm of the gradient of the mean loss with respect to each layer's weights, in eval "
        "mode after the epoch",
    ),
    "weight-norm": _layer_entry(
        "weight_norm",
        "Weight norm by layer",
        "The norm of each layer's weights after the epoch",
    ),
    "dead-units": _layer_entry(
        "dead_share",
        "Dead ReLU units by layer",
        "The share of each layer's ReLU units that are 0 for every scored training row, after the "
        "epoch",
    ),
    "confusion": ChartEntry(
        title="Confusion matrix",
        caption="Observed, from out-of-fold predictions: each development row is predicted by the "
        "model that was not trained on it. Rows are true classes, columns are predicted classes.",
        build=_confusion,
        when=_with_predicted_classes,
        pages=("trial", "winner"),
    ),
    "point-curve": ChartEntry(
        title="{title}",
        caption="Observed validation {metric} and training {metric}: the mean over {folds} folds, "
        "with bars of one standard error. {setting}",
        build=_point_curve,
        pages=("stored-curve",),
    ),
    "learning-curves": ChartEntry(
        title="Learning curves of the leaders",
        caption="Observed {metric} against epochs: the mean over folds, in a band from the worst "
        "fold to the best.",
        build=_learning_band,
        pages=("dashboard",),
    ),
    "fold-scores": ChartEntry(
        title="Fold scores of the leaders",
        caption="Observed {metric} of each fold, and its mean.",
        build=_fold_scores,
        pages=("dashboard",),
    ),
}
