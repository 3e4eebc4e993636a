"""The typed sections of a study file: what each key means and which values it may have.

Rules that need one section only live here; rules that tie sections together are in rules.py.
"""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from selection.metrics import DEFAULT_METRIC, MetricName
from selection.study.baselines import BaselineName
from selection.study.hyperparameters import ModelSection, TrainingSection
from selection.study.pruners import PrunerName
from selection.study.recipes import DEFAULT_RECIPE, RecipeName
from selection.study.run_section import RunSection
from selection.study.section import Section

MAX_NAME_CHARACTERS = 512

# How a CSV file is written.
CSV_KEYS = ("delimiter", "decimal", "encoding", "missing")

Rule = Literal["best", "one_standard_error", "ensemble"]
FinalModel = Literal["refit", "refit_ensemble", "fold_ensemble"]
# How many refits a refit_ensemble averages where the file does not say.
ENSEMBLE_SEEDS = 5
Prepare = Literal["scale", "standardize", "robust", "quantile", "none"]


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
    categorical: tuple[str, ...] | None = Field(default=None, strict=False)
    """Columns of categories: text, or codes that only name one; left out, `tabular` takes those of
    text.
    """
    groups: str | None = None
    """Column that names the group of a row; a group is never split between folds."""
    weights: str | None = None
    """Column of the weight of each row in the training of MLPs and baselines, at least 0. It is no
    feature, and scores stay unweighted.
    """
    impute: Literal["median"] | None = None
    """How missing numbers are filled; a missing category is then one of its own. Without it a
    missing value is an error.
    """
    missing_indicators: bool = False
    """Also tell the MLP which numbers were missing, by an input of 0 or 1 for each numeric column
    with a missing value among the training rows of a fold; needs `impute`.
    """
    held_out: (
        Literal["official"] | Annotated[float, Field(gt=0.0, lt=1.0)] | HeldOutColumn | None
    ) = None
    """Rows held out: the official part of a data set, a fraction (0.2 if left out), or the rows
    with one value in a column.
    """
    prepare: Prepare | None = None
    """Feature scaling, fitted on the training rows of each fold: pixels or columns to 0..1
    (`scale`), mean 0 and deviation 1 (`standardize`), median 0 and quartile range 1 with values
    clipped smoothly to -3..3 (`robust`), a normal distribution by way of quantiles (`quantile`), or
    none. `standardize`, `robust` and `quantile` standardize a regression's target as well.
    """

    @property
    def is_target_standardized(self) -> bool:
        """Say whether a target of a regression has mean 0 and deviation 1 in training."""
        return self.prepare in ("standardize", "robust", "quantile")

    @property
    def categories(self) -> tuple[str, ...]:
        """The columns of categories; none as long as they are not known."""
        return self.categorical or ()

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("needs dataset or path, and not both")
        if self.path is not None and self.target is None:
            raise ValueError("path needs target, the name of the column to predict")
        if self.path is None:
            own = ("target", "drop", "categorical", "groups", "weights", "delimiter", "missing")
            given = [name for name in own if getattr(self, name)]
            if given:
                raise ValueError(
                    f"{', '.join(given)} belongs to path; a named data set has its own"
                )
        return self

    @model_validator(mode="after")
    def _indicated_is_filled(self) -> DataSection:
        if self.missing_indicators and self.impute is None:
            raise ValueError('missing_indicators needs impute = "median"')
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
    """Rule that chooses the winner: the best mean over folds, the simplest trial within one
    standard error of it, or the ensemble of complete trials whose mean prediction scores best; may
    be changed later, on record, until the held-out set is opened.
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
    """Final model: one MLP refitted on all development rows, the mean of several such refits, or
    the mean of the fold models.
    """
    seeds: int = Field(default=1, ge=1)
    """How often the final model is trained, from other seeds. A `refit_ensemble` is their mean, and
    has 5 if this is left out; elsewhere they show the spread, and the first one counts.
    """

    @model_validator(mode="before")
    @classmethod
    def _several_seeds(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model") == "refit_ensemble":
            return {"seeds": ENSEMBLE_SEEDS, **values}
        return values


class ProvenanceSection(Section):
    """Say where an exported study file comes from; nothing of the study depends on it."""

    study: str
    """Study that the file was exported from."""
    number: int
    """Trial that it repeats."""
    rule: Rule
    """Rule that chose the trial, or the ensemble that it leads."""
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
    recipe: RecipeName = DEFAULT_RECIPE
    """Where the values come from that the file leaves out: `tabular` is for tables, `book` is plain
    SGD. `selection run FILE --explain` shows each of them.
    """
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
