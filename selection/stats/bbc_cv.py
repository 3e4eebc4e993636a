"""The winner's score corrected for having been chosen: BBC-CV that replays the pruner.

Rows are resampled; the pruner and the rule choose on the drawn rows, and the chosen trial is scored
on the rows that were not drawn. No model is trained again. A pruned trial competes with its last
kept predictions: a move of its score under resampling counts by the share of such moves that was
left at the end in the trials that went on, and its score grows as theirs did.
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
        self._carried = _carry_over(
            _means(self._fold_scores(counts)),
            _means(self._whole)[0],
            is_minimised=METRICS[rows.metric].is_minimised,
        )

    @property
    def whole(self) -> Floats:
        """The means over folds of each trial's last predictions on all rows. Shape: (T,)."""
        return _means(self._whole[0, np.arange(len(self._last)), self._last])

    def in_bag(self, counts: NDArray[Any]) -> _InBag:
        """Return the scores under the weights of a block of bootstraps. Shape: (b, N)."""
        scores = self._fold_scores(counts)
        last_means = _means(scores[:, np.arange(len(self._last)), self._last])
        for trial in np.flatnonzero(self._last < self._end):
            last = int(self._last[trial])
            moves = scores[:, trial, last] - self._whole[:, trial, last]
            for stage in range(last + 1, self._end + 1):
                carry = self._carried[last, stage]
                grown = self._whole[:, trial, last] + carry.gain
                scores[:, trial, stage] = grown + carry.share * moves
        return _InBag(_means(scores[:, :, : self._end]), scores[:, :, self._end], last_means)

    def out_of_bag(self, chosen: NDArray[np.int64], left_out: NDArray[np.bool_]) -> Floats:
        """Return the score of each bootstrap's winner on its rows. Shape: (b,), (b, N) -> (b,)."""
        drawn = np.empty(len(chosen))
        for trial in np.unique(chosen):
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
                drawn[lines] = whole + carry.gain + carry.share * (drawn[lines] - whole)
        return drawn

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

    share is what is left of a move of its score under resampling, gain what its score grows by.
    """

    share: float = 1.0
    gain: float = 0.0


def _carry_over(
    means: Floats, whole: Floats, *, is_minimised: bool
) -> dict[tuple[int, int], _Carry]:
    """Return what scores keep and gain between two stages, from the trials that reached both.

    share is the slope of a score's move at the later stage on its move at the earlier one, over
    trials and bootstraps. gain is the mean growth of the scores, and what the trials lost only
    because they had been chosen by the earlier score: of its optimism, as resampling shows it, the
    share that is not carried over.
    Shape: means (B, T, S) in-bag, whole (T, S).
    """
    carried: dict[tuple[int, int], _Carry] = {}
    moves = means - whole
    sign = -1.0 if is_minimised else 1.0
    for last in range(means.shape[2]):
        there = np.isfinite(whole[:, last])
        for stage in range(last + 1, means.shape[2]):
            both = np.flatnonzero(there & np.isfinite(whole[:, stage]))
            if not len(both):
                carried[last, stage] = _Carry()
                continue
            before, after = (
                np.nan_to_num(moves[:, both, last]),
                np.nan_to_num(moves[:, both, stage]),
            )
            squares = float(np.sum(np.square(before)))
            slope = float(np.sum(before * after)) / squares if squares > 0 else 1.0
            share = min(max(slope, 0.0), 1.0)
            in_bag = np.nan_to_num(sign * means[:, there, last], nan=-np.inf)
            chosen = np.argsort(-in_bag, axis=1, kind="stable")[:, : len(both)]
            optimism = np.nanmean(np.take_along_axis(moves[:, there, last], chosen, axis=1))
            growth = np.mean(whole[both, stage] - whole[both, last])
            carried[last, stage] = _Carry(share, float(growth + (1 - share) * optimism))
    return carried


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
