"""Silences Optuna's log for the moment in which a study is created, and never longer.

Optuna reports at INFO every study that it creates, even one in memory that answers one question.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Hide what Optuna logs below WARNING while the block runs."""
    logger = logging.getLogger("optuna")
    # The level belongs to the whole process: one thread changes and restores it at a time.
    with _LOCK:
        level = logger.level
        logger.setLevel(max(level, logging.WARNING))
        try:
            yield
        finally:
            logger.setLevel(level)
