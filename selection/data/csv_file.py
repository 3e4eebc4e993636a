"""Reads a CSV file strictly, as text, some rows at a time: a damaged file is refused by its line.

Every row has as many cells as the header, and every quote is closed. Nothing is guessed: what a
file seems to be is written into the error that refuses it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

from selection.data.cells import MISSING_WORDS
from selection.errors import DataError, ErrorDetail, show

CELLS_PER_BATCH = 60_000
LONGEST_LINE = 2**24
LONGEST_CELL = 2**20
GUESSES = (";", "\t", "|", ",")
REPAIR = "Fix the file, or export it again."


@dataclass(frozen=True)
class CsvFormat:
    """Say how a CSV file writes its cells.

    missing are the texts that stand for a missing value.
    """

    delimiter: str = ","
    decimal: str = "."
    missing: tuple[str, ...] = MISSING_WORDS
    encoding: str = "utf-8"


@dataclass(frozen=True)
class CsvFile:
    """A CSV file and how it is read."""

    path: Path
    form: CsvFormat

    def batches(self, wanted: Collection[str] = ()) -> Iterator[list[tuple[str, ...]]]:
        """Return the header as columns of one cell each, then the columns of some rows at a time.

        Of a header that is one cell, and none of the wanted names, the delimiter is guessed for
        the error.

        Raises: DataError if the file is damaged, or is separated otherwise.
        """
        with self._errors(), self._open() as file:
            yield from self._read(file, wanted)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Word what goes wrong while a file is read."""
        try:
            yield
        except UnicodeError:
            raise DataError(self._other_encoding()) from None
        except (EOFError, zlib.error, gzip.BadGzipFile):
            rule, got = "a compressed file must be whole", "a damaged one"
            raise DataError(ErrorDetail(str(self.path), rule, got, REPAIR)) from None
        except OSError as error:
            raise DataError(unreadable(self.path, error)) from None

    def _open(self) -> IO[str]:
        encoding = self.form.encoding
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rt", encoding=encoding, newline="")
        return self.path.open(encoding=encoding, newline="")

    def _read(self, file: IO[str], wanted: Collection[str]) -> Iterator[list[tuple[str, ...]]]:
        csv.field_size_limit(LONGEST_CELL)
        reader = csv.reader(self._lines(file), delimiter=self.form.delimiter, strict=True)
        rows = self._rows(reader)
        header = next(rows, None)
        if header is None:
            return
        if "\0" in "".join(header):
            raise DataError(self._other_encoding())
        try:
            second = next(rows, [])
        except DataError:  # a damaged row is named below, where its cells are counted
            second = []
        self._check_delimiter(header, second, wanted)
        yield [(name,) for name in header]
        file.seek(0)
        reader = csv.reader(self._lines(file), delimiter=self.form.delimiter, strict=True)
        rows = self._rows(reader, len(header))
        next(rows)
        size = max(1, CELLS_PER_BATCH // len(header))
        while batch := list(islice(rows, size)):
            yield list(zip(*batch, strict=True))

    def _rows(self, reader: Iterator[list[str]], width: int = 0) -> Iterator[list[str]]:
        """Return the rows of a reader without blank lines; each has width cells, unless it is 0."""
        line = 0
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(self._damaged(_reason(error, line + 1))) from None
            if row and width and len(row) != width:
                got = (
                    f"a damaged one: line {line + 1} has {_cells(len(row))}, the header has {width}"
                )
                raise DataError(self._damaged(got))
            line = reader.line_num  # type: ignore[attr-defined]
            if row:
                yield row

    def _lines(self, file: IO[str]) -> Iterator[str]:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                size = f"a line {number} of more than {LONGEST_LINE:,} characters"
                raise DataError(self._damaged(size))
            yield line

    def _check_delimiter(self, header: list[str], row: list[str], wanted: Collection[str]) -> None:
        form = self._guessed(header, row)
        if form == self.form or header[0] in wanted:
            return
        delimiters = (self.form.delimiter, form.delimiter)
        written = ["tab" if each == "\t" else f'"{each}"' for each in delimiters]
        keys = f"delimiter = {show(form.delimiter)}"
        if form.decimal != self.form.decimal:
            keys += f" and decimal = {show(form.decimal)}"
        rule = f"cells must be separated by {written[0]}"
        got = f"cells that are separated by {written[1]}"
        raise DataError(ErrorDetail(str(self.path), rule, got, f"Set {keys} in [data]."))

    def guess_format(self, wanted: Collection[str] = ()) -> CsvFormat:
        """Return the format that the first rows seem to have; the stated one where nothing shows.

        A header that is one of the wanted names is whole.

        Raises: DataError if they cannot be read.
        """
        rows = []
        with self._errors(), self._open() as file:
            reader = csv.reader(self._lines(file), delimiter=self.form.delimiter)
            try:
                rows = list(islice(filter(None, reader), 2))
            except csv.Error as error:
                raise DataError(self._damaged(_reason(error, 1))) from None
        header, row = (*rows, [], [])[:2]
        return self.form if header and header[0] in wanted else self._guessed(header, row)

    def _guessed(self, header: list[str], row: list[str]) -> CsvFormat:
        """Return the format of a header of one cell by the separator that stands in it."""
        if len(header) != 1:
            return self.form
        guess = max(GUESSES, key=header[0].count)
        if guess == self.form.delimiter or guess not in header[0]:
            return self.form
        # A row of decimal commas is cut at them; its first cells are whole again when joined.
        cells = self.form.delimiter.join(row).split(guess)
        has_comma = any(re.fullmatch(r"[+-]?\d+,\d+", each) for each in cells)
        decimal = "," if has_comma and guess != "," else self.form.decimal
        return replace(self.form, delimiter=guess, decimal=decimal)

    def _other_encoding(self) -> ErrorDetail:
        with self._raw() as file:
            start = file.read(2**16)
        guess = _encoding_of(start)
        got = f"bytes that are not {self.form.encoding}; they look like {guess}"
        return self._damaged(got, f'Set encoding = "{guess}" in [data].')

    def _raw(self) -> IO[bytes]:
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rb")  # type: ignore[return-value]
        return self.path.open("rb")

    def _damaged(self, got: str, hint: str = REPAIR) -> ErrorDetail:
        return ErrorDetail(str(self.path), "must be a csv file", got, hint)


def _encoding_of(start: bytes) -> str:
    if b"\0" in start or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        start[: start.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8" if b"\n" in start else "latin-1"


def unreadable(path: Path, error: OSError) -> ErrorDetail:
    """Return the error of a file that cannot be read."""
    reason = error.strerror or str(error) or "an unreadable file"
    hint = "Paths count from the working directory: fix [data] path."
    return ErrorDetail(str(path), "the table must be readable", reason, hint)


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"


def _reason(error: csv.Error, line: int) -> str:
    text = str(error)
    if "expected after" in text:
        return f"a quote in the row of line {line} that does not close before a delimiter"
    if "end of data" in text:
        return f"a quote in the row of line {line} that is never closed"
    if "field limit" in text:
        return f"a cell of more than {LONGEST_CELL:,} characters in the row of line {line}"
    return f"{text} in the row of line {line}"
