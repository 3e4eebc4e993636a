"""The winner's score corrected for having been chosen: BBC-CV that replays the pruner.

Rows are resampled; the pruner and the rule choose on the drawn rows, and the chosen trial is scored
on the rows that were not drawn. No model is trained again. A pruned trial competes with its last
kept predictions: a move of its score under resampling counts by the share of such moves that was
left at the end in the trials that went on, and its score becomes what theirs did, by a regression.
Source: Tsamardinos, Greasidou, Borboudakis (2018), "Bootstrapping the out-of-sample predictions for
efficient and accurate cross-validation"; decision 23 for pruned trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import METRICS
from selection.stats.intervals import bootstrap_counts
from selection.stats.scores import Floats, weighted_scores

METHOD = "bbc_cv"
Choose = Callable[[Floats, Floats], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Hold the development rows: targets, folds and groups.

    run is how many rows that follow one another in time are drawn together.
    Shape: targets (N,); folds (R, N), the fold that validates each row in each repeat, -1 for
    none; groups (N,) or None.
    """

    metric: str
    targets: NDArray[Any]
    folds: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    run: int = 1


@dataclass(frozen=True, eq=False)
class Stage:
    """Hold the predictions of the trials that reached one stage: a rung of the pruner, or the end.

    Shape: trials (t,), ascending; predictions (R, t, N) or (R, t, N, C), as scores.reduce_outputs
    leaves them.
    """

    trials: NDArray[np.int64]
    predictions: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Draws:
    """Hold the out-of-bag scores of each bootstrap's winner, and of competitors on the same rows.

    in_bag are the means over folds of the last predictions of each trial on the drawn rows, whole
    those on all rows.
    Shape: chosen (B,), indices of trials; scores (B,); competitors (B,) each; in_bag (B, T); whole
    (T,); NaN where a score is not defined.
    """

    chosen: NDArray[np.int64]
    scores: Floats
    competitors: Mapping[str, Floats]
    in_bag: NDArray[np.float32]
    whole: Floats


def draw_out_of_bag(
    rows: Rows,
    stages: Sequence[Stage],
    choose: Choose,
    bootstraps: int,
    seed: int,
    competitors: Mapping[str, NDArray[Any]] | None = None,
) -> Draws:
    """Choose in-bag and score out-of-bag, bootstrap by bootstrap.

    The last stage is the end; a trial is pruned where it is missing there. choose takes the in-bag
    means over folds at the rungs, (b, T, S - 1), and the scores on every fold at the end,
    (b, T, J), and returns the winners, (b,), by the pruner and the rule of the whole record.
    Shape: competitors (R, N) or (R, N, C).
    """
    others = {name: values[:, None] for name, values in (competitors or {}).items()}
    blocks = bootstrap_counts(len(rows.targets), rows.groups, bootstraps, seed, rows.run)
    record: _Record | None = None
    winners: list[NDArray[np.int64]] = []
    scores: list[Floats] = []
    in_bag: list[NDArray[np.float32]] = []
    beside: dict[str, list[Floats]] = {name: [] for name in others}
    for counts in blocks:
        record = record or _Record(rows, stages, counts)
        found = record.in_bag(counts)
        chosen = choose(found.rungs, found.end)
        in_bag.append(found.last.astype(np.float32))  # only their spread matters
        left_out = counts == 0  # (b, N)
        winners.append(chosen)
        scores.append(record.out_of_bag(chosen, left_out))
        for name, values in others.items():
            beside[name].append(pooled_scores(rows, values, left_out)[:, 0])
    assert record is not None, "there are bootstraps"
    return Draws(
        np.concatenate(winners),
        np.concatenate(scores),
        {name: np.concatenate(draws) for name, draws in beside.items()},
        np.concatenate(in_bag),
        record.whole,
    )


@dataclass(frozen=True, eq=False)
class _InBag:
    """Hold the scores on the drawn rows, as the pruner and the rule take them.

    Shape: rungs (b, T, S - 1), means over folds; end (b, T, J); last (b, T), means over folds.
    """

    rungs: Floats
    end: Floats
    last: Floats


