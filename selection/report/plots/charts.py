"""The charts of a study by name: which there are, what each shows, and how it is drawn.

The live page asks for them one by one, the report file holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from selection.report.diagnosis_view import (
    MOST_CURVES,
    StoredCurve,
    judged_points,
    stored_curves,
)
from selection.report.plots import diagnosis_figures, figures
from selection.report.plots.figures import Figure
from selection.report.study_view import StudyView
from selection.stats.fit_diagnosis import Diagnosis
from selection.store.curve_points import CurvePoint
from selection.store.repository import Repository
from selection.study.trial import FoldResult, Trial
from selection.workflows.assess import Assessment
from selection.workflows.out_of_fold import out_of_fold

CURVE_TRIALS = 3
MOST_CURVE_TRIALS = 6
Query = Mapping[str, str]
# The choices of a reader that charts know.
CHOICES = ("param", "trial", "trials", "first", "second", "over")
CHARTS = (
    "history",
    "competitors",
    "curves-score",
    "curves-loss",
    "scores-against",
    "slice",
    "parallel",
    "contour",
    "importance",
    "epochs",
    "confusion",
    "point-curve",
    "gradient-norm",
    "weight-norm",
    "dead-units",
)
# Column, title and caption of each chart of layers.
LAYER_CHARTS = {
    "gradient-norm": (
        "gradient_norm",
        "Gradient norm by layer",
        "The norm of the gradient of the mean loss by the weights of each layer, in eval mode "
        "after the epoch",
    ),
    "weight-norm": (
        "weight_norm",
        "Weight norm by layer",
        "The norm of the weights of each layer after the epoch",
    ),
    "dead-units": (
        "dead_share",
        "Dead ReLU units by layer",
        "The share of ReLU units of each layer that are 0 for every scored training row, after "
        "the epoch",
    ),
}


@dataclass(frozen=True)
class Chart:
    """Name a chart, and say in a caption what it shows; query are its choices."""

    name: str
    title: str
    caption: str
    query: Query = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The chart's place below the page of its study."""
        return f"figures/{self.name}.json" + (f"?{urlencode(self.query)}" if self.query else "")


@dataclass(frozen=True, eq=False)
class ShownCurve:
    """Hold a stored curve as pages show it: its chart, and each point with its diagnosis."""

    id: str
    chart: Chart
    points: Sequence[tuple[CurvePoint, Diagnosis | None]]


@dataclass(frozen=True, eq=False)
class ChartSource:
    """Hold what charts are drawn from; curves and predictions are read when they are needed."""

    view: StudyView
    assessment: Assessment | None
    repository: Repository

    @property
    def finished(self) -> list[Trial]:
        return [trial for trial in self.view.trials if trial.state.is_finished]

    @property
    def winner(self) -> int | None:
        """The winner by the study's rule, or the best trial so far."""
        if self.assessment is not None and self.assessment.winner is not None:
            return self.assessment.winner.number
        return self.view.ranked[0].number if self.view.ranked else None


def study_charts(view: StudyView, query: Query) -> list[Chart]:
    """Return the charts of a study's page; query holds the reader's choices."""
    metric, folds = view.spec.metric, view.study.members_per_trial
    charts = [
        Chart(
            "history",
            "Optimisation history",
            f"Observed {metric} of every trial, the mean over {folds} folds; bars are one standard "
            "error over folds. Pruned trials stand where they were stopped.",
        ),
        Chart(
            "competitors",
            "Who cannot be told from the winner",
            "The winner's advantage over its nearest competitors on the same folds, observed, with "
            "interval by the corrected resampled t test. An interval that holds 0 does not tell "
            "the two apart.",
        ),
    ]
    chosen = {"trials": ",".join(map(str, curve_trials(view, query)))}
    charts += [
        Chart(
            f"curves-{kind}",
            f"Learning curves: {kind}",
            f"The {kind} of the chosen trials against epochs, one line per fold, in eval mode: "
            "training dashed, validation solid.",
            chosen,
        )
        for kind in ("score", "loss")
    ]
    charts += _space_charts(view, query)
    charts.append(
        Chart(
            "epochs",
            "Epochs spent",
            "How many epochs each trial was trained before it was complete, pruned or failed.",
        )
    )
    return charts


def _space_charts(view: StudyView, query: Query) -> list[Chart]:
    metric, names = view.spec.metric, list(view.spec.space)
    charts = [
        Chart(
            "scores-against",
            f"All trials against {name}",
            f"Observed validation {metric} and training {metric} of the complete trials against "
            f"{name}; the other hyperparameters differ from point to point. Lines join medians. "
            f"To change {name} alone: selection validation-curve.",
            {"param": name},
        )
        for name in figures.numeric_names(view.spec)
    ]
    charts += [
        Chart(
            "slice",
            f"Slice: {name}",
            f"Observed {metric} of the complete trials against {name}; colour is the trial number.",
            {"param": name},
        )
        for name in names
    ]
    if len(names) > 1:
        first, second = contour_params(view, query)
        charts += [
            Chart(
                "parallel",
                "Parallel coordinates",
                f"One line per complete trial through its hyperparameters; the best {metric} is "
                "drawn last.",
            ),
            Chart(
                "contour",
                f"Contour: {first} and {second}",
                f"Observed {metric} between the complete trials, interpolated.",
                {"first": first, "second": second},
            ),
            Chart(
                "importance",
                "Importance of hyperparameters",
                f"How much of what separates good trials from the others each hyperparameter "
                f"explains, in the observed {metric}, over this search space.",
            ),
        ]
    return charts


