"""The sources of a table: a file, read some rows at a time, or the frame of a study of arrays.

What is no file of rows is refused before anything of it is read.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from selection.data.arrow_file import ArrowFile
from selection.data.cells import MISSING_WORDS
from selection.data.columns import Cells
from selection.data.csv_file import CsvFile, CsvFormat, unreadable
from selection.data.labels import LabelKind
from selection.data.table_errors import empty_table
from selection.errors import DataError, ErrorDetail

CSV_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ARROW_SUFFIXES = (".parquet", ".feather")


class FileSource:
    """A file of rows, read some rows at a time."""

    def __init__(self, path: Path, form: CsvFormat) -> None:
        check_file(path)
        self.form = form
        self._arrow = ArrowFile(path) if path.suffix.lower() in ARROW_SUFFIXES else None
        self._csv = CsvFile(path, form)
        self._where = str(path)
        self._rest: Iterator[list[tuple[str, ...]]] = iter(())
        self._width = 0

    def names(self, wanted: Collection[str]) -> list[str]:
        """Return the names of the columns."""
        if self._arrow is not None:
            return self._arrow.names
        self._rest = self._csv.batches(wanted)
        header = next(self._rest, None)
        if header is None:
            raise DataError(empty_table(self._where))
        self._width = len(header)
        return [name for (name,) in header]

    def kinds(self) -> tuple[LabelKind | None, ...]:
        """Return what the labels of each column are."""
        text: list[LabelKind] = ["text"] * self._width
        return tuple(text if self._arrow is None else self._arrow.kinds())

    def batches(self) -> Iterable[Iterable[Cells]]:
        """Return the columns of some rows at a time."""
        return self._rest if self._arrow is None else self._arrow.batches()


class FrameSource:
    """The rows of a study of arrays, as one batch."""

    form = CsvFormat()

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def names(self, wanted: Collection[str]) -> list[str]:
        return list(map(str, self._frame.columns))

    def kinds(self) -> tuple[LabelKind | None, ...]:
        return (None,) * self._frame.shape[1]

    def batches(self) -> Iterable[Iterable[Cells]]:
        return [[self._frame.iloc[:, place] for place in range(self._frame.shape[1])]]


def guess_format(path: Path, form: CsvFormat, wanted: Collection[str] = ()) -> CsvFormat:
    """Return how a file seems to write its cells by its first rows, or form where nothing shows.

    wanted are names that a header may consist of.

    Raises: DataError if it cannot be read.
    """
    check_file(path)
    return (
        form if path.suffix.lower() in ARROW_SUFFIXES else CsvFile(path, form).guess_format(wanted)
    )


def make_format(path: Path, keys: Mapping[str, Any]) -> CsvFormat:
    """Return how a file writes its cells; keys are those of [data], None where one is left out."""
    is_tabbed = path.name.lower().endswith((".tsv", ".tsv.gz"))
    missing = keys.get("missing")
    return CsvFormat(
        delimiter=keys.get("delimiter") or ("\t" if is_tabbed else ","),
        decimal=keys.get("decimal") or ".",
        missing=MISSING_WORDS if missing is None else tuple(missing),
        encoding=keys.get("encoding") or "utf-8",
    )


def check_file(path: Path) -> None:
    """Refuse what is no file of rows, before anything of it is read."""
    where, name = str(path), path.name.lower()
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:/", where):
        hint = "Download it, and name the file."
        raise DataError(ErrorDetail(where, "a table must be a file on this machine", "a URL", hint))
    if not name.endswith((*CSV_SUFFIXES, *ARROW_SUFFIXES)):
        rule = "a table must be a .csv, .tsv, .csv.gz, .parquet or .feather file"
        raise DataError(ErrorDetail(where, rule, path.suffix or "no suffix", "Convert it."))
    try:
        info = path.stat()
    except ValueError:  # such as a NUL in the name
        raise DataError(unreadable(path, OSError(0, "a name that no file has"))) from None
    except OSError as error:
        raise DataError(unreadable(path, error)) from None
    if stat.S_ISDIR(info.st_mode):
        raise DataError(unreadable(path, IsADirectoryError(21, "Is a directory")))
    if not stat.S_ISREG(info.st_mode):
        hint = "Write the rows into a file."
        raise DataError(ErrorDetail(where, "a table must be a regular file", "a device", hint))
    if not info.st_size:
        raise DataError(empty_table(where))
