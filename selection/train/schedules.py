"""The schedules of study.schedules: what a value is multiplied by in each step of an epoch.

A factor is a pure function of the schedule and of the share of the training that is done before the
step. Every fold counts its own steps, so a member moves as if it trained alone.
Source: cosine, Loshchilov and Hutter 2017 without restarts; coslog4 and flat_cos, Holzmueller,
Grinsztajn and Steinwart 2024 (RealMLP) and their pytabkit; one_cycle, Smith and Topin 2018, with
the constants of torch.optim.lr_scheduler.OneCycleLR; step, the CIFAR training of He et al. 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]

# As torch's OneCycleLR: pct_start, 1 / div_factor, and that over final_div_factor.
RISE, FIRST, LAST = 0.3, 1 / 25, 1 / 25 / 1e4


def _constant(done: Numbers) -> Numbers:
    return np.ones_like(done)


def _cosine(done: Numbers) -> Numbers:
    return 0.5 * (1.0 + np.cos(np.pi * done))


def _coslog4(done: Numbers) -> Numbers:
    return 0.5 * (1.0 - np.cos(2.0 * np.pi * np.log2(1.0 + 15.0 * done)))


def _one_cycle(done: Numbers) -> Numbers:
    rising = 1.0 + (FIRST - 1.0) * _cosine(done / RISE)
    falling = LAST + (1.0 - LAST) * _cosine((done - RISE) / (1.0 - RISE))
    return np.where(done < RISE, rising, falling)


def _step(done: Numbers) -> Numbers:
    return np.where(done < 0.5, 1.0, np.where(done < 0.75, 0.1, 0.01))


def _flat_cos(done: Numbers) -> Numbers:
    return _cosine(np.maximum(2.0 * done - 1.0, 0.0))


FUNCTIONS: Mapping[str, Callable[[Numbers], Numbers]] = {
    "constant": _constant,
    "cosine": _cosine,
    "coslog4": _coslog4,
    "one_cycle": _one_cycle,
    "step": _step,
    "flat_cos": _flat_cos,
}


@dataclass(frozen=True)
class Clock:
    """Say which epoch of how many begins, and how many steps each fold takes in one."""

    epoch: int
    epochs: int
    steps: tuple[int, ...]

    def share(self, steps: int) -> Numbers:
        """Return the share of the training after that many steps more than each step begins with.

        Shape: (S, F); 1 where a fold has no steps left.
        """
        own = np.array(self.steps)
        begun = (self.epoch - 1) * own + np.arange(max(self.steps))[:, None]
        return np.asarray(np.minimum((begun + steps) / (self.epochs * own), 1.0))


def factors(names: Sequence[str], clock: Clock) -> Numbers:
    """Return what the value of each trial is multiplied by, fold by fold. Shape: (S, F * T)."""
    done = clock.share(0)
    table = np.empty((*done.shape, len(names)))
    for name in set(names):
        table[:, :, [own == name for own in names]] = FUNCTIONS[name](done)[:, :, None]
    return table.reshape(len(table), -1)


def warm_up(shares: Sequence[float], clock: Clock) -> Numbers:
    """Return what linear warm-up multiplies by: k / W in step k of the first W, then 1.

    shares is W of each trial as a share of all its steps. Shape: (S, F * T).
    """
    done = clock.share(1)[:, :, None]
    first = 1.0 / (clock.epochs * np.array(clock.steps))[:, None]
    table: Numbers = np.minimum(done / np.maximum(np.array(shares), first), 1.0)
    return table.reshape(len(table), -1)
