"""Retries while a database server restarts, so that trained results are not lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from selection.errors import UnreachableError

Value = TypeVar("Value")
RETRY_SECONDS = 300.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0


def retry(
    act: Callable[[], Value], say: Callable[[str], None], seconds: float = RETRY_SECONDS
) -> Value:
    """Call act, which must be safe to repeat, until the server responds.

    Raises: UnreachableError if it has not responded after this many seconds.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return act()
        except UnreachableError as error:
            if time.monotonic() + pause > deadline:
                raise
            if pause == FIRST_PAUSE_SECONDS:
                say(f"{error} Trying again for {seconds:g} seconds.")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
