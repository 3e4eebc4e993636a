"""What a study must beat: the majority class or the mean, and a linear model on the same folds.

The linear model is trained by the same engine at a few learning rates and the best of them stands:
a baseline chosen in its own favour makes every claim against it the safer one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selection.assess.scores import reduce_outputs, weighted_scores
from selection.entry import StudyData
from selection.store.evidence import BaselineFold
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import TrialState
from selection.train.fit import Trainer

LINEAR = "linear"
LEARNING_RATES = (1.0, 0.3, 0.1)  # times that of the default setting


def constant_name(task: str) -> str:
    """Return what the baseline without features is called."""
    return "majority" if task == "classification" else "mean"


def score_baselines(spec: StudySpec, data: StudyData, trainer: Trainer) -> list[BaselineFold]:
    """Score both baselines on every fold; one that some fold has no score for is left out."""
    constant = _score_constant(spec, data)
    if not all(math.isfinite(fold.score) for fold in constant):
        constant = []
    return [*constant, *_score_linear(spec, trainer)]


def _score_constant(spec: StudySpec, data: StudyData) -> list[BaselineFold]:
    target = data.dataset.target
    folds = []
    for split in data.plan.splits:
        line = _constant_outputs(target[split.training], len(data.dataset.class_names))
        outputs = np.repeat(line, len(split.validation), axis=0)
        wanted = target[split.validation]
        reduced = reduce_outputs(spec.metric, outputs, wanted)[None]
        score = weighted_scores(spec.metric, reduced, wanted, np.ones((1, len(wanted))))
        name = constant_name(spec.task)
        folds.append(BaselineFold(name, split.repeat, split.fold, float(score[0, 0]), "", outputs))
    return folds


def _constant_outputs(target: NDArray[np.generic], classes: int) -> NDArray[np.float32]:
    """Return the one line that is predicted for all rows: log shares of classes, or the mean."""
    if not classes:
        return np.array([[target.astype(np.float64).mean()]], dtype=np.float32)
    shares = np.bincount(target.astype(np.int64), minlength=classes) / len(target)
    return np.log(shares)[None].astype(np.float32)


def _score_linear(spec: StudySpec, trainer: Trainer) -> list[BaselineFold]:
    default = spec.setting(spec.default)
    linear = _linear_setting(spec)
    settings = [
        replace(linear, learning_rate=default.learning_rate * factor) for factor in LEARNING_RATES
    ]
    results = trainer.train(settings)
    sign = -1.0 if spec.is_minimised else 1.0
    complete = [
        (sign * result.value, -place)
        for place, result in enumerate(results)
        if result.state is TrialState.COMPLETE and result.value is not None
    ]
    if not complete:
        return []
    place = -max(complete)[1]
    note = f"learning rate {settings[place].learning_rate:.4g}, the best of {len(settings)}"
    return [
        BaselineFold(LINEAR, fold.repeat, fold.fold, fold.score, note, fold.outputs)
        for fold in results[place].folds
        if fold.outputs is not None
    ]


def _linear_setting(spec: StudySpec) -> Setting:
    """Return the default setting without hidden layers and without a penalty."""
    linear = spec.setting({**spec.default, "hidden_layers": 0})
    return replace(linear, weight_decay=0.0, l2=0.0)
