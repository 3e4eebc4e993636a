"""The winner's score corrected for having been chosen: BBC-CV that replays the pruner.

Rows are resampled; the pruner and the rule choose on the drawn rows, and the chosen trial is scored
on the rows that were not drawn. No model is trained again. Where the best mean chooses the epoch of
a trial, the drawn rows choose it anew. A pruned trial competes with its last kept predictions: a
move of its score under resampling counts by the share of such moves that was left at the end in the
trials that went on, and its score becomes what theirs did, by a regression.
Source: Tsamardinos, Greasidou, Borboudakis (2018), "Bootstrapping the out-of-sample predictions for
efficient and accurate cross-validation"; decision 23 for pruned trials, 34 for epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selection.metrics import METRICS
from selection.stats.competing_epochs import CompetingEpochs
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

    At the end a trial may have several columns, one for each epoch that may score it.
    Shape: trials (t,), that of each column, ascending; predictions (R, t, N) or (R, t, N, C), as
    scores.reduce_outputs leaves them.
    """

    trials: NDArray[np.int64]
    predictions: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Draws:
    """Hold the out-of-bag scores of each bootstrap's winner, and of competitors on the same rows.

    in_bag are the means over folds of the last predictions of each trial on the drawn rows, whole
    those on all rows; a trial that is scored by one of several epochs has a column for each.
    Shape: chosen (B,), indices of trials; scores (B,); competitors (B,) each; in_bag (B, P), whole
    (P,) and trials (P,), the trial of each column; NaN where a score is not defined.
    """

    chosen: NDArray[np.int64]
    scores: Floats
    competitors: Mapping[str, Floats]
    trials: NDArray[np.int64]
    in_bag: NDArray[np.float32]
    whole: Floats

    def best_column(self, trial: int, *, is_minimised: bool) -> int:
        """Return the column of in_bag that scores a trial on all rows; the first of ties."""
        columns = np.flatnonzero(self.trials == trial)
        whole = self.whole[columns]
        return int(columns[whole.argmin() if is_minimised else whole.argmax()])


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
        in_bag.append(found.columns.astype(np.float32))  # only their spread matters
        left_out = counts == 0  # (b, N)
        winners.append(chosen)
        scores.append(record.out_of_bag(chosen, found.best, left_out))
        for name, values in others.items():
            beside[name].append(pooled_scores(rows, values, left_out)[:, 0])
    assert record is not None, "there are bootstraps"
    return Draws(
        np.concatenate(winners),
        np.concatenate(scores),
        {name: np.concatenate(draws) for name, draws in beside.items()},
        record.trials,
        np.concatenate(in_bag),
        record.whole,
    )


@dataclass(frozen=True, eq=False)
class _InBag:
    """Hold the scores on the drawn rows, as the pruner and the rule take them.

    Shape: rungs (b, T, S - 1), means over folds; end (b, T, J), after the best epoch of these rows;
    best (b, t), its column at the end; columns (b, P), means over folds of all last predictions.
    """

    rungs: Floats
    end: Floats
    best: NDArray[np.int64]
    columns: Floats


@dataclass(frozen=True, eq=False)
class _Scored:
    """Hold all scores under some weights, NaN where a trial has no predictions.

    Shape: scores (B, T, S, J), at the end after the best epoch; best (B, t), its column there;
    ends (B, P'), means over folds of all columns of the end.
    """

    scores: Floats
    best: NDArray[np.int64]
    ends: Floats


