"""The typed sections of a study file: what each key means and which values it may have.

Rules that need one section only live here; rules that tie sections together are in spec.py.
"""

from __future__ import annotations

import codecs
import math
import re
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import Field, field_validator, model_validator

from selection.metrics import DEFAULT_METRIC, MetricName
from selection.study.activations import DEFAULT_ACTIVATION, ActivationName
from selection.study.baselines import BaselineName
from selection.study.pruners import PrunerName
from selection.study.section import Section
from selection.study.setting import Init, OptimizerName, Precision

MAX_NAME_CHARACTERS = 512

# How a CSV file is written.
CSV_KEYS = ("delimiter", "decimal", "encoding", "missing")

Rule = Literal["best", "one_standard_error"]
FinalModel = Literal["refit", "fold_ensemble"]


class HeldOutColumn(Section):
    """Name the rows that are held out by the value of a column."""

    column: str
    """Column whose values say which rows are held out."""
    value: str | int | float | bool
    """The value that marks a row as held out."""


class DataSection(Section):
    """Say which rows the study is about and how features are prepared."""

    dataset: str | None = None
    """A data set known by name; `selection datasets` lists them."""
    path: str | None = None
    """A .csv, .tsv, .csv.gz, .parquet or .feather file, relative to the working directory. The file
    may move later.
    """
    target: str | None = None
    """Column to predict; required with `path`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What separates the cells of a CSV file; a comma if left out, a tab in a .tsv file."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of a CSV file."""
    encoding: str = "utf-8"
    """The encoding of a CSV file, such as `latin-1` or `utf-16`."""
    missing: tuple[str, ...] | None = Field(default=None, strict=False)
    """The texts of a CSV file that stand for a missing value, such as `["", "?"]`; left out, an
    empty cell and the words that pandas takes for it (`NA`, `None`, `nan`, `NULL`, ...).
    """
    drop: tuple[str, ...] = Field(default=(), strict=False)
    """Columns to leave out."""
    categorical: tuple[str, ...] = Field(default=(), strict=False)
    """Columns to one-hot encode: text, or codes that only name a category."""
    groups: str | None = None
    """Column that names the group of a row; a group is never split between folds."""
    impute: Literal["median"] | None = None
    """How missing numbers are filled; without it a missing number is an error."""
    held_out: (
        Literal["official"] | Annotated[float, Field(gt=0.0, lt=1.0)] | HeldOutColumn | None
    ) = None
    """Rows held out: the official part of a data set, a fraction (0.2 if left out), or the rows
    with one value in a column.
    """
    prepare: Literal["scale", "standardize", "none"] = "standardize"
    """Feature scaling, fitted on the training rows of each fold: pixels or columns to 0..1, mean 0
    and deviation 1, or none.
    """

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("needs dataset or path, and not both")
        if self.path is not None and self.target is None:
            raise ValueError("path needs target, the name of the column to predict")
        if self.path is None:
            own = ("target", "drop", "categorical", "groups", "delimiter", "missing")
            given = [name for name in own if getattr(self, name)]
            if given:
                raise ValueError(
                    f"{', '.join(given)} belongs to path; a named data set has its own"
                )
        return self

    @model_validator(mode="after")
    def _cells_can_be_told_apart(self) -> DataSection:
        if self.delimiter is not None and (self.delimiter in '"\r\n' or self.delimiter == "\0"):
            raise ValueError("delimiter must be no quote and no end of a line")
        if self.decimal == self.delimiter:
            raise ValueError("delimiter and decimal must differ")
        return self

    @field_validator("encoding")
    @classmethod
    def _is_known_encoding(cls, name: str) -> str:
        try:
            is_text = codecs.lookup(name)._is_text_encoding
        except (LookupError, ValueError):
            is_text = False
        if not is_text:
            raise ValueError("encoding must be one that Python knows, such as utf-8 or latin-1")
        return name


class CvSection(Section):
    """Say how development rows are split into folds."""

    folds: int = Field(default=5, ge=2)
    """Number of folds."""
    repeats: int = Field(default=1, ge=1)
    """How often the folds are drawn anew."""
    kind: Literal["kfold", "stratified", "group", "stratified_group", "time_series"] | None = None
    """How rows are assigned to folds; left out, it follows from the task and from `groups`."""
    time: str | None = None
    """Column that orders the rows of a time series: numbers or ISO dates. It is no feature."""

    @model_validator(mode="after")
    def _time_runs_once(self) -> CvSection:
        if self.kind == "time_series" and self.repeats > 1:
            raise ValueError("time_series has one order of rows: repeats must be 1")
        if self.time is not None and self.kind != "time_series":
            raise ValueError('time orders the rows of a time series: write kind = "time_series"')
        return self


