"""What one evaluation of a held-out set found, as a frozen value.

The ledger keeps it as JSON and `evaluate --json` prints the same; JSON is made and read here alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from selection.study.class_scores import Calibration, ClassScore
from selection.study.fields import Rule


@dataclass(frozen=True)
class TrainingSummary:
    """Hold how the final model was trained; tuples have one number for each of its members.

    updates_in_cross_validation is the mean number of updates that a fold of the same trial took.
    running_loss and running_score are those of the last epoch, None where they are undefined; the
    models of early versions did not keep them. most_epochs is how long the trial might have trained
    where its epoch was chosen by the best mean over folds, None where it was the last. Where the
    members are of several trials, epochs, batch_size and most_epochs have one for each as well.
    """

    rows: tuple[int, ...]
    epochs: int | tuple[int, ...]
    batch_size: int | tuple[int, ...]
    batches_per_epoch: tuple[int, ...]
    updates: tuple[int, ...]
    updates_in_cross_validation: float
    running_loss: tuple[float | None, ...] | None = None
    running_score: tuple[float | None, ...] | None = None
    most_epochs: int | tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{name: _frozen(each) for name, each in value.items()})

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(each) for name, each in vars(self).items() if each is not None}


@dataclass(frozen=True)
class ClassReport:
    """Hold what a score over all classes hides.

    Shape: confusion counts rows by true class (lines) and predicted class (columns), (C, C).
    """

    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration


@dataclass(frozen=True)
class RowComparison:
    """Hold the winner beside the model of an earlier evaluation, row by row.

    gained rows are right now and were wrong before, lost ones the reverse; p is that of McNemar's
    exact test. ensemble is that of the earlier model.
    """

    evaluation: int
    number: int
    gained: int
    lost: int
    p: float
    ensemble: Mapping[int, int] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "ensemble": _read_counts(value.get("ensemble"))})

    def to_json(self) -> dict[str, Any]:
        value = dict(vars(self))
        del value["ensemble"]
        return (
            value if self.ensemble is None else value | {"ensemble": _plain_counts(self.ensemble)}
        )


@dataclass(frozen=True)
class HeldOutResult:
    """Hold the held-out score of trial number of a study, with what stands beside it.

    low and high bound the score at level, None for rows of one group; seeds are the scores of the
    same setting trained from single seeds, of which the first is score unless the model averages
    them; evaluations counts the openings up to this one; gap is score less the corrected estimate;
    prediction_interval is where the score was expected at level, None without an estimate.
    A classification has classes, a regression has scores by the name of their metric. ensemble says
    how often each trial of an ensemble counts; number is then the one that counts most often.
    """

    study: str
    number: int
    metric: str
    score: float
    low: float | None
    high: float | None
    level: float
    rows: int
    seeds: tuple[float, ...]
    evaluations: int
    corrected_estimate: float | None
    gap: float | None
    corrected_interval: tuple[float, float] | None
    prediction_interval: tuple[float, float] | None
    rule: Rule
    model: str
    training: TrainingSummary
    classes: ClassReport | None
    scores: Mapping[str, float] | None
    against: RowComparison | None
    ensemble: Mapping[int, int] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what to_json returned."""
        own = dict(value)
        against = own.pop("against")
        return cls(
            ensemble=_read_counts(own.pop("ensemble", None)),
            seeds=tuple(own.pop("seeds")),
            corrected_interval=_read_interval(own.pop("corrected_interval", None)),
            prediction_interval=_read_interval(own.pop("prediction_interval", None)),
            training=TrainingSummary.from_json(own.pop("training")),
            classes=_read_classes(own),
            scores=own.pop("scores", None),
            against=None if against is None else RowComparison.from_json(against),
            **own,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result as the ledger keeps it."""
        value = {name: _plain(each) for name, each in vars(self).items()}
        value["training"] = self.training.to_json()
        del value["classes"], value["scores"], value["against"], value["ensemble"]
        if self.prediction_interval is None:
            del value["prediction_interval"]
        if self.ensemble is not None:
            value["ensemble"] = _plain_counts(self.ensemble)
        if self.classes is not None:
            value["per_class"] = [asdict(line) for line in self.classes.per_class]
            value["confusion"] = _plain(self.classes.confusion)
            value["calibration"] = asdict(self.classes.calibration)
        if self.scores is not None:
            value["scores"] = dict(self.scores)
        value["against"] = None if self.against is None else self.against.to_json()
        return value


def _read_interval(value: Sequence[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])


def _read_classes(value: dict[str, Any]) -> ClassReport | None:
    """Take the keys of a ClassReport out of a result."""
    if "per_class" not in value:
        return None
    return ClassReport(
        per_class=tuple(ClassScore(**line) for line in value.pop("per_class")),
        confusion=tuple(tuple(line) for line in value.pop("confusion")),
        calibration=Calibration(**value.pop("calibration")),
    )


def _read_counts(value: Mapping[str, int] | None) -> dict[int, int] | None:
    return None if value is None else {int(number): count for number, count in value.items()}


def _plain_counts(counts: Mapping[int, int] | None) -> dict[str, int] | None:
    return None if counts is None else {str(number): count for number, count in counts.items()}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
