"""One training step as a CUDA graph: a GPU starts all of its kernels at once.

A step of a pack is some forty small kernels; started one by one from Python they take longer than
they compute. A graph holds addresses: what it reads and writes must stay where it was when the step
was captured. Tensors of a pack do; the workspaces of cuBLAS are made to (decision 17).
Source: torch.cuda.CUDAGraph, its notes on whole-network capture, and torch's own compiler
(torch/_inductor/cudagraph_trees.py).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch

_TURN = threading.RLock()


class StepGraph:
    """Hold a captured step: work on tensors that stay where they are, without a look at values."""

    def __init__(self, step: Callable[[], None]) -> None:
        """Run the step once, which warms up its libraries, and capture it without running it."""
        now, side = torch.cuda.current_stream(), _side()
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
        with (
            # A capture that cannot be ended leaves its own stream behind as the current one.
            torch.cuda.stream(now),
            _own_workspaces(),
            torch.cuda.graph(self._graph, _MEMORY.pool(), side, capture_error_mode=mode),
        ):
            step()
        _MEMORY.add(self)

    def replay(self) -> None:
        """Run the step once more."""
        self._graph.replay()


class _Memory:
    """Hand out the memory that all graphs use.

    Steps are replayed one after another and leave nothing in it, so graphs can share it. Where none
    is alive any more it is given back, and the next one begins anew: what the largest cohort of a
    study needed is not kept to its end.
    """

    def __init__(self) -> None:
        self._graphs: weakref.WeakSet[StepGraph] = weakref.WeakSet()
        self._pool: Any = None

    def pool(self) -> Any:
        """Return the memory for the next graph."""
        if not self._graphs:
            self._pool = torch.cuda.graph_pool_handle()
        return self._pool

    def add(self, graph: StepGraph) -> None:
        """Remember that a graph uses the memory."""
        self._graphs.add(graph)


_MEMORY = _Memory()


@cache
def _side() -> torch.cuda.Stream:
    """Return the stream on which all steps are captured."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """Make products that are captured meanwhile take their workspaces from the graphs' memory.

    Before 2.15, and later where it is told to, torch keeps a workspace for each stream, and from
    2.12 on frees it as soon as any graph of that stream ends. Without one at the beginning, the
    capture makes its own in the memory of graphs; without one at the end, there is nothing left to
    free. Since 2.15 torch itself does so, and both calls do nothing.
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def has_graphs(device: torch.device) -> bool:
    """Say whether steps can be captured on this device."""
    return device.type == "cuda"


def turn(device: torch.device) -> AbstractContextManager[Any]:
    """Return what a pack holds while it computes: on a GPU, one at a time in this process.

    All graphs share one memory, and a capture takes the workspaces of everybody's products away.
    """
    return _TURN if has_graphs(device) else nullcontext()
