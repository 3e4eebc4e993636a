"""The typed sections of a study file: what each key means and which values it may have.

Rules that need one section only live here; rules that tie sections together are in spec.py.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from selection.metrics import DEFAULT_METRIC, MetricName
from selection.study.activations import DEFAULT_ACTIVATION, ActivationName
from selection.study.pruners import PrunerName
from selection.study.section import Section
from selection.study.setting import Init, OptimizerName, Precision

MAX_NAME_CHARACTERS = 512

Rule = Literal["best", "one_standard_error"]
FinalModel = Literal["refit", "fold_ensemble"]


class HeldOutColumn(Section):
    """Name the rows that are held out by the value of a column."""

    column: str
    value: str | int | float | bool


class DataSection(Section):
    """Say which rows the study is about and how features are prepared."""

    dataset: str | None = None
    path: str | None = None
    target: str | None = None
    drop: tuple[str, ...] = Field(default=(), strict=False)
    categorical: tuple[str, ...] = Field(default=(), strict=False)
    groups: str | None = None
    impute: Literal["median"] | None = None
    held_out: (
        Literal["official"] | Annotated[float, Field(gt=0.0, lt=1.0)] | HeldOutColumn | None
    ) = None
    prepare: Literal["scale", "standardize", "none"] = "standardize"

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("needs dataset or path, and not both")
        if self.path is not None and self.target is None:
            raise ValueError("path needs target, the name of the column to predict")
        if self.path is None:
            given = [
                name for name in ("target", "drop", "categorical", "groups") if getattr(self, name)
            ]
            if given:
                raise ValueError(
                    f"{', '.join(given)} belongs to path; a named data set has its own"
                )
        return self


class CvSection(Section):
    """Say how development rows are split into folds."""

    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=1, ge=1)
    kind: Literal["kfold", "stratified", "group", "stratified_group", "time_series"] | None = None

    @model_validator(mode="after")
    def _time_runs_once(self) -> CvSection:
        if self.kind == "time_series" and self.repeats > 1:
            raise ValueError("time_series has one order of rows: repeats must be 1")
        return self


class ModelSection(Section):
    """Say what is fixed about the MLP."""

    features: int | None = Field(default=None, ge=1)
    hidden_layers: int | None = Field(default=None, ge=0, le=4)
    activation: ActivationName = DEFAULT_ACTIVATION
    init: Init = "default"
    std: float = Field(default=0.01, gt=0.0)


class TrainingSection(Section):
    """Say what is fixed about the training."""

    optimizer: OptimizerName = "sgd"
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    nesterov: bool = False
    batch_size: int = Field(default=256, ge=1)
    epochs: int = Field(default=10, ge=1)
    precision: Precision = "float32"
    diagnostics: bool = False


class SearchSection(Section):
    """Say how the space is searched and when to stop."""

    metric: MetricName = DEFAULT_METRIC
    sampler: Literal["tpe", "gp", "random", "grid"] = "tpe"
    pruner: PrunerName = "successive_halving"
    pruner_options: dict[str, int | float] = Field(default_factory=dict)
    trials: int = Field(default=24, ge=1)
    cohort: int = Field(default=8, ge=1)
    timeout_seconds: float = Field(default=0.0, ge=0.0)
    max_retries: int = Field(default=3, ge=0)
    max_consecutive_failures: int = Field(default=20, ge=0)
    default: dict[str, Any] = Field(default_factory=dict)


class SelectionSection(Section):
    """Say how the winner is chosen among complete trials."""

    rule: Rule = "best"


class AssessmentSection(Section):
    """Say how sure a score is.

    Units: level is the coverage of every interval; rope is half the width of the region of
    practical equivalence, in units of the metric.
    """

    level: float = Field(default=0.95, gt=0.0, lt=1.0)
    bootstraps: int = Field(default=1000, ge=100)
    rope: float | None = Field(default=None, ge=0.0)
    nested: bool = False


class FinalSection(Section):
    """Say what is made of the winner before it meets the held-out set."""

    model: FinalModel = "refit"
    seeds: int = Field(default=1, ge=1)


class ProvenanceSection(Section):
    """Say where an exported study file comes from; nothing of the study depends on it."""

    study: str
    number: int
    rule: Rule
    data_fingerprint: str
    held_out_fingerprint: str
    fold_fingerprint: str
    versions: dict[str, str] = Field(default_factory=dict)


class StudySections(Section):
    """Hold a whole study file as it was written, section by section."""

    name: str
    seed: int = Field(default=0, ge=0, lt=2**63)
    data: DataSection
    cv: CvSection = CvSection()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    space: dict[str, Any] = Field(default_factory=dict)
    search: SearchSection = SearchSection()
    selection: SelectionSection = SelectionSection()
    assessment: AssessmentSection = AssessmentSection()
    final: FinalSection = FinalSection()
    provenance: ProvenanceSection | None = None

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("must have at least one visible character")
        if len(name) > MAX_NAME_CHARACTERS:
            raise ValueError(f"must have at most {MAX_NAME_CHARACTERS} characters")
        if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", name):
            raise ValueError("must have no control characters")
        return name


def is_whole(value: object) -> bool:
    """Return whether value is an integer (True and False are not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether value is a finite number (True and False are not)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


Width = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class OwnSpaceFields(Section):
    """Hold the hyperparameters that live in [space] only, with the values a trial has otherwise."""

    width: Width | Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = 256
    dropout: Probability | Annotated[tuple[Probability, ...], Field(strict=False, min_length=1)] = (
        0.0
    )
    weight_decay: float = Field(default=0.0, ge=0.0)
    l2: float = Field(default=0.0, ge=0.0)
    learning_rate: float = Field(default=0.1, gt=0.0)


SPACE_SECTIONS: tuple[type[Section], ...] = (OwnSpaceFields, ModelSection, TrainingSection)
WHOLE_FIELDS = ("features", "width", "hidden_layers", "batch_size", "epochs")
REAL_FIELDS = ("dropout", "weight_decay", "l2", "learning_rate", "std", "momentum")
PER_LAYER_FIELDS = ("width", "dropout")


def space_names() -> list[str]:
    """Return every name that [space] may hold."""
    return [name for section in SPACE_SECTIONS for name in section.model_fields]


def section_of(name: str) -> type[Section]:
    """Return the section that knows the rules of one hyperparameter."""
    return next(section for section in SPACE_SECTIONS if name in section.model_fields)
