"""Fixtures that several rooms share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and busy machines lose much by them."""
    torch.set_num_threads(1)
