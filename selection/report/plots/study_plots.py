"""The charts of a study as plotly figures, for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from selection.errors import ErrorDetail, StudyStateError
from selection.report.plots.chart_source import ChartSource
from selection.report.plots.charts import plotly_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

Open = Callable[[], AbstractContextManager[ChartSource]]


class StudyPlots:
    """Draw the charts of one study; each method returns a plotly Figure of what is on record now.

    Every method raises StudyStateError where the study has nothing to show in its chart yet.
    """

    def __init__(self, open_source: Open) -> None:
        self._open_source = open_source

    def history(self) -> go.Figure:
        """Draw the observed score of every trial, in the order of their numbers."""
        return self._draw("history")

    def competitors(self) -> go.Figure:
        """Draw the winner's advantage over the trials next to it, with intervals."""
        return self._draw("competitors")

    def learning_curves(self, trials: Sequence[int] = (), *, kind: str = "score") -> go.Figure:
        """Draw the learning curves of some trials, the leaders if omitted; kind: score or loss."""
        return self._draw(f"curves-{kind}", trials=trials)

    def scores_against(self, name: str) -> go.Figure:
        """Draw training and validation scores of all complete trials against a hyperparameter."""
        return self._draw("scores-against", param=name)

    def slice(self, name: str) -> go.Figure:
        """Draw the observed scores of the complete trials against one hyperparameter."""
        return self._draw("slice", param=name)

    def parallel_coordinates(self) -> go.Figure:
        """Draw a line through the hyperparameters of each complete trial."""
        return self._draw("parallel")

    def contour(self, first: str, second: str) -> go.Figure:
        """Draw the observed score over two hyperparameters."""
        return self._draw("contour", first=first, second=second)

    def importances(self) -> go.Figure:
        """Draw how much of the observed score each hyperparameter explains."""
        return self._draw("importance")

    def epochs(self) -> go.Figure:
        """Draw how many epochs each trial was trained."""
        return self._draw("epochs")

    def confusion(self, trial: int) -> go.Figure:
        """Draw the confusion of classes in a trial's out-of-fold predictions."""
        return self._draw("confusion", trial=trial)

    def _draw(self, chart: str, **choices: str | int | Sequence[int]) -> go.Figure:
        with self._open_source() as source:
            figure = plotly_figure(chart, source, **choices)
            name = source.view.study.name
        if figure is None:
            rule = f"the chart {chart} needs trials to show"
            hint = "Look at study.trials, and check the arguments."
            raise StudyStateError(ErrorDetail(f"study {name}", rule, "none", hint))
        return figure
