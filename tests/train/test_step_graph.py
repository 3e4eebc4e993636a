"""A captured step owns all that it computes in, under every torch: on a model of CUDA's memory.

The model keeps what decides: which stream has a workspace for products, whose memory it lies in,
and who may use that memory. It replays a graph only where all addresses the graph holds are its
own. Each torch of the model frees workspaces as the real one does.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from selection.train import graph as graph_module
from selection.train.graph import StepGraph, _Memory, turn

TORCHES = ("2.11", "2.12", "2.15")


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
    """Stand for torch.cuda as far as graphs and workspaces go."""

    torch: str
    stream: str = "default"
    capturing: Graph | None = None
    workspaces: dict[str, Block] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)

    def product(self) -> None:
        """Multiply matrices on the current stream, in a workspace."""
        pool = self.capturing.pool if self.capturing else None
        if self.torch == "2.15":
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
    """Stand for torch.cuda.CUDAGraph."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.blocks: list[Block] = []
        self.pool: Pool | None = None
        self.stream = ""

    def replay(self) -> None:
        assert self.pool is not None, "nothing was captured"
        for block in self.blocks:
            is_own = block.pool is not None and block.pool.graphs > 0
            assert is_own or block.is_in_use, "a replay into memory of others"
        self.cuda.runs.append("replay")

    def __del__(self) -> None:
        if self.pool is not None:
            if self.cuda.torch == "2.12":
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


every_torch = pytest.mark.parametrize("cuda", TORCHES, indirect=True)


@every_torch
def test_a_graph_is_replayed_in_its_own_memory_whoever_comes_and_goes(cuda: Cuda) -> None:
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
def test_the_model_finds_a_replay_into_memory_of_others(
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
    with pytest.raises(AssertionError, match="memory of others"):
        second.replay()


@every_torch
def test_a_step_runs_once_before_it_is_captured_and_both_streams_wait(cuda: Cuda) -> None:
    graph = StepGraph(cuda.product)
    assert cuda.runs == ["side waits for default", "side", "default waits for side"]
    graph.replay()
    assert cuda.runs[3:] == ["replay"]
    assert cuda.stream == "default"


@every_torch
def test_memory_is_shared_while_a_graph_lives_and_given_back_after_the_last(cuda: Cuda) -> None:
    first, second = StepGraph(cuda.product), StepGraph(cuda.product)
    assert [pool.graphs for pool in cuda.pools] == [2]
    del first
    third = StepGraph(cuda.product)
    assert [pool.graphs for pool in cuda.pools] == [2]
    del second, third
    assert not any(block.pool for block in cuda.workspaces.values()), "one keeps all the memory"
    fourth = StepGraph(cuda.product)
    fourth.replay()
    assert [pool.graphs for pool in cuda.pools] == [0, 1]


@every_torch
@pytest.mark.parametrize("failing", [1, 2], ids=["before", "in the capture"])
def test_a_step_that_runs_out_of_memory_leaves_no_trace(cuda: Cuda, failing: int) -> None:
    calls: list[Callable[[], None]] = []

    def step() -> None:
        calls.append(step)
        if len(calls) == failing:
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


def test_packs_take_turns_on_a_gpu_and_train_side_by_side_on_a_cpu() -> None:
    def is_free(device: str) -> bool:
        found: list[bool] = []

        def look() -> None:
            held = turn(torch.device(device))
            is_lock = hasattr(held, "acquire")
            found.append(not is_lock or held.acquire(blocking=False))
            if is_lock and found[0]:
                held.release()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return found[0]

    with turn(torch.device("cuda")), turn(torch.device("cuda")):
        assert not is_free("cuda")
    assert is_free("cuda")
    with turn(torch.device("cpu")):
        assert is_free("cpu")