class ModelSection(Section):
    """Say what is fixed about the MLP."""

    features: int | None = Field(default=None, ge=1)
    """Number of inputs the MLP sees, counted from the first; all if left out."""
    hidden_layers: int | None = Field(default=None, ge=0, le=4)
    """Number of hidden layers; left out, the length of `width`."""
    activation: ActivationName = DEFAULT_ACTIVATION
    """Activation function of the hidden layers."""
    init: Init = "default"
    """Initial weights; `default` is that of torch's Linear."""
    std: float = Field(default=0.01, gt=0.0)
    """Standard deviation of the initial weights under `init = "normal"`."""


class TrainingSection(Section):
    """Say what is fixed about the training."""

    optimizer: OptimizerName = "sgd"
    """Optimizer."""
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Momentum of SGD."""
    nesterov: bool = False
    """Use Nesterov momentum; needs `momentum`."""
    batch_size: int = Field(default=256, ge=1)
    """Rows in a minibatch."""
    epochs: int = Field(default=10, ge=1)
    """Passes over the training rows."""
    precision: Precision = "float32"
    """Number format of matrix products; `tf32` matters on a GPU only."""
    diagnostics: bool = False
    """Record gradient norms, weight norms and dead ReLU units of each layer after each epoch; may
    be changed later.
    """


class SearchSection(Section):
    """Say how the space is searched and when to stop."""

    metric: MetricName = DEFAULT_METRIC
    """Score that chooses the winner; it also decides between classification and regression."""
    sampler: Literal["tpe", "gp", "random", "grid"] = "tpe"
    """How the next settings are proposed; `tpe` and `gp` start with a cohort that covers the space
    evenly.
    """
    pruner: PrunerName = "successive_halving"
    """How poor trials are stopped early; only complete trials can win."""
    pruner_options: dict[str, int | float] = Field(default_factory=dict)
    """Options of the pruner, under Optuna's names."""
    audit: int = Field(default=2, ge=0)
    """Pruned trials, chosen at random, that are trained to their end after the sweep, to see what
    pruning has cost; they never rank. May be changed later.
    """
    trials: int = Field(default=24, ge=1)
    """Number of trials; may be changed later, until the held-out set is opened."""
    cohort: int = Field(default=8, ge=1)
    """Trials proposed together and trained in lockstep."""
    timeout_seconds: float = Field(default=0.0, ge=0.0)
    """Training time after which no cohort is started; 0 is no limit; may be changed like `trials`.
    """
    max_retries: int = Field(default=3, ge=0)
    """How often in a row a cohort may lose its worker before it counts as failed; may be changed
    later.
    """
    max_consecutive_failures: int = Field(default=20, ge=0)
    """The study stops when this many trials in a row have failed; 0 is never; may be changed
    later.
    """
    warm_start: str | None = None
    """Another study of the same database: its 5 best settings, moved into the space, are trained
    right after the default. They are read once, when the study begins.
    """
    default: dict[str, Any] = Field(default_factory=dict)
    """Params of trial 0, which is never pruned; keys left out take their usual value, or the
    nearest in the space.
    """


class SelectionSection(Section):
    """Say how the winner is chosen among complete trials."""

    rule: Rule = "best"
    """Rule that chooses the winner: the best mean over folds, or the simplest trial within one
    standard error of it; may be changed later, on record, until the held-out set is opened.
    """


