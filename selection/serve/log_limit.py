"""What the server writes to stderr: so many lines per second, however many requests go wrong."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from selection.report.terminal.readable import readable_lines

LINES_PER_SECOND, MOST_LINES = 5.0, 200


class LimitedHandler(logging.Handler):
    """Write records until their lines are more than allowed, and say how many were left out."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        self._stream = stream
        self._allowed = float(MOST_LINES)
        self._filled_at = time.monotonic()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = readable_lines(self.format(record)).splitlines()
            now = time.monotonic()
            more = (now - self._filled_at) * LINES_PER_SECOND
            self._allowed, self._filled_at = min(self._allowed + more, MOST_LINES), now
            shown = lines[: int(self._allowed)]
            self._allowed -= len(shown)
            if shown and self._left_out:
                shown.insert(0, f"({self._left_out} lines of the log were left out here)")
                self._left_out = 0
            self._left_out += len(lines) - min(len(lines), len(shown))
            self._stream.write("".join(f"{line}\n" for line in shown))
            self._stream.flush()
        except OSError:
            # Nobody reads stderr any more; the server goes on.
            pass
        except Exception:
            self.handleError(record)


class LogWriter:
    """Be a file for programs that write errors to one: each line becomes a record of a log."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._rest = ""

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._logger.error("%s", line)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Keep what is no whole line yet."""


@contextmanager
def limited_log() -> Iterator[None]:
    """Let every logger without a handler of its own write through one that is limited."""
    root, handler = logging.getLogger(), LimitedHandler(sys.stderr)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
