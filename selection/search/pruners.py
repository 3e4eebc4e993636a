"""The pruners of a study file: which trials of a cohort go on after an epoch.

The rules are Optuna's, on arrays: a cohort is judged at once, and so are many resamplings of one
record. The sweep asks about one. A rule depends on the fold means alone, never on the budget.
Source: optuna.pruners, version 5.0; Li et al. 2018 (Hyperband), 2020 (successive halving).
"""

from __future__ import annotations

import math
from binascii import crc32
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from selection.search.finalists import FINALISTS, KeepFinalists
from selection.search.standing import Bools, Floats, Standing, best_of, is_better
from selection.study.spec import StudySpec


class Pruner(Protocol):
    """Judge a cohort; trials for which keeps is False are pruned."""

    def judges(self, epoch: int) -> bool:
        """Say whether any trial may be pruned after this epoch."""

    def keeps(self, standing: Standing) -> Bools:
        """Return which trials of the cohort go on. Shape: (B, C)."""


@dataclass(frozen=True)
class NoPruner:
    """Keep every trial."""

    def judges(self, epoch: int) -> bool:
        return False

    def keeps(self, standing: Standing) -> Bools:
        return standing.training


@dataclass(frozen=True)
class SuccessiveHalving:
    """Keep the best 1 / factor of all trials that reached a rung; rungs lie factor apart."""

    first: int
    factor: int
    is_minimised: bool

    def judges(self, epoch: int) -> bool:
        rung = self.first
        while rung < epoch:
            rung *= self.factor
        return rung == epoch

    def keeps(self, standing: Standing) -> Bools:
        own = standing.now
        competing = np.concatenate([standing.finished, own], axis=1)  # (B, T + C)
        ordered = np.sort(competing, axis=1)  # NaN last
        count = (~np.isnan(competing)).sum(axis=1)  # (B,)
        places = np.maximum(count // self.factor, 1)
        last = places - 1 if self.is_minimised else np.maximum(count - places, 0)
        limit = ordered[np.arange(len(ordered)), last]  # (B,)
        kept: Bools = ~(is_better(limit[:, None], own, self.is_minimised) | np.isnan(own))
        return kept


@dataclass(frozen=True)
class Hyperband:
    """Judge each trial in its bracket: by successive halving, with the first rung of the bracket.

    A trial's bracket follows from its number and the name of the study, as in Optuna.
    """

    study: str
    brackets: Sequence[SuccessiveHalving]
    shares: Sequence[int]

    def judges(self, epoch: int) -> bool:
        return any(bracket.judges(epoch) for bracket in self.brackets)

    def keeps(self, standing: Standing) -> Bools:
        kept = standing.training.copy()
        finished = np.array([self._bracket_of(number) for number in standing.finished_numbers])
        cohort = np.array([self._bracket_of(number) for number in standing.numbers])
        for index, bracket in enumerate(self.brackets):
            if bracket.judges(standing.epoch) and (cohort == index).any():
                part = standing.part(finished == index, cohort == index)
                kept[:, cohort == index] = bracket.keeps(part)
        return kept

    def _bracket_of(self, number: int) -> int:
        left = crc32(f"{self.study}_{number}".encode()) % sum(self.shares)
        for index, share in enumerate(self.shares):
            left -= share
            if left < 0:
                return index
        raise AssertionError("the remainder is below the sum of the shares")


@dataclass(frozen=True)
class Interval:
    """Say after which epochs a rule judges."""

    warmup: int = 0
    steps: int = 1

    def has(self, epoch: int) -> bool:
        # Optuna judges after the first report too, wherever it lies in an interval.
        is_first = epoch == 1 or (epoch - self.warmup) % self.steps == 0
        return epoch >= self.warmup and is_first


@dataclass(frozen=True)
class Percentile:
    """Keep a trial whose best value so far reaches a percentile of the complete trials' values."""

    percentile: float
    is_minimised: bool
    interval: Interval
    startup: int = 5
    least: int = 1

    def judges(self, epoch: int) -> bool:
        return self.interval.has(epoch)

    def keeps(self, standing: Standing) -> Bools:
        best = best_of(standing.cohort, self.is_minimised)  # (B, C)
        values = np.where(standing.complete, standing.finished, np.nan)
        share = (self.percentile if self.is_minimised else 100 - self.percentile) / 100
        limit = _quantile(values, share)[:, None]  # (B, 1)
        counts = (~np.isnan(values)).sum(axis=1)
        is_behind = is_better(limit, best, self.is_minimised) & (counts >= self.least)[:, None]
        is_judged = standing.complete.sum(axis=1) >= max(self.startup, 1)
        kept: Bools = ~(is_judged[:, None] & (is_behind | np.isnan(best)))
        return kept


@dataclass(frozen=True)
class Patient:
    """Keep a trial that has improved, by more than min_delta, in the last patience + 1 epochs."""

    patience: int
    min_delta: float
    is_minimised: bool

    def judges(self, epoch: int) -> bool:
        return epoch > self.patience + 1

    def keeps(self, standing: Standing) -> Bools:
        is_recent = np.array(standing.epochs) > standing.epoch - self.patience - 1
        if is_recent.all():
            return standing.training
        recent = best_of(standing.cohort[is_recent], self.is_minimised)
        before = best_of(standing.cohort[~is_recent], self.is_minimised)
        margin = self.min_delta if self.is_minimised else -self.min_delta
        return ~is_better(before + margin, recent, self.is_minimised)


@dataclass(frozen=True)
class Threshold:
    """Keep a trial whose value lies between two limits."""

    lower: float
    upper: float
    interval: Interval

    def judges(self, epoch: int) -> bool:
        return self.interval.has(epoch)

    def keeps(self, standing: Standing) -> Bools:
        return np.logical_and(standing.now >= self.lower, standing.now <= self.upper)


def make_pruner(spec: StudySpec) -> Pruner:
    """Return the pruner of the study file."""
    options: dict[str, Any] = dict(spec.sections.search.pruner_options)
    is_minimised = spec.is_minimised
    interval = Interval(options.get("n_warmup_steps", 0), options.get("interval_steps", 1))
    match spec.sections.search.pruner:
        case "successive_halving":
            return _make_halving(spec, options)
        case "hyperband":
            return _make_hyperband(spec, **options)
        case "median" | "percentile":
            return Percentile(
                options.get("percentile", 50.0),
                is_minimised,
                interval,
                options.get("n_startup_trials", 5),
                options.get("n_min_trials", 1),
            )
        case "patient":
            return Patient(options["patience"], options.get("min_delta", 0.0), is_minimised)
        case "threshold":
            limits = options.get("lower", -math.inf), options.get("upper", math.inf)
            return Threshold(*limits, interval)
        case _:
            return NoPruner()


def survivors(pruner: Pruner, standing: Standing) -> Bools:
    """Return which trials go on after this epoch; trial 0 always does. Shape: (B, C)."""
    kept: Bools = pruner.keeps(standing) | (standing.numbers == 0)
    return kept & standing.training


def _make_halving(spec: StudySpec, options: dict[str, Any]) -> Pruner:
    # Halves from an eighth of the epochs on: the measurements are in docs/decisions/0024.
    factor = options.get("reduction_factor", 2)
    first = options.get("min_resource", max(1, _most_epochs(spec) // 8))
    first *= factor ** options.get("min_early_stopping_rate", 0)
    halving = SuccessiveHalving(first, factor, spec.is_minimised)
    least = options.get("finalists", FINALISTS)
    return KeepFinalists(halving, least, spec.is_minimised) if least else halving


def _make_hyperband(spec: StudySpec, min_resource: int = 1, reduction_factor: int = 3) -> Hyperband:
    ratio = _most_epochs(spec) / min_resource
    count = max(math.floor(math.log(ratio, reduction_factor)) + 1, 0)
    brackets, shares = [], []
    for index in range(count):
        first = min_resource * reduction_factor**index
        brackets.append(SuccessiveHalving(first, reduction_factor, spec.is_minimised))
        left = count - 1 - index
        shares.append(math.ceil(count * reduction_factor**left / (left + 1)))
    return Hyperband(spec.name, brackets, shares)


def _quantile(values: Floats, share: float) -> Floats:
    """Return a quantile of each row, bit for bit np.nanquantile's; NaN for a row of NaN.

    Shape: values (B, T); the result (B,).
    """
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)
    at = share * np.maximum((~np.isnan(values)).sum(axis=1) - 1, 0)  # (B,)
    below = np.floor(at).astype(np.int64)
    rows = np.arange(len(values))
    low = ordered[rows, below]
    high = ordered[rows, np.minimum(np.ceil(at).astype(np.int64), values.shape[1] - 1)]
    step, part = high - low, at - below
    found: Floats = np.where(part >= 0.5, high - step * (1 - part), low + step * part)
    return found


def longest_training(spec: StudySpec) -> int:
    """Return the most epochs of any trial; the default may lie outside the space."""
    return max(_most_epochs(spec), spec.setting(spec.default).kind.epochs)


def _most_epochs(spec: StudySpec) -> int:
    dimension = spec.space.get("epochs")
    if dimension is None:
        return spec.setting(spec.default).kind.epochs
    options = dimension.grid() or (dimension.nearest(2**62),)
    return max(value for value in options if isinstance(value, int))
