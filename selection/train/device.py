"""Chooses the device and its worker threads, and recognises errors of too little memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Literal, get_args

import torch

from selection.errors import DeviceError, ErrorDetail, nearest_name, show
from selection.study.setting import Precision
from selection.train.host_memory import keep_memory

DeviceName = Literal["auto", "cpu", "cuda"]
Device = torch.device


def choose_device(name: DeviceName) -> Device:
    """Return the device to train on; "auto" takes CUDA where it is present.

    Raises: DeviceError if the name is unknown, or CUDA is asked for and absent.
    """
    names = get_args(DeviceName)
    if name not in names:
        rule, hint = f"the device must be one of {', '.join(names)}", nearest_name(name, names)
        raise DeviceError(ErrorDetail("device", rule, show(name), hint))
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise DeviceError(
            ErrorDetail(
                "--device",
                "cuda needs a CUDA device and driver",
                "none",
                "Use --device auto or --device cpu.",
            )
        )
    return torch.device("cpu")


def make_workers(count: int) -> ThreadPoolExecutor:
    """Return the threads that train packs side by side."""
    keep_memory()
    return ThreadPoolExecutor(count)


@contextmanager
def torch_settings(precision: Precision, device: Device) -> Iterator[None]:
    """Set what torch keeps for the whole process while packs train, and restore it afterwards.

    On a CPU each pack computes on one core, so packs do not wait for each other at every product.
    CUDA rounds products of float32 to TF32 where the study asks for it.
    """
    threads, rounding = torch.get_num_threads(), torch.get_float32_matmul_precision()
    _cores()  # remembered before it is changed
    if device.type == "cpu":
        torch.set_num_threads(1)
    else:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(rounding)


def count_workers(device: Device) -> int:
    """Return how many packs may train side by side: one per core, or one on a GPU."""
    return _cores() if device.type == "cpu" else 1


@cache
def physical_memory() -> int:
    """Return the bytes of this machine's memory; where the system does not say, 8 GiB."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 8 * 2**30


def work_format(precision: Precision) -> torch.dtype:
    """Return the number format of hidden layers; that of tf32 is float32."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def share_of_machine(workers: int, device: Device) -> list[dict[str, str]]:
    """Return the environment of each of several processes that train side by side.

    The threads are divided among them, and they take turns on the GPUs.
    """
    shares = [{"OMP_NUM_THREADS": str(max(_cores() // workers, 1))} for _ in range(workers)]
    if device.type == "cuda":
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = seen.split(",") if seen else [str(n) for n in range(torch.cuda.device_count())]
        for index, share in enumerate(shares):
            share["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return shares


@cache
def _cores() -> int:
    """Return torch's own number of threads, as it was before it was set to one."""
    return torch.get_num_threads()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a RuntimeError means that memory ran out, on a GPU or in the host."""
    texts = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    is_named = any(text in str(error) for text in texts)
    if isinstance(error, torch.OutOfMemoryError) or is_named:
        return True
    # The end of a capture that ran out of memory is an error of its own.
    cause = error.__context__
    return isinstance(cause, RuntimeError) and is_out_of_memory(cause)


def describe_device(device: Device) -> dict[str, str | int]:
    """Return the facts of the device for the record: results repeat exactly on the same device."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "threads": _cores()}
    return {"device": "cpu", "threads": _cores()}
