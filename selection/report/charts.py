"""The charts of a study by name: which there are, what each shows, and how it is drawn.

The live page asks for them one by one, the report file holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

from selection.assessment import Assessment
from selection.out_of_fold import out_of_fold
from selection.report import figures
from selection.report.figures import Figure
from selection.report.view import StudyView
from selection.store.books import Books
from selection.study.trial import Trial

CURVE_TRIALS = 3
MOST_CURVE_TRIALS = 6
Query = Mapping[str, str]
# The choices of a reader that charts know.
CHOICES = ("param", "trial", "trials", "first", "second")
CHARTS = (
    "history",
    "rivals",
    "curves-score",
    "curves-loss",
    "validation-curve",
    "slice",
    "parallel",
    "contour",
    "importance",
    "epochs",
    "confusion",
)


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
class ChartSource:
    """Hold what charts are drawn from; curves and predictions are read when they are needed."""

    view: StudyView
    assessment: Assessment | None
    books: Books

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
            "rivals",
            "Who cannot be told from the winner",
            "The winner's advantage over its nearest rivals on the same folds, observed, with its "
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
            "validation-curve",
            f"Validation curve: {name}",
            f"Observed validation {metric} and training {metric} of the complete trials against "
            f"{name}; the other hyperparameters differ from point to point. Lines join medians.",
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


def trial_charts(trial: Trial, *, has_predictions: bool) -> list[Chart]:
    """Return the charts of a trial's page."""
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
        case "rivals":
            return None if source.assessment is None else figures.rivals(source.assessment)
        case "curves-loss" | "curves-score":
            records = source.books.records
            numbers = curve_trials(view, query)
            curves = {number: records.curves(view.study, number) for number in numbers}
            kind: Literal["loss", "score"] = "loss" if name == "curves-loss" else "score"
            return figures.learning_curves(spec, curves, kind)
        case "validation-curve" if param in figures.numeric_names(spec):
            return figures.validation_curve(spec, source.finished, param)
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
    return None


def _confusion(source: ChartSource, number: str) -> Figure | None:
    study = source.view.study
    if number not in {str(trial.number) for trial in source.view.ranked}:
        return None
    found = out_of_fold(study, source.books, int(number))
    if found is None or found.counts is None:
        return None
    return figures.confusion(list(study.facts["class_counts"]), found.counts.tolist())
