"""Greedy selection of an ensemble: the trials whose mean prediction scores best, with repetition.

It starts with the best trial and adds, round after round, the trial that improves the mean of the
predictions most, also one that is in it already; of all rounds the best one is kept. Written once
for many weightings of the rows at a time; the record is one of them.
Source: Caruana, Niculescu-Mizil, Crew, Ksikes (2004), "Ensemble selection from libraries of
models"; Caruana, Munson, Niculescu-Mizil (2006) for selecting among the best models only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import METRICS, MeanOverClasses, MeanOverRows, RankArea
from selection.stats.bbc_cv import Rows, fold_scores, means_over_folds, pooled_scores
from selection.stats.rank_areas import rank_areas
from selection.stats.scores import Floats, log_softmax, weighted_scores

# Weights become finer with each round, by less and less.
ROUNDS = 25
# So many rounds in a row without a better ensemble end the selection.
PATIENCE = 5
# The best trials that compete to be added.
CANDIDATES = 15
Counts = NDArray[np.int64]
# Scores that differ by less than this share of them are equal.
ROUNDING = 1e-12
SMALLEST = np.finfo(np.float32).tiny


def averaged_parts(metric: str, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Return what an ensemble averages of one model, as far as the metric needs it.

    These are the values of a regression, the chance of the true class for a log-likelihood, by how
    much it is above that of each other class for hits, the chance of the second of two classes for
    a ROC AUC, and elsewhere the chances of all classes.
    Shape: outputs (N, C) logits, or (N, 1) predictions in units of the target -> (A, N).
    """
    entry = METRICS[metric]
    if entry.task == "regression":
        return outputs[:, :1].T.astype(np.float64)
    chances = np.exp(log_softmax(outputs)).astype(np.float32).T  # (C, N)
    if entry.computation == MeanOverRows("negative_log_likelihood"):
        return chances[targets.astype(np.int64), np.arange(len(targets))][None]
    if entry.counts_hits:
        return _margins(chances, targets.astype(np.int64))
    if isinstance(entry.computation, RankArea) and len(chances) == 2:
        return chances[1:]
    return chances


def reduce_parts(metric: str, parts: NDArray[Any]) -> NDArray[Any]:
    """Return what the metric needs of mean predictions, as scores.reduce_outputs leaves it.

    Shape: (A, ..., N) -> (..., N), or (..., N, C) for a ROC AUC over several classes.
    """
    match METRICS[metric].computation:
        case MeanOverRows("hit"):
            hits: NDArray[Any] = parts.min(axis=0) > 0
            return hits
        case MeanOverClasses():
            return _largest(parts)
        case MeanOverRows("negative_log_likelihood"):
            # The logarithm of 0 is no number.
            losses: NDArray[Any] = -np.log(np.maximum(parts[0], SMALLEST))
            return losses
        case RankArea() if len(parts) > 1:
            return np.moveaxis(parts, 0, -1)
    first: NDArray[Any] = parts[0]
    return first


