"""One training step as a CUDA graph: a GPU starts all of its kernels at once.

A step of a pack is some forty small kernels; started one by one from Python they take longer than
they compute. Source: torch.cuda.CUDAGraph and its notes on whole-network capture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


class StepGraph:
    """Hold a captured step: work on tensors that stay where they are, without a look at values."""

    def __init__(self, step: Callable[[], None]) -> None:
        """Run the step once, which warms up its libraries, and capture it without running it."""
        now = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(now)
        with torch.cuda.stream(side):
            step()
        now.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads propose and store meanwhile; their calls are no part of this.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            step()

    def replay(self) -> None:
        """Run the step once more."""
        self._graph.replay()


def has_graphs(device: torch.device) -> bool:
    """Say whether steps can be captured on this device."""
    return device.type == "cuda"
