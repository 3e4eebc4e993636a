"""The charts that pages asked for, as JSON, drawn again only when something has changed.

While workers train, a chart is drawn again only after a pause, so that drawing does not slow down a
sweep on the same machine.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# While workers train, a chart is kept for 100 times as long as it took to draw, and for at least
# 15 seconds.
PAUSE_PER_SECOND, LEAST_PAUSE_SECONDS = 100.0, 15.0
MOST_CHARTS = 256


@dataclass(frozen=True)
class CachedChart:
    """Hold a chart as JSON, what it was drawn from, and what it cost."""

    text: str
    version: Any
    drawn_at: float
    seconds: float

    def may_stay(self, version: Any, *, is_busy: bool) -> bool:
        """Say whether it may still be shown: nothing is new, or it is too early to draw again."""
        age = time.monotonic() - self.drawn_at
        pause = max(PAUSE_PER_SECOND * self.seconds, LEAST_PAUSE_SECONDS)
        return self.version == version or (is_busy and age < pause)


class ChartCache:
    """Keep charts by what they show; one is drawn at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Any, CachedChart] = {}

    def get(self, key: Any, version: Any, draw: Callable[[], Any], *, is_busy: bool) -> str:
        """Return a chart as JSON; an old one may be returned while workers are busy."""
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is None or not kept.may_stay(version, is_busy=is_busy):
                started = time.thread_time()
                text = json.dumps(draw(), allow_nan=False, separators=(",", ":"))
                seconds = time.thread_time() - started
                kept = CachedChart(text, version, time.monotonic(), seconds)
            self._kept[key] = kept
            while len(self._kept) > MOST_CHARTS:
                del self._kept[next(iter(self._kept))]
            return kept.text
