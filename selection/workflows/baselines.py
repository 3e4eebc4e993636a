"""What a study must beat: the majority class or the mean, a linear model, and boosted trees.

All are scored on the folds of the study, and nothing of them is chosen by a fold's validation rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selection.data.folds import Split, fold_kind
from selection.data.prepare import FoldData, prepare_folds
from selection.seeds import seed32_for
from selection.stats.scores import reduce_outputs, weighted_scores
from selection.store.evidence import BaselineFold
from selection.study.baselines import GRADIENT_BOOSTING, LINEAR, constant_name
from selection.study.spec import StudySpec
from selection.study.trial import Outputs
from selection.train.device import choose_device, count_workers
from selection.workflows.boosting_baseline import ITERATIONS, fit_boosting
from selection.workflows.linear_baseline import LinearFit, fit_linear
from selection.workflows.study_data import StudyData

Fitted = TypeVar("Fitted")


def score_baseline(name: str, spec: StudySpec, data: StudyData) -> list[BaselineFold]:
    """Train a baseline and score it on every fold; [] where some fold gives it no score."""
    started = time.perf_counter()
    if name == constant_name(spec.task):
        outputs, what = _constant(data), ""
    elif name == LINEAR:
        outputs, what = _linear(spec, data)
    else:
        assert name == GRADIENT_BOOSTING, "the study file is checked"
        outputs, what = _boosting(spec, data)
    seconds = time.perf_counter() - started
    note = f"{what}, trained in {seconds:.1f} s" if what else ""
    folds = [
        BaselineFold(
            name,
            split.repeat,
            split.fold,
            _score(spec, of_fold, data.dataset.target[split.validation]),
            note,
            of_fold,
        )
        for split, of_fold in zip(data.plan.splits, outputs, strict=False)
    ]
    is_scored = len(folds) == len(data.plan.splits)
    return folds if is_scored and all(math.isfinite(fold.score) for fold in folds) else []


def _score(spec: StudySpec, outputs: Outputs, wanted: NDArray[np.generic]) -> float:
    reduced = reduce_outputs(spec.metric, outputs, wanted)[None]
    score = weighted_scores(spec.metric, reduced, wanted, np.ones((1, len(wanted))))
    return float(score[0, 0])


def _constant(data: StudyData) -> list[Outputs]:
    target, classes = data.dataset.target, len(data.dataset.class_names)
    return [
        np.repeat(_constant_outputs(target[split.training], classes), len(split.validation), axis=0)
        for split in data.plan.splits
    ]


def _constant_outputs(target: NDArray[np.generic], classes: int) -> Outputs:
    """Return the one line that is predicted for all rows: log shares of classes, or the mean."""
    if not classes:
        return np.array([[target.astype(np.float64).mean()]])
    shares = np.bincount(target.astype(np.int64), minlength=classes) / len(target)
    return np.log(shares)[None].astype(np.float32)


def _linear(spec: StudySpec, data: StudyData) -> tuple[list[Outputs], str]:
    is_time_series = fold_kind(data.dataset, spec) == "time_series"

    def fit(fold: FoldData, seed: int) -> tuple[Outputs, LinearFit]:
        found = fit_linear(fold, data.dataset.groups, seed, is_time_series=is_time_series)
        return _in_target_units(fold, found.outputs), found

    fitted = _fit_folds(spec, data, fit)
    return [outputs for outputs, _ in fitted], _linear_note(spec, [fit for _, fit in fitted])


def _linear_note(spec: StudySpec, fits: Sequence[LinearFit]) -> str:
    what = "logistic" if spec.task == "classification" else "ridge"
    penalties = sorted({fit.penalty for fit in fits})
    span = " to ".join(f"{penalty:g}" for penalty in sorted({*penalties[:1], *penalties[-1:]}))
    stopped = sum(not fit.is_converged for fit in fits)
    limit = f", at its limit of iterations in {stopped} of {len(fits)} folds" if stopped else ""
    return f"{what} regression, penalty {span}{limit}"


def _boosting(spec: StudySpec, data: StudyData) -> tuple[list[Outputs], str]:
    def fit(fold: FoldData, seed: int) -> Outputs:
        return _in_target_units(fold, fit_boosting(fold, seed))

    return _fit_folds(spec, data, fit), f"{ITERATIONS} iterations"


def _fit_folds(
    spec: StudySpec, data: StudyData, fit: Callable[[FoldData, int], Fitted]
) -> list[Fitted]:
    """Fit every fold up to the first that float32 cannot hold, as many at once as there are cores.

    Each has one thread: threads that share a small fit wait for each other longer than they work.
    """

    def fit_one(split: Split) -> Fitted | None:
        fold = _prepare(spec, data, split)
        if fold is None:
            return None
        with threadpool_limits(1, user_api="openmp"):  # counts for this thread alone
            return fit(fold, _seed(spec, split))

    cores = count_workers(choose_device("cpu"))
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        fitted = list(pool.map(fit_one, data.plan.splits))
    return [each for each in takewhile(lambda each: each is not None, fitted) if each is not None]


def _prepare(spec: StudySpec, data: StudyData, split: Split) -> FoldData | None:
    """Return the rows as a fold sees them; None where float32 cannot hold them."""
    (fold,) = prepare_folds(data.dataset, [split], spec)
    return fold if np.isfinite(fold.features).all() else None


def _in_target_units(fold: FoldData, outputs: NDArray[np.floating]) -> Outputs:
    """Return outputs as the record keeps them; those of classes stay as they are."""
    if fold.classes:
        return outputs.astype(np.float32)
    return outputs.astype(np.float64) * fold.target_std + fold.target_mean


def _seed(spec: StudySpec, split: Split) -> int:
    return seed32_for(spec.seed, "baselines", split.repeat, split.fold)
