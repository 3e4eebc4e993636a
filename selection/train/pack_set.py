"""The packs of one cohort, and how they are split when memory runs out.

A pack that does not fit is replaced by halves, which replay its epochs. Training is a pure function
of settings, so no trial notices; one fails only if a single member of it does not fit.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selection.study.setting import Setting
from selection.train.batches import Rows
from selection.train.device import is_out_of_memory
from selection.train.graph import device_lock
from selection.train.pack import Pack
from selection.train.plan import PackPlan


@dataclass(frozen=True, eq=False)
class Block:
    """Hold the results of one epoch of a pack.

    Shape: points (F, T, 6); layers (F, L, 3) for each trial, empty without diagnostics.
    """

    points: NDArray[np.float64]
    layers: Sequence[NDArray[np.float64]]


def train_epoch(pack: Pack, turns: threading.Semaphore, *, has_diagnostics: bool) -> Block | None:
    """Train a pack for one epoch when its turn comes; return None if memory ran out."""
    try:
        with turns, device_lock(pack.rows.like.device):
            pack.train_epoch()
            points = pack.evaluate().cpu().numpy()
            layers = pack.layer_numbers() if has_diagnostics else []
            return Block(points, [each.cpu().numpy() for each in layers])
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise


class PackSet:
    """Hold the packs that train; too_large are the trials of which one member does not fit."""

    def __init__(self, settings: Sequence[Setting], rows: Rows, metric: str, seed: int) -> None:
        self.packs: list[Pack] = []
        self.too_large: set[int] = set()
        self._settings = settings
        self._rows = rows
        self._metric = metric
        self._seed = seed
        self._may_capture = True

    def build(self, plan: PackPlan, epochs: int = 0) -> None:
        """Add a pack trained for the given number of epochs; halve it until it fits into memory."""
        had_graphs = self._may_capture
        pack = self._replay(plan, epochs)
        if pack is None:
            self._halve(plan, epochs, had_graphs=had_graphs)
        else:
            self.packs.append(pack)

    def split(self, packs: Sequence[Pack], epochs: int) -> list[Pack]:
        """Replace packs that ran out of memory by smaller ones, and return those."""
        plans, had_graphs = [pack.plan for pack in packs], self._may_capture
        for pack in packs:
            self._free(pack)
        before = list(self.packs)
        for plan in plans:
            self._halve(plan, epochs, had_graphs=had_graphs)
        return [pack for pack in self.packs if pack not in before]

    def keep(self, living: frozenset[int]) -> None:
        """Drop every trial that is not among the living."""
        for pack in list(self.packs):
            if living.issuperset(pack.trials):
                continue
            plan = pack.plan.keep(living)
            if not plan.trials:
                self._free(pack)
            elif not _keep(pack, living):
                self._free(pack)
                self.build(plan, pack.epoch)

    def _free(self, pack: Pack) -> None:
        pack.free()
        self.packs.remove(pack)

    def _replay(self, plan: PackPlan, epochs: int) -> Pack | None:
        """Return the pack at an epoch; None if memory ran out, with all of it freed."""
        try:
            pack = Pack(plan, self._settings, self._rows, self._metric, self._seed)
            if not self._may_capture:
                pack.forgo_graphs()
            with device_lock(self._rows.like.device):
                for _ in range(epochs):
                    pack.train_epoch()
        except RuntimeError as error:
            if is_out_of_memory(error):
                return None
            raise
        return pack

    def _halve(self, plan: PackPlan, epochs: int, *, had_graphs: bool) -> None:
        """Replace a pack that ran out of memory by two of half the size.

        A single member that does not fit beside CUDA graphs is tried again without them, and
        everything after it is trained without them.
        """
        if self._rows.like.device.type == "cuda":
            torch.cuda.empty_cache()
        if plan.members > 1:
            for half in plan.halves():
                self.build(half, epochs)
        elif had_graphs:
            self._may_capture = False
            for pack in self.packs:
                pack.forgo_graphs()
            self.build(plan, epochs)
        else:
            self.too_large.add(plan.trials[0])


def _keep(pack: Pack, living: Collection[int]) -> bool:
    """Drop the other trials of a pack; return False if memory ran out."""
    try:
        pack.keep(living)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return False
        raise
    return True