def _margins(chances: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[Any]:
    """Return the true class's chance less that of each other class; of equals the first one wins.

    Shape: (C, N), (N,) -> (C - 1, N).
    """
    rows = np.arange(len(targets))
    margins = chances[targets, rows] - chances
    margins += np.where(np.arange(len(chances))[:, None] > targets, SMALLEST, 0)
    is_other = np.arange(len(chances))[:, None] != targets
    others: NDArray[Any] = margins.T[is_other.T].reshape(len(targets), -1).T
    return np.ascontiguousarray(others)


def _largest(parts: NDArray[Any]) -> NDArray[np.int16]:
    """Return the first class with the largest chance. Shape: (C, ...) -> (...)."""
    best, codes = parts[0], np.zeros(parts.shape[1:], dtype=np.int16)
    for code in range(1, len(parts)):
        is_larger = parts[code] > best
        np.copyto(codes, code, where=is_larger)
        best = np.maximum(best, parts[code])
    return codes


@dataclass(frozen=True, eq=False)
class Library:
    """Hold the trials that an ensemble may be made of.

    Shape: parts (A, R, T, N), as averaged_parts leaves them.
    """

    rows: Rows
    parts: NDArray[Any]

    @property
    def trials(self) -> int:
        return int(self.parts.shape[2])

    @cached_property
    def cells(self) -> Sequence[_Cell]:
        """The folds of all repeats."""
        cells = []
        for repeat, folds in enumerate(self.rows.folds):
            for fold in range(int(folds.max()) + 1):
                numbers = np.flatnonzero(folds == fold)
                parts = np.ascontiguousarray(self.parts[:, repeat][:, :, numbers])
                cells.append(_Cell(self.rows.metric, numbers, parts, self.rows.targets[numbers]))
        return cells

    def predictions(self, counts: Counts) -> NDArray[Any]:
        """Return the mean prediction of one ensemble as the metric needs it.

        Shape: counts (T,) -> (R, 1, N) or (R, 1, N, C).
        """
        return reduce_parts(self.rows.metric, self._mean(counts)[:, :, None])

    def _mean(self, counts: Counts) -> NDArray[Any]:
        """Shape: (T,) -> (A, R, N)."""
        chosen = np.flatnonzero(counts)
        mean = np.zeros((*self.parts.shape[:2], self.parts.shape[3]))
        for trial in chosen.tolist():
            mean += int(counts[trial]) * self.parts[:, :, trial].astype(np.float64)
        mean /= counts.sum()
        return mean

    def fold_scores(self, counts: Counts) -> Floats:
        """Return the observed score of one ensemble on each fold. Shape: (T,) -> (J,)."""
        once = np.ones((1, len(self.rows.targets)), dtype=np.int16)
        scores: Floats = fold_scores(self.rows, self.predictions(counts), once)[0, 0]
        return scores

    def pooled_scores(self, counts: Counts, weights: NDArray[Any]) -> Floats:
        """Return the score of each line's ensemble over all its out-of-fold rows.

        Shape: counts (B, T), weights (B, N) -> (B,).
        """
        scores = np.empty(len(counts))
        for own, lines in _groups(counts):
            found = pooled_scores(self.rows, self.predictions(own), weights[lines])
            scores[lines] = found[:, 0]
        return scores


class _Cell:
    """Score ensembles on one fold of one repeat.

    A row that all trials have right is right in every ensemble, and a class that all name is named:
    where only classes count, the other rows alone are averaged.
    Shape: numbers (n,), the rows; parts (A, T, n); targets (n,).
    """

    def __init__(
        self, metric: str, numbers: NDArray[np.int64], parts: NDArray[Any], targets: NDArray[Any]
    ) -> None:
        self.numbers = numbers
        self._metric, self._targets = metric, targets
        self._alone = reduce_parts(metric, parts)  # (T, n[, C])
        match METRICS[metric].computation:
            case MeanOverRows("hit") | MeanOverClasses():
                self._open = np.flatnonzero((self._alone != self._alone[:1]).any(axis=0))
            case _:
                self._open = np.arange(len(targets))
        self._parts = np.ascontiguousarray(parts[:, :, self._open])

    def extended_scores(
        self, counts: Counts, candidates: NDArray[np.int64], weights: NDArray[Any]
    ) -> Floats:
        """Return the scores of one ensemble with each candidate added.

        Shape: counts (T,), candidates (c,), weights (b, n) -> (b, c).
        """
        if not counts.any():
            predictions = self._alone[candidates]
        else:
            predictions = self._filled(counts, candidates)
        if isinstance(METRICS[self._metric].computation, RankArea):
            return rank_areas(predictions, self._targets, weights)
        return weighted_scores(self._metric, predictions, self._targets, weights)

    def _filled(self, counts: Counts, candidates: NDArray[np.int64]) -> NDArray[Any]:
        members = np.flatnonzero(counts)
        own = counts[members].astype(self._parts.dtype)
        sums = np.einsum("t,atn->an", own, self._parts[:, members])  # (A, n)
        means = self._parts[:, candidates] + sums[:, None]
        means /= counts.sum() + 1
        found = reduce_parts(self._metric, means)
        if len(self._open) == len(self._targets):
            return found
        predictions = self._alone[candidates]
        predictions[:, self._open] = found
        return predictions


def select(
    library: Library, weights: NDArray[Any], eligible: NDArray[np.bool_] | None = None
) -> tuple[Counts, Floats]:
    """Return how often each trial is in the ensemble of each weighting, and its score there.

    The score is the mean over folds. Ties go to the earlier trial, and to the smaller ensemble.
    Only eligible trials are chosen; where there are none, all are.
    Shape: weights (B, N), eligible (B, T) -> (B, T), (B,).
    """
    search = _Search(library, weights, eligible)
    for _ in range(ROUNDS):
        if not search.advance():
            break
    return search.best, search.scores


class _Search:
    """Follow the selection under all weightings at once; equal ensembles are averaged once.

    Shape: counts and best (B, T); gains (B,), larger is better.
    """

    def __init__(
        self, library: Library, weights: NDArray[Any], eligible: NDArray[np.bool_] | None
    ) -> None:
        self._library = library
        self._sign = -1.0 if METRICS[library.rows.metric].is_minimised else 1.0
        self._weights = [weights[:, cell.numbers] for cell in library.cells]
        shape = (len(weights), library.trials)
        self._may = np.ones(shape, dtype=np.bool_) if eligible is None else eligible.copy()
        self._may |= ~self._may.any(axis=1, keepdims=True)
        self._counts = np.zeros(shape, dtype=np.int64)
        self.best = self._counts.copy()
        self._gains = np.full(len(weights), -np.inf)
        self._stale = np.zeros(len(weights), dtype=np.int64)

    @property
    def scores(self) -> Floats:
        return np.where(np.isfinite(self._gains), self._sign * self._gains, np.nan)

    def advance(self) -> bool:
        """Add one trial to each ensemble that may still improve; False where there is none."""
        active = np.flatnonzero(self._stale < PATIENCE)
        if not len(active):
            return False
        for counts, places in _groups(self._counts[active]):
            self._extend(counts, active[places])
        return True

    def _extend(self, counts: Counts, lines: NDArray[np.int64]) -> None:
        candidates = np.flatnonzero(self._may[lines].any(axis=0))
        by_cell = [
            cell.extended_scores(counts, candidates, weights[lines])
            for cell, weights in zip(self._library.cells, self._weights, strict=True)
        ]
        gains = np.full((len(lines), self._library.trials), -np.inf)
        gains[:, candidates] = self._sign * means_over_folds(np.stack(by_cell, axis=2))
        gains[~np.isfinite(gains) | ~self._may[lines]] = -np.inf
        if not counts.any():
            self._keep_best(gains, lines)
        reached = gains.max(axis=1)
        slack = ROUNDING * np.nan_to_num(np.abs(reached), posinf=0.0)
        added = (gains >= (reached - slack)[:, None]).argmax(axis=1)
        self._counts[lines, added] += 1
        is_better = reached > self._gains[lines] + slack
        better = lines[is_better]
        self._gains[better] = reached[is_better]
        self.best[better] = self._counts[better]
        # The first trial stands also where no score is defined.
        if not counts.any():
            self.best[lines] = self._counts[lines]
        self._stale[lines] = np.where(is_better, 0, self._stale[lines] + 1)

    def _keep_best(self, gains: Floats, lines: NDArray[np.int64]) -> None:
        """Let the best trials alone compete from now on; ties go to the earlier."""
        order = np.argsort(-gains, axis=1, kind="stable")[:, CANDIDATES:]
        for line, dropped in zip(lines, order, strict=True):
            self._may[line, dropped] = False


def _groups(counts: Counts) -> list[tuple[Counts, NDArray[np.int64]]]:
    """Return each distinct line, and the lines where it stands. Shape: (B, T)."""
    distinct, inverse = np.unique(counts, axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    bounds = np.cumsum(np.bincount(inverse.ravel(), minlength=len(distinct)))[:-1]
    return list(zip(distinct, np.split(order, bounds), strict=True))
