"""What goes wrong a thousand times a second fills no disk."""

from __future__ import annotations

import io
import logging

import pytest

from selection.serve import log_limit
from selection.serve.log_limit import LimitedHandler, LogWriter


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(stream: io.StringIO) -> logging.Logger:
    logger = logging.Logger("limited")
    logger.addHandler(LimitedHandler(stream))
    return logger


def test_a_flood_is_cut_and_counted(
    logger: logging.Logger, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_limit, "LINES_PER_SECOND", 0.0)
    for number in range(10_000):
        logger.warning("line %d", number)
    assert len(stream.getvalue().splitlines()) == log_limit.MOST_LINES
    monkeypatch.setattr(log_limit, "LINES_PER_SECOND", 1e9)
    logger.warning("again")
    *_, note, last = stream.getvalue().splitlines()
    assert note == f"({10_000 - log_limit.MOST_LINES} lines of the log were left out here)"
    assert last == "WARNING: again"


def test_each_line_of_a_stack_counts(
    logger: logging.Logger, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_limit, "LINES_PER_SECOND", 0.0)
    for _ in range(1000):
        try:
            raise ValueError("deep\n" * 50)
        except ValueError:
            logger.exception("wrong")
    assert len(stream.getvalue().splitlines()) == log_limit.MOST_LINES


def test_what_a_client_sent_is_shown_as_escapes(
    logger: logging.Logger, stream: io.StringIO
) -> None:
    logger.warning("path %s", "/\x1b]0;title\x07\r")
    assert stream.getvalue() == "WARNING: path /\\x1b]0;title\\x07\\r\n"


def test_a_closed_stderr_does_not_end_the_server(logger: logging.Logger) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    logger.addHandler(LimitedHandler(Full()))
    logger.warning("nobody reads this")


def test_a_file_of_errors_is_a_log(logger: logging.Logger, stream: io.StringIO) -> None:
    writer = LogWriter(logger)
    writer.write("one\ntw")
    writer.writelines(["o\n", "rest"])
    writer.flush()
    assert stream.getvalue() == "ERROR: one\nERROR: two\n"
