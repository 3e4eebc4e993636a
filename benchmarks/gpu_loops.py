"""How many times longer does a model take in a loop over single models?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gpu_pace import Pace
from gpu_setup import BATCH, CLASSES, FEATURES, FOLDS, SEED, WIDTH, Size, note, seconds_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from selection.data.prepare import FoldData


@dataclass(frozen=True, eq=False)
class Resident:
    """Hold the rows of one fold on the device, and which of them train and are scored."""

    features: Tensor
    targets: Tensor
    training: Tensor
    scored: Tensor


def make_resident(fold: FoldData, device: torch.device) -> Resident:
    """Return a fold's rows; as many training rows are scored as validation rows, as packs do."""
    scored = np.concatenate([fold.validation, fold.training[: len(fold.validation)]])
    parts = (fold.features, fold.targets, fold.training, scored)
    return Resident(*(torch.from_numpy(part).to(device) for part in parts))


class Loop:
    """Train one model as users do, with its rows on the device."""

    def __init__(self, rows: Resident) -> None:
        self.rows = rows
        device = rows.features.device
        torch.manual_seed(SEED)
        self.model = nn.Sequential(
            nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
        ).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)

    def step(self, batch: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.model(self.rows.features[batch]), self.rows.targets[batch])
        loss.backward()
        self.optimizer.step()

    def epoch(self) -> tuple[float, float]:
        """Train an epoch; return the loss and the score after it."""
        training = self.rows.training
        order = torch.randperm(len(training), device=training.device)
        for batch in training[order].split(BATCH):
            self.step(batch)
        with torch.no_grad():
            outputs = self.model(self.rows.features[self.rows.scored])
            targets = self.rows.targets[self.rows.scored]
            hits = (outputs.argmax(dim=1) == targets).double().mean()
            return float(cross_entropy(outputs, targets)), float(hits)


class GraphedLoop(Loop):
    """Train one model by a CUDA graph of its step; the last, partial batch goes without.

    Source: torch's notes on CUDA graphs, whole-network capture.
    """

    def __init__(self, rows: Resident) -> None:
        super().__init__(rows)
        self.batch = rows.training[:BATCH].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                super().step(self.batch)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            super().step(self.batch)

    def step(self, batch: Tensor) -> None:
        if len(batch) < len(self.batch):
            super().step(batch)
            return
        self.batch.copy_(batch)
        self.graph.replay()


@dataclass(frozen=True)
class Peer:
    """Hold how long one epoch of one model takes. Units: seconds."""

    name: str
    member_epoch: float


def peers(fold: FoldData, device: torch.device, pace: Pace, size: Size) -> list[Peer]:
    """Time a few epochs of one model each way; ours is the share of one in the largest pack."""
    rows = make_resident(fold, device)
    loops: dict[str, type[Loop]] = {"eager, rows resident": Loop}
    if device.type == "cuda":
        loops["one CUDA graph per model"] = GraphedLoop
    found = [Peer("ours", pace.whole / (pace.trials * FOLDS * size.epochs))]
    for name, kind in loops.items():
        loop = kind(rows)
        loop.epoch()
        epochs = range(size.peer_epochs)
        found.append(Peer(name, statistics.median(seconds_of(loop.epoch, device) for _ in epochs)))
        note(name)
    return found


def print_peers(found: Sequence[Peer], pace: Pace) -> None:
    print(
        "One epoch of one model on one fold, scored on the same number of rows, strict float32. "
        f"Ours is the share of one member\nin a whole training of {pace.trials} trials x {FOLDS} "
        "folds; a loop trains one model after the other.\n"
    )
    print("| who | ms per model and epoch | times ours |")
    print("| --- | ---: | ---: |")
    ours = found[0].member_epoch
    for peer in found:
        milliseconds = 1000 * peer.member_epoch
        print(f"| {peer.name} | {milliseconds:.3f} | {peer.member_epoch / ours:.1f} |")
