"""One training step as a CUDA graph: a GPU starts all of its kernels at once.

A step of a pack is some forty small kernels; started one by one from Python they take longer than
they compute. Source: torch.cuda.CUDAGraph and its notes on whole-network capture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


class StepGraph:
    """Hold a captured step: work on tensors that stay where they are, without a look at values."""

    def __init__(self, step: Callable[[], None]) -> None:
        """Run the step once, which warms up its libraries, and capture it without running it."""
        now = torch.cuda.current_stream()
        side, pool, _ = _side()
        side.wait_stream(now)
        try:
            with torch.cuda.stream(side):
                step()
        finally:
            # Out of memory, too: what is freed now may still be in use on the side.
            now.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads propose and store meanwhile; their calls are no part of this.
        mode = "thread_local"
        with torch.cuda.graph(self._graph, pool, side, capture_error_mode=mode):
            step()

    def replay(self) -> None:
        """Run the step once more."""
        self._graph.replay()


@cache
def _side() -> tuple[torch.cuda.Stream, Any, torch.cuda.CUDAGraph]:
    """Return the stream on which all steps are captured, and the memory that all of them use.

    Steps are replayed one after another and leave nothing in that memory, so they can share it. It
    lasts as long as a graph that uses it: the last one returned, which is never replayed.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    pool: Any = torch.cuda.graph_pool_handle()
    keeper = torch.cuda.CUDAGraph()
    with torch.cuda.graph(keeper, pool, side, capture_error_mode="thread_local"):
        torch.zeros(1, device="cuda")
    return side, pool, keeper


def has_graphs(device: torch.device) -> bool:
    """Say whether steps can be captured on this device."""
    return device.type == "cuda"
