"""The one registry of metrics: a new metric is one entry here, and nothing else.

An entry says what a metric is and names one of a few computations. train.metrics implements each
computation on the device, stats.scores under row weights in NumPy; neither knows a metric by name.
An alias is an entry that shares the computation of another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

Task = Literal["classification", "regression"]
Unit = Literal["share", "nats", "target"]
Pooling = Literal["rows", "folds"]
RowValue = Literal["hit", "negative_log_likelihood", "absolute_error", "squared_error"]


class ClassCounts(Protocol):
    """Hold counts of rows, class by class, as an array of NumPy or a tensor of torch.

    hits are the rows of a class that are predicted as that class.
    """

    @property
    def hits(self) -> Any: ...
    @property
    def true(self) -> Any: ...
    @property
    def predicted(self) -> Any: ...


@dataclass(frozen=True)
class MeanOverRows:
    """Average one value per row, and take the square root of the mean if is_rooted."""

    value: RowValue
    is_rooted: bool = False


@dataclass(frozen=True)
class MeanOverClasses:
    """Average a rate over classes; a class whose rate is 0 / 0 is left out of the mean."""

    rate: Callable[[ClassCounts], Any]


@dataclass(frozen=True)
class RankArea:
    """Take the area under the ROC curve; of several classes, the mean of one against the rest."""


@dataclass(frozen=True)
class ExplainedVariance:
    """Take 1 - residual sum of squares / total sum of squares."""


Computation = MeanOverRows | MeanOverClasses | RankArea | ExplainedVariance


@dataclass(frozen=True)
class Metric:
    """Hold one metric.

    pooling says whether out-of-fold rows of all folds are scored together or each fold alone and
    then averaged: ranks given by different models cannot be pooled.

    distinct_targets is how many different targets the scored rows must have for the score to be
    defined.

    Units: bounds are the lowest and the highest possible score, in unit.
    """

    name: str
    task: Task
    is_minimised: bool
    bounds: tuple[float, float]
    unit: Unit
    computation: Computation
    pooling: Pooling = "rows"
    distinct_targets: int = 1

    @property
    def has_absolute_rope(self) -> bool:
        """Whether one width of practical equivalence fits all data: only a share has a scale."""
        return self.unit == "share"

    @property
    def counts_hits(self) -> bool:
        """Whether the score is a share of rows, for which Wilson's interval holds."""
        return self.computation == MeanOverRows("hit")


def alias(name: str, metric: Metric) -> Metric:
    """Return the same metric under another name."""
    return replace(metric, name=name)


_CROSS_ENTROPY = Metric(
    name="cross_entropy",
    task="classification",
    is_minimised=True,
    bounds=(0.0, math.inf),
    unit="nats",
    computation=MeanOverRows("negative_log_likelihood"),
)
_ENTRIES = (
    Metric(
        name="accuracy",
        task="classification",
        is_minimised=False,
        bounds=(0.0, 1.0),
        unit="share",
        computation=MeanOverRows("hit"),
    ),
    Metric(
        name="balanced_accuracy",
        task="classification",
        is_minimised=False,
        bounds=(0.0, 1.0),
        unit="share",
        computation=MeanOverClasses(lambda counts: counts.hits / counts.true),
    ),
    _CROSS_ENTROPY,
    alias("log_loss", _CROSS_ENTROPY),
    Metric(
        name="macro_f1",
        task="classification",
        is_minimised=False,
        bounds=(0.0, 1.0),
        unit="share",
        computation=MeanOverClasses(
            lambda counts: 2.0 * counts.hits / (counts.predicted + counts.true)
        ),
    ),
    Metric(
        name="roc_auc",
        task="classification",
        is_minimised=False,
        bounds=(0.0, 1.0),
        unit="share",
        computation=RankArea(),
        pooling="folds",
        distinct_targets=2,
    ),
    Metric(
        name="rmse",
        task="regression",
        is_minimised=True,
        bounds=(0.0, math.inf),
        unit="target",
        computation=MeanOverRows("squared_error", is_rooted=True),
    ),
    Metric(
        name="mae",
        task="regression",
        is_minimised=True,
        bounds=(0.0, math.inf),
        unit="target",
        computation=MeanOverRows("absolute_error"),
    ),
    Metric(
        name="r2",
        task="regression",
        is_minimised=False,
        bounds=(-math.inf, 1.0),
        unit="share",
        computation=ExplainedVariance(),
        distinct_targets=2,
    ),
)
METRICS: Mapping[str, Metric] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
DEFAULT_METRIC = "accuracy"

if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[tuple(METRICS)]


def metrics_of(task: Task) -> list[str]:
    """Return the names of all metrics of a task, in the order of the registry."""
    return [name for name, entry in METRICS.items() if entry.task == task]
