"""A captured step owns the memory it computes in, on every supported torch.

Tested on a fake of CUDA's allocator that tracks which stream has a workspace, which pool it lies in
and who may use it. A replay fails if it touches memory that the graph does not own. Each version of
the fake frees workspaces as that torch does.
"""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from selection.train import graph as graph_module
from selection.train.graph import StepGraph, _Memory, device_lock

VERSIONS = ("2.11", "2.12", "2.15")


@dataclass(eq=False)
class Pool:
    """The private memory of the graphs that were captured into it."""

    graphs: int = 0
    is_gone: bool = False


@dataclass(eq=False)
class Block:
    """Some memory: of a pool, or of everybody's."""

    pool: Pool | None
    is_in_use: bool = True


@dataclass(eq=False)
class Cuda:
    """Stand in for torch.cuda, as far as graphs and workspaces go."""

    version: str
    stream: str = "default"
    capturing: Graph | None = None
    workspaces: dict[str, Block] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)

    def product(self) -> None:
        """Multiply matrices on the current stream, in a workspace."""
        pool = self.capturing.pool if self.capturing else None
        if self.version == "2.15":
            block = Block(pool)
            block.is_in_use = False  # as soon as the product is asked for
        else:
            block = self.workspaces.setdefault(self.stream, Block(pool))
        if self.capturing:
            self.capturing.blocks.append(block)
        else:
            self.runs.append(self.stream)

    def clear(self, stream: str | None = None) -> None:
        """Give workspaces back, those of one stream or all."""
        for name in [stream] if stream else list(self.workspaces):
            block = self.workspaces.pop(name, None)
            if block:
                block.is_in_use = False

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        before, self.stream = self.stream, stream.name
        try:
            yield
        finally:
            self.stream = before


@dataclass(eq=False)
class Stream:
    cuda: Cuda
    name: str

    def wait_stream(self, other: Stream) -> None:
        self.cuda.runs.append(f"{self.name} waits for {other.name}")


class Graph:
    """Stand in for torch.cuda.CUDAGraph."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.blocks: list[Block] = []
        self.pool: Pool | None = None
        self.stream = ""

    def replay(self) -> None:
        assert self.pool is not None, "nothing was captured"
        for block in self.blocks:
            is_own = block.pool is not None and block.pool.graphs > 0
            assert is_own or block.is_in_use, "replay into memory the graph does not own"
        self.cuda.runs.append("replay")

    def __del__(self) -> None:
        if self.pool is not None:
            if self.cuda.version == "2.12":
                self.cuda.clear(self.stream)
            self.pool.graphs -= 1
            self.pool.is_gone = self.pool.graphs == 0


@contextmanager
def capture(graph: Graph, pool: Pool, stream: Stream, capture_error_mode: str) -> Iterator[None]:
    assert capture_error_mode == "thread_local"
    cuda = graph.cuda
    assert not pool.is_gone, "torch refuses memory whose last graph is gone"
    cuda.stream, cuda.capturing = stream.name, graph
    graph.pool, graph.stream = pool, stream.name
    pool.graphs += 1
    try:
        yield
    except RuntimeError:
        # As torch 2.11 does: the stream of the capture stays the current one.
        cuda.capturing = None
        raise
    cuda.capturing, cuda.stream = None, "default"


@pytest.fixture
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda(request.param)

    def new_pool() -> Pool:
        made.pools.append(Pool())
        return made.pools[-1]

    side = Stream(made, "side")
    for name, stand_in in {
        "current_stream": lambda: Stream(made, made.stream),
        "stream": made.on,
        "CUDAGraph": lambda: Graph(made),
        "graph": capture,
        "graph_pool_handle": new_pool,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", made.clear, raising=False)
    monkeypatch.setattr(graph_module, "_side", lambda: side)
    monkeypatch.setattr(graph_module, "_MEMORY", _Memory())
    return made


every_torch = pytest.mark.parametrize("cuda", VERSIONS, indirect=True)


@every_torch
def test_replay_stays_in_its_own_memory_as_other_graphs_come_and_go(cuda: Cuda) -> None:
    first, second, third = (StepGraph(cuda.product) for _ in range(3))
    cuda.product()
    second.replay()
    del first
    third.replay()
    second.replay()
    fourth = StepGraph(cuda.product)
    del second
    third.replay()
    del third
    fourth.replay()
    cuda.clear()
    fourth.replay()


@pytest.mark.parametrize("cuda", ["2.12"], indirect=True)
def test_the_fake_catches_a_replay_into_freed_memory(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without workspaces of their own, graphs fail as torch 2.12 to 2.14 make them fail."""

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    monkeypatch.setattr(graph_module, "_own_workspaces", nothing)
    first, second = StepGraph(cuda.product), StepGraph(cuda.product)
    second.replay()
    del first
    with pytest.raises(AssertionError, match="memory the graph does not own"):
        second.replay()


