"""Training leaves torch's settings of the whole process as they were; workers share a machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from selection.train import device
from selection.train.device import count_workers, share_of_machine, torch_settings

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    threads, rounding = torch.get_num_threads(), torch.get_float32_matmul_precision()
    count_workers(CPU)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(rounding)


def test_a_pack_has_one_core_and_other_people_get_theirs_back() -> None:
    with torch_settings("float32", CPU):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("precision", "inside"), [("tf32", "high"), ("float32", "highest"), ("bfloat16", "highest")]
)
def test_cuda_rounds_products_as_the_study_asks(precision: str, inside: str) -> None:
    torch.set_float32_matmul_precision("medium")
    with torch_settings(precision, CUDA):  # type: ignore[arg-type]
        assert torch.get_float32_matmul_precision() == inside
        assert torch.get_num_threads() == 3
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(
    ("cores", "workers", "threads"), [(8, 2, "4"), (7, 3, "2"), (2, 3, "1"), (4, 1, "4")]
)
def test_threads_are_divided_and_everyone_has_one(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: str
) -> None:
    monkeypatch.setattr(device, "_cores", lambda: cores)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert (
        share_of_machine(workers, torch.device("cpu")) == [{"OMP_NUM_THREADS": threads}] * workers
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(None, ["0", "1", "0"]), ("", ["0", "1", "0"]), ("3,GPU-7f", ["3", "GPU-7f", "3"])],
)
def test_workers_take_turns_on_the_gpus(
    monkeypatch: pytest.MonkeyPatch, seen: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    shares = share_of_machine(3, torch.device("cuda"))
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == expected
    assert all(int(share["OMP_NUM_THREADS"]) >= 1 for share in shares)