class _Record:
    """Score the trials of a record under any weighting, also where pruned ones have no predictions.

    counts are a block of bootstraps, from which the carry-over between stages is estimated.
    """

    def __init__(self, rows: Rows, stages: Sequence[Stage], counts: NDArray[Any]) -> None:
        self._rows, self._stages = rows, stages
        self._is_minimised = METRICS[rows.metric].is_minimised
        self._epochs = CompetingEpochs(stages[-1].trials, is_minimised=self._is_minimised)
        trials = 1 + max(int(stage.trials.max(initial=-1)) for stage in stages)
        self._known = np.zeros((trials, len(stages)), dtype=np.bool_)
        for number, stage in enumerate(stages):
            self._known[stage.trials, number] = True
        self._end = len(stages) - 1
        reached = np.where(self._known, np.arange(len(stages)), -1)
        self._last: NDArray[np.int64] = reached.max(axis=1)  # (T,)
        self._pruned = np.flatnonzero(self._last < self._end)
        every = np.concatenate([stages[-1].trials, self._pruned])
        self._order = np.argsort(every, kind="stable")
        self.trials: NDArray[np.int64] = every[self._order]  # (P,)
        once = np.ones((1, len(rows.targets)), dtype=counts.dtype)
        whole = self._score(once)
        self._whole = whole.scores  # (1, T, S, J)
        # The means over folds of the last predictions on all rows, (P,), and by trial, (T,).
        self.whole = self._columns(whole)[0]
        self._whole_means = means_over_folds(self._whole[0, np.arange(trials), self._last])
        drawn = self._score(counts)
        self._carried = _carry_over(
            means_over_folds(drawn.scores),
            means_over_folds(self._whole)[0],
            is_minimised=self._is_minimised,
            has_epochs=self._epochs.compete,
        )
        self._fall = self._optimism(whole.best[0], drawn.best, counts)

    def in_bag(self, counts: NDArray[Any]) -> _InBag:
        """Return the scores under the weights of a block of bootstraps. Shape: (b, N)."""
        scored = self._score(counts)
        scores, columns = scored.scores, self._columns(scored)
        for trial in self._pruned.tolist():
            last = int(self._last[trial])
            whole = self._whole[0, trial, last]  # (J,)
            moves = scores[:, trial, last] - whole
            for stage in range(last + 1, self._end + 1):
                carry = self._carried[last, stage]
                grown = whole + self._growth(trial, carry) + carry.lift
                scores[:, trial, stage] = grown + carry.share * moves
        rungs, end = means_over_folds(scores[:, :, : self._end]), scores[:, :, self._end]
        return _InBag(rungs, end, scored.best, columns)

    def out_of_bag(
        self, chosen: NDArray[np.int64], best: NDArray[np.int64], left_out: NDArray[np.bool_]
    ) -> Floats:
        """Return the score of each bootstrap's winner on its rows.

        best has the column at the end of each trial that is there.
        Shape: chosen (b,), best (b, t), left_out (b, N) -> (b,).
        """
        drawn = np.empty(len(chosen))
        stages = self._last[chosen]
        columns = self._epochs.columns_of(chosen, best)
        for stage in np.unique(stages).tolist():
            found, lines = self._stages[stage], np.flatnonzero(stages == stage)
            if stage < self._end:
                columns[lines] = np.searchsorted(found.trials, chosen[lines])
            for column in np.unique(columns[lines]).tolist():
                own = lines[columns[lines] == column]
                predictions = found.predictions[:, [column]]
                scores = pooled_scores(self._rows, predictions, left_out[own])[:, 0]
                if stage < self._end:
                    trial = int(found.trials[column])
                    scores = self._carried_to_the_end(trial, stage, predictions, scores)
                drawn[own] = scores
        return drawn

    def _carried_to_the_end(
        self, trial: int, stage: int, predictions: NDArray[Any], scores: Floats
    ) -> Floats:
        """Return what out-of-bag scores of a pruned trial would have become. Shape: (b,)."""
        carry = self._carried[stage, self._end]
        once = np.ones((1, len(self._rows.targets)), dtype=np.int16)
        (whole,) = pooled_scores(self._rows, predictions, once)[:, 0]
        grown = float(whole) + self._growth(trial, carry) + self._fall
        carried: Floats = grown + carry.share * (scores - whole)
        return carried

    def _growth(self, trial: int, carry: _Carry) -> float:
        """Return by how much the score of a trial would have changed since its last stage."""
        score = self._whole_means[trial]
        return float(carry.score(score) - score)

    def _optimism(
        self, whole: NDArray[np.int64], best: NDArray[np.int64], counts: NDArray[Any]
    ) -> float:
        """Return how the scores of an epoch chosen in-bag lie out-of-bag, to those on the record.

        0 where no epochs compete, or nothing is carried to the end.
        Shape: whole (t,) and best (b, t), the columns of the best epochs; counts (b, N).
        """
        if not self._epochs.compete or not len(self._pruned):
            return 0.0
        predictions = self._stages[-1].predictions
        once = np.ones((1, len(self._rows.targets)), dtype=np.int16)
        on_record = pooled_scores(self._rows, predictions, once)[0, whole]  # (t,)
        left_out = pooled_scores(self._rows, predictions, counts == 0)  # (b, P')
        return float(np.nanmean(np.take_along_axis(left_out, best, axis=1) - on_record))

    def _columns(self, scored: _Scored) -> Floats:
        """Return the means over folds of all last predictions. Shape: (B, P)."""
        pruned = means_over_folds(scored.scores[:, self._pruned, self._last[self._pruned]])
        columns: Floats = np.concatenate([scored.ends, pruned], axis=1)[:, self._order]
        return columns

    def _score(self, weights: NDArray[Any]) -> _Scored:
        """Return all scores. Shape: (B, N)."""
        found = [fold_scores(self._rows, each.predictions, weights) for each in self._stages]
        ends = means_over_folds(found[-1])  # (B, P')
        best = self._epochs.best(ends)  # (B, t)
        if self._epochs.compete:
            found[-1] = np.take_along_axis(found[-1], best[:, :, None], axis=1)
        trials = [*(each.trials for each in self._stages[:-1]), self._epochs.trials]
        scores = np.full((len(weights), *self._known.shape, found[-1].shape[2]), np.nan)
        for number, (own, each) in enumerate(zip(trials, found, strict=True)):
            scores[:, own, number] = each
        return _Scored(scores, best, ends)


