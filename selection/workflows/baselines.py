"""What a study must beat: the majority class or the mean, and a linear model on the same folds.

The linear model is trained by the same engine at several learning rates and the best of them
stands: a baseline chosen in its own favour makes every claim against it the safer one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selection.stats.scores import reduce_outputs, weighted_scores
from selection.store.evidence import BaselineFold
from selection.study.setting import Setting
from selection.study.spec import StudySpec
from selection.study.trial import TrialResult
from selection.train.fit import Trainer
from selection.workflows.study_data import StudyData

LINEAR = "linear"
STEP = 10**0.5  # from one learning rate to the next
MOST_RATES = 15


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
    """Train linear models at learning rates about the default's, until the best is at no edge.

    A search that ends at an edge all the same says so.
    """
    tried: dict[float, TrialResult] = {}
    waiting = [step * _default_rate(spec) for step in (1 / STEP, 1.0, STEP)]
    while waiting:
        settings = [replace(_linear_setting(spec), learning_rate=rate) for rate in waiting]
        tried |= dict(zip(waiting, trainer.train(settings), strict=True))
        best = _best_rate(spec, tried)
        # Where all have diverged, a lower rate is what is left to try.
        beyond = {min(tried): min(tried) / STEP, max(tried): max(tried) * STEP}
        further = min(tried) if best is None else best
        waiting = [beyond[further]] if further in beyond and len(tried) < MOST_RATES else []
    if best is None:
        return []
    edge = ", at their edge" if best in (min(tried), max(tried)) else ""
    note = f"learning rate {best:.4g}, the best of {len(tried)}{edge}"
    return [
        BaselineFold(LINEAR, fold.repeat, fold.fold, fold.score, note, fold.outputs)
        for fold in tried[best].folds
        if fold.outputs is not None
    ]


def _best_rate(spec: StudySpec, tried: Mapping[float, TrialResult]) -> float | None:
    """Return the rate of the best complete model, of equals the lower; None without one."""
    sign = -1.0 if spec.is_minimised else 1.0
    complete = [
        (sign * result.value, -rate) for rate, result in tried.items() if result.value is not None
    ]
    return -max(complete)[1] if complete else None


def _default_rate(spec: StudySpec) -> float:
    """Return the learning rate of the default setting."""
    return spec.setting(spec.default).learning_rate


def _linear_setting(spec: StudySpec) -> Setting:
    """Return the default setting without hidden layers and without a penalty."""
    linear = spec.setting({**spec.default, "hidden_layers": 0})
    return replace(linear, weight_decay=0.0, l2=0.0)
