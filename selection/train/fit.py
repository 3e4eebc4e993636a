"""Trains one cohort in lockstep: every trial on every fold, epoch by epoch.

After each epoch the caller decides from the fold means which trials continue; diverged, pruned and
finished trials leave their packs at once. A trial is scored after its last epoch, or after the one
with the best mean over folds. The training of a trial is a pure function of its setting, so a pack
that ran out of memory can be split and replayed with the same results.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selection.data.prepare import FoldData
from selection.metrics import METRICS, Task
from selection.study.setting import EpochChoice, Precision, Setting
from selection.study.trial import (
    CURVE_COLUMNS,
    LAYER_COLUMNS,
    FoldResult,
    LayerCurves,
    LearningCurve,
    Outputs,
    TrialResult,
    TrialState,
)
from selection.train.batches import Rows, load_rows
from selection.train.best_so_far import BestSoFar
from selection.train.device import count_workers, make_workers, torch_settings, work_format
from selection.train.lockstep import Cause, Decide, EpochScores, Exchange, Failure, judge
from selection.train.pack import Pack
from selection.train.pack_set import PackSet, train_epoch
from selection.train.plan import count_side_by_side, plan_packs

SCORE = CURVE_COLUMNS.index("validation_score")
Watch = Callable[["EpochNews"], None]
Reduce = Callable[[Outputs, NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class RungPredictions:
    """Say after which epochs predictions are kept, and what of them.

    Where the best mean chooses the epoch, those of a complete trial are kept at all candidates too.
    reduce takes the outputs of a member and the targets of its validation rows.
    """

    epochs: frozenset[int]
    reduce: Reduce


@dataclass(frozen=True)
class EpochNews:
    """Hold the progress of a cohort: the epoch just done, and how much still trains."""

    epoch: int
    epochs: int
    trials: int
    members: int
    member_epochs: int


@dataclass(eq=False)
class _Run:
    """Follow one trial through its cohort."""

    setting: Setting
    points: list[NDArray[np.float64]] = field(default_factory=list)  # one (F, 6) per epoch
    layers: list[NDArray[np.float64]] = field(default_factory=list)  # one (F, L, 3) per epoch
    rungs: dict[int, dict[int, NDArray[Any]]] = field(default_factory=dict)  # by fold, by epoch
    best: BestSoFar | None = None
    result: TrialResult | None = None


class Trainer:
    """Keep the rows of a study on the device and train its cohorts on them."""

    def __init__(
        self,
        folds: Sequence[FoldData],
        task: Task,
        metric: str,
        seed: int,
        device: torch.device,
        *,
        precision: Precision = "float32",
        diagnostics: bool = False,
        dtype: torch.dtype = torch.float32,
        max_members: int = 0,
        rungs: RungPredictions | None = None,
        epoch: EpochChoice = "last",
        patience: int = 0,
    ) -> None:
        work = work_format(precision) if dtype == torch.float32 else dtype
        self.rows: Rows = load_rows(folds, task, device, dtype, work)
        self.cores = count_workers(device)
        self.workers = make_workers(self.cores)
        self.precision = precision
        # On a GPU a cohort may train in less time than a sampler needs to propose the next one.
        self.asks_ahead = device.type == "cuda"
        self.metric = metric
        self.seed = seed
        self.has_diagnostics = diagnostics
        self.max_members = max_members
        self.rungs = rungs
        self.epoch: EpochChoice = epoch
        self.patience = patience

    def train(
        self,
        settings: Sequence[Setting],
        decide: Decide = lambda epoch, means: (),
        watch: Watch = lambda news: None,
        *,
        stop_after: int | None = None,
    ) -> list[TrialResult]:
        """Train all settings on all folds and return their results in the same order.

        decide takes the epoch and the mean validation scores of the trials that are not finished
        after it, by their index in settings, and returns the indices to prune. With stop_after,
        training ends after so many epochs, as if they were all, and the last one scores.
        """
        lengths = [
            each.kind.epochs if stop_after is None else min(each.kind.epochs, stop_after)
            for each in settings
        ]
        folds = tuple(range(len(self.rows.folds)))
        with torch_settings(self.precision, self.rows.like.device):
            cohort = _Cohort(self, settings, folds, lengths, is_cut=stop_after is not None)
            return cohort.train(lambda scores: judge(scores, lengths, decide), watch)

    def train_share(
        self, settings: Sequence[Setting], folds: Sequence[int], exchange: Exchange
    ) -> list[TrialResult]:
        """Train some settings of a cohort on some folds, by index; others train the rest of it.

        exchange is called after every epoch, and returns what is judged on all folds.
        """
        lengths = [each.kind.epochs for each in settings]
        with torch_settings(self.precision, self.rows.like.device):
            cohort = _Cohort(self, settings, tuple(folds), lengths)
            return cohort.train(exchange, lambda news: None)

    def follow(self, setting: Setting) -> BestSoFar | None:
        """Return what chooses the epoch of a trial by its mean; None where the last one scores."""
        if self.epoch == "last":
            return None
        is_minimised = METRICS[self.metric].is_minimised
        return BestSoFar(setting.kind.epochs, self.patience, is_minimised=is_minimised)


class _Cohort:
    """Train settings on some folds, each for its length in epochs; is_cut says that it was cut."""

    def __init__(
        self,
        trainer: Trainer,
        settings: Sequence[Setting],
        folds: tuple[int, ...],
        lengths: Sequence[int],
        *,
        is_cut: bool = False,
    ) -> None:
        self.trainer = trainer
        self.folds = folds
        self.lengths = lengths
        self.runs = [
            _Run(setting, best=None if is_cut else trainer.follow(setting)) for setting in settings
        ]
        self.started = time.monotonic()
        self.packs = PackSet(settings, trainer.rows, trainer.metric, trainer.seed)
        self.member_epochs = 0
        self.reported_failures: set[int] = set()

    def train(self, exchange: Exchange, watch: Watch) -> list[TrialResult]:
        settings, trainer = [run.setting for run in self.runs], self.trainer
        plans = plan_packs(settings, trainer.rows, trainer.max_members, trainer.cores, self.folds)
        for plan in plans:
            self.packs.build(plan)
        self._fail_too_large()
        epochs, epoch = max(self.lengths, default=0), 0
        while self.packs.packs:
            epoch += 1
            living = sorted({trial for pack in self.packs.packs for trial in pack.trials})
            self._advance(living, epoch)
            judged = exchange(self._scores(living, epoch))
            for trial in filter(self._is_living, judged.failed):
                self._end(trial, TrialState.FAILED, judged.failed[trial])
            self._keep_best(living, epoch, judged.means)
            self._finish(living, epoch)
            self._keep_rung(living, epoch)
            for trial in judged.pruned:
                self._end(trial, TrialState.PRUNED, f"pruned after epoch {epoch}")
            self._finish_stalled(living)
            self.packs.keep(frozenset(filter(self._is_living, living)))
            self._fail_too_large()
            watch(self._news(epoch, epochs))
        return [run.result for run in self.runs if run.result is not None]

    def _advance(self, living: Sequence[int], epoch: int) -> None:
        """Train and evaluate every pack for this epoch and keep the results."""
        rows = self.trainer.rows
        points = {trial: np.full((len(rows.folds), len(CURVE_COLUMNS)), np.nan) for trial in living}
        layers = {trial: self._room_for_layers(trial) for trial in living}
        waiting = list(self.packs.packs)
        while waiting:
            train = partial(
                train_epoch, turns=self._turns(), has_diagnostics=self.trainer.has_diagnostics
            )
            blocks = self.trainer.workers.map(train, waiting)
            failed: list[Pack] = []
            for pack, block in zip(waiting, blocks, strict=True):
                if block is None:
                    failed.append(pack)
                    continue
                self.member_epochs += len(pack.folds) * len(pack.trials)
                for column, trial in enumerate(pack.trials):
                    points[trial][pack.folds] = block.points[:, column]
                    if self.trainer.has_diagnostics:
                        layers[trial][pack.folds] = block.layers[column]
            waiting = self.packs.split(failed, epoch - 1)
            self._fail_too_large()
        for trial in living:
            self.runs[trial].points.append(points[trial])
            self.runs[trial].layers.append(layers[trial])

    def _turns(self) -> threading.Semaphore:
        """Return what lets as many packs train at once as do not get into each other's way."""
        plans = [pack.plan for pack in self.packs.packs]
        settings, cores = [run.setting for run in self.runs], self.trainer.cores
        return threading.Semaphore(count_side_by_side(plans, settings, self.trainer.rows, cores))

    def _room_for_layers(self, trial: int) -> NDArray[np.float64]:
        """Return an array for one epoch of a trial's layers. Shape: (F, L, 3)."""
        layers = self.runs[trial].setting.kind.hidden_layers + 1
        shape = (len(self.trainer.rows.folds), layers, len(LAYER_COLUMNS))
        return np.full(shape, np.nan)

    def _scores(self, living: Sequence[int], epoch: int) -> EpochScores:
        """Return the scores after an epoch, and why trials fail.

        They do with a non-finite loss, or with a score that some fold does not have: a mean over
        the other folds would hide it.
        """
        losses = [CURVE_COLUMNS.index(name) for name in CURVE_COLUMNS if name.endswith("_loss")]
        scores = {}
        failed = {  # since the last epoch: memory may run out in between
            trial: Failure(Cause.MEMORY, 0, run.result.reason)
            for trial, run in enumerate(self.runs)
            if run.result is not None
            and run.result.state is TrialState.FAILED
            and trial not in self.reported_failures
        }
        for trial in filter(self._is_living, living):
            points = self.runs[trial].points[-1][list(self.folds)]
            scores[trial] = points[:, SCORE]
            is_finite: NDArray[np.bool_] = np.all(np.isfinite(points[:, losses]), axis=1)
            has_score: NDArray[np.bool_] = np.isfinite(points[:, SCORE])
            if not is_finite.all():
                failed[trial] = self._failure(Cause.DIVERGED, is_finite, epoch)
            elif not has_score.all():
                failed[trial] = self._failure(Cause.UNDEFINED, has_score, epoch)
        self.reported_failures.update(failed)
        return EpochScores(epoch, scores, failed)

    def _failure(self, cause: Cause, is_sound: NDArray[np.bool_], epoch: int) -> Failure:
        """Return the failure on the first fold that is not sound."""
        fold = self.folds[int(np.argmin(is_sound))]
        data, metric = self.trainer.rows.folds[fold], self.trainer.metric
        has_diverged = cause is Cause.DIVERGED
        what = "diverged: non-finite loss" if has_diverged else f"{metric} is not defined"
        where = f"repeat {data.repeat}, fold {data.fold}, epoch {epoch}"
        return Failure(cause, fold, f"{what} in {where}")

    def _finish(self, living: Sequence[int], epoch: int) -> None:
        """Complete the trials that have trained all their epochs."""
        for trial in filter(self._is_living, living):
            if self.lengths[trial] == epoch:
                self._complete(trial)

    def _finish_stalled(self, living: Sequence[int]) -> None:
        """Complete the trials whose mean has not improved for as long as the study waits."""
        for trial in filter(self._is_living, living):
            best = self.runs[trial].best
            if best is not None and best.has_run_out:
                self._complete(trial)

    def _complete(self, trial: int) -> None:
        best = self.runs[trial].best
        outputs = self._outputs(trial) if best is None else best.outputs
        self._end(trial, TrialState.COMPLETE, "", outputs)

    def _keep_best(self, living: Sequence[int], epoch: int, means: Mapping[int, float]) -> None:
        """Follow the means of the trials whose best epoch scores, and keep what it predicts."""
        for trial in filter(self._is_living, living):
            best = self.runs[trial].best
            if best is None:
                continue
            best.learn(means[trial])
            if best.is_best or (best.is_candidate and self.trainer.rungs is not None):
                outputs = self._outputs(trial)
                self._keep_reduced(trial, epoch, outputs)
                best.outputs = outputs if best.is_best else best.outputs

    def _keep_rung(self, living: Sequence[int], epoch: int) -> None:
        """Keep what the metric needs of the predictions of the trials that are not finished."""
        kept = self.trainer.rungs
        if kept is None or epoch not in kept.epochs:
            return
        for trial in filter(self._is_living, living):
            if epoch not in self.runs[trial].rungs.get(self.folds[0], {}):
                self._keep_reduced(trial, epoch, self._outputs(trial))

    def _keep_reduced(self, trial: int, epoch: int, outputs: Mapping[int, Outputs]) -> None:
        kept = self.trainer.rungs
        if kept is None:
            return
        for fold, each in outputs.items():
            data = self.trainer.rows.folds[fold]
            reduced = kept.reduce(each, data.targets[data.validation])
            self.runs[trial].rungs.setdefault(fold, {})[epoch] = reduced

    def _rungs_of(self, trial: int, fold: int, state: TrialState) -> dict[int, NDArray[Any]]:
        """Return what is kept of a member: of a trial that is not complete, the rungs alone."""
        kept, found = self.trainer.rungs, self.runs[trial].rungs.get(fold, {})
        if state is TrialState.COMPLETE or kept is None:
            return found
        return {epoch: reduced for epoch, reduced in found.items() if epoch in kept.epochs}

    def _outputs(self, trial: int) -> dict[int, Outputs]:
        """Return one trial's outputs on the validation rows, by fold, in units of the target."""
        outputs = {}
        for pack in self.packs.packs:
            if trial not in pack.trials:
                continue
            column = pack.trials.index(trial)
            for line, fold in enumerate(pack.folds):
                block = pack.validation_outputs(line, column)
                outputs[fold] = self._in_units(fold, block.float().cpu().numpy())
        return outputs

    def _in_units(self, fold: int, outputs: NDArray[np.float32]) -> Outputs:
        if self.trainer.rows.task == "classification":
            return outputs
        data = self.trainer.rows.folds[fold]
        # In float32 a target such as 1.7e12 has steps of 131072.
        return outputs.astype(np.float64) * data.target_std + data.target_mean

    def _fail_too_large(self) -> None:
        for trial in filter(self._is_living, sorted(self.packs.too_large)):
            self._end(trial, TrialState.FAILED, "out of memory: one member alone is too large")

    def _end(
        self,
        trial: int,
        state: TrialState,
        reason: str,
        outputs: Mapping[int, Outputs] | None = None,
    ) -> None:
        run = self.runs[trial]
        best = run.best.epoch if run.best is not None and state is TrialState.COMPLETE else None
        points = np.stack(run.points, axis=1) if run.points else None  # (F, T, 6)
        layers = None
        if run.layers and self.trainer.has_diagnostics:
            layers = np.stack(run.layers, axis=1)  # (F, T, L, 3)
        folds = tuple(
            FoldResult(
                data.repeat,
                data.fold,
                LearningCurve(points[index]),
                outputs[index] if outputs else None,
                None if layers is None else LayerCurves(layers[index]),
                self._rungs_of(trial, index, state),
                best,
            )
            for index, data in enumerate(self.trainer.rows.folds)
            if points is not None and index in self.folds
        )
        seconds = time.monotonic() - self.started
        run.result = TrialResult(state, reason, folds, len(run.points), seconds)

    def _is_living(self, trial: int) -> bool:
        return self.runs[trial].result is None

    def _news(self, epoch: int, epochs: int) -> EpochNews:
        members = sum(pack.plan.members for pack in self.packs.packs)
        trials = len({trial for pack in self.packs.packs for trial in pack.trials})
        return EpochNews(epoch, epochs, trials, members, self.member_epochs)