class _Record:
    """Score the trials of a record under any weighting, also where pruned ones have no predictions.

    counts are a block of bootstraps, from which the carry-over between stages is estimated.
    """

    def __init__(self, rows: Rows, stages: Sequence[Stage], counts: NDArray[Any]) -> None:
        self._rows, self._stages = rows, stages
        trials = 1 + max(int(stage.trials.max(initial=-1)) for stage in stages)
        self._known = np.zeros((trials, len(stages)), dtype=np.bool_)
        for number, stage in enumerate(stages):
            self._known[stage.trials, number] = True
        self._end = len(stages) - 1
        reached = np.where(self._known, np.arange(len(stages)), -1)
        self._last: NDArray[np.int64] = reached.max(axis=1)  # (T,)
        once = np.ones((1, len(rows.targets)), dtype=counts.dtype)
        self._whole = self._fold_scores(once)  # (1, T, S, J)
        # The means over folds of each trial's last predictions on all rows, (T,).
        self.whole = _means(self._whole[0, np.arange(trials), self._last])
        self._carried = _carry_over(
            _means(self._fold_scores(counts)),
            _means(self._whole)[0],
            is_minimised=METRICS[rows.metric].is_minimised,
        )

    def in_bag(self, counts: NDArray[Any]) -> _InBag:
        """Return the scores under the weights of a block of bootstraps. Shape: (b, N)."""
        scores = self._fold_scores(counts)
        last_means = _means(scores[:, np.arange(len(self._last)), self._last])
        for trial in np.flatnonzero(self._last < self._end).tolist():
            last = int(self._last[trial])
            whole = self._whole[0, trial, last]  # (J,)
            moves = scores[:, trial, last] - whole
            for stage in range(last + 1, self._end + 1):
                carry = self._carried[last, stage]
                scores[:, trial, stage] = whole + self._growth(trial, carry) + carry.share * moves
        return _InBag(_means(scores[:, :, : self._end]), scores[:, :, self._end], last_means)

    def out_of_bag(self, chosen: NDArray[np.int64], left_out: NDArray[np.bool_]) -> Floats:
        """Return the score of each bootstrap's winner on its rows. Shape: (b,), (b, N) -> (b,)."""
        drawn = np.empty(len(chosen))
        for trial in np.unique(chosen).tolist():
            lines = chosen == trial
            stage = int(self._last[trial])
            found = self._stages[stage]
            column = int(np.searchsorted(found.trials, trial))
            predictions = found.predictions[:, [column]]
            drawn[lines] = pooled_scores(self._rows, predictions, left_out[lines])[:, 0]
            if stage < self._end:
                carry = self._carried[stage, self._end]
                once = np.ones((1, len(self._rows.targets)), dtype=np.int16)
                (whole,) = pooled_scores(self._rows, predictions, once)[:, 0]
                moves = drawn[lines] - whole
                drawn[lines] = whole + self._growth(trial, carry) + carry.share * moves
        return drawn

    def _growth(self, trial: int, carry: _Carry) -> float:
        """Return by how much the score of a trial would have changed since its last stage."""
        score = self.whole[trial]
        return float(carry.score(score) - score)

    def _fold_scores(self, weights: NDArray[Any]) -> Floats:
        """Return all scores, NaN where a trial has no predictions.

        Shape: (B, N) -> (B, T, S, J).
        """
        scores: Floats | None = None
        for number, stage in enumerate(self._stages):
            found = fold_scores(self._rows, stage.predictions, weights)  # (B, t, J)
            if scores is None:
                shape = (len(weights), *self._known.shape, found.shape[2])
                scores = np.full(shape, np.nan)
            scores[:, stage.trials, number] = found
        assert scores is not None, "there is at least the end"
        return scores


