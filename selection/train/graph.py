"""Captured work as a CUDA graph: a GPU starts all of its kernels at once.

A step of a pack is about thirty small kernels; started one by one from Python, starting them takes
longer than computing. A graph holds addresses: the memory that it reads and writes must not move
after the capture. A pack's tensors never do; cuBLAS workspaces are forced not to (decision 21).
Source: torch.cuda.CUDAGraph, its notes on whole-network capture, and torch's own compiler
(torch/_inductor/cudagraph_trees.py).
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch

_GPU_LOCK = threading.RLock()


class StepGraph:
    """Hold captured work. It always uses the same tensors and never reads values on the host."""

    def __init__(self, step: Callable[[], None]) -> None:
        """Run the step once, which warms up its libraries, and capture it without running it."""
        now, side = torch.cuda.current_stream(), _side()
        side.wait_stream(now)
        try:
            with torch.cuda.stream(side):
                step()
        finally:
            # Also after an out-of-memory error: the side stream may still use what is freed now.
            now.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads run the sampler and storage meanwhile; they must not disturb the capture.
        mode = "thread_local"
        with (
            _MEMORY.pool() as pool,
            # If a capture fails to end, torch leaves its stream current; this restores ours.
            torch.cuda.stream(now),
            _own_workspaces(),
            _without_gc(),
            torch.cuda.graph(self._graph, pool, side, capture_error_mode=mode),
        ):
            step()
        _MEMORY.add(self)

    def replay(self) -> None:
        """Run the step once more."""
        self._graph.replay()


class _Memory:
    """Hand out the memory pool that all graphs use.

    Graphs run one after another and leave nothing in it, so they can share it. When the last graph
    is gone torch can free the memory, and the next graph gets a new pool: the peak of the largest
    cohort is not held for the rest of the study.
    """

    def __init__(self) -> None:
        self._graphs: weakref.WeakSet[StepGraph] = weakref.WeakSet()
        self._pool: Any = None

    @contextmanager
    def pool(self) -> Iterator[Any]:
        """Lend the pool to a capture; the graphs that use it stay alive until the capture ends."""
        alive = list(self._graphs)
        if not alive:
            self._pool = torch.cuda.graph_pool_handle()
        yield self._pool

    def add(self, graph: StepGraph) -> None:
        """Remember that a graph uses the pool."""
        self._graphs.add(graph)


_MEMORY = _Memory()


@cache
def _side() -> torch.cuda.Stream:
    """Return the stream on which everything is captured."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """Make captured products take their cuBLAS workspaces from the graphs' memory.

    Before 2.15, torch caches one workspace per stream (later versions do with
    TORCH_CUBLAS_WORKSPACE_CACHE=1), and 2.12 to 2.14 free it when any graph captured on that stream
    ends. Clearing the cache before a capture makes it allocate its own workspace in the graphs'
    memory; clearing it afterwards leaves nothing for torch to free. By default both calls do
    nothing since 2.15.
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


@contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the garbage collector away: freeing somebody's graph would invalidate the capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def has_graphs(device: torch.device) -> bool:
    """Return whether steps can be captured on this device."""
    return device.type == "cuda"


def device_lock(device: torch.device) -> AbstractContextManager[Any]:
    """Return the lock that a pack holds while it computes; on a CPU it locks nothing.

    A GPU runs one pack of this process at a time: all graphs share one memory pool, and a capture
    clears the cuBLAS workspaces of every stream.
    """
    return _GPU_LOCK if has_graphs(device) else nullcontext()
