"""A setting: every number that the training of one trial depends on.

Params hold only what is searched; a setting also holds the constants of the study file. Equal
settings give equal scores, whatever their trial numbers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from selection.study.activations import ActivationName
from selection.study.schedules import DEFAULT_SCHEDULE, ScheduleName

Init = Literal["default", "normal", "xavier_uniform", "xavier_normal"]
OptimizerName = Literal["sgd", "adam", "adamw"]
Precision = Literal["float32", "tf32", "bfloat16"]
NumericEmbedding = Literal["none", "pl", "pbld"]
# By the name of the class, where a study gives a table.
ClassWeights = Literal["none", "balanced"] | tuple[tuple[str, float], ...]
EpochChoice = Literal["last", "best_mean"]


@dataclass(frozen=True)
class Kind:
    """Hold what all members of one bucket must have in common.

    input_scaling is a factor of each input that is learned, parametric_activation the share of the
    activation that each hidden unit learns to apply. Embeddings are those of numeric columns and of
    categorical columns with many categories.
    """

    hidden_layers: int
    activation: ActivationName
    init: Init
    optimizer: OptimizerName
    nesterov: bool
    batch_size: int
    epochs: int
    precision: Precision
    input_scaling: bool = False
    parametric_activation: bool = False
    numeric_embedding: NumericEmbedding = "none"
    category_embedding: bool = False


@dataclass(frozen=True)
class Setting:
    """Hold one MLP and its training.

    Units: weight_decay is lambda of L + lambda/2 ||w||^2 (sgd) or the decoupled decay (adamw);
    l2 is the penalty that adam adds to the gradient. Biases are never decayed. features is the
    number of inputs that are used, counted from the first; 0 means all. clip_norm limits the norm
    of all gradients of the MLP; 0 is no limit. warmup is a share of all steps. label_smoothing
    and class_weights belong to the loss that is trained, never to one that is reported.
    embedding_scale is the standard deviation of initial frequencies.
    """

    kind: Kind
    widths: tuple[int, ...]
    dropout: tuple[float, ...]
    learning_rate: float
    weight_decay: float
    l2: float
    momentum: float
    init_std: float
    features: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 0.0
    schedule: ScheduleName = DEFAULT_SCHEDULE
    warmup: float = 0.0
    dropout_schedule: ScheduleName = DEFAULT_SCHEDULE
    weight_decay_schedule: ScheduleName = DEFAULT_SCHEDULE
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    embedding_scale: float = 0.0

    @property
    def penalty(self) -> float:
        """The weight decay or the l2, of which an optimizer has one."""
        return self.weight_decay + self.l2

    def seen_inputs(self, inputs: int) -> int:
        """Return how many of the given number of inputs this MLP uses."""
        return min(self.features, inputs) if self.features else inputs

    def count_parameters(self, inputs: int, outputs: int) -> int:
        """Return the number of weights and biases of this MLP."""
        sizes = [self.seen_inputs(inputs), *self.widths, outputs]
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))