@every_torch
def test_a_step_runs_once_before_it_is_captured_and_both_streams_wait(cuda: Cuda) -> None:
    graph = StepGraph(cuda.product)
    assert cuda.runs == ["side waits for default", "side", "default waits for side"]
    graph.replay()
    assert cuda.runs[3:] == ["replay"]
    assert cuda.stream == "default"


@every_torch
def test_the_pool_is_shared_while_a_graph_lives_and_new_after_the_last(cuda: Cuda) -> None:
    first, second = StepGraph(cuda.product), StepGraph(cuda.product)
    assert [pool.graphs for pool in cuda.pools] == [2]
    del first
    third = StepGraph(cuda.product)
    assert [pool.graphs for pool in cuda.pools] == [2]
    del second, third
    assert not any(block.pool for block in cuda.workspaces.values()), (
        "a cached workspace keeps the pool alive"
    )
    fourth = StepGraph(cuda.product)
    fourth.replay()
    assert [pool.graphs for pool in cuda.pools] == [0, 1]


@every_torch
@pytest.mark.parametrize("failing", [1, 2], ids=["in the warm-up", "in the capture"])
def test_a_step_that_runs_out_of_memory_leaves_no_trace(cuda: Cuda, failing: int) -> None:
    calls = itertools.count(1)

    def step() -> None:
        if next(calls) == failing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        cuda.product()

    other = StepGraph(cuda.product)
    with pytest.raises(torch.OutOfMemoryError):
        StepGraph(step)
    gc.collect()
    assert cuda.stream == "default"
    assert cuda.runs[-1] == "default waits for side"
    assert [pool.graphs for pool in cuda.pools] == [1]
    other.replay()
    StepGraph(cuda.product).replay()
    other.replay()


@pytest.mark.usefixtures("cuda")
@every_torch
def test_no_garbage_is_collected_during_a_capture() -> None:
    """The end of somebody's graph on this thread would invalidate the capture."""
    seen: list[bool] = []

    def step() -> None:
        seen.append(gc.isenabled())
        if len(seen) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    StepGraph(step)
    assert seen == [True, False]
    with pytest.raises(torch.OutOfMemoryError):
        StepGraph(step)
    assert seen == [True, False] * 2
    assert gc.isenabled()
    gc.disable()
    try:
        StepGraph(step)
        assert not gc.isenabled(), "it stays as it was"
    finally:
        gc.enable()


@every_torch
def test_the_last_other_graph_may_end_while_a_capture_begins(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [StepGraph(cuda.product)]

    def begin(*args: Any, **kwargs: Any) -> Any:
        others.clear()
        return capture(*args, **kwargs)

    monkeypatch.setattr(torch.cuda, "graph", begin)
    StepGraph(cuda.product).replay()
    assert len(cuda.pools) == 1


def test_packs_lock_a_gpu_and_train_side_by_side_on_a_cpu() -> None:
    def is_free(device: str) -> bool:
        found: list[bool] = []

        def evaluation() -> None:
            held: Any = device_lock(torch.device(device))
            is_lock = hasattr(held, "acquire")
            found.append(not is_lock or held.acquire(blocking=False))
            if is_lock and found[0]:
                held.release()

        thread = threading.Thread(target=evaluation)
        thread.start()
        thread.join()
        return found[0]

    with device_lock(torch.device("cuda")), device_lock(torch.device("cuda")):
        assert not is_free("cuda")
    assert is_free("cuda")
    with device_lock(torch.device("cpu")):
        assert is_free("cpu")