@dataclass(frozen=True)
class _Carry:
    """Say what a pruned trial's score would have become at a later stage.

    share is what is left of a move of its score under resampling; the score on all rows becomes
    intercept + slope x score, but not better than limit.
    """

    share: float
    slope: float
    intercept: float
    limit: float
    is_minimised: bool

    def score(self, score: Floats) -> Floats:
        """Return scores on all rows as they would have become."""
        later = self.intercept + self.slope * score
        return np.maximum(later, self.limit) if self.is_minimised else np.minimum(later, self.limit)


def _carry_over(
    means: Floats, whole: Floats, *, is_minimised: bool
) -> dict[tuple[int, int], _Carry]:
    """Return what scores become between two stages, as they did for trials that reached both.

    share is the slope of a score's move at the later stage on its move at the earlier one, over
    trials and bootstraps. slope and intercept are the regression of the later score on the earlier
    one, over trials: that these were chosen by the earlier score does not bias it. With fewer than
    three of them the slope is 1. No trial becomes better than the best that is on record.
    Shape: means (B, T, S) in-bag, whole (T, S).
    """
    carried: dict[tuple[int, int], _Carry] = {}
    moves = means - whole
    for last in range(means.shape[2]):
        for stage in range(last + 1, means.shape[2]):
            both = np.flatnonzero(np.isfinite(whole[:, last]) & np.isfinite(whole[:, stage]))
            known = whole[np.isfinite(whole[:, stage]), stage]
            if not len(both):
                limit = np.inf if not is_minimised else -np.inf
                carried[last, stage] = _Carry(1.0, 1.0, 0.0, limit, is_minimised)
                continue
            before, after = whole[both, last], whole[both, stage]
            slope = _slope(before - before.mean(), after - after.mean()) if len(both) > 2 else 1.0
            share = _slope(
                np.nan_to_num(moves[:, both, last]), np.nan_to_num(moves[:, both, stage])
            )
            carried[last, stage] = _Carry(
                share,
                slope,
                float(after.mean() - slope * before.mean()),
                float(known.min() if is_minimised else known.max()),
                is_minimised,
            )
    return carried


def _slope(before: Floats, after: Floats) -> float:
    """Return the slope of a line through the origin, between 0 and 1; 1 where it is not defined."""
    squares = float(np.sum(np.square(before)))
    slope = float(np.sum(before * after)) / squares if squares > 0 else 1.0
    return min(max(slope, 0.0), 1.0)


def _means(scores: Floats) -> Floats:
    """Return the means over the folds that are defined. Shape: (..., J) -> (...)."""
    defined = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(defined, scores, 0.0).sum(axis=-1) / defined.sum(axis=-1)
    return means


def fold_scores(rows: Rows, predictions: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Return the score of every trial on every fold, repeat by repeat.

    Shape: predictions (R, T, N[, C]), weights (B, N) -> (B, T, J).
    """
    scores = []
    for repeat, folds in enumerate(rows.folds):
        for fold in range(int(folds.max()) + 1):
            numbers = np.flatnonzero(folds == fold)
            part = predictions[repeat][:, numbers]
            scores.append(
                weighted_scores(rows.metric, part, rows.targets[numbers], weights[:, numbers])
            )
    return np.stack(scores, axis=2)


def pooled_scores(rows: Rows, predictions: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Return the score of every trial over all its out-of-fold rows, averaged over repeats.

    A metric whose folds cannot be pooled, such as ROC AUC, is averaged over folds instead.
    Shape: predictions (R, T, N[, C]), weights (B, N) -> (B, T).
    """
    if METRICS[rows.metric].pooling == "folds":
        return _means(fold_scores(rows, predictions, weights))
    pooled = []
    for repeat, folds in enumerate(rows.folds):
        numbers = np.flatnonzero(folds >= 0)
        part = predictions[repeat][:, numbers]
        pooled.append(
            weighted_scores(rows.metric, part, rows.targets[numbers], weights[:, numbers])
        )
    over_repeats: Floats = np.mean(pooled, axis=0)
    return over_repeats
