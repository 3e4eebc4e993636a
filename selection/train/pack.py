"""A pack: members (trial, repeat, fold) that train as one program on shared minibatches.

It gathers rows and dropout noise once per step for all its buckets, and measures all its members
with one copy from the device per epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from selection.study.setting import Setting
from selection.train import metrics
from selection.train.batches import Epoch, Rows
from selection.train.bucket import Bucket
from selection.train.plan import EVALUATION_ROWS, PackPlan


class Pack:
    """Train and evaluate the members of one plan in lockstep.

    trials are places in the cohort, in the order of all results; folds are places in rows, the
    fold with most training rows first.
    """

    def __init__(
        self, plan: PackPlan, settings: Sequence[Setting], rows: Rows, metric: str, seed: int
    ) -> None:
        self.rows = rows
        self.metric = metric
        self.seed = seed
        self.epoch = 0
        self.folds = sorted(plan.folds, key=lambda fold: (-len(rows.folds[fold].training), fold))
        self.batch_size = settings[plan.trials[0]].kind.batch_size
        self._places = [list(bucket) for bucket in plan.buckets]
        self._buckets = [
            Bucket([settings[place] for place in bucket], self.folds, rows, seed)
            for bucket in plan.buckets
        ]
        self._running = self._outputs = rows.like.new_empty(0)
        self._order = torch.empty(0)

    @property
    def trials(self) -> list[int]:
        return [place for places in self._places for place in places]

    @property
    def plan(self) -> PackPlan:
        """The plan that would build what is still alive."""
        return PackPlan(tuple(tuple(places) for places in self._places), tuple(self.folds))

    def keep(self, living: Collection[int]) -> None:
        """Drop every trial that is not among the living."""
        buckets, all_places = self._buckets, self._places
        self._buckets, self._places = [], []
        for bucket, places in zip(buckets, all_places, strict=True):
            kept = [line for line, place in enumerate(places) if place in living]
            if not kept:
                continue
            if len(kept) < len(places):
                bucket.keep(kept)
            self._buckets.append(bucket)
            self._places.append([places[line] for line in kept])

    def free(self) -> None:
        """Give all tensors back; the pack is of no use any more."""
        self.keep(())
        self._running = self._outputs = self._order = self.rows.like.new_empty(0)

    def train_epoch(self) -> None:
        """Take every step of the next epoch."""
        self.epoch += 1
        units = _widest([bucket.dropped_units for bucket in self._buckets])
        plan = Epoch(self.rows, self.folds, self.seed, self.epoch, self.batch_size, units)
        shape = (len(self.folds), len(self.trials), plan.sizes[0], self.rows.outputs)
        self._running = self.rows.like.new_empty(shape)
        self._order = plan.order
        for step in range(plan.steps):
            batch = plan.minibatch(step)
            for bucket, span in self._spans():
                outputs = bucket.step(batch)
                self._running[: batch.folds, span, batch.first : batch.last] = outputs

    def evaluate(self) -> Tensor:
        """Return losses and scores after the epoch; columns as in CURVE_COLUMNS.

        Shape: (F, T, 6) float64, in the order of self.folds and self.trials.
        """
        self._outputs = self._evaluate_rows()
        return torch.stack([self._measure(line) for line in range(len(self.folds))])

    def validation_outputs(self, line: int, column: int) -> Tensor:
        """Return one member's outputs on its validation rows, as last evaluated.

        Shape: (N_validation, C); logits, or predictions in units of the target.
        """
        fold = self.folds[line]
        outputs = self._outputs[line, column, self.rows.validation[fold]]
        if self.rows.task == "classification":
            return outputs
        data = self.rows.folds[fold]
        return outputs * data.target_std + data.target_mean

    def weights_of(self, line: int, column: int) -> list[tuple[Tensor, Tensor]]:
        """Return one member's layers. Shape: (fan_in, fan_out) and (fan_out,) per layer."""
        fan_in = self.rows.fan_in[self.folds[line]]
        for bucket, span in self._spans():
            if span.start <= column < span.stop:
                return bucket.weights_of(line, column - span.start, fan_in)
        raise AssertionError("a member is in one of the buckets")

    def _spans(self) -> list[tuple[Bucket, slice]]:
        """Return each bucket with the columns of its trials."""
        spans = []
        first = 0
        for bucket in self._buckets:
            spans.append((bucket, slice(first, first + bucket.trials)))
            first += bucket.trials
        return spans

    def _evaluate_rows(self) -> Tensor:
        """Return the outputs of every member on every development row. Shape: (F, T, N, C)."""
        rows = self.rows
        outputs = rows.like.new_empty(len(self.folds), len(self.trials), rows.count, rows.outputs)
        starts = [rows.features.starts[fold] for fold in self.folds]
        for first in range(0, rows.count, EVALUATION_ROWS):
            last = min(first + EVALUATION_ROWS, rows.count)
            features = torch.stack(
                [rows.features.values[start + first : start + last] for start in starts]
            )
            for bucket, span in self._spans():
                outputs[:, span, first:last] = bucket.forward(features)
        return outputs

    def _measure(self, line: int) -> Tensor:
        """Return the six columns of one fold. Shape: (T, 6) float64."""
        fold = self.folds[line]
        targets, outputs = self.rows.targets[fold], self._outputs[line]
        training, validation = self.rows.training[fold], self.rows.validation[fold]
        seen = self._order[line, : len(training)]
        parts = (
            (self._running[line][:, : len(training)], targets[seen]),
            (outputs[:, training], targets[training]),
            (outputs[:, validation], targets[validation]),
        )
        unit = self.rows.folds[fold].target_std
        columns = []
        for predicted, wanted in parts:
            columns.append(metrics.loss(self.rows.task, predicted, wanted))
            columns.append(metrics.score(self.metric, predicted, wanted, unit))
        return torch.stack(columns, dim=-1)


def _widest(units: Sequence[Sequence[int]]) -> list[int]:
    """Return the largest number of units in each place, over lists of unequal length."""
    depth = max((len(each) for each in units), default=0)
    return [max(each[place] for each in units if len(each) > place) for place in range(depth)]
