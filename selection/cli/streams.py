"""The streams of the command line: closed, full, or read by a program that has ended."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any

from selection.errors import ErrorDetail, OutputError, StudyStateError


class LostOutputError(OSError):
    """Results could not be written to stdout."""


class Output(io.TextIOWrapper):
    """Be stdout, and say that it was stdout where writing fails: a file has no name then."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise LostOutputError(error.errno, error.strerror) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise LostOutputError(error.errno, error.strerror) from None


class Progress(io.TextIOWrapper):
    """Be stderr: progress that nobody can read is no reason to stop a sweep."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def open_streams() -> None:
    """Make the streams ready, and give those that the caller closed a file.

    The next file that is opened would take the number of a closed one, and a database would be
    written to by whoever prints. Writing to a closed stdout fails; what is said on a closed stderr
    is lost.
    """
    for number, flag in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flag)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _renewed(Output, sys.stdout, 1)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _renewed(Progress, sys.stderr, 2)


def _renewed(kind: type[io.TextIOWrapper], old: Any, number: int) -> io.TextIOWrapper:
    """Return a stream of another kind on the same file.

    A name that the encoding of a terminal lacks is shown as an escape.
    """
    errors = "backslashreplace"
    if old is None:
        return kind(os.fdopen(number, "wb", closefd=False), errors=errors)
    return kind(
        old.buffer,
        encoding=old.encoding,
        errors=errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )


def require_working_directory() -> None:
    """Refuse to work in a folder that was deleted, where libraries crash as they are loaded.

    Raises: StudyStateError.
    """
    try:
        os.getcwd()
    except OSError:
        hint = "Change into another folder: cd DIR."
        detail = ErrorDetail("working directory", "it must exist", "a deleted folder", hint)
        raise StudyStateError(detail) from None


def give_up_output(error: LostOutputError) -> OutputError:
    """Let what is not written yet go nowhere, so that the process can end, and return the error."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    if error.errno == errno.EPIPE:
        return OutputError()
    hint = "Free space, or write them elsewhere."
    got = error.strerror or "an error"
    return OutputError(ErrorDetail("stdout", "results must be written", got, hint))
