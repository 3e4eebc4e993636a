"""What moves in a bucket from step to step: rates, penalties and dropout that follow schedules.

Once an epoch the values of all its steps are worked out on the host as one table; a step copies its
line into the tensors that it reads anyway, which a captured step needs to stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from selection.study.schedules import DEFAULT_SCHEDULE
from selection.study.setting import Setting
from selection.train.dropout import Drop, thresholds
from selection.train.optimizer import Optimizer
from selection.train.schedules import Clock, Numbers, factors, warm_up


def moves_rate(setting: Setting) -> bool:
    """Return whether the learning rate or the penalty of a setting changes from step to step."""
    names = {setting.schedule, setting.weight_decay_schedule}
    return names != {DEFAULT_SCHEDULE} or setting.warmup > 0


def moves_dropout(setting: Setting) -> bool:
    """Return whether the dropout of a setting changes from step to step."""
    return setting.dropout_schedule != DEFAULT_SCHEDULE


class Moving:
    """Move the values of one bucket. Shape: table (S, K, M), for K tensors of M values."""

    def __init__(
        self, settings: Sequence[Setting], optimizer: Optimizer, drops: Sequence[Drop]
    ) -> None:
        self._settings = settings
        self._optimizer = optimizer if any(map(moves_rate, settings)) else None
        dropped = any(map(moves_dropout, settings))
        self._layers = [index for index, drop in enumerate(drops) if dropped and drop.is_used]
        tensors = [] if self._optimizer is None else self._optimizer.moved
        for index in self._layers:
            tensors += [drops[index].below, drops[index].scale]
        self._tensors = [tensor.view(-1) for tensor in tensors]
        self._table: Tensor | None = None

    def begin_epoch(self, clock: Clock) -> None:
        """Work out the values of every step of an epoch."""
        if not self._tensors:
            return
        lines = [*self._rate_lines(clock), *self._dropout_lines(clock)]
        table = torch.stack(lines, dim=1)
        if self._table is None:
            self._table = table.to(self._tensors[0].device)
        else:
            self._table.copy_(table)

    def begin_step(self, step: int | Tensor) -> None:
        """Take the values of one step. Its number may be on the device: (1,) int64."""
        if self._table is None:
            return
        line = self._table[step].view(len(self._tensors), -1)
        torch._foreach_copy_(self._tensors, line.unbind())

    def _rate_lines(self, clock: Clock) -> list[Tensor]:
        if self._optimizer is None:
            return []
        settings = self._settings
        rate = factors([each.schedule for each in settings], clock)
        if any(each.warmup > 0 for each in settings):
            rate = rate * warm_up([each.warmup for each in settings], clock)
        penalty = factors([each.weight_decay_schedule for each in settings], clock)
        return self._optimizer.lines(
            self._rounded(rate * self._tiled([each.learning_rate for each in settings], clock)),
            self._rounded(penalty * self._tiled([each.penalty for each in settings], clock)),
        )

    def _dropout_lines(self, clock: Clock) -> list[Tensor]:
        lines: list[Tensor] = []
        if not self._layers:
            return lines
        moved = factors([each.dropout_schedule for each in self._settings], clock)
        for index in self._layers:
            chances = moved * self._tiled([each.dropout[index] for each in self._settings], clock)
            lines += [self._rounded(thresholds(chances)), self._rounded(1.0 / (1.0 - chances))]
        return lines

    def _rounded(self, values: Numbers) -> Tensor:
        return torch.from_numpy(values).to(self._tensors[0].dtype)

    @staticmethod
    def _tiled(values: Sequence[float], clock: Clock) -> Numbers:
        """Repeat one value per trial for every fold. Shape: (F * T,)."""
        return np.tile(np.array(values), len(clock.steps))