def trial_charts(
    trial: Trial, folds: Sequence[FoldResult], *, has_predictions: bool
) -> list[Chart]:
    """Return the charts of a trial's page; folds are the trial's."""
    chosen = {"trials": str(trial.number)}
    charts = [
        Chart(
            f"curves-{kind}",
            f"Learning curves: {kind}",
            f"The {kind} against epochs, one line per fold, in eval mode: training dashed, "
            "validation solid.",
            chosen,
        )
        for kind in ("score", "loss")
        if trial.epochs
    ]
    charts += [
        Chart(
            name,
            title,
            f"{caption}; the mean over folds. Layers are counted from the inputs.",
            {"trial": str(trial.number)},
        )
        for name, (column, title, caption) in LAYER_CHARTS.items()
        if diagnosis_figures.layer_means(folds, column) is not None
    ]
    if has_predictions:
        charts.append(
            Chart(
                "confusion",
                "Confusion of classes",
                "Out-of-fold predictions: each row of the development set was predicted by the "
                "model that had not seen it. Lines are true classes, columns predicted ones.",
                {"trial": str(trial.number)},
            )
        )
    return charts


def curve_values(view: StudyView, repository: Repository) -> dict[str, Any]:
    """Return the stored curves of a study: a chart and the judged points of each.

    Raises: StorageError where a row is damaged.
    """
    found = stored_curves(view, repository)
    return {
        "stored_curves": [
            ShownCurve(
                f"curve-{index}", _point_chart(view, curve), judged_points(view, repository, curve)
            )
            for index, curve in enumerate(found[:MOST_CURVES])
        ],
        "curves_left_out": max(0, len(found) - MOST_CURVES),
    }


def _point_chart(view: StudyView, curve: StoredCurve) -> Chart:
    chosen = {"over": curve.over, "trial": str(curve.number)}
    return Chart("point-curve", curve.title, curve.caption(view.spec.metric), chosen)


def curve_trials(view: StudyView, query: Query) -> list[int]:
    """Return the trials whose learning curves are shown: those asked for, or the leaders."""
    words = query.get("trials", "").replace(",", " ").split()
    known = {trial.number for trial in view.trials if trial.epochs}
    asked = [int(word) for word in words if word.isdecimal() and len(word) < 10]
    found = [number for number in dict.fromkeys(asked) if number in known]
    leaders = [trial.number for trial in view.ranked[:CURVE_TRIALS]]
    return found[:MOST_CURVE_TRIALS] or leaders


def contour_params(view: StudyView, query: Query) -> tuple[str, str]:
    """Return the two hyperparameters of the contour: those asked for, or the first two."""
    names = list(view.spec.space)
    first = query.get("first", "")
    first = first if first in names else names[0]
    others = [name for name in names if name != first]
    second = query.get("second", "")
    return first, second if second in others else others[0]


def draw(name: str, query: Query, source: ChartSource) -> Figure | None:
    """Return a chart; None where the study has nothing to show in it, or no such chart."""
    view, spec = source.view, source.view.spec
    param = query.get("param", "")
    match name:
        case "history":
            return figures.optimisation_history(spec, source.finished, source.winner)
        case "competitors":
            return None if source.assessment is None else figures.competitors(source.assessment)
        case "curves-loss" | "curves-score":
            records = source.repository.records
            numbers = curve_trials(view, query)
            curves = {number: records.curves(view.study, number) for number in numbers}
            kind: Literal["loss", "score"] = "loss" if name == "curves-loss" else "score"
            return figures.learning_curves(spec, curves, kind)
        case "scores-against" if param in figures.numeric_names(spec):
            return figures.scores_against(spec, source.finished, param)
        case "slice" if param in spec.space:
            return figures.slices(spec, source.finished).get(param)
        case "parallel" if len(spec.space) > 1:
            return figures.parallel_coordinates(spec, source.finished)
        case "contour" if len(spec.space) > 1:
            return figures.contour(spec, source.finished, *contour_params(view, query))
        case "importance" if len(spec.space) > 1:
            return figures.importance(spec, source.finished)
        case "epochs":
            return figures.epochs_spent(spec, source.finished)
        case "confusion":
            return _confusion(source, query.get("trial", ""))
        case "point-curve":
            return _point_curve(source, query.get("over", ""), query.get("trial", ""))
        case _ if name in LAYER_CHARTS:
            return _layers(source, LAYER_CHARTS[name][0], query.get("trial", ""))
    return None


def _confusion(source: ChartSource, number: str) -> Figure | None:
    study = source.view.study
    if number not in {str(trial.number) for trial in source.view.ranked}:
        return None
    found = out_of_fold(study, source.repository, int(number))
    if found is None or found.counts is None:
        return None
    return figures.confusion(list(study.facts["class_counts"]), found.counts.tolist())


def _point_curve(source: ChartSource, over: str, number: str) -> Figure | None:
    for curve in stored_curves(source.view, source.repository):
        if (curve.over, str(curve.number)) == (over, number):
            return diagnosis_figures.point_curve(source.view.spec, curve.points)
    return None


def _layers(source: ChartSource, column: str, number: str) -> Figure | None:
    study = source.view.study
    if number not in {str(trial.number) for trial in source.view.trials if trial.epochs}:
        return None
    folds = source.repository.records.curves(study, int(number))
    return diagnosis_figures.layer_curves(folds, column)
