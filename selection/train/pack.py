"""A pack: members (trial, repeat, fold) that train as one program on shared minibatches.

It gathers rows and dropout noise once per step for all its buckets, and measures all its members
with one copy from the device per epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import torch
from torch import Tensor

from selection.study.setting import Setting
from selection.study.trial import CURVE_COLUMNS
from selection.train import metrics
from selection.train.batches import Epoch, Rows, take_features
from selection.train.bucket import Bucket
from selection.train.embeddings import Embedding
from selection.train.graph import StepGraph, has_graphs
from selection.train.layers import layer_numbers
from selection.train.plan import EVALUATION_ROWS, PackPlan
from selection.train.products import first

# Capturing a graph costs about as much as a few steps, or a few evaluations, without one.
FEW_STEPS = 8
FEW_EPOCHS = 4


class Pack:
    """Train and evaluate the members of one plan in lockstep.

    trials are indices into the cohort, in the order of all results; folds are indices into rows,
    the fold with most training rows first.
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
        self._epochs = settings[plan.trials[0]].kind.epochs
        self._indices = [list(bucket) for bucket in plan.buckets]
        self._buckets = [
            Bucket([settings[index] for index in bucket], self.folds, rows, seed)
            for bucket in plan.buckets
        ]
        self._running = rows.like.new_empty(0)
        self._outputs: list[Tensor] = []
        self._points = rows.like.new_empty(0)
        self._order = torch.empty(0)
        self._graph: StepGraph | None = None
        self._scores: StepGraph | None = None
        self._may_capture = has_graphs(rows.like.device)
        self._laid_out: Epoch | None = None
        self._step = torch.zeros(1, dtype=torch.int64, device=rows.like.device)

    @property
    def trials(self) -> list[int]:
        return [index for indices in self._indices for index in indices]

    @property
    def plan(self) -> PackPlan:
        """The plan that would build what is still alive."""
        return PackPlan(tuple(tuple(indices) for indices in self._indices), tuple(self.folds))

    def keep(self, living: Collection[int]) -> None:
        """Drop every trial that is not among the living."""
        buckets, all_indices = self._buckets, self._indices
        self._buckets, self._indices = [], []
        for bucket, indices in zip(buckets, all_indices, strict=True):
            kept = [line for line, index in enumerate(indices) if index in living]
            if len(kept) < len(indices):
                self._graph = self._scores = None
                if not kept:
                    continue
                bucket.keep(kept)
            self._buckets.append(bucket)
            self._indices.append([indices[line] for line in kept])

    def forgo_graphs(self) -> None:
        """Free the graphs and their memory, and train without any from now on."""
        self._graph = self._scores = None
        self._may_capture = False

    def free(self) -> None:
        """Free all tensors; the pack cannot be used afterwards."""
        self.keep(())
        self._running = self._order = self._points = self.rows.like.new_empty(0)
        self._outputs = []
        self._laid_out = None

    def train_epoch(self) -> None:
        """Take every step of the next epoch."""
        self.epoch += 1
        units = _widest([bucket.dropped_units for bucket in self._buckets])
        epoch = Epoch(self.rows, self.folds, self.seed, self.epoch, self.batch_size, units)
        self._order = epoch.order
        for bucket in self._buckets:
            bucket.begin_epoch(self.epoch, epoch.fold_steps)
        done = 0
        if self._graph is not None or self._is_worth_a_graph(epoch):
            done = self._replay(epoch)
        else:
            self._running = self.rows.like.new_empty(0)
            self._running = self._new_running(epoch)
        spans = [(bucket, self._running[:, span]) for bucket, span in self._spans()]
        for column, batch in epoch.minibatches(done):
            for bucket, running in spans:
                outputs = bucket.step(batch)
                index = first(running, batch.folds).narrow(3, column, outputs.shape[3])
                index.copy_(outputs)

    def _is_worth_a_graph(self, epoch: Epoch) -> bool:
        """Return whether enough whole steps are left, in this epoch and all later ones."""
        steps = epoch.whole_steps * (self._epochs - self.epoch + 1)
        return self._may_capture and steps > FEW_STEPS

    def _new_running(self, epoch: Epoch) -> Tensor:
        """Make room for the outputs in train mode, in the order of the epoch."""
        shape = (len(self.folds), len(self.trials), self.rows.outputs, epoch.sizes[0])
        return self.rows.like.new_empty(shape)

    def _replay(self, epoch: Epoch) -> int:
        """Take every whole step of an epoch with one graph; return their number."""
        done = 0
        self._step.zero_()
        if self._graph is None or self._laid_out is None:
            self._running = self._new_running(epoch)
            self._laid_out = epoch
            self._graph = StepGraph(partial(self._counted_step, epoch))
            done = 1
        else:
            self._laid_out.load(epoch)
        self._order = self._laid_out.order
        for _ in range(done, epoch.whole_steps):
            self._graph.replay()
        return epoch.whole_steps

    def _counted_step(self, epoch: Epoch) -> None:
        """Take the whole step whose number is on the device, in tensors that never move."""
        batch = epoch.minibatch_at(self._step)
        size = batch.features.size(2)
        columns = self._step * size + torch.arange(size, device=self._step.device)
        for bucket, span in self._spans():
            self._running[:, span].index_copy_(3, columns, bucket.step(batch))
        self._step.add_(1)

    def evaluate(self) -> Tensor:
        """Return losses and scores after the epoch; columns as in CURVE_COLUMNS.

        The next call may overwrite the result.

        Shape: (F, T, 6) float64, in the order of self.folds and self.trials.
        """
        if self._scores is not None:
            self._scores.replay()
        else:
            self._make_room()
            if self._graph is not None and self._epochs - self.epoch > FEW_EPOCHS:
                shape = (len(self.folds), len(self.trials), len(CURVE_COLUMNS))
                self._points = self.rows.like.new_empty(shape, dtype=torch.float64)
                self._scores = StepGraph(self._score_in_place)
            else:
                self._points = self._score()
        if self._graph is None:
            self._running = self.rows.like.new_empty(0)
        return self._points

    def _make_room(self) -> None:
        """Make room for the outputs of each fold's members."""
        rows, trials = self.rows, len(self.trials)
        counts = [len(rows.validation[fold]) + len(rows.scored[fold]) for fold in self.folds]
        self._outputs = [rows.like.new_empty(trials, rows.outputs, count) for count in counts]

    def _score_in_place(self) -> None:
        self._points.copy_(self._score())

    def _score(self) -> Tensor:
        """Fill the outputs of each fold's members; return their points. Shape: (F, T, 6)."""
        for line in range(len(self.folds)):
            self._evaluate_fold(line)
        return torch.stack([self._measure(line) for line in range(len(self.folds))])

    def layer_numbers(self) -> list[Tensor]:
        """Return the diagnostics of the layers after the epoch, in the order of self.trials.

        Shape: (F, L, 3) float64 each, in the order of self.folds.
        """
        numbers: list[Tensor] = []
        for bucket in self._buckets:
            lines = [layer_numbers(bucket, line, self.rows) for line in range(len(self.folds))]
            numbers += torch.stack(lines, dim=1).unbind()  # (F, L, 3) per trial
        return numbers

    def validation_outputs(self, line: int, column: int) -> Tensor:
        """Return one member's outputs on its validation rows, as last evaluated.

        Shape: (N_validation, C); logits, or predictions in units of target_std.
        """
        fold = self.folds[line]
        return self._outputs[line][column, :, : len(self.rows.validation[fold])].T

    def running(self, line: int, column: int) -> tuple[float, float]:
        """Return loss and score of one member in the epoch just trained, in train mode."""
        loss, score = self._running_columns(line)
        return float(loss[column]), float(score[column])

    def weights_of(self, line: int, column: int) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Return one member's weight, bias and mix of each layer, see Bucket.weights_of."""
        bucket, trial = self._found(column)
        return bucket.weights_of(line, trial, self.rows.fan_in[self.folds[line]])

    def waves_of(self, line: int, column: int) -> Embedding | None:
        """Return the embedding of one member's numbers, if it has one."""
        bucket, trial = self._found(column)
        return bucket.waves_of(line, trial)

    def _found(self, column: int) -> tuple[Bucket, int]:
        """Return the bucket of a trial, and its number there."""
        for bucket, span in self._spans():
            if span.start <= column < span.stop:
                return bucket, column - span.start
        raise AssertionError("a member is in one of the buckets")

    def _spans(self) -> list[tuple[Bucket, slice]]:
        """Return each bucket with the columns of its trials."""
        spans = []
        first = 0
        for bucket in self._buckets:
            spans.append((bucket, slice(first, first + bucket.trials)))
            first += bucket.trials
        return spans

    def _evaluate_fold(self, line: int) -> None:
        """Fill the outputs of one fold's members on its validation and scored training rows."""
        fold = self.folds[line]
        index = torch.cat([self.rows.validation[fold], self.rows.scored[fold]])
        spans = [(bucket, bucket.cast_fold(line), span) for bucket, span in self._spans()]
        outputs = self._outputs[line]
        start = 0
        for part in torch.split(index, EVALUATION_ROWS[index.device.type]):
            features = take_features(self.rows, fold, part)
            for bucket, layers, span in spans:
                outputs[span, :, start : start + len(part)] = bucket.forward(layers, features, line)
            start += len(part)

    def _measure(self, line: int) -> Tensor:
        """Return the six columns of one fold. Shape: (T, 6) float64."""
        rows, fold, outputs = self.rows, self.folds[line], self._outputs[line]
        validation, scored = rows.validation[fold], rows.scored[fold]
        columns = [
            *self._running_columns(line),
            *self._columns(fold, outputs[:, :, len(validation) :], scored),
            *self._columns(fold, outputs[:, :, : len(validation)], validation),
        ]
        return torch.stack(columns, dim=-1)

    def _running_columns(self, line: int) -> tuple[Tensor, Tensor]:
        fold = self.folds[line]
        count = len(self.rows.training[fold])
        outputs = self._running[line][:, :, :count]
        return self._columns(fold, outputs, self._order[line, :count])

    def _columns(self, fold: int, outputs: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and score of the rows at these indices. Shape: (T, C, N) -> (T,) each."""
        wanted = self.rows.targets[fold][indices]
        unit = self.rows.folds[fold].target_std
        return (
            metrics.loss(self.rows.task, outputs, wanted),
            metrics.score(self.metric, outputs, wanted, unit),
        )


def _widest(units: Sequence[Sequence[int]]) -> list[int]:
    """Return the largest number of units of each layer, over lists of unequal length."""
    depth = max((len(each) for each in units), default=0)
    return [max(each[index] for each in units if len(each) > index) for index in range(depth)]