@dataclass(frozen=True)
class _Carry:
    """Say what a pruned trial's score would have become at a later stage.

    share is what is left of a move of its score under resampling; the score on all rows becomes
    intercept + slope x score, but not better than limit. lift is what an epoch chosen in-bag gains
    in-bag on the one chosen on all rows.
    """

    share: float
    slope: float
    intercept: float
    limit: float
    is_minimised: bool
    lift: float = 0.0

    def score(self, score: Floats) -> Floats:
        """Return scores on all rows as they would have become."""
        later = self.intercept + self.slope * score
        return np.maximum(later, self.limit) if self.is_minimised else np.minimum(later, self.limit)


def _carry_over(
    means: Floats, whole: Floats, *, is_minimised: bool, has_epochs: bool
) -> dict[tuple[int, int], _Carry]:
    """Return what scores become between two stages, as they did for trials that reached both.

    share is the slope of a score's move at the later stage on its move at the earlier one, over
    trials and bootstraps. slope and intercept are the regression of the later score on the earlier
    one, over trials: that these were chosen by the earlier score does not bias it. With fewer than
    three of them the slope is 1. No trial becomes better than the best that is on record.
    has_epochs says that the score at the end is that of the best of several epochs.
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
            later = np.nan_to_num(moves[:, both, stage])
            lift = float(later.mean()) if has_epochs and stage == means.shape[2] - 1 else 0.0
            share = _slope(np.nan_to_num(moves[:, both, last]), later - lift)
            carried[last, stage] = _Carry(
                share,
                slope,
                float(after.mean() - slope * before.mean()),
                float(known.min() if is_minimised else known.max()),
                is_minimised,
                lift,
            )
    return carried


def _slope(before: Floats, after: Floats) -> float:
    """Return the slope of a line through the origin, between 0 and 1; 1 where it is not defined."""
    squares = float(np.sum(np.square(before)))
    slope = float(np.sum(before * after)) / squares if squares > 0 else 1.0
    return min(max(slope, 0.0), 1.0)


def means_over_folds(scores: Floats) -> Floats:
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
        return means_over_folds(fold_scores(rows, predictions, weights))
    pooled = []
    for repeat, folds in enumerate(rows.folds):
        numbers = np.flatnonzero(folds >= 0)
        part = predictions[repeat][:, numbers]
        pooled.append(
            weighted_scores(rows.metric, part, rows.targets[numbers], weights[:, numbers])
        )
    over_repeats: Floats = np.mean(pooled, axis=0)
    return over_repeats
