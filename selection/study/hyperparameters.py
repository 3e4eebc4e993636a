"""The hyperparameters of a study file: [model], [training], and those that live in [space] only.

Each may be a constant, or be searched in [space]. What a trial does with them is a Setting.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeGuard

from pydantic import Field

from selection.study.activations import DEFAULT_ACTIVATION, ActivationName
from selection.study.schedules import DEFAULT_SCHEDULE, ScheduleName
from selection.study.section import Section
from selection.study.setting import EpochChoice, Init, NumericEmbedding, OptimizerName, Precision

Weight = Annotated[float, Field(gt=0.0)]


class ModelSection(Section):
    """Say what is fixed about the MLP."""

    features: int | None = Field(default=None, ge=1)
    """Number of inputs the MLP sees, counted from the first; all if left out."""
    hidden_layers: int | None = Field(default=None, ge=0, le=4)
    """Number of hidden layers; left out, the length of `width`."""
    activation: ActivationName = DEFAULT_ACTIVATION
    """Activation function of the hidden layers."""
    parametric_activation: bool = False
    """Let each hidden unit learn how much of the activation f it applies: x + a (f(x) - x), where a
    begins at 1 and learns at a tenth of the learning rate.
    """
    input_scaling: bool = False
    """Learn a factor of each input, which begins at 1, at 6 times the learning rate; it becomes
    part of the weights.
    """
    numeric_embedding: NumericEmbedding = "none"
    """What becomes of each numeric column: `pl` gives waves of learned frequencies to a linear
    layer of its own with 4 outputs, `pbld` waves with learned phases and 3 outputs, beside the
    column.
    """
    embedding_scale: float = Field(default=0.1, gt=0.0)
    """Standard deviation of the initial frequencies of `numeric_embedding`."""
    category_embedding: bool = False
    """Learn 8 numbers for each category of a column with more than 8 of them, instead of one weight
    of each unit.
    """
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
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of the running mean of gradients in Adam and AdamW."""
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the running mean of squared gradients in Adam and AdamW."""
    eps: float = Field(default=1e-8, ge=1e-30)
    """What Adam and AdamW add to the root of the mean square, to not divide by 0."""
    clip_norm: float = Field(default=0.0, ge=0.0)
    """Largest norm of all gradients of one MLP in a step; longer ones are scaled down to it, and 0
    never scales.
    """
    schedule: ScheduleName = DEFAULT_SCHEDULE
    """What the learning rate is multiplied by in the course of the training."""
    warmup: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of all steps in which the learning rate warms up: with W such steps it is multiplied by
    1/W in the first, 2/W in the second and so on, on top of its schedule.
    """
    dropout_schedule: ScheduleName = DEFAULT_SCHEDULE
    """What the dropout probabilities are multiplied by."""
    weight_decay_schedule: ScheduleName = DEFAULT_SCHEDULE
    """What `weight_decay` or `l2` is multiplied by."""
    batch_size: int | None = Field(default=None, ge=1)
    """Rows in a minibatch."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the training rows; with `epoch = "best_mean"`, at most."""
    epoch: EpochChoice = "last"
    """Epoch that scores a trial and that its final model is trained to: the last, or the one with
    the best mean over folds, the same for all folds.
    """
    patience: int = Field(default=0, ge=0)
    """Epochs without a better mean over folds after which a trial ends; 0 means never. Needs
    `epoch = "best_mean"`.
    """
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each label that is spread evenly over all classes in the training loss; reported
    losses have none.
    """
    class_weights: Literal["none", "balanced"] | dict[str, Weight] = "none"
    """Weights of the classes in the training loss: `balanced` gives each class the same weight in
    all, a table weighs classes by name (1 if left out; in this section only). Scores stay
    unweighted.
    """
    precision: Precision = "float32"
    """Number format of matrix products; `tf32` matters on a GPU only."""
    diagnostics: bool = False
    """Record gradient norms, weight norms and dead ReLU units of each layer after each epoch; may
    be changed later.
    """


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
REAL_FIELDS = (
    *("dropout", "weight_decay", "l2", "learning_rate", "std", "momentum"),
    *("beta1", "beta2", "eps", "clip_norm", "warmup", "label_smoothing", "embedding_scale"),
)
PER_LAYER_FIELDS = ("width", "dropout")
# All trials of a study have the same.
CONSTANT_FIELDS = ("precision", "diagnostics", "epoch", "patience")


def space_names() -> list[str]:
    """Return every name that [space] may hold."""
    return [name for section in SPACE_SECTIONS for name in section.model_fields]


def section_of(name: str) -> type[Section]:
    """Return the section that knows the rules of one hyperparameter."""
    return next(section for section in SPACE_SECTIONS if name in section.model_fields)
