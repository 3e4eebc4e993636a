"""Training leaves torch's settings of the whole process as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from selection.train.device import count_workers, torch_settings

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