class AssessmentSection(Section):
    """Say how sure a score is.

    Units: level is the coverage of every interval; rope is half the width of the region of
    practical equivalence, in units of the metric.
    """

    level: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Coverage of every interval; may be changed like `rule`."""
    bootstraps: int = Field(default=1000, ge=100)
    """Bootstrap samples behind the corrected score; may be changed like `rule`."""
    kept_rungs: int = Field(default=6, ge=0)
    """Rungs of the pruner at which out-of-fold predictions are kept, the first ones. Fewer need
    less storage; 0 leaves pruned trials out of the corrected score.
    """
    rope: float | None = Field(default=None, ge=0.0)
    """Difference that is too small to matter, in units of the metric; left out, 0.01, or 1% of a
    score without bounds; may be changed like `rule`.
    """
    baselines: tuple[BaselineName, ...] | None = Field(default=None, strict=False)
    """What the winner is compared with: majority (mean for a regression), linear,
    gradient_boosting; left out, all of them, but gradient_boosting up to 100,000 rows only. May be
    changed later.
    """
    nested: bool = False
    """Also score the whole procedure in outer folds, at as many times the cost."""


class FinalSection(Section):
    """Say what is made of the winner before it meets the held-out set."""

    model: FinalModel = "refit"
    """Final model: one MLP refitted on all development rows, or the mean of the fold models."""
    seeds: int = Field(default=1, ge=1)
    """How often the final model is trained, to show the spread; the first one counts."""


RunsOn = Literal["processes", "ray"]
FixedLag = Annotated[int, Field(ge=1)]


class RunSection(Section):
    """Say where the study trains. The command line may say otherwise, and so may each later run."""

    on: RunsOn = "processes"
    """Workers are processes of this machine, or actors of a Ray cluster."""
    workers: int | None = Field(default=None, ge=1)
    """Number of workers that train beside each other; left out, one process, or on Ray one for each
    GPU, and without GPUs one for each node.
    """
    lag: FixedLag | Literal["free"] | None = None
    """With a lag of N, cohort k is proposed from the cohorts up to k - N, however fast the workers
    are, so that the study is repeatable; left out, the number of workers. `free` takes what has
    finished.
    """
    address: str | None = None
    """Ray cluster: `HOST:PORT`, `auto` for the one that this machine is a node of, or `local` for
    one of this machine's own; left out, the one that `RAY_ADDRESS` names, else `local`.
    """
    gpus_per_worker: float | None = Field(default=None, gt=0.0)
    """GPUs of each worker on Ray, 1 if left out; 0.5 lets two share one."""

    @field_validator("lag", mode="before")
    @classmethod
    def _lag_is_a_number_or_free(cls, lag: object) -> object:
        if isinstance(lag, str) and lag != "free":
            raise ValueError('must be a whole number from 1, or "free"')
        return lag

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_a_share_of_one_or_whole(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and not gpus.is_integer():
            raise ValueError("must be a share of one GPU or a whole number of them")
        return gpus

    @model_validator(mode="after")
    def _ray_has_its_own_keys(self) -> RunSection:
        given = [name for name in ("address", "gpus_per_worker") if getattr(self, name) is not None]
        if given and self.on != "ray":
            raise ValueError(f'{", ".join(given)} belongs to Ray: write on = "ray"')
        return self

    @model_validator(mode="after")
    def _lag_lets_all_train(self) -> RunSection:
        if isinstance(self.lag, int) and self.workers is not None and self.lag < self.workers:
            raise ValueError("lag must be at least workers, or some of them always wait")
        return self


class ProvenanceSection(Section):
    """Say where an exported study file comes from; nothing of the study depends on it."""

    study: str
    """Study that the file was exported from."""
    number: int
    """Trial that it repeats."""
    rule: Rule
    """Rule that chose the trial."""
    data_fingerprint: str
    """Hash of the development rows."""
    held_out_fingerprint: str
    """Hash of the held-out rows."""
    fold_fingerprint: str
    """Hash of the folds."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries used."""


class StudySections(Section):
    """Hold a whole study file as it was written, section by section."""

    name: str
    """Name of the study in its database."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random number of the study."""
    data: DataSection
    cv: CvSection = CvSection()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    space: dict[str, Any] = Field(default_factory=dict)
    search: SearchSection = SearchSection()
    selection: SelectionSection = SelectionSection()
    assessment: AssessmentSection = AssessmentSection()
    final: FinalSection = FinalSection()
    run: RunSection = RunSection()
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


def is_number(value: object) -> TypeGuard[float]:
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
    """Units of each hidden layer; a list gives one value per layer."""
    dropout: Probability | Annotated[tuple[Probability, ...], Field(strict=False, min_length=1)] = (
        0.0
    )
    """Dropout probability of each hidden layer; a list gives one value per layer."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Weight decay: L + lambda/2 ||w||^2 with SGD, decoupled with AdamW. Biases are never decayed.

    """
    l2: float = Field(default=0.0, ge=0.0)
    """L2 penalty in the gradient of Adam; takes the place of `weight_decay` there."""
    learning_rate: float = Field(default=0.1, gt=0.0)
    """Learning rate; if left out, 0.1 with SGD and 0.001 with Adam and AdamW."""


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
